//! `PUT /device/v1/pin`: sets a device's first PIN, or changes it.

use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::name;
use crate::id::TransactionId;
use crate::limits::SEALED_BYTES_MAX;
use crate::secret::PinDigest;

/// The transaction id over which the proof of the old PIN is made. It is never a transaction's id.
pub const PIN_PROOF_ID: TransactionId = TransactionId([0; 16]);

/// The body. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinBody {
    /// A JWE of purpose `pin`; its plaintext is a [`PinChange`] as JSON.
    #[serde(deserialize_with = "name::<_, SEALED_BYTES_MAX>")]
    pub pin: String,
}

/// The plaintext of [`PinBody::pin`]. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PinChange {
    /// 1 for the first PIN; each later PIN has the next number.
    pub version: u32,
    /// The digest that the server will hold.
    pub digest: PinDigest,
    /// From version 2 on: the PIN proof of the old PIN, over [`PIN_PROOF_ID`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<PinProof>,
}

/// The answer, 200: the version that is now valid.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PinAnswer {
    /// The requested version.
    pub version: u32,
}

/// An OCRA value of suite `OCRA-1:HOTP-SHA256-0:QH64-PSHA256`: the whole HMAC, as 64 lower-case hex
/// digits.
///
/// Compare it in constant time with the expected one.
#[derive(Clone)]
pub struct PinProof(String);

/// The text is not a PIN proof.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a PIN proof is 64 lower-case hex digits")]
pub struct BadPinProof;

impl PinProof {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PinProof {
    type Err = BadPinProof;

    fn from_str(text: &str) -> Result<Self, BadPinProof> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let good = text.len() == 64 && text.bytes().all(hex);
        good.then(|| Self(text.to_owned())).ok_or(BadPinProof)
    }
}

impl fmt::Debug for PinProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinProof(…)")
    }
}

impl Serialize for PinProof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PinProof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
