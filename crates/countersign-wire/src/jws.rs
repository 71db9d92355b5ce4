//! Who says it: the three JWS that a device makes with its authentication key.
//!
//! | `typ` | where | claims |
//! |---|---|---|
//! | `countersign-device+jwt` | `Authorization: Bearer` of every HTTP call | `htm, htu, iat, jti, bh` |
//! | `countersign-channel+jwt` | `hello` on the channel | `nonce, aud` |
//! | `countersign-enrolment+jwt` | `Countersign-Proof` of an enrolment | `bh` |
//!
//! ES256 and nothing else; the header holds exactly `typ`, `alg` and `kid` (no `kid` before there
//! is a device), the claims exactly what the table says. A token of one kind is never good as
//! another.

use core::time::Duration;

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::encoding::{from_base64url, to_base64url};
use crate::id::DeviceName;
use crate::jwk::{PrivateJwk, VerifyingKey};
use crate::limits::{NONCE_BYTES_MAX, SKEW_MAX, TOKEN_BYTES_MAX};

/// `typ` of an HTTP call's token.
pub const CALL_TYPE: &str = "countersign-device+jwt";
/// `typ` of the channel's `hello`.
pub const HELLO_TYPE: &str = "countersign-channel+jwt";
/// `typ` of an enrolment's proof.
pub const ENROLMENT_TYPE: &str = "countersign-enrolment+jwt";
/// The header that carries an enrolment's proof.
pub const ENROLMENT_HEADER: &str = "Countersign-Proof";

/// Why a token proves nothing. For logs: the device is told `unauthorised` only.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadToken {
    /// No JWS of ours: too long, no three parts, another algorithm, members too many or too few.
    #[error("the token is malformed")]
    Malformed,
    /// It is good for something else.
    #[error("the token is of another type")]
    OtherType,
    /// It names another device.
    #[error("the token is another device's")]
    OtherDevice,
    /// It was not made with the registered key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// It is for another method.
    #[error("the token is for another method")]
    OtherMethod,
    /// It is for another address, or for another server.
    #[error("the token is for another address")]
    OtherAddress,
    /// It is over another challenge.
    #[error("the token answers another challenge")]
    OtherNonce,
    /// It is from too long ago, or from a time to come.
    #[error("the token's time is too far from the server's")]
    Stale,
    /// It is over another body.
    #[error("the token is over another body")]
    OtherBody,
}

/// An HTTP call, as both sides see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// In capitals.
    pub method: &'a str,
    /// From `/device/…` on, as in the request line, without query.
    pub path: &'a str,
    /// The body's bytes; none where there is no body.
    pub body: &'a [u8],
}

