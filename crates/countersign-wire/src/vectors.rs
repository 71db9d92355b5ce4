//! The specification's vectors, read from `docs/vectors/`, where they are published.
//!
//! Another implementation made them, so they test this crate against more than itself.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A vector that must be refused, and the reason.
#[derive(Deserialize)]
pub(crate) struct Refused {
    pub(crate) name: String,
    #[serde(alias = "jwe")]
    pub(crate) token: String,
    pub(crate) error: String,
}

/// Reads a file of vectors.
#[track_caller]
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

/// Reads bytes from hex.
#[track_caller]
pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}
