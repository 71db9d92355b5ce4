//! Rows of tenants' domains.

use countersign_core::limits::DOMAINS_PER_TENANT_MAX;
use countersign_core::port::{Committed, DomainFilter};
use countersign_core::tenant::TenantDomain;
use rusqlite::Connection;

use super::column::Columns;
use super::error::StoreError;
use super::tenant;

pub(super) fn add(sql: &Connection, new: &TenantDomain) -> Result<Committed, StoreError> {
    let TenantDomain { domain, tenant } = new;
    tenant::check(sql, tenant)?;
    let is_name: bool = sql
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM tenants WHERE name = ?1)")?
        .query_row([domain.as_str()], |row| row.get(0))?;
    if is_name {
        return Ok(Committed::Exists);
    }
    let count: u32 = sql
        .prepare_cached("SELECT count(*) FROM tenant_domains WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| row.get(0))?;
    if count as usize >= DOMAINS_PER_TENANT_MAX {
        return Ok(Committed::TooMany);
    }
    let made = sql
        .prepare_cached(
            "INSERT INTO tenant_domains (domain, tenant) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute([domain.as_str(), tenant.as_str()])?;
    Ok(if made == 1 { Committed::Written } else { Committed::Exists })
}

pub(super) fn remove(sql: &Connection, old: &TenantDomain) -> Result<Committed, StoreError> {
    let removed = sql
        .prepare_cached("DELETE FROM tenant_domains WHERE domain = ?1 AND tenant = ?2")?
        .execute([old.domain.as_str(), old.tenant.as_str()])?;
    Ok(if removed == 1 { Committed::Written } else { Committed::Stale })
}

pub(super) fn list(
    sql: &Connection,
    filter: DomainFilter<'_>,
) -> Result<Vec<TenantDomain>, StoreError> {
    let (statement, named) = match filter {
        DomainFilter::Tenant(tenant) => (
            "SELECT domain, tenant FROM tenant_domains WHERE tenant = ?1 ORDER BY domain",
            tenant.as_str(),
        ),
        DomainFilter::Domain(domain) => {
            ("SELECT domain, tenant FROM tenant_domains WHERE domain = ?1", domain.as_str())
        }
    };
    let mut select = sql.prepare_cached(statement)?;
    let mut rows = select.query([named])?;
    let mut domains = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("tenant_domains", 1, row);
        let domain = columns.text("domain")?;
        domains.push(TenantDomain { domain, tenant: columns.text("tenant")? });
    }
    Ok(domains)
}
