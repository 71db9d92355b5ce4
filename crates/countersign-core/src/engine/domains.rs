//! Use cases of operators: a tenant's domains, which are further names of the tenant.

use super::Engine;
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DomainName, TenantName};
use crate::port::{Change, Clock, Committed, Entropy, Ledger, Notifier};
use crate::refusal::{AdminError, AdminRefusal};
use crate::tenant::TenantDomain;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Adds a domain to a tenant.
    ///
    /// # Errors
    /// Refuses an unknown tenant, a name or domain of any tenant, and a domain above the maximum.
    pub async fn add_domain(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        domain: DomainName,
    ) -> Result<(), AdminError> {
        self.check_tenant(tenant).await?;
        let details = vec![("domain", domain.to_string())];
        let event = self.event(tenant, EventKind::DomainAdded, actor, Subject::Tenant, details);
        let change = Change::AddDomain(TenantDomain { domain, tenant: tenant.clone() });
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            Committed::TooMany => Err(AdminRefusal::ManyDomains.into()),
            _ => Err(AdminRefusal::Exists.into()),
        }
    }

    /// Removes a domain from a tenant.
    ///
    /// # Errors
    /// Refuses an unknown tenant, and a domain that it does not have.
    pub async fn remove_domain(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        domain: DomainName,
    ) -> Result<(), AdminError> {
        self.check_tenant(tenant).await?;
        let details = vec![("domain", domain.to_string())];
        let event = self.event(tenant, EventKind::DomainRemoved, actor, Subject::Tenant, details);
        let change = Change::RemoveDomain(TenantDomain { domain, tenant: tenant.clone() });
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            _ => Err(AdminRefusal::UnknownDomain.into()),
        }
    }
}
