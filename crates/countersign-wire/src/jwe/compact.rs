//! The compact serialization: five parts, `A256GCM`, one spelling for each message.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::BadSealed;
use crate::encoding::{from_base64url, to_base64url};

pub(super) const IV_BYTES: usize = 12;
pub(super) const TAG_BYTES: usize = 16;

/// The decoded parts of a compact JWE, not yet verified.
pub(super) struct Parts<'a> {
    /// The encoded header, which is the associated data (RFC 7516 §5.2, step 14).
    protected: &'a str,
    pub(super) encrypted_key: Vec<u8>,
    iv: [u8; IV_BYTES],
    ciphertext: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

/// Splits and decodes a message.
pub(super) fn split(sealed: &str, bytes_max: usize) -> Result<Parts<'_>, BadSealed> {
    if sealed.len() > bytes_max {
        return Err(BadSealed::Malformed);
    }
    let mut parts = sealed.split('.');
    let mut next = || parts.next().ok_or(BadSealed::Malformed);
    let (protected, encrypted_key, iv, ciphertext, tag) =
        (next()?, next()?, next()?, next()?, next()?);
    if parts.next().is_some() {
        return Err(BadSealed::Malformed);
    }
    let bytes = |text: &str| from_base64url(text).ok_or(BadSealed::Malformed);
    Ok(Parts {
        protected,
        encrypted_key: bytes(encrypted_key)?,
        iv: bytes(iv)?.try_into().map_err(|_| BadSealed::Malformed)?,
        ciphertext: bytes(ciphertext)?,
        tag: bytes(tag)?.try_into().map_err(|_| BadSealed::Malformed)?,
    })
}

impl Parts<'_> {
    /// Reads the protected header as a type that refuses unknown members (`zip`, `crit`, …).
    pub(super) fn header<T: DeserializeOwned>(&self) -> Result<T, BadSealed> {
        let json = from_base64url(self.protected).ok_or(BadSealed::Malformed)?;
        serde_json::from_slice(&json).map_err(|_| BadSealed::Malformed)
    }

    /// Decrypts the message.
    pub(super) fn open(self, key: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, BadSealed> {
        let mut plaintext = Zeroizing::new(self.ciphertext);
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let aad = Aad::from(self.protected.as_bytes());
        cipher(key)
            .open_in_place_separate_tag(nonce, aad, &self.tag, &mut plaintext)
            .map_err(|_| BadSealed::Closed)?;
        Ok(plaintext)
    }
}

/// Encrypts and joins a message.
pub(super) fn seal(
    header: &[u8],
    encrypted_key: &[u8],
    key: &[u8; 32],
    iv: [u8; IV_BYTES],
    plaintext: &[u8],
) -> String {
    let protected = to_base64url(header);
    let mut ciphertext = Zeroizing::new(plaintext.to_vec());
    let nonce = Nonce::assume_unique_for_key(iv);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut ciphertext)
        .expect("a message is far below AES-GCM's limit");
    let parts = [encrypted_key, &iv, &ciphertext, tag.as_ref()].map(to_base64url);
    [protected, parts.join(".")].join(".")
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key"))
}
