//! Secrets of 32 bytes that server and device share.
//!
//! Each has its own type, so that one cannot be used for another. A secret stays in one place on
//! the heap, is wiped when dropped, and is hidden in `Debug`. In JSON a secret is base64url without
//! padding.

use core::fmt;
use core::ops::{Deref, DerefMut};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Bytes32);

        impl $name {
            /// Generates a secret from the system's random generator.
            #[must_use]
            pub fn generate() -> Self {
                let mut bytes = zeros();
                fill_random(&mut *bytes);
                Self(bytes)
            }

            /// The bytes, for cryptography only.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<&[u8; 32]> for $name {
            /// Copies the bytes directly to the heap. The caller wipes the original.
            fn from(bytes: &[u8; 32]) -> Self {
                Self(copied(bytes))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&Zeroizing::new(to_base64url(self.as_bytes())))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Zeroizing::new(String::deserialize(deserializer)?);
                let bytes = from_base64url(&text).map(Zeroizing::new);
                let bytes = bytes.as_ref().and_then(|bytes| bytes.as_slice().try_into().ok());
                bytes.map(|bytes: &[u8; 32]| Self::from(bytes)).ok_or_else(|| D::Error::custom("not 32 bytes of base64url"))
            }
        }
    };
}

secret! {
    /// The key of sealed messages in both directions. The server makes it at enrolment.
    PayloadKey
}
secret! {
    /// The key of OATH OCRA codes: short signatures and PIN proofs. The server makes it at
    /// enrolment.
    CodeKey
}
secret! {
    /// The SHA-256 of a salted Argon2id of the PIN. The server holds nothing else of the PIN.
    PinDigest
}

/// 32 secret bytes on the heap: moving the value moves a pointer.
#[derive(Clone)]
pub(crate) struct Bytes32(Box<Zeroizing<[u8; 32]>>);

impl Deref for Bytes32 {
    type Target = [u8; 32];

    fn deref(&self) -> &[u8; 32] {
        &self.0
    }
}

impl DerefMut for Bytes32 {
    fn deref_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

/// Zero bytes, to be filled with a secret.
pub(crate) fn zeros() -> Bytes32 {
    Bytes32(Box::new(Zeroizing::new([0; 32])))
}

/// A copy of the bytes, in its own place on the heap.
pub(crate) fn copied(bytes: &[u8; 32]) -> Bytes32 {
    let mut place = zeros();
    place.copy_from_slice(bytes);
    place
}

/// Fills `bytes` from the system's random generator.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system's random generator does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_appears_in_debug() {
        let key = PayloadKey::from(&[0xab; 32]);
        assert_eq!(format!("{key:?}"), "PayloadKey(…)");
    }

    #[test]
    fn a_secret_moves_as_a_pointer() {
        assert_eq!(size_of::<PayloadKey>(), size_of::<usize>());
        let key = CodeKey::generate();
        let place: *const [u8; 32] = key.as_bytes();
        let moved = Box::new(key);
        assert!(core::ptr::eq(moved.as_bytes(), place));
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert!(serde_json::from_str::<CodeKey>("\"AAAA\"").is_err());
        let text = serde_json::to_string(&CodeKey::from(&[7; 32])).unwrap();
        assert_eq!(serde_json::from_str::<CodeKey>(&text).unwrap().as_bytes(), &[7; 32]);
    }

    #[test]
    fn two_generated_secrets_differ() {
        assert_ne!(PinDigest::generate().as_bytes(), PinDigest::generate().as_bytes());
    }
}
