//! Raw signatures: RSA PKCS #1 v1.5 (RFC 8017 §8.2) or ECDSA (DER, RFC 3279 §2.2.3) over text, or
//! over a digest that a caller computed.
//!
//! A raw signature names neither its signer nor its transaction. So a key signs either shown text
//! or digests, never both. The signed attributes of a CMS contain object identifiers that are not
//! valid UTF-8, so they cannot be passed off as the text of another signature.

use core::fmt;
use core::str::FromStr;

use aws_lc_rs::digest::{self, Digest};

use crate::fields::{Fields, INTEGER, SEQUENCE};
use crate::{BadProof, Proof, Signer};

/// The digest algorithms of raw signatures. A CMS is never accepted with SHA-1, although this type
/// has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hash {
    /// SHA-1, which is not collision-resistant: an author of two texts can give both the same
    /// digest.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The algorithm of a raw signature.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// PKCS #1 v1.5, with the digest in a `DigestInfo`.
    RsaPkcs1(Hash),
    /// ECDSA, encoded in DER.
    Ecdsa(Hash),
}

/// The signed data of a raw signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject<'a> {
    /// Text, as UTF-8, digested by the algorithm's hash.
    Text(&'a str),
    /// A digest by the algorithm's hash.
    Digest(&'a [u8]),
}

/// The additional data of a verified raw signature. A later verification needs it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Raw {
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// The digest that was signed, if the caller gave one; `None` if text was signed.
    pub digest: Option<Box<[u8]>>,
    /// The signer's certificate, DER.
    pub certificate: Box<[u8]>,
    /// The certificates between it and the root, DER, starting with its issuer's.
    pub chain: Vec<Box<[u8]>>,
}

/// The given name is not the name of an algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no such algorithm")]
pub struct UnknownAlgorithm;

/// Verifies a raw signature by `signer` over `subject`, at `now`, for `transaction`. The caller
/// vouches for the transaction, because a raw signature does not name it.
///
/// # Errors
/// Returns the first reason found. The order is: the validity of the signer at `now`, the digest's
/// length, the kind of the signer's key, the signature.
pub fn verify(
    signature: &[u8],
    algorithm: Algorithm,
    subject: Subject<'_>,
    transaction: [u8; 16],
    signer: &Signer,
    now: u64,
) -> Result<Proof, BadProof> {
    signer.check_time(now)?;
    let hash = algorithm.hash();
    let (bytes, digest) = match subject {
        Subject::Text(text) => (text.as_bytes(), hash.digest(text.as_bytes())),
        Subject::Digest(digest) => (digest, hash.import(digest).ok_or(BadProof::DigestLength)?),
    };
    signer.key().verify_digest(algorithm, &digest, signature)?;
    if matches!(algorithm, Algorithm::Ecdsa(_)) && ecdsa_r(signature).is_none() {
        return Err(BadProof::Signature);
    }
    let raw = Raw {
        algorithm,
        digest: matches!(subject, Subject::Digest(_)).then(|| bytes.into()),
        certificate: signer.certificate().into(),
        chain: signer.path().to_vec(),
    };
    let content = digest::digest(&digest::SHA256, bytes);
    let content = content.as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok(Proof::raw_signature(transaction, content, signer.fingerprint(), signature.to_vec(), raw))
}

/// The *r* of an ECDSA signature in DER (RFC 3279 §2.2.3), without leading zeros. `None` if the
/// bytes are not such a signature.
pub(crate) fn ecdsa_r(signature: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields::of(signature, SEQUENCE).ok()?;
    let r = fields.content(INTEGER).ok()?;
    let zeros = r.iter().take_while(|byte| **byte == 0).count();
    Some(&r[zeros..])
}

impl Hash {
    /// All hashes, the weakest first.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name, without a dash.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest, in bytes.
    #[must_use]
    pub fn length(self) -> usize {
        self.algorithm().output_len()
    }

    /// The digest of `message`.
    #[must_use]
    pub fn of(self, message: &[u8]) -> Vec<u8> {
        self.digest(message).as_ref().to_vec()
    }

    pub(crate) fn digest(self, message: &[u8]) -> Digest {
        digest::digest(self.algorithm(), message)
    }

    /// Imports a digest that a caller computed. `None` if its length is not this hash's.
    pub(crate) fn import(self, digest: &[u8]) -> Option<Digest> {
        Digest::import_less_safe(digest, self.algorithm()).ok()
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 8] = [
        Self::RsaPkcs1(Hash::Sha1),
        Self::RsaPkcs1(Hash::Sha256),
        Self::RsaPkcs1(Hash::Sha384),
        Self::RsaPkcs1(Hash::Sha512),
        Self::Ecdsa(Hash::Sha1),
        Self::Ecdsa(Hash::Sha256),
        Self::Ecdsa(Hash::Sha384),
        Self::Ecdsa(Hash::Sha512),
    ];

    /// The hash of the algorithm.
    #[must_use]
    pub fn hash(self) -> Hash {
        match self {
            Self::RsaPkcs1(hash) | Self::Ecdsa(hash) => hash,
        }
    }

    /// The name: the scheme, a dash, the hash.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RsaPkcs1(Hash::Sha1) => "rsa-sha1",
            Self::RsaPkcs1(Hash::Sha256) => "rsa-sha256",
            Self::RsaPkcs1(Hash::Sha384) => "rsa-sha384",
            Self::RsaPkcs1(Hash::Sha512) => "rsa-sha512",
            Self::Ecdsa(Hash::Sha1) => "ecdsa-sha1",
            Self::Ecdsa(Hash::Sha256) => "ecdsa-sha256",
            Self::Ecdsa(Hash::Sha384) => "ecdsa-sha384",
            Self::Ecdsa(Hash::Sha512) => "ecdsa-sha512",
        }
    }
}

impl FromStr for Hash {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|hash| hash.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_no_other_spelling_does() {
        for hash in Hash::ALL {
            assert_eq!(hash.as_str().parse(), Ok(hash));
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
        for bad in ["", "sha-256", "SHA256", "md5", "sha224"] {
            assert_eq!(bad.parse::<Hash>(), Err(UnknownAlgorithm), "{bad}");
        }
        for bad in ["", "ecdsa", "ecdsa-sha-256", "ECDSA-SHA256", "ed25519", "rsa-md5"] {
            assert_eq!(bad.parse::<Algorithm>(), Err(UnknownAlgorithm), "{bad}");
        }
    }
}
