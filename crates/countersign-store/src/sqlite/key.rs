//! Rows of API keys. A key belongs to one tenant or to all, so it is found by its digest alone.

use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::{ApiKeyCursor, Committed, Listed, Page};
use countersign_core::tenant::{ApiKey, CredentialState, KeyKind};
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
            "INSERT INTO api_keys (id, tenant, kind, digest, state, not_after, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            key.id.0.to_be_bytes(),
            key.tenant.as_ref().map(TenantName::as_str),
            key.kind.as_str(),
            key.digest,
            key.state.as_str(),
            key.not_after.map(moment),
            moment(key.created_at),
        ])?;
    Ok(if made == 1 { Committed::Written } else { Committed::Exists })
}

pub(super) fn load(sql: &Connection, digest: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    Ok(select(sql, "digest = ?1", params![digest])?.pop())
}

pub(super) fn load_by_id(sql: &Connection, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
    Ok(select(sql, "id = ?1", params![id.0.to_be_bytes()])?.pop())
}

/// Locks or unlocks a key that has another state.
pub(super) fn set_state(
    sql: &Connection,
    id: ApiKeyId,
    state: CredentialState,
) -> Result<Committed, StoreError> {
    let changed = sql
        .prepare_cached("UPDATE api_keys SET state = ?2 WHERE id = ?1 AND state <> ?2")?
        .execute(params![id.0.to_be_bytes(), state.as_str()])?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

pub(super) fn delete(sql: &Connection, id: ApiKeyId) -> Result<Committed, StoreError> {
    let gone = sql
        .prepare_cached("DELETE FROM api_keys WHERE id = ?1")?
        .execute(params![id.0.to_be_bytes()])?;
    Ok(if gone == 1 { Committed::Written } else { Committed::Stale })
}

pub(super) fn list(
    sql: &Connection,
    tenant: Option<&TenantName>,
    page: Page<ApiKeyCursor>,
) -> Result<Listed<ApiKey, ApiKeyCursor>, StoreError> {
    const ALL: &str = "?1 IS NULL AND (created_at, id) > (?2, ?3)
        ORDER BY created_at, id LIMIT ?4";
    const GOOD_FOR: &str = "(tenant = ?1 OR tenant IS NULL) AND (created_at, id) > (?2, ?3)
        ORDER BY created_at, id LIMIT ?4";
    let which = if tenant.is_some() { GOOD_FOR } else { ALL };
    let at = page.after.map_or(-1, |after| moment(after.created_at));
    let id = page.after.map_or([0; 16], |after| after.id.0.to_be_bytes());
    let given = params![tenant.map(TenantName::as_str), at, id, page.limit];
    Ok(Listed::new(select(sql, which, given)?, page.limit, ApiKeyCursor::of))
}

fn select(
    sql: &Connection,
    which: &'static str,
    given: &[&dyn ToSql],
) -> Result<Vec<ApiKey>, StoreError> {
    let select = format!(
        "SELECT id, tenant, kind, digest, state, not_after, created_at,
                coalesce((SELECT state <> 'active' FROM tenants WHERE name = api_keys.tenant), 0)
           FROM api_keys WHERE {which}"
    );
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
            state: columns.one_of("state", CredentialState::ALL, CredentialState::as_str)?,
            not_after: columns.moment_or_none("not_after")?,
            created_at: columns.moment("created_at")?,
            tenant_locked: columns.next("tenant")?,
        });
    }
    Ok(keys)
}
