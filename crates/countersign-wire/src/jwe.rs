//! Sealed messages, which a proxy between server and device can neither read nor change.
//!
//! A message is a compact JWE (RFC 7516), `dir` with `A256GCM`. HKDF-SHA256 derives two keys from
//! the payload key, one for each direction. The protected header is exactly
//! `alg, enc, typ, kid, id`; it names the purpose, the device and the transaction, and all of it is
//! checked before decryption. The guarantee: a message that opens was sealed by the other side, for
//! this purpose.

mod compact;
pub mod secrets;

use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::{DeviceName, TransactionId};
use crate::limits::SEALED_BYTES_MAX;
use crate::secret::{Bytes32, PayloadKey, fill_random, zeros};

/// The purpose of a sealed message. It determines the direction, and so the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Server to device: the content of this transaction.
    Content(TransactionId),
    /// Device to server: a PIN.
    Pin,
    /// Device to server: the request key of this transaction, in ASCII.
    Information(TransactionId),
    /// Device to server: the new push address, a [`crate::body::Push`] as JSON.
    Notification,
}

/// The reason for which a sealed message does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSealed {
    /// The message is not a compact JWE of this protocol: the algorithm is another, a member is
    /// missing or unknown, or an encoding is not canonical.
    #[error("the sealed message is malformed")]
    Malformed,
    /// The message is for another purpose, device or transaction.
    #[error("the sealed message is for something else")]
    OtherLabel,
    /// The message was sealed with another key, or was changed.
    #[error("the sealed message does not open")]
    Closed,
}

/// The protected header; its members are in the order of the JSON.
#[derive(Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct ProtectedHeader {
    alg: String,
    enc: String,
    typ: String,
    kid: DeviceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<TransactionId>,
}

/// Seals `plaintext` between the server and `device`. The purpose determines the direction.
#[must_use]
pub fn seal(key: &PayloadKey, device: &DeviceName, purpose: Purpose, plaintext: &[u8]) -> String {
    let mut iv = [0; compact::IV_BYTES];
    fill_random(&mut iv);
    seal_with(key, device, purpose, plaintext, iv)
}

/// Opens a message that the other side sealed with [`seal`] for exactly this device and purpose.
///
/// # Errors
/// [`BadSealed`] for every change.
pub fn open(
    key: &PayloadKey,
    device: &DeviceName,
    purpose: Purpose,
    sealed: &str,
) -> Result<Zeroizing<Vec<u8>>, BadSealed> {
    let parts = compact::split(sealed, SEALED_BYTES_MAX)?;
    let label: ProtectedHeader = parts.header()?;
    if label != label_of(device, purpose) {
        return Err(BadSealed::OtherLabel);
    }
    // With `dir` there is no encrypted key (RFC 7516, section 5.2, step 10).
    if !parts.encrypted_key.is_empty() {
        return Err(BadSealed::Malformed);
    }
    parts.open(&direction_key(key, purpose))
}

/// Reads the claimed device and purpose without any check, to find the key for [`open`].
///
/// # Errors
/// [`BadSealed::Malformed`].
pub fn peek(sealed: &str) -> Result<(DeviceName, Purpose), BadSealed> {
    let label: ProtectedHeader = compact::split(sealed, SEALED_BYTES_MAX)?.header()?;
    let purpose = match (label.typ.as_str(), label.id) {
        ("content", Some(id)) => Purpose::Content(id),
        ("pin", None) => Purpose::Pin,
        ("notification", None) => Purpose::Notification,
        ("information", Some(id)) => Purpose::Information(id),
        _ => return Err(BadSealed::Malformed),
    };
    Ok((label.kid, purpose))
}

/// As [`seal`], with a given IV, for test vectors only.
fn seal_with(
    key: &PayloadKey,
    device: &DeviceName,
    purpose: Purpose,
    plaintext: &[u8],
    iv: [u8; compact::IV_BYTES],
) -> String {
    let header = serde_json::to_vec(&label_of(device, purpose)).expect("a header is plain JSON");
    compact::seal(&header, &[], &direction_key(key, purpose), iv, plaintext)
}

fn label_of(device: &DeviceName, purpose: Purpose) -> ProtectedHeader {
    let (typ, id) = match purpose {
        Purpose::Content(id) => ("content", Some(id)),
        Purpose::Pin => ("pin", None),
        Purpose::Notification => ("notification", None),
        Purpose::Information(id) => ("information", Some(id)),
    };
    let (alg, enc, typ) = ("dir".to_owned(), "A256GCM".to_owned(), typ.to_owned());
    ProtectedHeader { alg, enc, typ, kid: device.clone(), id }
}

/// Derives one key for each direction, so that a message cannot be reflected to its sender.
fn direction_key(key: &PayloadKey, purpose: Purpose) -> Bytes32 {
    match purpose {
        Purpose::Content(_) => derive(key.as_bytes(), b"countersign to device"),
        Purpose::Pin | Purpose::Information(_) | Purpose::Notification => {
            derive(key.as_bytes(), b"countersign to server")
        }
    }
}

/// HKDF-SHA256 without salt, 32 bytes (RFC 5869).
pub(crate) fn derive(secret: &[u8], info: &[u8]) -> Bytes32 {
    let mut key = zeros();
    hkdf::Salt::none(hkdf::HKDF_SHA256)
        .extract(secret)
        .expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .expect("32 bytes are within HKDF's limit");
    key
}

#[cfg(test)]
mod tests;
