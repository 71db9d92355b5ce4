//! Certificate requests in PKCS#10 (RFC 2986), and the proof that the sender holds the key.
//!
//! A request is signed by its own key, but every program that saw it can send it again. So a device
//! also signs a statement about its enrolment with the same key. [`Request::check_proof`] verifies
//! that signature.

use aws_lc_rs::digest::{SHA256, digest};
use der::Encode as _;
use der::asn1::BitStringRef;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::BadProof;
use crate::fields::{Fields, INTEGER, SEQUENCE, context};
use crate::key::{PublicKey, Scheme, is_null_or_absent};
use crate::oid;
use crate::raw::Hash;

/// The longest request that is read, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A certificate request: a public key, and a signature by that key over the request.
#[derive(Clone, Debug)]
pub struct Request {
    key: PublicKey,
    /// The algorithm for [`Self::check_proof`].
    own: Scheme,
    key_bits: Vec<u8>,
    key_info: Vec<u8>,
}

impl Request {
    /// Reads a request in DER and verifies its signature with the key in it. Its subject and its
    /// attributes are ignored.
    ///
    /// # Errors
    /// Refuses bytes that are not PKCS#10 in DER, a key other than RSA of 2048 to 8192 bits, P-256,
    /// P-384, P-521 and Ed25519, a second encoding of a key, and a signature by another key.
    pub fn parse(der: &[u8]) -> Result<Self, BadProof> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(BadProof::Request);
        }
        let parts = Parts::of(der).map_err(|_| BadProof::Request)?;
        let key = PublicKey::new(&parts.key_info)?;
        let key_bits = parts.key_info.subject_public_key.as_bytes().ok_or(BadProof::Key)?;
        let own = own_scheme(&parts.key_info, key_bits)?;
        let scheme = scheme(&parts.algorithm)?;
        let signature = parts.signature.as_bytes().ok_or(BadProof::Request)?;
        key.verify(scheme, parts.signed, signature)?;
        let key_info = parts.key_info.to_der().map_err(|_| BadProof::Key)?;
        Ok(Self { key, own, key_bits: key_bits.to_vec(), key_info })
    }

    /// Verifies that the key signed `statement`, by the one algorithm for its kind: ECDSA with
    /// SHA-256 for P-256, with SHA-384 for P-384, with SHA-512 for P-521; RSA PKCS #1 v1.5 with
    /// SHA-256; Ed25519.
    ///
    /// # Errors
    /// Refuses a signature that does not verify.
    pub fn check_proof(&self, statement: &[u8], signature: &[u8]) -> Result<(), BadProof> {
        self.key.verify(self.own, statement, signature)
    }

    /// The `SubjectPublicKeyInfo` (RFC 5280, section 4.1.2.7), DER.
    #[must_use]
    pub fn key_info(&self) -> &[u8] {
        &self.key_info
    }

    /// The SHA-256 of [`Self::key_info`]. Each key has one accepted encoding, so it has one digest.
    #[must_use]
    pub fn key_digest(&self) -> [u8; 32] {
        digest(&SHA256, &self.key_info).as_ref().try_into().expect("SHA-256 is 32 bytes")
    }

    /// The key without its algorithm, as [`crate::public_key`] reads it from a certificate.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.key_bits
    }
}

/// `CertificationRequest` (RFC 2986, section 4.2).
struct Parts<'a> {
    /// `CertificationRequestInfo`, header included.
    signed: &'a [u8],
    key_info: SubjectPublicKeyInfoRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl<'a> Parts<'a> {
    fn of(der: &'a [u8]) -> der::Result<Self> {
        let mut request = Fields::of(der, SEQUENCE)?;
        let signed = request.element()?;
        let algorithm = request.decode()?;
        let signature = request.only()?;
        let mut info = Fields::of(signed, SEQUENCE)?;
        if info.content(INTEGER)? != [0] {
            return Err(der::ErrorKind::Failed.into());
        }
        info.content(SEQUENCE)?; // the subject
        let key_info = info.decode()?;
        // The attributes are mandatory, but some programs leave them out.
        info.optional(context(0))?;
        info.end()?;
        Ok(Self { signed, key_info, algorithm, signature })
    }
}

/// The algorithm of a key's proof. Refuses a second encoding of the key, because then one key would
/// have two digests.
pub(crate) fn own_scheme(
    info: &SubjectPublicKeyInfoRef<'_>,
    key: &[u8],
) -> Result<Scheme, BadProof> {
    const UNCOMPRESSED: u8 = 4; // SEC 1, section 2.3.3
    let algorithm = &info.algorithm;
    if algorithm.oid == oid::RSA_ENCRYPTION {
        // RFC 3279 §2.3.1: the parameters are NULL.
        return match algorithm.parameters {
            Some(_) => Ok(Scheme::RsaPkcs1(Hash::Sha256)),
            None => Err(BadProof::Key),
        };
    }
    if algorithm.oid == oid::ED25519 {
        return Ok(Scheme::Ed25519);
    }
    if key.first() != Some(&UNCOMPRESSED) {
        return Err(BadProof::Key);
    }
    let curve = algorithm.parameters.and_then(|curve| curve.decode_as().ok());
    match curve {
        Some(oid::P256) => Ok(Scheme::Ecdsa(Hash::Sha256)),
        Some(oid::P384) => Ok(Scheme::Ecdsa(Hash::Sha384)),
        Some(oid::P521) => Ok(Scheme::Ecdsa(Hash::Sha512)),
        _ => Err(BadProof::Key),
    }
}

/// The algorithm by which a request says that it is signed. The kind of the key comes from the key
/// itself.
fn scheme(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Scheme, BadProof> {
    let (scheme, fits) = match algorithm.oid {
        oid::RSA_SHA256 => (Scheme::RsaPkcs1(Hash::Sha256), is_null_or_absent(algorithm)),
        oid::RSA_SHA384 => (Scheme::RsaPkcs1(Hash::Sha384), is_null_or_absent(algorithm)),
        oid::RSA_SHA512 => (Scheme::RsaPkcs1(Hash::Sha512), is_null_or_absent(algorithm)),
        oid::ECDSA_SHA256 => (Scheme::Ecdsa(Hash::Sha256), algorithm.parameters.is_none()),
        oid::ECDSA_SHA384 => (Scheme::Ecdsa(Hash::Sha384), algorithm.parameters.is_none()),
        oid::ECDSA_SHA512 => (Scheme::Ecdsa(Hash::Sha512), algorithm.parameters.is_none()),
        oid::ED25519 => (Scheme::Ed25519, algorithm.parameters.is_none()),
        _ => return Err(BadProof::SignatureAlgorithm),
    };
    if fits { Ok(scheme) } else { Err(BadProof::SignatureAlgorithm) }
}
