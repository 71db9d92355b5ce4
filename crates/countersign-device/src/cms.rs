//! The signature of a device: a CAdES-B-B message over the bytes that it showed.
//!
//! With RSA and Ed25519, equal arguments give equal bytes; with ECDSA the signature differs each
//! time. So a device stores the message and sends it again, and does not sign again.

use core::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, error};
use countersign_proof::ber::element;
use countersign_proof::oid;
use der::asn1::{GeneralizedTime, Null, ObjectIdentifier, OctetStringRef, UtcTime, Utf8StringRef};
use der::{Decode, Encode};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::Certificate;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[n]`, constructed.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_4: u8 = 0xa4;

/// Signs `content` for `transaction` only. Returns the message in DER.
///
/// `signed_at` is the device's claim, in seconds since the Unix epoch. `certificate` is the key's
/// own; `chain` is the path from it to a root, without the root. All certificates are DER and are
/// copied unchanged into the message.
///
/// # Errors
/// Refuses a certificate of another key, and a time after the year 9999.
pub fn sign(
    content: &[u8],
    media_type: &str,
    transaction: [u8; 16],
    signed_at: u64,
    certificate: &[u8],
    chain: &[Vec<u8>],
    key: &SigningKey,
) -> Result<Vec<u8>, CannotSign> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CannotSign::Certificate)?;
    let tbs = &parsed.tbs_certificate;
    if tbs.subject_public_key_info.subject_public_key.as_bytes() != Some(key.public_key()) {
        return Err(CannotSign::OtherKey);
    }
    let issuer = der(&tbs.issuer);
    let serial = der(&tbs.serial_number);

    let attributes = set_of([
        attribute(oid::CONTENT_TYPE, &der(&oid::DATA)),
        attribute(oid::MESSAGE_DIGEST, &octets(key.hash(content).as_ref())),
        attribute(oid::SIGNING_TIME, &time(signed_at)?),
        attribute(oid::SIGNING_CERTIFICATE_V2, &signing_certificate(certificate, &issuer, &serial)),
        attribute(
            oid::MIME_TYPE,
            &der(&Utf8StringRef::new(media_type).map_err(|_| CannotSign::MediaType)?),
        ),
        attribute(oid::CONTENT_IDENTIFIER, &octets(&transaction)),
    ]);
    // The signature is over a SET OF; the message has it as [0] (RFC 5652 §5.4).
    let signature = key.sign(&element(SET, &attributes)).map_err(|_| CannotSign::Key)?;

    let signer_info = sequence(&[
        &der(&1_u8),
        &sequence(&[&issuer, &serial]),
        &key.digest_algorithm(),
        &element(CONTEXT_0, &attributes),
        &key.signature_algorithm(),
        &octets(&signature),
    ]);
    let certificates = chain.iter().map(Vec::as_slice).chain([certificate]).map(<[u8]>::to_vec);
    let signed_data = sequence(&[
        &der(&1_u8),
        &element(SET, &key.digest_algorithm()),
        &sequence(&[&der(&oid::DATA), &element(CONTEXT_0, &octets(content))]),
        &element(CONTEXT_0, &set_of(certificates)),
        &element(SET, &signer_info),
    ]);
    Ok(sequence(&[&der(&oid::SIGNED_DATA), &element(CONTEXT_0, &signed_data)]))
}

/// The reason for which a device cannot sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotSign {
    /// The key is not PKCS #8, or is of an unsupported kind, or cannot sign.
    #[error("the key is not a P-256, P-384, RSA (2048 bits or more) or Ed25519 key in PKCS #8")]
    Key,
    /// The certificate is not X.509 in DER.
    #[error("the certificate is malformed")]
    Certificate,
    /// The certificate is for another key, so every verifier would refuse the signature.
    #[error("the certificate is not the key's")]
    OtherKey,
    /// The media type is longer than any valid one.
    #[error("the media type is too long")]
    MediaType,
    /// The time is before 1970 or after 9999.
    #[error("the time of signing cannot be written")]
    Time,
    /// The algorithm is for another kind of key, or not supported by this device.
    #[error("the key cannot sign with this algorithm")]
    Algorithm,
}

/// The private key of a signing identity. It never leaves this value.
pub struct SigningKey(pub(crate) Key);

pub(crate) enum Key {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    /// PKCS #1 v1.5 with SHA-256.
    Rsa(rsa::KeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a key in PKCS #8, PEM.
    ///
    /// # Errors
    /// Refuses other forms and unsupported kinds of key.
    pub fn from_pem(pem: &str) -> Result<Self, CannotSign> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes());
        Self::from_der(key.map_err(|_| CannotSign::Key)?.secret_pkcs8_der())
    }

    /// Reads a key in PKCS #8, DER.
    ///
    /// # Errors
    /// Refuses other forms and unsupported kinds of key.
    pub fn from_der(pkcs8: &[u8]) -> Result<Self, CannotSign> {
        let p256 = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let p384 = &signature::ECDSA_P384_SHA384_ASN1_SIGNING;
        // Each constructor refuses the other kinds of key.
        EcdsaKeyPair::from_pkcs8(p256, pkcs8)
            .map(Key::P256)
            .or_else(|_| EcdsaKeyPair::from_pkcs8(p384, pkcs8).map(Key::P384))
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map(Key::Ed25519))
            .or_else(|_| rsa::KeyPair::from_pkcs8(pkcs8).map(Key::Rsa))
            .map(Self)
            .map_err(|_| CannotSign::Key)
    }

    /// The key in the form of a certificate's `subjectPublicKey`.
    fn public_key(&self) -> &[u8] {
        match &self.0 {
            Key::P256(key) | Key::P384(key) => key.public_key().as_ref(),
            Key::Rsa(key) => key.public_key().as_ref(),
            Key::Ed25519(key) => key.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, error::Unspecified> {
        let random = SystemRandom::new();
        match &self.0 {
            Key::P256(key) | Key::P384(key) => Ok(key.sign(&random, message)?.as_ref().to_vec()),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Key::Ed25519(key) => Ok(key.try_sign(message)?.as_ref().to_vec()),
        }
    }

    fn hash(&self, content: &[u8]) -> digest::Digest {
        let algorithm = match &self.0 {
            Key::P256(_) | Key::Rsa(_) => &digest::SHA256,
            Key::P384(_) => &digest::SHA384,
            Key::Ed25519(_) => &digest::SHA512,
        };
        digest::digest(algorithm, content)
    }

    /// The digest algorithm follows from the key: with Ed25519 it is SHA-512 (RFC 8419 §3.1).
    /// Parameters are absent (RFC 5754 §2).
    fn digest_algorithm(&self) -> Vec<u8> {
        let digest = match &self.0 {
            Key::P256(_) | Key::Rsa(_) => oid::SHA256,
            Key::P384(_) => oid::SHA384,
            Key::Ed25519(_) => oid::SHA512,
        };
        sequence(&[&der(&digest)])
    }

    fn signature_algorithm(&self) -> Vec<u8> {
        match &self.0 {
            Key::P256(_) => sequence(&[&der(&oid::ECDSA_SHA256)]),
            Key::P384(_) => sequence(&[&der(&oid::ECDSA_SHA384)]),
            // With RSA, parameters are NULL (RFC 4055 §5).
            Key::Rsa(_) => sequence(&[&der(&oid::RSA_SHA256), &der(&Null)]),
            Key::Ed25519(_) => sequence(&[&der(&oid::ED25519)]),
        }
    }
}

/// Shows the kind of the key only.
impl core::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match &self.0 {
            Key::P256(_) => "SigningKey(P-256)",
            Key::P384(_) => "SigningKey(P-384)",
            Key::Rsa(_) => "SigningKey(RSA)",
            Key::Ed25519(_) => "SigningKey(Ed25519)",
        })
    }
}

fn attribute(kind: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    sequence(&[&der(&kind), &element(SET, value)])
}

/// `SigningCertificateV2` (RFC 5035 §3) of one certificate. Its hash is SHA-256, the default, which
/// DER leaves out.
fn signing_certificate(certificate: &[u8], issuer: &[u8], serial: &[u8]) -> Vec<u8> {
    let hash = octets(digest::digest(&digest::SHA256, certificate).as_ref());
    // GeneralNames with one directoryName, whose tag is explicit (RFC 5280 §4.2.1.6).
    let issuer_serial = sequence(&[&sequence(&[&element(CONTEXT_4, issuer)]), serial]);
    let id = sequence(&[&hash, &issuer_serial]);
    sequence(&[&sequence(&[&id])])
}

/// `UTCTime` through 2049, `GeneralizedTime` from 2050 (RFC 5652 §11.3).
fn time(seconds: u64) -> Result<Vec<u8>, CannotSign> {
    let since = Duration::from_secs(seconds);
    UtcTime::from_unix_duration(since)
        .map(|time| der(&time))
        .or_else(|_| GeneralizedTime::from_unix_duration(since).map(|time| der(&time)))
        .map_err(|_| CannotSign::Time)
}

fn octets(content: &[u8]) -> Vec<u8> {
    der(&OctetStringRef::new(content).expect("content of a few megabytes at most"))
}

fn sequence(fields: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &fields.concat())
}

/// Sorts elements in DER's order (X.690 §11.6).
fn set_of(elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut elements: Vec<_> = elements.into_iter().collect();
    elements.sort_unstable();
    elements.concat()
}

fn der(value: &impl Encode) -> Vec<u8> {
    value.to_der().expect("values of bounded length")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use countersign_proof::{BadProof, Expected, Roots, Signer, cms};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const TRANSACTION: [u8; 16] = *b"transaction one.";
    const TEXT: &str = "text/plain; charset=utf-8";

    /// A root, an intermediate, and a certificate for `key` by the intermediate.
    fn certify(key: &KeyPair) -> [Vec<u8>; 3] {
        let params = |name: &str, is_ca: IsCa| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            (params.not_before, params.not_after) =
                (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
            params.is_ca = is_ca;
            params
        };
        let (root_key, middle_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = params("root", IsCa::Ca(BasicConstraints::Unconstrained));
        let middle = params("middle", IsCa::Ca(BasicConstraints::Unconstrained));
        let root_der = root.self_signed(&root_key).unwrap();
        let root = Issuer::new(root, root_key);
        let middle_der = middle.signed_by(&middle_key, &root).unwrap();
        let middle = Issuer::new(middle, middle_key);
        let own = params("Ann", IsCa::NoCa).signed_by(key, &middle).unwrap();
        [root_der.der().to_vec(), middle_der.der().to_vec(), own.der().to_vec()]
    }

    /// Signs, and verifies with `countersign-proof` and OpenSSL.
    fn check(key: &KeyPair, content: &[u8]) {
        let [root, middle, own] = certify(key);
        let chain = [middle];
        let signing_key = SigningKey::from_pem(&key.serialize_pem()).unwrap();
        let message = sign(content, TEXT, TRANSACTION, NOW, &own, &chain, &signing_key).unwrap();

        let roots = Roots::new([root.as_slice()]).unwrap();
        let signer = Signer::new(&own, &chain, &roots, NOW).unwrap();
        let expected = Expected { transaction: TRANSACTION, content, media_type: TEXT };
        let proof = cms::verify(&message, &expected, &signer, NOW).unwrap();
        assert_eq!(proof.evidence(), message, "the message is DER");
        assert_eq!(cms::inspect(&message, &roots, NOW).unwrap().signing_time, NOW);

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("m.p7m"), &message).unwrap();
        let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &root);
        std::fs::write(path("ca.pem"), pem.unwrap()).unwrap();
        let output = Command::new("openssl")
            .args(["cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in"])
            .arg(path("m.p7m"))
            .arg("-CAfile")
            .arg(path("ca.pem"))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        if key.algorithm() == &rcgen::PKCS_ED25519 && complaint.contains("invalid digest") {
            return; // OpenSSL 3.0 does not support CMS with Ed25519 (RFC 8419); later versions may.
        }
        assert!(output.status.success(), "{complaint}");
        assert_eq!(output.stdout, content);
    }

    #[test]
    fn a_signature_by_every_kind_of_key_is_accepted_here_and_by_openssl() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_RSA_SHA256,
            &rcgen::PKCS_ED25519,
        ] {
            check(&KeyPair::generate_for(algorithm).unwrap(), b"pay 5 to Bob\r\n");
        }
    }

    #[test]
    fn content_of_any_length_is_signed() {
        let key = KeyPair::generate().unwrap();
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 200_000] {
            check(&key, &vec![b'x'; length]);
        }
    }

    #[test]
    fn deterministic_schemes_give_equal_messages_for_equal_arguments() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let [_, middle, own] = certify(&key);
        let key = SigningKey::from_pem(&key.serialize_pem()).unwrap();
        let chain = [middle];
        let sign = || sign(b"x", TEXT, TRANSACTION, NOW, &own, &chain, &key).unwrap();
        assert_eq!(sign(), sign());
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let [_, _, own] = certify(&other);
        let key = SigningKey::from_pem(&key.serialize_pem()).unwrap();
        let outcome = sign(b"x", TEXT, TRANSACTION, NOW, &own, &[], &key);
        assert_eq!(outcome, Err(CannotSign::OtherKey));
    }

    #[test]
    fn a_message_without_its_chain_is_not_accepted() {
        let key = KeyPair::generate().unwrap();
        let [root, middle, own] = certify(&key);
        let signing_key = SigningKey::from_pem(&key.serialize_pem()).unwrap();
        let message = sign(b"x", TEXT, TRANSACTION, NOW, &own, &[], &signing_key).unwrap();
        let roots = Roots::new([root.as_slice()]).unwrap();
        let signer = Signer::new(&own, &[middle], &roots, NOW).unwrap();
        let expected = Expected { transaction: TRANSACTION, content: b"x", media_type: TEXT };
        let outcome = cms::verify(&message, &expected, &signer, NOW);
        assert_eq!(outcome, Err(BadProof::CertificateAbsent));
    }

    #[test]
    fn unsupported_keys_are_refused_and_debug_hides_every_key() {
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        for bad in [p521.serialize_pem(), String::new(), "not a key".to_owned()] {
            assert_eq!(SigningKey::from_pem(&bad).unwrap_err(), CannotSign::Key);
        }
        let key = KeyPair::generate().unwrap();
        let key = SigningKey::from_der(&key.serialize_der()).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(P-256)");
    }

    #[test]
    fn times_before_2050_are_utc_times_and_later_ones_generalized_times() {
        assert!(time(2_524_607_999).unwrap().ends_with(b"491231235959Z"));
        assert!(time(2_524_608_000).unwrap().ends_with(b"20500101000000Z"));
        assert_eq!(time(253_402_300_800), Err(CannotSign::Time));
    }
}
