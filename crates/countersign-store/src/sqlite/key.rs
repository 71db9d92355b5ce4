//! Rows of API keys. A key belongs to one tenant or to all, so it is found by its digest alone.

use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::{Committed, Listed, Page};
use countersign_core::tenant::{ApiKey, KeyKind};
use rusqlite::{Connection, ToSql, params};

use super::column::{Columns, moment};
use super::error::StoreError;
use super::tenant;

pub(super) fn insert(sql: &Connection, key: &ApiKey) -> Result<Committed, StoreError> {
    if let Some(tenant) = &key.tenant {
        tenant::check(sql, tenant)?;
    }
    let made = sql
        .prepare_cached(
            "INSERT INTO api_keys (id, tenant, kind, digest, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            key.id.0.to_be_bytes(),
            key.tenant.as_ref().map(TenantName::as_str),
            key.kind.as_str(),
            key.digest,
            moment(key.created_at),
        ])?;
    Ok(if made == 1 { Committed::Written } else { Committed::Exists })
}

pub(super) fn load(sql: &Connection, digest: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    Ok(select(sql, "digest = ?1", params![digest])?.pop())
}

pub(super) fn list(
    sql: &Connection,
    tenant: Option<&TenantName>,
    page: Page<ApiKeyId>,
) -> Result<Listed<ApiKey, ApiKeyId>, StoreError> {
    // No key is removed, so the key after which the page begins is still there.
    const ALL: &str = "?1 IS NULL
        AND seq > coalesce((SELECT seq FROM api_keys WHERE id = ?2), 0) ORDER BY seq LIMIT ?3";
    const GOOD_FOR: &str = "(tenant = ?1 OR tenant IS NULL)
        AND seq > coalesce((SELECT seq FROM api_keys WHERE id = ?2), 0) ORDER BY seq LIMIT ?3";
    let which = if tenant.is_some() { GOOD_FOR } else { ALL };
    let after = page.after.map(|id| id.0.to_be_bytes());
    let given = params![tenant.map(TenantName::as_str), after, page.limit];
    Ok(Listed::new(select(sql, which, given)?, page.limit, |last| last.id))
}

fn select(
    sql: &Connection,
    which: &'static str,
    given: &[&dyn ToSql],
) -> Result<Vec<ApiKey>, StoreError> {
    let select = format!("SELECT id, tenant, kind, digest, created_at FROM api_keys WHERE {which}");
    let mut select = sql.prepare_cached(&select)?;
    let mut rows = select.query(given)?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("api_keys", 1, row);
        let id = ApiKeyId(columns.id("id")?);
        let tenant: Option<String> = columns.next("tenant")?;
        let tenant = tenant.map(|name| name.parse()).transpose();
        keys.push(ApiKey {
            id,
            tenant: tenant.map_err(|error| columns.corrupt("tenant", error))?,
            kind: columns.one_of("kind", KeyKind::ALL, KeyKind::as_str)?,
            digest: columns.bytes("digest")?,
            created_at: columns.moment("created_at")?,
        });
    }
    Ok(keys)
}
