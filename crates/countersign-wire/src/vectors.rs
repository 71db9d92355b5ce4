//! The specification's vectors, read where they are published: `docs/vectors/`.
//!
//! They were made by another implementation than this one, so they hold both sides of each form,
//! and not only this crate to itself.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A vector that must be refused, and why.
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

/// Bytes written as hex.
#[track_caller]
pub(crate) fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}
