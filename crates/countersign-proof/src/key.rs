//! The allowed signature schemes and keys.
//!
//! A [`Scheme`] is a signature algorithm with its digest. A [`PublicKey`] holds a parsed key for
//! each of its schemes, so that a message costs one verification and no parsing.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::AnyRef;
use der::{Tag, Tagged};
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use crate::BadProof;
use crate::fields::{Fields, SEQUENCE, context};
use crate::oid;
use crate::raw::{Algorithm, Hash};

/// A public key that may sign, with every scheme that it supports.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    schemes: Vec<(Scheme, ParsedPublicKey)>,
    /// The length of an RSA key's modulus.
    bits: Option<usize>,
}

/// The scheme of a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    RsaPkcs1(Hash),
    /// MGF1 with the same hash; the salt is as long as the hash.
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
}

impl PublicKey {
    /// # Errors
    /// Refuses every key except RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519.
    pub(crate) fn new(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, BadProof> {
        use Hash::{Sha256, Sha384, Sha512};
        let algorithm = &spki.algorithm;
        let curve = algorithm.parameters.and_then(|curve| curve.decode_as().ok());
        let schemes: &[(Scheme, &'static dyn VerificationAlgorithm)] = match algorithm.oid {
            oid::RSA_ENCRYPTION if is_null_or_absent(algorithm) => &[
                (Scheme::RsaPkcs1(Sha256), &signature::RSA_PKCS1_2048_8192_SHA256),
                (Scheme::RsaPkcs1(Sha384), &signature::RSA_PKCS1_2048_8192_SHA384),
                (Scheme::RsaPkcs1(Sha512), &signature::RSA_PKCS1_2048_8192_SHA512),
                (Scheme::RsaPss(Sha256), &signature::RSA_PSS_2048_8192_SHA256),
                (Scheme::RsaPss(Sha384), &signature::RSA_PSS_2048_8192_SHA384),
                (Scheme::RsaPss(Sha512), &signature::RSA_PSS_2048_8192_SHA512),
            ],
            oid::EC_PUBLIC_KEY if curve == Some(oid::P256) => &[
                (Scheme::Ecdsa(Sha256), &signature::ECDSA_P256_SHA256_ASN1),
                (Scheme::Ecdsa(Sha384), &signature::ECDSA_P256_SHA384_ASN1),
                (Scheme::Ecdsa(Sha512), &signature::ECDSA_P256_SHA512_ASN1),
            ],
            oid::EC_PUBLIC_KEY if curve == Some(oid::P384) => &[
                (Scheme::Ecdsa(Sha256), &signature::ECDSA_P384_SHA256_ASN1),
                (Scheme::Ecdsa(Sha384), &signature::ECDSA_P384_SHA384_ASN1),
                (Scheme::Ecdsa(Sha512), &signature::ECDSA_P384_SHA512_ASN1),
            ],
            oid::EC_PUBLIC_KEY if curve == Some(oid::P521) => &[
                (Scheme::Ecdsa(Sha256), &signature::ECDSA_P521_SHA256_ASN1),
                (Scheme::Ecdsa(Sha384), &signature::ECDSA_P521_SHA384_ASN1),
                (Scheme::Ecdsa(Sha512), &signature::ECDSA_P521_SHA512_ASN1),
            ],
            oid::ED25519 if algorithm.parameters.is_none() => {
                &[(Scheme::Ed25519, &signature::ED25519)]
            }
            _ => return Err(BadProof::Key),
        };
        let key = spki.subject_public_key.as_bytes().ok_or(BadProof::Key)?;
        let is_rsa = algorithm.oid == oid::RSA_ENCRYPTION;
        let bits = is_rsa.then(|| rsa_bits(key)).transpose()?;
        let schemes = schemes
            .iter()
            .map(|(scheme, algorithm)| Ok((*scheme, ParsedPublicKey::new(*algorithm, key)?)))
            .collect::<Result<_, aws_lc_rs::error::KeyRejected>>()
            .map_err(|_| BadProof::Key)?;
        Ok(Self { schemes, bits })
    }

    /// The length of an RSA key's modulus, in bits.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        self.bits
    }

    pub(crate) fn verify(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadProof> {
        let key = self.of(scheme).ok_or(BadProof::OtherKey)?;
        key.verify_sig(message, signature).map_err(|_| BadProof::Signature)
    }

    /// Verifies a raw signature over a digest by the algorithm's hash.
    pub(crate) fn verify_digest(
        &self,
        algorithm: Algorithm,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), BadProof> {
        let verified = match algorithm {
            Algorithm::RsaPkcs1(Hash::Sha1) => {
                // Rare, so no parsed key is kept.
                let key = self.of(Scheme::RsaPkcs1(Hash::Sha256)).ok_or(BadProof::OtherKey)?;
                let sha1 = &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
                let key = ParsedPublicKey::new(sha1, key.as_ref()).map_err(|_| BadProof::Key)?;
                key.verify_digest_sig(digest, signature)
            }
            Algorithm::RsaPkcs1(hash) => {
                let key = self.of(Scheme::RsaPkcs1(hash)).ok_or(BadProof::OtherKey)?;
                key.verify_digest_sig(digest, signature)
            }
            Algorithm::Ecdsa(Hash::Sha1) => {
                // ECDSA signs the number that a digest encodes, and no allowed curve is shorter
                // than SHA-1. So a SHA-1 digest with leading zeros, as long as a SHA-256 digest, is
                // the same number.
                let key = self.of(Scheme::Ecdsa(Hash::Sha256)).ok_or(BadProof::OtherKey)?;
                let mut longer = [0; 32];
                longer[12..].copy_from_slice(digest.as_ref());
                let longer = Hash::Sha256.import(&longer).expect("SHA-256 has 32 bytes");
                key.verify_digest_sig(&longer, signature)
            }
            Algorithm::Ecdsa(hash) => {
                let key = self.of(Scheme::Ecdsa(hash)).ok_or(BadProof::OtherKey)?;
                key.verify_digest_sig(digest, signature)
            }
        };
        verified.map_err(|_| BadProof::Signature)
    }

    fn of(&self, scheme: Scheme) -> Option<&ParsedPublicKey> {
        let (_, key) = self.schemes.iter().find(|(known, _)| *known == scheme)?;
        Some(key)
    }
}

/// The length of an RSA key in bits. The parser accepts shorter keys, and only a verification would
/// refuse them.
fn rsa_bits(key: &[u8]) -> Result<usize, BadProof> {
    let modulus = Fields::of(key, SEQUENCE)
        .and_then(|mut key| key.decode::<der::asn1::UintRef<'_>>())
        .map_err(|_| BadProof::Key)?;
    let first = modulus.as_bytes().first().copied().unwrap_or(0);
    let bits = modulus.as_bytes().len() * 8 - first.leading_zeros() as usize;
    if (2048..=8192).contains(&bits) { Ok(bits) } else { Err(BadProof::Key) }
}

impl Scheme {
    /// Reads a signer's signature algorithm. Its digest must be `hash`, the signer's digest
    /// algorithm.
    pub(crate) fn new(
        algorithm: &AlgorithmIdentifierRef<'_>,
        hash: Hash,
    ) -> Result<Self, BadProof> {
        let (scheme, own, parameters_fit) = match algorithm.oid {
            oid::RSA_ENCRYPTION => (Self::RsaPkcs1(hash), hash, is_null_or_absent(algorithm)),
            oid::RSA_SHA256 => (Self::RsaPkcs1(hash), Hash::Sha256, is_null_or_absent(algorithm)),
            oid::RSA_SHA384 => (Self::RsaPkcs1(hash), Hash::Sha384, is_null_or_absent(algorithm)),
            oid::RSA_SHA512 => (Self::RsaPkcs1(hash), Hash::Sha512, is_null_or_absent(algorithm)),
            oid::RSA_PSS => (Self::RsaPss(hash), pss_hash(algorithm)?, true),
            oid::ECDSA_SHA256 => (Self::Ecdsa(hash), Hash::Sha256, algorithm.parameters.is_none()),
            oid::ECDSA_SHA384 => (Self::Ecdsa(hash), Hash::Sha384, algorithm.parameters.is_none()),
            oid::ECDSA_SHA512 => (Self::Ecdsa(hash), Hash::Sha512, algorithm.parameters.is_none()),
            // With signed attributes the message digest is SHA-512 (RFC 8419 §3.1).
            oid::ED25519 => (Self::Ed25519, Hash::Sha512, algorithm.parameters.is_none()),
            _ => return Err(BadProof::SignatureAlgorithm),
        };
        if !parameters_fit {
            return Err(BadProof::SignatureAlgorithm);
        }
        if own == hash { Ok(scheme) } else { Err(BadProof::AlgorithmsDisagree) }
    }
}

/// Reads the hash of RSASSA-PSS-params (RFC 4055 §3.1). All other fields must follow from it. The
/// defaults are SHA-1's, so only the trailer field may be left out.
fn pss_hash(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Hash, BadProof> {
    let read = |parameters: AnyRef<'_>| -> der::Result<_> {
        parameters.tag().assert_eq(Tag::Sequence)?;
        let mut fields = Fields::new(parameters.value())?;
        let hash = fields.open(context(0))?.only::<AlgorithmIdentifierRef<'_>>()?;
        let mask = fields.open(context(1))?.only::<AlgorithmIdentifierRef<'_>>()?;
        let mask_parameters = mask.parameters.ok_or(der::ErrorKind::Failed)?;
        let mask_hash = mask_parameters.decode_as::<AlgorithmIdentifierRef<'_>>()?;
        let salt = fields.open(context(2))?.only::<u16>()?;
        let trailer = match fields.optional(context(3))? {
            Some(trailer) => Fields::new(trailer)?.only::<u8>()?,
            None => 1,
        };
        fields.end()?;
        Ok((Hash::new(&hash), mask.oid, Hash::new(&mask_hash), usize::from(salt), trailer))
    };
    match algorithm.parameters.map(read) {
        Some(Ok((Ok(hash), oid::MGF1, Ok(mask_hash), salt, 1)))
            if mask_hash == hash && salt == hash.length() =>
        {
            Ok(hash)
        }
        _ => Err(BadProof::SignatureAlgorithm),
    }
}

pub(crate) fn is_null_or_absent(algorithm: &AlgorithmIdentifierRef<'_>) -> bool {
    algorithm.parameters.is_none_or(AnyRef::is_null)
}

impl Hash {
    /// Reads a digest algorithm of a CMS. Parameters may be absent or NULL (RFC 5754 §2).
    pub(crate) fn new(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<Self, BadProof> {
        match algorithm.oid {
            _ if !is_null_or_absent(algorithm) => Err(BadProof::DigestAlgorithm),
            oid::SHA256 => Ok(Self::Sha256),
            oid::SHA384 => Ok(Self::Sha384),
            oid::SHA512 => Ok(Self::Sha512),
            _ => Err(BadProof::DigestAlgorithm),
        }
    }
}
