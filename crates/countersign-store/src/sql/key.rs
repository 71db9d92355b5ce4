//! Rows of API keys. A key belongs to one tenant or to all, so it is found by its digest alone.

use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::{ApiKeyCursor, Committed, Listed, Page};
use countersign_core::tenant::{ApiKey, CredentialState, KeyKind};

use super::column::{Columns, moment};
use super::error::StoreError;
use super::tenant;
use crate::sql::Sql;
use crate::sql::value::{Value, values};

pub(crate) async fn insert(sql: &impl Sql, key: &ApiKey) -> Result<Committed, StoreError> {
    if let Some(tenant) = &key.tenant {
        tenant::check(sql, tenant).await?;
    }
    let made = sql
        .execute(
            "INSERT INTO api_keys (id, tenant, kind, digest, state, not_after, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO NOTHING",
            values![
                key.id.0.to_be_bytes(),
                key.tenant.as_ref().map(TenantName::as_str),
                key.kind.as_str(),
                key.digest,
                key.state.as_str(),
                key.not_after.map(moment),
                moment(key.created_at),
            ],
        )
        .await?;
    Ok(if made == 1 { Committed::Written } else { Committed::Exists })
}

pub(crate) async fn load(sql: &impl Sql, digest: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    Ok(select(sql, "digest = ?1", values![digest]).await?.pop())
}

pub(crate) async fn load_by_id(sql: &impl Sql, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
    Ok(select(sql, "id = ?1", values![id.0.to_be_bytes()]).await?.pop())
}

/// Locks or unlocks a key that has another state.
pub(crate) async fn set_state(
    sql: &impl Sql,
    id: ApiKeyId,
    state: CredentialState,
) -> Result<Committed, StoreError> {
    let changed = sql
        .execute(
            "UPDATE api_keys SET state = ?2 WHERE id = ?1 AND state <> ?2",
            values![id.0.to_be_bytes(), state.as_str()],
        )
        .await?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

pub(crate) async fn delete(sql: &impl Sql, id: ApiKeyId) -> Result<Committed, StoreError> {
    let gone =
        sql.execute("DELETE FROM api_keys WHERE id = ?1", values![id.0.to_be_bytes()]).await?;
    Ok(if gone == 1 { Committed::Written } else { Committed::Stale })
}

pub(crate) async fn list(
    sql: &impl Sql,
    tenant: Option<&TenantName>,
    page: Page<ApiKeyCursor>,
) -> Result<Listed<ApiKey, ApiKeyCursor>, StoreError> {
    const ALL: &str = "(created_at, id) > (?1, ?2) ORDER BY created_at, id LIMIT ?3";
    const GOOD_FOR: &str = "(tenant = ?4 OR tenant IS NULL) AND (created_at, id) > (?1, ?2)
        ORDER BY created_at, id LIMIT ?3";
    let at = page.after.map_or(-1, |after| moment(after.created_at));
    let id = page.after.map_or([0; 16], |after| after.id.0.to_be_bytes());
    let found = match tenant {
        None => select(sql, ALL, values![at, id, page.limit]).await?,
        Some(tenant) => select(sql, GOOD_FOR, values![at, id, page.limit, tenant.as_str()]).await?,
    };
    Ok(Listed::new(found, page.limit, ApiKeyCursor::of))
}

async fn select(
    sql: &impl Sql,
    which: &'static str,
    given: &[Value<'_>],
) -> Result<Vec<ApiKey>, StoreError> {
    let select = format!(
        "SELECT id, tenant, kind, digest, state, not_after, created_at,
                coalesce((SELECT state <> 'active' FROM tenants WHERE name = api_keys.tenant), false)
           FROM api_keys WHERE {which}"
    );
    let select = &select;
    let rows = sql.query(select, given).await?;
    let mut keys = Vec::new();
    for row in rows {
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
