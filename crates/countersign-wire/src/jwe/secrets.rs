//! An enrolment's secrets, sealed to the key that the device made for this one answer.
//!
//! The message is a compact JWE, `ECDH-ES+A256KW` with `A256GCM` (RFC 7518 §4.6 and §4.4). Its
//! protected header is exactly `alg, enc, typ, kid, epk`: `typ` is `secrets`, `kid` the new device.
//! `apu` and `apv` are absent.

use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::digest;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{BadSealed, compact};
use crate::id::DeviceName;
use crate::jwk::{PrivateJwk, PublicJwk};
use crate::limits::TOKEN_BYTES_MAX;
use crate::secret::{CodeKey, PayloadKey, fill_random};

/// The secrets that the server makes at enrolment and both sides keep. Their JSON is the plaintext.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Secrets {
    /// The key for sealed messages in both directions.
    pub payload_key: PayloadKey,
    /// The key for OCRA codes.
    pub code_key: CodeKey,
}

/// The protected header; its members are in the order of the JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    typ: String,
    kid: DeviceName,
    epk: PublicJwk,
}

/// The random values of one sealed message.
struct Chances {
    ephemeral: PrivateJwk,
    content_key: Zeroizing<[u8; 32]>,
    iv: [u8; compact::IV_BYTES],
}

const ALG: &str = "ECDH-ES+A256KW";
const ENC: &str = "A256GCM";
const TYP: &str = "secrets";
/// The length of a wrapped AES-256 key (RFC 3394), 8 bytes more than the key.
const WRAPPED_BYTES: usize = 40;

/// Seals the secrets of `device` to `seal_key`.
#[must_use]
pub fn seal(seal_key: &PublicJwk, device: &DeviceName, secrets: &Secrets) -> String {
    let mut chances = Chances {
        ephemeral: PrivateJwk::generate(),
        content_key: Zeroizing::new([0; 32]),
        iv: [0; compact::IV_BYTES],
    };
    fill_random(&mut *chances.content_key);
    fill_random(&mut chances.iv);
    seal_with(seal_key, device, secrets, &chances)
}

/// Opens a message that [`seal`] sealed for `device` to the public half of `seal_key`.
///
/// # Errors
/// [`BadSealed`] for every change.
pub fn open(
    seal_key: &PrivateJwk,
    device: &DeviceName,
    sealed: &str,
) -> Result<Secrets, BadSealed> {
    let parts = compact::split(sealed, TOKEN_BYTES_MAX)?;
    let header: Header = parts.header()?;
    if header.alg != ALG || header.enc != ENC {
        return Err(BadSealed::Malformed);
    }
    if header.typ != TYP || header.kid != *device {
        return Err(BadSealed::OtherLabel);
    }
    let kek = key_encryption_key(seal_key, &header.epk);
    let mut content_key = Zeroizing::new([0; 32]);
    if parts.encrypted_key.len() != WRAPPED_BYTES {
        return Err(BadSealed::Malformed);
    }
    kek.unwrap(&parts.encrypted_key, &mut *content_key).map_err(|_| BadSealed::Closed)?;
    let plaintext = parts.open(&content_key)?;
    serde_json::from_slice(&plaintext).map_err(|_| BadSealed::Malformed)
}

fn seal_with(
    seal_key: &PublicJwk,
    device: &DeviceName,
    secrets: &Secrets,
    chances: &Chances,
) -> String {
    let header = Header {
        alg: ALG.to_owned(),
        enc: ENC.to_owned(),
        typ: TYP.to_owned(),
        kid: device.clone(),
        epk: chances.ephemeral.public().clone(),
    };
    let header = serde_json::to_vec(&header).expect("a header is plain JSON");
    let plaintext = Zeroizing::new(serde_json::to_vec(secrets).expect("secrets are plain JSON"));
    let mut wrapped = [0; WRAPPED_BYTES];
    key_encryption_key(&chances.ephemeral, seal_key)
        .wrap(&*chances.content_key, &mut wrapped)
        .expect("32 bytes wrap into 40");
    compact::seal(&header, &wrapped, &chances.content_key, chances.iv, &plaintext)
}

fn key_encryption_key(mine: &PrivateJwk, theirs: &PublicJwk) -> AesKek {
    let theirs = UnparsedPublicKey::new(&agreement::ECDH_P256, theirs.point());
    let key = agreement::agree(&mine.agreement(), theirs, (), |shared| {
        Ok(Zeroizing::new(concat_kdf(shared, ALG, &[], &[], 256)))
    });
    let key = key.expect("a point on the curve and a private key have a shared secret");
    AesKek::new(&AES_256, &key).expect("32 bytes are an AES-256 key")
}

/// The Concat KDF of RFC 7518 §4.6.2 for keys of at most 256 bits: one round of SHA-256.
fn concat_kdf(shared: &[u8], algorithm: &str, apu: &[u8], apv: &[u8], bits: u32) -> Vec<u8> {
    assert!(bits <= 256, "one round makes 256 bits");
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&1_u32.to_be_bytes());
    hash.update(shared);
    for part in [algorithm.as_bytes(), apu, apv] {
        hash.update(&(part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.update(&bits.to_be_bytes());
    hash.finish().as_ref()[..bits as usize / 8].to_vec()
}

#[cfg(test)]
mod tests;
