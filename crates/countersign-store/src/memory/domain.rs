//! Domains of tenants in memory.

use countersign_core::Fault;
use countersign_core::limits::DOMAINS_PER_TENANT_MAX;
use countersign_core::port::{Committed, DomainFilter};
use countersign_core::tenant::TenantDomain;

use super::Tables;

impl Tables {
    pub(super) fn add_domain(&mut self, new: TenantDomain) -> Result<Committed, Fault> {
        let TenantDomain { domain, tenant } = new;
        self.check_tenant(&tenant, "adding a domain to a tenant")?;
        let is_name = self.tenants.keys().any(|name| name.as_str() == domain.as_str());
        if is_name {
            return Ok(Committed::Exists);
        }
        if self.domains.values().filter(|of| **of == tenant).count() >= DOMAINS_PER_TENANT_MAX {
            return Ok(Committed::TooMany);
        }
        if self.domains.contains_key(&domain) {
            return Ok(Committed::Exists);
        }
        self.domains.insert(domain, tenant);
        Ok(Committed::Written)
    }

    pub(super) fn remove_domain(&mut self, old: &TenantDomain) -> Committed {
        if self.domains.get(&old.domain) != Some(&old.tenant) {
            return Committed::Stale;
        }
        self.domains.remove(&old.domain);
        Committed::Written
    }

    pub(super) fn domains(&self, filter: DomainFilter<'_>) -> Vec<TenantDomain> {
        let is_selected = |(domain, tenant): &(&_, &_)| match filter {
            DomainFilter::Tenant(name) => *tenant == name,
            DomainFilter::Domain(name) => *domain == name,
        };
        let found = self.domains.iter().filter(is_selected);
        let row = |(domain, tenant): (&_, &_)| TenantDomain {
            domain: Clone::clone(domain),
            tenant: Clone::clone(tenant),
        };
        found.map(row).collect()
    }
}