/// What a verified call's token leaves to be checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// The token's own name, 1 to [`NONCE_BYTES_MAX`] bytes: to be seen once only.
    pub jti: String,
    /// When the device says that it made the token, since the Unix epoch, in whole seconds.
    pub issued_at: Duration,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CallClaims {
    htm: String,
    htu: String,
    iat: u64,
    jti: String,
    bh: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HelloClaims {
    nonce: String,
    aud: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentClaims {
    bh: String,
}

/// Reads which device a call's token names, believing nothing else: to find the key to verify it
/// with.
///
/// # Errors
/// [`BadToken::Malformed`] and [`BadToken::OtherType`].
pub fn device_of_call(token: &str) -> Result<DeviceName, BadToken> {
    let kid = header_of(token, CALL_TYPE)?.kid.ok_or(BadToken::Malformed)?;
    kid.parse().map_err(|_| BadToken::Malformed)
}

/// Makes the token for one call at `now`, to the server whose public address is `origin`.
#[must_use]
pub fn sign_call(
    key: &PrivateJwk,
    device: &DeviceName,
    origin: &str,
    call: Call<'_>,
    now: Duration,
) -> String {
    let mut jti = [0; 16];
    crate::secret::fill_random(&mut jti);
    let claims = CallClaims {
        htm: call.method.to_owned(),
        htu: format!("{origin}{}", call.path),
        iat: now.as_secs(),
        jti: to_base64url(jti),
        bh: body_hash(call.body),
    };
    sign(key, CALL_TYPE, Some(device), &claims)
}

/// Checks that `token` was made by `device`, whose registered key is `key`, for this call to one of
/// `origins`, at most [`SKEW_MAX`] from `now`. Whether its `jti` was seen before is the caller's to
/// check.
///
/// # Errors
/// The first reason found, in the order of [`BadToken`].
pub fn verify_call(
    token: &str,
    key: &VerifyingKey,
    device: &DeviceName,
    origins: &[String],
    call: Call<'_>,
    now: Duration,
) -> Result<Proven, BadToken> {
    let Call { method, path, body } = call;
    verify_call_head(token, key, device, origins, (method, path), now)?.with_body(body)
}

/// A call's token of which all but the body has been checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallHead {
    proven: Proven,
    body_hash: String,
}

/// The same before the body is there, so that a stranger's body need not be read: `call` is its
/// method and path.
///
/// # Errors
/// As [`verify_call`], [`BadToken::OtherBody`] aside.
pub fn verify_call_head(
    token: &str,
    key: &VerifyingKey,
    device: &DeviceName,
    origins: &[String],
    (method, path): (&str, &str),
    now: Duration,
) -> Result<CallHead, BadToken> {
    let claims: CallClaims = verify(token, key, CALL_TYPE, Some(device))?;
    if !(1..=NONCE_BYTES_MAX).contains(&claims.jti.len()) {
        return Err(BadToken::Malformed);
    }
    if claims.htm != method {
        return Err(BadToken::OtherMethod);
    }
    let is_path = |origin: &String| claims.htu.strip_prefix(origin.as_str()) == Some(path);
    if !origins.iter().any(is_path) {
        return Err(BadToken::OtherAddress);
    }
    let issued_at = Duration::from_secs(claims.iat);
    // Whole seconds on both sides, so that 60 s is 60 s wherever in a second the server is.
    if now.as_secs().abs_diff(claims.iat) > SKEW_MAX.as_secs() {
        return Err(BadToken::Stale);
    }
    let proven = Proven { jti: claims.jti, issued_at };
    Ok(CallHead { proven, body_hash: claims.bh })
}

impl CallHead {
    /// Checks that the token is over this body.
    ///
    /// # Errors
    /// [`BadToken::OtherBody`].
    pub fn with_body(self, body: &[u8]) -> Result<Proven, BadToken> {
        if self.body_hash != body_hash(body) {
            return Err(BadToken::OtherBody);
        }
        Ok(self.proven)
    }
}

/// Makes the proof of a `hello`, for the server whose public address is `origin`.
#[must_use]
pub fn sign_hello(key: &PrivateJwk, device: &DeviceName, origin: &str, nonce: &str) -> String {
    let claims = HelloClaims { nonce: nonce.to_owned(), aud: origin.to_owned() };
    sign(key, HELLO_TYPE, Some(device), &claims)
}

/// Checks that `token` answers the challenge `nonce` of one of `origins` for `device`.
///
/// # Errors
/// The first reason found, in the order of [`BadToken`].
pub fn verify_hello(
    token: &str,
    key: &VerifyingKey,
    device: &DeviceName,
    origins: &[String],
    nonce: &str,
) -> Result<(), BadToken> {
    let claims: HelloClaims = verify(token, key, HELLO_TYPE, Some(device))?;
    if !origins.contains(&claims.aud) {
        return Err(BadToken::OtherAddress);
    }
    if claims.nonce != nonce {
        return Err(BadToken::OtherNonce);
    }
    Ok(())
}

/// Makes the proof of an enrolment: that the device holds the `auth_key` that `body` names.
#[must_use]
pub fn sign_enrolment(key: &PrivateJwk, body: &[u8]) -> String {
    sign(key, ENROLMENT_TYPE, None, &EnrolmentClaims { bh: body_hash(body) })
}

/// Checks that `token` was made over `body` with the key that `body` names.
///
/// # Errors
/// The first reason found, in the order of [`BadToken`].
pub fn verify_enrolment(token: &str, key: &VerifyingKey, body: &[u8]) -> Result<(), BadToken> {
    let claims: EnrolmentClaims = verify(token, key, ENROLMENT_TYPE, None)?;
    if claims.bh == body_hash(body) { Ok(()) } else { Err(BadToken::OtherBody) }
}

/// SHA-256 as base64url: the claim `bh`.
fn body_hash(body: &[u8]) -> String {
    to_base64url(digest::digest(&digest::SHA256, body))
}

fn header(typ: &str, device: Option<&DeviceName>) -> Header {
    Header {
        typ: Some(typ.to_owned()),
        kid: device.map(ToString::to_string),
        ..Header::new(Algorithm::ES256)
    }
}

fn sign<C: Serialize>(
    key: &PrivateJwk,
    typ: &str,
    device: Option<&DeviceName>,
    claims: &C,
) -> String {
    let key = EncodingKey::from_ec_der(&key.to_pkcs8());
    jsonwebtoken::encode(&header(typ, device), claims, &key).expect("a checked key signs")
}

/// A header as it must be: whatever else one can hold (`crit`, `jwk`, `jku`, `x5c`, …) has no
/// meaning here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    #[serde(default)]
    typ: Option<String>,
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// Reads the header and believes only its shape: ES256, this type, and nothing but these members.
fn header_of(token: &str, typ: &str) -> Result<Claimed, BadToken> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(BadToken::Malformed);
    }
    let (header, _) = token.split_once('.').ok_or(BadToken::Malformed)?;
    let found: Claimed = read(header)?;
    if found.typ.as_deref() != Some(typ) {
        return Err(BadToken::OtherType);
    }
    if found.alg == "ES256" { Ok(found) } else { Err(BadToken::Malformed) }
}

fn verify<C: DeserializeOwned>(
    token: &str,
    key: &VerifyingKey,
    typ: &str,
    device: Option<&DeviceName>,
) -> Result<C, BadToken> {
    if header_of(token, typ)?.kid != device.map(ToString::to_string) {
        return Err(BadToken::OtherDevice);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
    let (_, claims) = signed.split_once('.').ok_or(BadToken::Malformed)?;
    let signature = from_base64url(signature).ok_or(BadToken::Malformed)?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(BadToken::BadSignature);
    }
    read(claims)
}

/// A part of a token: JSON as base64url.
fn read<T: DeserializeOwned>(part: &str) -> Result<T, BadToken> {
    let json = from_base64url(part).ok_or(BadToken::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| BadToken::Malformed)
}

#[cfg(test)]
mod tests;
