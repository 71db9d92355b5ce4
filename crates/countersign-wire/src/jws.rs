//! The three JWS that a device makes with its authentication key.
//!
//! | `typ` | where | claims |
//! |---|---|---|
//! | `countersign-device+jwt` | `Authorization: Bearer` of every HTTP call | `htm, htu, iat, jti, bh` |
//! | `countersign-channel+jwt` | `hello` on the channel | `nonce, aud` |
//! | `countersign-enrolment+jwt` | `Countersign-Proof` of an enrolment | `bh` |
//!
//! The algorithm is always ES256. The header has exactly `typ`, `alg` and `kid` (no `kid` before
//! the device has an id), and the claims are exactly those of the table. A token of one type is
//! never valid as another.

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

/// The reason for which a token is refused, for logs. The device gets `unauthorised` only.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadToken {
    /// The token is not a JWS of this protocol: it is too long, does not have three parts, has
    /// another algorithm, or has a missing or unknown member.
    #[error("the token is malformed")]
    Malformed,
    /// The token has another type.
    #[error("the token is of another type")]
    OtherType,
    /// The token names another device.
    #[error("the token is another device's")]
    OtherDevice,
    /// The signature is not by the registered key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The token is for another method.
    #[error("the token is for another method")]
    OtherMethod,
    /// The token is for another path or another server.
    #[error(
        "the token is for another address, or for a server that is not in `server.public_addresses`"
    )]
    OtherAddress,
    /// The token is over another challenge.
    #[error("the token answers another challenge")]
    OtherNonce,
    /// The token's time is too far in the past or in the future.
    #[error("the token's time is too far from the server's")]
    Stale,
    /// The token is over another body.
    #[error("the token is over another body")]
    OtherBody,
}

/// An HTTP call, as the device sends it and the server receives it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path from `/device/…` on, as in the request line, without the query.
    pub path: &'a str,
    /// The body's bytes; empty if the call has no body.
    pub body: &'a [u8],
}

/// The claims that the caller of a verification still has to check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// The token's id, 1 to [`NONCE_BYTES_MAX`] bytes. Refuse it if it was seen before.
    pub jti: String,
    /// The time at which the device claims to have made the token, since the Unix epoch, in whole
    /// seconds.
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

/// Reads the device that a call's token claims to be from, without any other check, to find the key
/// for [`verify_call`].
///
/// # Errors
/// [`BadToken::Malformed`] and [`BadToken::OtherType`].
pub fn device_of_call(token: &str) -> Result<DeviceName, BadToken> {
    let kid = header_of(token, CALL_TYPE)?.kid.ok_or(BadToken::Malformed)?;
    kid.parse().map_err(|_| BadToken::Malformed)
}

/// Signs the token of one call at `now`. `origin` is the server's public address.
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
/// `origins`, and that its time differs from `now` by at most [`SKEW_MAX`]. The caller checks
/// whether its `jti` was seen before.
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

/// A call's token that is verified except for the body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallHead {
    proven: Proven,
    body_hash: String,
}

/// As [`verify_call`], before the body is read, so that the server need not read a body without a
/// valid token. `call` has the method and the path.
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

/// Checks that `token` answers the challenge `nonce` of one of `origins`, and was made by `device`.
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

/// Makes the proof of an enrolment that the device holds the `auth_key` in `body`.
#[must_use]
pub fn sign_enrolment(key: &PrivateJwk, body: &[u8]) -> String {
    sign(key, ENROLMENT_TYPE, None, &EnrolmentClaims { bh: body_hash(body) })
}

/// Checks that `token` was made over `body` with `key`, the `auth_key` in `body`.
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

/// A header with its only allowed members. Other members (`crit`, `jwk`, `jku`, `x5c`, …) are
/// refused, because this protocol gives them no meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    #[serde(default)]
    typ: Option<String>,
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// Reads the header and checks only its form: ES256, this type, and no other members.
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

/// Decodes a part of a token: JSON as base64url.
fn read<T: DeserializeOwned>(part: &str) -> Result<T, BadToken> {
    let json = from_base64url(part).ok_or(BadToken::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| BadToken::Malformed)
}

#[cfg(test)]
mod tests;
