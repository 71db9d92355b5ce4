//! A cache of verified certificates. A verified chain stays valid until the first of its
//! certificates expires, so accepting a signature costs one verification and not three.

use std::sync::{Arc, Mutex, PoisonError};

use countersign_proof::{BadProof, Roots, Signer};

use crate::device::Identity;
use crate::id::{IdentityId, TenantName};
use crate::limited_cache::LimitedCache;
use crate::limits::SIGNERS_CACHED_MAX;
use crate::tenant::Tenant;
use crate::time::Timestamp;

/// The signers, by tenant and identity, because a chain is valid only for the roots of one tenant.
#[derive(Debug)]
pub(super) struct Signers(Mutex<LimitedCache<(TenantName, IdentityId), Arc<Signer>>>);

impl Default for Signers {
    fn default() -> Self {
        Self(Mutex::new(LimitedCache::new(SIGNERS_CACHED_MAX)))
    }
}

impl Signers {
    /// The identity's signer, if this certificate was verified before up to one of the tenant's
    /// present roots, and has not expired. A root that the tenant trusts no longer takes its chains
    /// with it.
    pub(super) fn known(
        &self,
        tenant: &Tenant,
        identity: &Identity,
        now: Timestamp,
    ) -> Option<Arc<Signer>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let signer = known.get(&(tenant.name.clone(), identity.id))?;
        let same = signer.certificate() == identity.certificate
            && signer.roots().eq(tenant.roots.iter().map(Vec::as_slice));
        (same && now.seconds() < signer.valid_until()).then(|| Arc::clone(signer))
    }

    /// Verifies the identity's certificate up to its tenant's roots, and caches the signer.
    pub(super) fn learn(
        &self,
        tenant: &Tenant,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Arc<Signer>, BadProof> {
        let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice))?;
        let signer = Signer::new(&identity.certificate, &identity.chain, &roots, now.seconds())?;
        let signer = Arc::new(signer);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((tenant.name.clone(), identity.id), Arc::clone(&signer), 1);
        Ok(signer)
    }
}
