//! Evidence of a user's signature.

use aws_lc_rs::digest;

use crate::raw::{self, Algorithm};
use crate::{Raw, cms};

/// Evidence that the content with `content_digest` was signed for this transaction by the holder of
/// `signer`'s key, or with a code by a holder of the device's code key.
///
/// Only [`cms::verify`](crate::cms::verify), [`raw::verify`](crate::raw::verify) and
/// [`ocra::verify`](crate::ocra::verify) make one; a ledger only reads back what they made.
#[derive(Clone, Eq, PartialEq)]
pub struct Proof {
    transaction: [u8; 16],
    content_digest: [u8; 32],
    signer: Option<[u8; 32]>,
    evidence: Box<[u8]>,
    raw: Option<Box<Raw>>,
}

impl Proof {
    pub(crate) fn new(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: Option<[u8; 32]>,
        evidence: Vec<u8>,
    ) -> Self {
        Self { transaction, content_digest, signer, evidence: evidence.into(), raw: None }
    }

    pub(crate) fn raw_signature(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: [u8; 32],
        evidence: Vec<u8>,
        raw: Raw,
    ) -> Self {
        let raw = Some(Box::new(raw));
        Self { raw, ..Self::new(transaction, content_digest, Some(signer), evidence) }
    }

    /// Restores a proof that was verified before and stored in a ledger. Only the store may call
    /// this, because it checks nothing.
    #[must_use]
    pub fn recorded(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: Option<[u8; 32]>,
        evidence: Vec<u8>,
    ) -> Self {
        Self::new(transaction, content_digest, signer, evidence)
    }

    /// As [`recorded`](Self::recorded), for a raw signature.
    #[must_use]
    pub fn recorded_raw(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: [u8; 32],
        evidence: Vec<u8>,
        raw: Raw,
    ) -> Self {
        Self::raw_signature(transaction, content_digest, signer, evidence, raw)
    }

    /// The id of the one transaction for which this proof is valid.
    #[must_use]
    pub fn transaction(&self) -> [u8; 16] {
        self.transaction
    }

    /// The SHA-256 of the content.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        self.content_digest
    }

    /// The SHA-256 of the signer's certificate. `None` for a code, which has no certificate.
    #[must_use]
    pub fn signer(&self) -> Option<[u8; 32]> {
        self.signer
    }

    /// The bytes for a later verification: the CMS in DER, the bytes of a raw signature, or the
    /// digits of a code in ASCII.
    #[must_use]
    pub fn evidence(&self) -> &[u8] {
        &self.evidence
    }

    /// The additional data that a later verification of a raw signature needs.
    #[must_use]
    pub fn raw(&self) -> Option<&Raw> {
        self.raw.as_deref()
    }

    /// A value that no two proofs of a tenant may share: the SHA-256 of the *r* of a raw ECDSA
    /// signature. A signer draws a new *r* for each signature, so the same *r* means the same
    /// signature.
    ///
    /// `None` for a CMS and a code, which name their transaction themselves, and for RSA PKCS #1
    /// v1.5, which is deterministic: a user who signs the same text twice makes the same bytes
    /// twice.
    #[must_use]
    pub fn single_use_mark(&self) -> Option<[u8; 32]> {
        match self.raw()?.algorithm {
            Algorithm::RsaPkcs1(_) => None,
            Algorithm::Ecdsa(_) => {
                let r = raw::ecdsa_r(&self.evidence)?;
                let digest = digest::digest(&digest::SHA256, r);
                Some(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
            }
        }
    }

    /// Returns whether `submission` is this same message again, in any BER form. It is not
    /// verified.
    #[must_use]
    pub fn repeats(&self, submission: &[u8]) -> bool {
        *self.evidence == *submission
            || self.signer.is_some()
                && self.raw.is_none()
                && cms::to_der(submission).is_ok_and(|der| der == *self.evidence)
    }
}

/// Leaves the evidence out, because it contains the content.
impl core::fmt::Debug for Proof {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Proof")
            .field("transaction", &hex::encode(self.transaction))
            .field("content_digest", &hex::encode(self.content_digest))
            .field("signer", &self.signer.map(hex::encode))
            .field("evidence_bytes", &self.evidence.len())
            .field("raw", &self.raw().map(|raw| raw.algorithm))
            .finish()
    }
}
