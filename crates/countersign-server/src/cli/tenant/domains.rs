//! A tenant's domains: added, removed, listed.

use anyhow::bail;
use countersign_core::id::{DomainName, TenantName};
use countersign_core::limits::DOMAINS_PER_TENANT_MAX;
use countersign_core::port::DomainFilter;
use countersign_core::refusal::{AdminError, AdminRefusal};
use serde::Serialize;

use super::Admin;
use crate::cli::admin::LedgerArgs;
use crate::cli::answer;

#[derive(Serialize)]
struct TenantWithDomains {
    name: String,
    domains: Vec<String>,
}

/// Adds a domain to a tenant; one that it has already is no failure.
pub(super) async fn add(
    name: &TenantName,
    domain: DomainName,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    add_to(&admin, name, domain).await?;
    print(admin, name).await
}

/// Removes a domain from a tenant; one that it does not have is no failure.
pub(super) async fn remove(
    name: &TenantName,
    domain: DomainName,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    match admin.core.remove_domain(&admin.actor, name, domain).await {
        Ok(()) | Err(AdminError::Refused(AdminRefusal::UnknownDomain)) => {}
        Err(error) => return Err(error.into()),
    }
    print(admin, name).await
}

async fn print(admin: Admin, name: &TenantName) -> anyhow::Result<()> {
    let shown = TenantWithDomains { name: name.to_string(), domains: of(&admin, name).await? };
    answer::print(admin.json, &shown, || match &*shown.domains {
        [] => format!("Tenant {name} has no domain."),
        domains => format!("Domains of tenant {name}: {}.", domains.join(", ")),
    })?;
    admin.close().await
}

/// Refuses domains that are in use, before a tenant is made that should have them.
pub(super) async fn check_free(admin: &Admin, domains: &[DomainName]) -> anyhow::Result<()> {
    for domain in domains {
        let found = admin.core.read().domains(DomainFilter::Domain(domain)).await?;
        if let Some(found) = found.first() {
            bail!("{domain} is a domain of tenant {} already", found.tenant);
        }
    }
    Ok(())
}

/// Adds a domain to an existing tenant.
pub(super) async fn add_to(
    admin: &Admin,
    name: &TenantName,
    domain: DomainName,
) -> anyhow::Result<()> {
    match admin.core.add_domain(&admin.actor, name, domain.clone()).await {
        Ok(()) => Ok(()),
        Err(AdminError::Refused(AdminRefusal::Exists)) => {
            let found = admin.core.read().domains(DomainFilter::Domain(&domain)).await?;
            match found.first() {
                Some(found) if found.tenant == *name => Ok(()),
                Some(found) => bail!("{domain} is a domain of tenant {} already", found.tenant),
                None => bail!("{domain} is the name of a tenant"),
            }
        }
        Err(AdminError::Refused(AdminRefusal::ManyDomains)) => {
            bail!("a tenant has at most {DOMAINS_PER_TENANT_MAX} domains")
        }
        Err(error) => Err(error.into()),
    }
}

/// The domains of a tenant, in order.
pub(super) async fn of(admin: &Admin, name: &TenantName) -> anyhow::Result<Vec<String>> {
    let found = admin.core.read().domains(DomainFilter::Tenant(name)).await?;
    Ok(found.iter().map(|found| found.domain.to_string()).collect())
}
