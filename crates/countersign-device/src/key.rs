//! The keys that a device generates for its identities.

use countersign_wire::body::Algorithm;
use countersign_wire::key_proof::KeyStatement;
use der::Decode as _;
use rcgen::{CertificateParams, DnType, KeyPair, RsaKeySize, SigningKey as _};
use x509_cert::Certificate;

use crate::error::Error;

/// The kind of an identity's key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyKind {
    /// ECDSA on P-256, with SHA-256.
    #[default]
    P256,
    /// ECDSA on P-384, with SHA-384.
    P384,
    /// RSA PKCS#1 v1.5 of 2048 bits, with SHA-256.
    Rsa2048,
    /// Ed25519.
    Ed25519,
}

/// Generates a key of this kind.
pub(crate) fn generate(kind: KeyKind) -> Result<KeyPair, Error> {
    let made = match kind {
        KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
    };
    made.map_err(|_| Error::NoKey)
}

/// A certificate request in `user`'s name, signed by the key itself (RFC 2986), in DER. The server
/// decides the names in the certificate.
pub(crate) fn request(key: &KeyPair, user: &str) -> Result<Vec<u8>, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    let request = params.serialize_request(key).map_err(|_| Error::NoKey)?;
    Ok(request.der().to_vec())
}

/// The key's signature over `statement`, which proves that this device holds it: ECDSA with SHA-256
/// on P-256 and with SHA-384 on P-384, RSA PKCS#1 v1.5 with SHA-256, or Ed25519.
pub(crate) fn prove(key: &KeyPair, statement: &KeyStatement<'_>) -> Result<Vec<u8>, Error> {
    key.sign(&statement.to_bytes()).map_err(|_| Error::NoKey)
}

/// Returns whether `certificate` is for `key`.
pub(crate) fn certifies(certificate: &[u8], key: &KeyPair) -> bool {
    Certificate::from_der(certificate).is_ok_and(|parsed| {
        let info = parsed.tbs_certificate.subject_public_key_info;
        info.subject_public_key.as_bytes() == Some(key.public_key_raw())
    })
}

/// Returns whether `certificate` names itself as its issuer.
pub(crate) fn is_root(certificate: &[u8]) -> bool {
    Certificate::from_der(certificate)
        .is_ok_and(|parsed| parsed.tbs_certificate.issuer == parsed.tbs_certificate.subject)
}

/// The algorithm of the certificate's key in a CMS, if the key is of a [`KeyKind`].
pub(crate) fn algorithm(certificate: &[u8]) -> Option<Algorithm> {
    // RFC 5480 §2.1.1.1; RFC 3279 §2.3.1; RFC 8410 §3.
    const P256: &str = "1.2.840.10045.3.1.7";
    const P384: &str = "1.3.132.0.34";
    let key = Certificate::from_der(certificate).ok()?.tbs_certificate.subject_public_key_info;
    match key.algorithm.oid.to_string().as_str() {
        "1.2.840.10045.2.1" => {
            let curve: der::asn1::ObjectIdentifier = key.algorithm.parameters?.decode_as().ok()?;
            match curve.to_string().as_str() {
                P256 => Some(Algorithm::EcdsaSha256),
                P384 => Some(Algorithm::EcdsaSha384),
                _ => None,
            }
        }
        "1.2.840.113549.1.1.1" => Some(Algorithm::RsaSha256),
        "1.3.101.112" => Some(Algorithm::Ed25519),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_recognised_from_its_certificate() {
        for (kind, expected) in [
            (KeyKind::P256, Algorithm::EcdsaSha256),
            (KeyKind::P384, Algorithm::EcdsaSha384),
            (KeyKind::Rsa2048, Algorithm::RsaSha256),
            (KeyKind::Ed25519, Algorithm::Ed25519),
        ] {
            let key = generate(kind).unwrap();
            let own = CertificateParams::default().self_signed(&key).unwrap();
            assert_eq!(algorithm(own.der()), Some(expected));
            assert!(certifies(own.der(), &key), "{kind:?}");
            assert!(!certifies(own.der(), &generate(kind).unwrap()), "{kind:?}");
        }
        assert_eq!(algorithm(b"no certificate"), None);
    }
}
