//! Verified certificates, remembered: a chain that held once holds until its first certificate
//! expires, so that accepting a signature costs one verification and not three.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_proof::{Roots, Signer};

use crate::device::Identity;
use crate::id::IdentityId;
use crate::limits::SIGNERS_CACHED_MAX;
use crate::refusal::Refusal;
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Signers(Mutex<HashMap<IdentityId, Arc<Signer>>>);

impl Signers {
    /// The identity's signer, if its very certificate was verified before and is still valid.
    pub(super) fn known(&self, identity: &Identity, now: Timestamp) -> Option<Arc<Signer>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = known.get(&identity.id)?;
        let same = signer.certificate() == identity.certificate;
        (same && now.seconds() < signer.valid_until()).then(|| Arc::clone(signer))
    }

    /// Verifies the identity's certificate up to its tenant's roots, and remembers it.
    pub(super) fn learn(
        &self,
        identity: &Identity,
        roots: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Arc<Signer>, Refusal> {
        let roots = Roots::new(roots.iter().map(Vec::as_slice))?;
        let signer = Signer::new(&identity.certificate, &identity.chain, &roots, now.seconds())?;
        let signer = Arc::new(signer);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SIGNERS_CACHED_MAX {
            // Rare and cheap enough: whoever still signs is verified once more.
            known.clear();
        }
        known.insert(identity.id, Arc::clone(&signer));
        Ok(signer)
    }
}
