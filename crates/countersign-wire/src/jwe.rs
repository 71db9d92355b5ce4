//! Sealed messages: what nobody between server and device may read or change.
//!
//! A message is a compact JWE (RFC 7516), `dir` with `A256GCM`, under one of two keys that
//! HKDF-SHA256 makes of the payload key, one a direction. Its protected header is exactly
//! `alg, enc, typ, kid, id`, and says what it is for, whose it is, and which transaction's; all
//! of it is checked before the key is tried. The promise: what opens was sealed by the other side,
//! for this purpose.

mod compact;
pub mod secrets;

use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::{DeviceName, TransactionId};
use crate::limits::SEALED_BYTES_MAX;
use crate::secret::{Bytes32, PayloadKey, fill_random, zeros};

/// What a sealed message is for. It decides the direction, and so the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Server to device: what is to be shown and signed in this transaction.
    Content(TransactionId),
    /// Device to server: a PIN.
    Pin,
    /// Device to server: the request key of this transaction, in ASCII.
    Information(TransactionId),
    /// Device to server: where it is woken from now on, a [`crate::body::Push`] as JSON.
    Notification,
}

/// Why a sealed message does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadSealed {
    /// No compact JWE of ours: another algorithm, members too many or too few, not canonical.
    #[error("the sealed message is malformed")]
    Malformed,
    /// It is for another purpose, device or transaction.
    #[error("the sealed message is for something else")]
    OtherLabel,
    /// It was not sealed with this key, or was changed.
    #[error("the sealed message does not open")]
    Closed,
}

/// The protected header, in the order in which it is written.
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

/// Seals `plaintext` for, or as, `device`.
#[must_use]
pub fn seal(key: &PayloadKey, device: &DeviceName, purpose: Purpose, plaintext: &[u8]) -> String {
    let mut iv = [0; compact::IV_BYTES];
    fill_random(&mut iv);
    seal_with(key, device, purpose, plaintext, iv)
}

/// Opens what the other side sealed with [`seal`] for exactly this device and purpose.
///
/// # Errors
/// [`BadSealed`], whatever was changed.
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

/// Reads whose message it says it is and what for, believing nothing: to find the key to open it
/// with.
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

/// As [`seal`], with the IV given: the door for test vectors.
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

/// One key a direction, so that neither side can be sent its own words back.
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
        .expect("32 bytes are within HKDF's reach");
    key
}

#[cfg(test)]
mod tests;
