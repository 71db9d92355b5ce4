//! Rows of tenants' domains.

use countersign_core::limits::DOMAINS_PER_TENANT_MAX;
use countersign_core::port::{Committed, DomainFilter};
use countersign_core::tenant::TenantDomain;

use super::column::Columns;
use super::error::StoreError;
use super::tenant;
use crate::sql::Sql;
use crate::sql::value::values;

pub(crate) async fn add(sql: &impl Sql, new: &TenantDomain) -> Result<Committed, StoreError> {
    let TenantDomain { domain, tenant } = new;
    tenant::check(sql, tenant).await?;
    let is_name: bool = sql
        .value("SELECT EXISTS (SELECT 1 FROM tenants WHERE name = ?1)", values![domain.as_str()])
        .await?;
    if is_name {
        return Ok(Committed::Exists);
    }
    let count: u32 = sql
        .value("SELECT count(*) FROM tenant_domains WHERE tenant = ?1", values![tenant.as_str()])
        .await?;
    if count as usize >= DOMAINS_PER_TENANT_MAX {
        return Ok(Committed::TooMany);
    }
    let made = sql
        .execute(
            "INSERT INTO tenant_domains (domain, tenant) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            values![domain.as_str(), tenant.as_str()],
        )
        .await?;
    Ok(if made == 1 { Committed::Written } else { Committed::Exists })
}

pub(crate) async fn remove(sql: &impl Sql, old: &TenantDomain) -> Result<Committed, StoreError> {
    let removed = sql
        .execute(
            "DELETE FROM tenant_domains WHERE domain = ?1 AND tenant = ?2",
            values![old.domain.as_str(), old.tenant.as_str()],
        )
        .await?;
    Ok(if removed == 1 { Committed::Written } else { Committed::Stale })
}

pub(crate) async fn list(
    sql: &impl Sql,
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
    let select = statement;
    let rows = sql.query(select, values![named]).await?;
    let mut domains = Vec::new();
    for row in rows {
        let mut columns = Columns::of("tenant_domains", 1, row);
        let domain = columns.text("domain")?;
        domains.push(TenantDomain { domain, tenant: columns.text("tenant")? });
    }
    Ok(domains)
}
