//! A signature as a device submits it: one of three forms, each with exactly its own members.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{base64, name, name_option, unbase64};
use crate::limits::{DIGEST_BYTES_MAX, NAME_BYTES_MAX, SIGNATURE_BYTES_MAX};

/// The signature with which a device finishes a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signature {
    /// A CMS `SignedData` that includes the content.
    Cms {
        /// The identity that signed.
        identity: String,
        /// The algorithm that the device names. The one in the CMS decides.
        algorithm: Option<Algorithm>,
        /// The message, BER or DER.
        value: Vec<u8>,
    },
    /// A bare signature.
    Raw {
        /// The identity that signed.
        identity: String,
        /// The algorithm of the signature.
        algorithm: Algorithm,
        /// RSA PKCS#1 v1.5, or ECDSA as DER.
        value: Vec<u8>,
        /// The digest that was signed, if the device did not get it from the content.
        digest: Option<Vec<u8>>,
    },
    /// A short signature by the code key: RFC 6287, 6 to 10 decimal digits. It names no identity.
    Code {
        /// The digits.
        value: String,
    },
}

/// The forms that a signature may have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// CMS `SignedData`.
    Cms,
    /// A bare signature.
    Raw,
    /// An OCRA code.
    Code,
    /// A form that this program does not know. A device skips it; a server refuses it.
    #[serde(other)]
    Unknown,
}

/// The algorithm of a signature: signature scheme and digest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-1: refused unless the tenant allows it.
    RsaSha1,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RsaSha256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RsaSha384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RsaSha512,
    /// ECDSA with SHA-1: refused unless the tenant allows it.
    EcdsaSha1,
    /// ECDSA with SHA-256.
    EcdsaSha256,
    /// ECDSA with SHA-384.
    EcdsaSha384,
    /// ECDSA with SHA-512.
    EcdsaSha512,
    /// Ed25519, only in a CMS.
    Ed25519,
    /// An algorithm that this program does not know. A device skips it; a server refuses it.
    #[serde(other)]
    Unknown,
}

impl Signature {
    /// The form of the signature.
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Self::Cms { .. } => Form::Cms,
            Self::Raw { .. } => Form::Raw,
            Self::Code { .. } => Form::Code,
        }
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a, V> {
            form: Form,
            value: V,
            #[serde(skip_serializing_if = "Option::is_none")]
            algorithm: Option<Algorithm>,
            #[serde(skip_serializing_if = "Option::is_none")]
            identity: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            digest: Option<Bytes<'a>>,
        }
        #[derive(Serialize)]
        struct Bytes<'a>(#[serde(serialize_with = "base64")] &'a [u8]);

        let form = self.form();
        match self {
            Self::Cms { identity, algorithm, value } => {
                let (value, algorithm, identity) = (Bytes(value), *algorithm, Some(&**identity));
                Written { form, value, algorithm, identity, digest: None }.serialize(serializer)
            }
            Self::Raw { identity, algorithm, value, digest } => {
                let (value, algorithm) = (Bytes(value), Some(*algorithm));
                let (identity, digest) = (Some(&**identity), digest.as_deref().map(Bytes));
                Written { form, value, algorithm, identity, digest }.serialize(serializer)
            }
            Self::Code { value } => {
                let (algorithm, identity, digest) = (None, None, None);
                Written { form, value, algorithm, identity, digest }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The members as read; `form` decides how `value` is decoded.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Read {
            form: Form,
            #[serde(deserialize_with = "name::<_, VALUE_CHARS_MAX>")]
            value: String,
            algorithm: Option<Algorithm>,
            #[serde(default, deserialize_with = "name_option::<_, NAME_BYTES_MAX>")]
            identity: Option<String>,
            #[serde(default)]
            digest: Option<DigestRead>,
        }
        #[derive(Deserialize)]
        struct DigestRead(#[serde(deserialize_with = "unbase64::<_, DIGEST_BYTES_MAX>")] Vec<u8>);

        let Read { form, value, algorithm, identity, digest } = Read::deserialize(deserializer)?;
        let identity = identity.ok_or_else(|| D::Error::missing_field("identity"));
        match form {
            Form::Cms | Form::Code if digest.is_some() => {
                Err(D::Error::custom("only a raw signature has a digest"))
            }
            Form::Cms => Ok(Self::Cms { identity: identity?, algorithm, value: bytes(value)? }),
            Form::Raw => {
                let algorithm = algorithm.ok_or_else(|| D::Error::missing_field("algorithm"))?;
                let (value, digest) = (bytes(value)?, digest.map(|digest| digest.0));
                Ok(Self::Raw { identity: identity?, algorithm, value, digest })
            }
            Form::Code if !is_code(&value) => Err(D::Error::custom("a code is 6 to 10 digits")),
            Form::Code => Ok(Self::Code { value }),
            Form::Unknown => Err(D::Error::custom("no such form")),
        }
    }
}

/// The length of the largest signature in base64.
const VALUE_CHARS_MAX: usize = SIGNATURE_BYTES_MAX.div_ceil(3) * 4;

fn bytes<E: serde::de::Error>(value: String) -> Result<Vec<u8>, E> {
    unbase64::<_, SIGNATURE_BYTES_MAX>(serde::de::value::StringDeserializer::new(value))
}

fn is_code(value: &str) -> bool {
    (6..=10).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_form_round_trips() {
        for written in [
            json!({"form": "cms", "value": "MAA=", "identity": "a"}),
            json!({"form": "cms", "value": "MAA=", "algorithm": "ed25519", "identity": "a"}),
            json!({"form": "raw", "value": "MAA=", "algorithm": "rsa-sha1", "identity": "a"}),
            json!({"form": "raw", "value": "MAA=", "algorithm": "ecdsa-sha512", "identity": "a",
                   "digest": "AAEC"}),
            json!({"form": "code", "value": "012345"}),
        ] {
            let read: Signature = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
    }

    #[test]
    fn a_form_requires_its_own_members_and_refuses_those_of_others() {
        let long = "A".repeat(88);
        for bad in [
            json!({"form": "raw", "value": "MAA=", "identity": "a"}),
            json!({"form": "raw", "value": "MAA=", "algorithm": "ecdsa-sha256"}),
            json!({"form": "raw", "value": "MAA=", "algorithm": "ecdsa-sha256", "identity": "a",
                   "digest": "?"}),
            json!({"form": "raw", "value": "MAA=", "algorithm": "ecdsa-sha256", "identity": "a",
                   "digest": long}),
            json!({"form": "cms", "value": "MAA=", "identity": "a", "digest": "AAEC"}),
            json!({"form": "code", "value": "012345", "digest": "AAEC"}),
            json!({"form": "code", "value": "01234"}),
            json!({"form": "cms", "value": "MAA="}),
            json!({"form": "pgp", "value": "MAA=", "identity": "a"}),
        ] {
            assert!(serde_json::from_value::<Signature>(bad.clone()).is_err(), "{bad}");
        }
    }
}
