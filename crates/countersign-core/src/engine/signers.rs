//! Verified certificates, remembered: a chain that held once holds until its first certificate
//! expires, so that accepting a signature costs one verification and not three.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_proof::{Roots, Signer};

use crate::device::Identity;
use crate::id::{IdentityId, TenantName};
use crate::limits::SIGNERS_CACHED_MAX;
use crate::refusal::Refusal;
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// By tenant too: one tenant's roots say nothing for another.
#[derive(Debug, Default)]
pub(super) struct Signers(Mutex<HashMap<(TenantName, IdentityId), Arc<Signer>>>);

impl Signers {
    /// The identity's signer, if its very certificate was verified before and is still valid.
    pub(super) fn known(
        &self,
        tenant: &TenantName,
        identity: &Identity,
        now: Timestamp,
    ) -> Option<Arc<Signer>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = known.get(&(tenant.clone(), identity.id))?;
        let same = signer.certificate() == identity.certificate;
        (same && now.seconds() < signer.valid_until()).then(|| Arc::clone(signer))
    }

    /// Verifies the identity's certificate up to its tenant's roots, and remembers it.
    pub(super) fn learn(
        &self,
        tenant: &Tenant,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Arc<Signer>, Refusal> {
        let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice))?;
        let signer = Signer::new(&identity.certificate, &identity.chain, &roots, now.seconds())?;
        let signer = Arc::new(signer);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SIGNERS_CACHED_MAX {
            // Rare and cheap enough: whoever still signs is verified once more.
            known.clear();
        }
        known.insert((tenant.name.clone(), identity.id), Arc::clone(&signer));
        Ok(signer)
    }
}
