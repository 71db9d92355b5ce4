//! P-256 keys as JWKs (RFC 7517, RFC 7518 §6.2).
//!
//! A key that was read is on the curve, and a private key matches its public key. A JWK has only
//! `kty`, `crv`, `x`, `y` and `d`, so that a private key is never read as a public one.

use core::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    ParsedPublicKey,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};
use crate::secret::{Bytes32, copied};

/// A public key, such as a device's `auth_key` and `seal_key` at enrolment.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct PublicJwk {
    /// 0x04 ‖ x ‖ y (SEC 1, section 2.3.3).
    point: [u8; 65],
}

/// A public key that is parsed for checking signatures (ES256). Parsing costs about a third of a
/// check, so keep the parsed key if there are many checks.
pub struct VerifyingKey(ParsedPublicKey);

/// A private key with its public key; the device keeps it.
#[derive(Clone)]
pub struct PrivateJwk {
    scalar: Bytes32,
    public: PublicJwk,
}

/// The bytes are not a P-256 key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a P-256 key")]
pub struct BadKey;

impl PublicJwk {
    /// Takes an uncompressed point.
    ///
    /// # Errors
    /// Refuses bytes that are not 65 bytes, or a point that is not on the curve.
    pub fn from_point(point: &[u8]) -> Result<Self, BadKey> {
        let point = <[u8; 65]>::try_from(point).map_err(|_| BadKey)?;
        VerifyingKey::from_point(&point)?;
        Ok(Self { point })
    }

    /// The uncompressed point: 0x04 ‖ x ‖ y. A registry stores it.
    #[must_use]
    pub fn point(&self) -> &[u8; 65] {
        &self.point
    }

    /// The coordinates as base64url.
    pub(crate) fn coordinates(&self) -> (String, String) {
        (to_base64url(&self.point[1..33]), to_base64url(&self.point[33..]))
    }

    /// Parses the key for checking signatures.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "states an invariant")]
    pub fn verifying(&self) -> VerifyingKey {
        VerifyingKey::from_point(&self.point).expect("a checked key is valid")
    }

    fn from_coordinates(x: &str, y: &str) -> Result<Self, BadKey> {
        let (x, y) = (from_base64url(x).ok_or(BadKey)?, from_base64url(y).ok_or(BadKey)?);
        if x.len() != 32 {
            return Err(BadKey);
        }
        Self::from_point(&[&[4], x.as_slice(), &y].concat())
    }
}

impl VerifyingKey {
    /// Takes an uncompressed point.
    ///
    /// # Errors
    /// Refuses a point that is malformed or not on the curve.
    pub fn from_point(point: &[u8; 65]) -> Result<Self, BadKey> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map(Self).map_err(|_| BadKey)
    }

    /// The uncompressed point: 0x04 ‖ x ‖ y.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Returns whether `signature`, r ‖ s, is by this key over `message` (RFC 7518 §3.4).
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

impl PrivateJwk {
    /// Generates a key.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "states an invariant")]
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .expect("the system's random generator does not fail");
        Self::from_pair(&pair).expect("a new key is valid")
    }

    /// Takes a key in PKCS#8, DER.
    ///
    /// # Errors
    /// Refuses bytes that are not a P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        Self::from_pair(&pair.map_err(|_| BadKey)?)
    }

    /// The key in PKCS#8, DER.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "states an invariant")]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let document = self.pair().and_then(|pair| pair.to_pkcs8v1().map_err(|_| BadKey));
        Zeroizing::new(document.expect("a checked key can be encoded").as_ref().to_vec())
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> &PublicJwk {
        &self.public
    }

    /// The key in the form for a key agreement.
    pub(crate) fn agreement(&self) -> agreement::PrivateKey {
        agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, self.scalar.as_slice())
            .expect("a checked key is valid")
    }

    fn from_pair(pair: &EcdsaKeyPair) -> Result<Self, BadKey> {
        let scalar = pair.private_key().as_be_bytes().map_err(|_| BadKey)?;
        let scalar = copied(scalar.as_ref().try_into().map_err(|_| BadKey)?);
        let public = PublicJwk::from_point(pair.public_key().as_ref())?;
        Ok(Self { scalar, public })
    }

    fn pair(&self) -> Result<EcdsaKeyPair, BadKey> {
        EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            self.scalar.as_slice(),
            &self.public.point,
        )
        .map_err(|_| BadKey)
    }
}

impl fmt::Debug for PublicJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicJwk({})", hex::encode(&self.point[1..9]))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey")
    }
}

impl fmt::Debug for PrivateJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateJwk(… of {:?})", self.public)
    }
}

/// The members of the JSON; absent ones are not written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<Zeroizing<String>>,
}

impl Members {
    fn of(public: &PublicJwk, d: Option<Zeroizing<String>>) -> Self {
        let (x, y) = public.coordinates();
        Self { kty: "EC".to_owned(), crv: "P-256".to_owned(), x, y, d }
    }

    fn public(&self) -> Result<PublicJwk, BadKey> {
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(BadKey);
        }
        PublicJwk::from_coordinates(&self.x, &self.y)
    }

    fn private(&self) -> Result<PrivateJwk, BadKey> {
        let public = self.public()?;
        let scalar = self.d.as_deref().and_then(|d| from_base64url(d)).map(Zeroizing::new);
        let scalar = scalar.ok_or(BadKey)?;
        let scalar = copied(scalar.as_slice().try_into().map_err(|_| BadKey)?);
        let key = PrivateJwk { scalar, public };
        key.pair()?;
        Ok(key)
    }
}

impl Serialize for PublicJwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Members::of(self, None).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicJwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        if members.d.is_some() {
            return Err(D::Error::custom("a private key instead of a public one"));
        }
        members.public().map_err(D::Error::custom)
    }
}

impl Serialize for PrivateJwk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let d = Zeroizing::new(to_base64url(self.scalar.as_slice()));
        Members::of(&self.public, Some(d)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PrivateJwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::deserialize(deserializer)?.private().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_round_trips() {
        let key = PrivateJwk::generate();
        let text = serde_json::to_string(&key).unwrap();
        let read: PrivateJwk = serde_json::from_str(&text).unwrap();
        assert_eq!((read.public(), &*read.scalar), (key.public(), &*key.scalar));
        let read = PrivateJwk::from_pkcs8(&key.to_pkcs8()).unwrap();
        assert_eq!((read.public(), &*read.scalar), (key.public(), &*key.scalar));
    }

    #[test]
    fn a_private_key_is_not_read_as_a_public_one() {
        let text = serde_json::to_string(&PrivateJwk::generate()).unwrap();
        assert!(serde_json::from_str::<PublicJwk>(&text).is_err());
    }

    #[test]
    fn a_private_key_is_never_in_debug() {
        let key = PrivateJwk::generate();
        let shown = format!("{key:?}");
        assert!(!shown.contains(&hex::encode(&key.scalar[..4])), "{shown}");
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let mut point = *PrivateJwk::generate().public().point();
        point[64] ^= 1;
        assert_eq!(PublicJwk::from_point(&point), Err(BadKey));
    }

    #[test]
    fn two_halves_of_different_keys_are_refused() {
        let mut text = serde_json::to_value(PrivateJwk::generate()).unwrap();
        text["d"] = serde_json::to_value(PrivateJwk::generate()).unwrap()["d"].clone();
        assert!(serde_json::from_value::<PrivateJwk>(text).is_err());
    }
}
