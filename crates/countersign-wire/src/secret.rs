//! Secrets of 32 bytes that server and device share.
//!
//! Each is a type of its own, so that one cannot stand in for another; each is wiped when dropped and
//! never seen in `Debug`. In JSON a secret is base64url without padding.

use core::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// Makes a new one from the system's random generator.
            #[must_use]
            pub fn generate() -> Self {
                let mut bytes = Zeroizing::new([0; 32]);
                fill_random(&mut *bytes);
                Self(bytes)
            }

            /// The bytes themselves: for sealing, never for showing.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(Zeroizing::new(bytes))
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
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
                bytes.map(Self::from).ok_or_else(|| D::Error::custom("not 32 bytes of base64url"))
            }
        }
    };
}

secret! {
    /// Seals requests to a device, and messages back. Made by the server at enrolment.
    PayloadKey
}
secret! {
    /// Makes OATH OCRA codes: short signatures and PIN proofs. Made by the server at enrolment.
    CodeKey
}
secret! {
    /// SHA-256 of a salted Argon2id of the PIN: all that the server holds of it.
    PinDigest
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
        let key = PayloadKey::from([0xab; 32]);
        assert_eq!(format!("{key:?}"), "PayloadKey(…)");
    }

    #[test]
    fn a_secret_of_another_length_is_refused() {
        assert!(serde_json::from_str::<CodeKey>("\"AAAA\"").is_err());
        let text = serde_json::to_string(&CodeKey::from([7; 32])).unwrap();
        assert_eq!(serde_json::from_str::<CodeKey>(&text).unwrap().as_bytes(), &[7; 32]);
    }

    #[test]
    fn two_generated_secrets_differ() {
        assert_ne!(PinDigest::generate().as_bytes(), PinDigest::generate().as_bytes());
    }
}
