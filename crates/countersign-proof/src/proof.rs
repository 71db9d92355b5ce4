//! Evidence that a person signed.

use crate::cms;

/// Evidence that the content that `content_digest` names was signed for this transaction: by the holder
/// of `signer`'s key, or with a code by whoever holds the device's code key.
/// [`cms::verify`](crate::cms::verify) and [`ocra::verify`](crate::ocra::verify) make it, and nothing
/// else does: a ledger only reads back what they once made.
#[derive(Clone, Eq, PartialEq)]
pub struct Proof {
    transaction: [u8; 16],
    content_digest: [u8; 32],
    signer: Option<[u8; 32]>,
    evidence: Box<[u8]>,
}

impl Proof {
    pub(crate) fn new(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: Option<[u8; 32]>,
        evidence: Vec<u8>,
    ) -> Self {
        Self { transaction, content_digest, signer, evidence: evidence.into() }
    }

    /// Takes up a proof that was verified before, as a ledger kept it. The one other door: for the
    /// store's rows only, since nothing is checked here.
    #[must_use]
    pub fn recorded(
        transaction: [u8; 16],
        content_digest: [u8; 32],
        signer: Option<[u8; 32]>,
        evidence: Vec<u8>,
    ) -> Self {
        Self::new(transaction, content_digest, signer, evidence)
    }

    /// The id of the one transaction that this is good for.
    #[must_use]
    pub fn transaction(&self) -> [u8; 16] {
        self.transaction
    }

    /// SHA-256 of the content.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        self.content_digest
    }

    /// SHA-256 of the signer's certificate. `None` for a code, which no certificate stands behind.
    #[must_use]
    pub fn signer(&self) -> Option<[u8; 32]> {
        self.signer
    }

    /// The CMS, in DER, for whoever wants to verify it again; of a code, its digits in ASCII.
    #[must_use]
    pub fn evidence(&self) -> &[u8] {
        &self.evidence
    }

    /// Whether `submission` is this very message again, in whatever BER. It is not verified.
    #[must_use]
    pub fn repeats(&self, submission: &[u8]) -> bool {
        *self.evidence == *submission
            || self.signer.is_some()
                && cms::to_der(submission).is_ok_and(|der| der == *self.evidence)
    }
}

/// Without the evidence: it has the content in it.
impl core::fmt::Debug for Proof {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Proof")
            .field("transaction", &hex::encode(self.transaction))
            .field("content_digest", &hex::encode(self.content_digest))
            .field("signer", &self.signer.map(hex::encode))
            .field("evidence_bytes", &self.evidence.len())
            .finish()
    }
}
