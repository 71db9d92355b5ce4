//! Rows of tenants. Their private keys are in `private_key.rs`.

use countersign_core::id::TenantName;
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::port::{Committed, Page, SigningRole, StoredKey, TokenKeyChange, TokenKeys};
use countersign_core::tenant::{NewTenant, Tenant, TenantState};

use super::column::{Base64, Columns, json, moment, number};
use super::error::StoreError;
use super::private_key;
use crate::sql::Sql;
use crate::sql::value::values;

/// A tenant and its private keys, prepared to be written.
pub(crate) struct Row {
    new: NewTenant,
    roots: String,
}

impl Row {
    pub(crate) fn of(new: NewTenant) -> Self {
        let roots: Vec<_> = new.tenant.roots.iter().cloned().map(Base64).collect();
        Self { roots: json(&roots), new }
    }

    pub(crate) fn name(&self) -> &TenantName {
        &self.new.tenant.name
    }

    pub(crate) async fn insert(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let NewTenant { tenant, authority_key, token_key } = &self.new;
        let is_domain = "SELECT 1 FROM tenant_domains WHERE domain = ?1";
        if sql.exists(is_domain, values![tenant.name.as_str()]).await? {
            return Ok(Committed::Exists);
        }
        let made = sql
            .execute(
                "INSERT INTO tenants (name, state, authority_certificate, roots, token_public_key,
                                      token_key_before, token_key_before_not_after,
                                      users_made, users, devices, created_at)
                 VALUES (?1, ?8, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7)
                 ON CONFLICT DO NOTHING",
                values![
                    tenant.name.as_str(),
                    tenant.authority_certificate,
                    self.roots,
                    tenant.token_keys.newest,
                    tenant.token_keys.before.map(|(key, _)| key),
                    tenant.token_keys.before.map(|(_, end)| moment(end)),
                    moment(tenant.created_at),
                    tenant.state.as_str(),
                ],
            )
            .await?;
        if made != 1 {
            return Ok(Committed::Exists);
        }
        private_key::insert(sql, &tenant.name, SigningRole::Authority, authority_key).await?;
        private_key::insert(sql, &tenant.name, SigningRole::Tokens, token_key).await?;
        Ok(Committed::Written)
    }
}

pub(crate) async fn load(sql: &impl Sql, name: &TenantName) -> Result<Option<Tenant>, StoreError> {
    let select =
        "SELECT name, state, authority_certificate, roots, token_public_key, token_key_before,
                token_key_before_not_after, created_at
           FROM tenants WHERE name = ?1";
    let rows = sql.query(select, values![name.as_str()]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut columns = Columns::of("tenants", 1, row);
    let name: TenantName = columns.text("name")?;
    let state = columns.one_of("state", TenantState::ALL, TenantState::as_str)?;
    let authority_certificate = columns.next("authority_certificate")?;
    let roots: Vec<Base64> = columns.json("roots")?;
    Ok(Some(Tenant {
        state,
        authority_certificate,
        roots: roots.into_iter().map(|root| root.0).collect(),
        token_keys: read_token_keys(&mut columns)?,
        created_at: columns.moment("created_at")?,
        name,
    }))
}

/// Reads the public halves of a tenant's token keys.
pub(crate) fn read_token_keys(columns: &mut Columns) -> Result<TokenKeys, StoreError> {
    let newest = columns.bytes("token_public_key")?;
    let before = columns.bytes_or_none("token_key_before")?;
    let end = columns.moment_or_none("token_key_before_not_after")?;
    Ok(TokenKeys { newest, before: before.zip(end) })
}

/// Locks or unlocks a tenant that has the expected state.
pub(crate) async fn set_state(
    sql: &impl Sql,
    name: &TenantName,
    expected: TenantState,
    state: TenantState,
) -> Result<Committed, StoreError> {
    let changed = sql
        .execute(
            "UPDATE tenants SET state = ?3 WHERE name = ?1 AND state = ?2",
            values![name.as_str(), expected.as_str(), state.as_str()],
        )
        .await?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

/// Replaces the key of a tenant's access tokens, if the expected ones are still the present ones.
pub(crate) async fn replace_token_key(
    sql: &impl Sql,
    change: &TokenKeyChange,
) -> Result<Committed, StoreError> {
    let TokenKeyChange { tenant, expected, keys, key: private } = change;
    let changed = sql
        .execute(
            "UPDATE tenants SET token_public_key = ?3, token_key_before = ?4,
                                token_key_before_not_after = ?5
              WHERE name = ?1 AND token_public_key = ?2",
            values![
                tenant.as_str(),
                expected.newest,
                keys.newest,
                keys.before.map(|(key, _)| key),
                keys.before.map(|(_, end)| moment(end)),
            ],
        )
        .await?;
    if changed != 1 {
        return Ok(Committed::Stale);
    }
    private_key::replace(sql, tenant, SigningRole::Tokens, private).await?;
    Ok(Committed::Written)
}

/// Adds a trusted root to a tenant.
pub(crate) async fn trust(
    sql: &impl Sql,
    name: &TenantName,
    root: &[u8],
) -> Result<Committed, StoreError> {
    let select = "SELECT name, roots FROM tenants WHERE name = ?1";
    let rows = sql.query(select, values![name.as_str()]).await?;
    let Some(row) = rows.into_iter().next() else {
        return Err(rusqlite::Error::QueryReturnedNoRows.into());
    };
    let mut columns = Columns::of("tenants", 1, row);
    let _: String = columns.next("name")?;
    let mut roots: Vec<Base64> = columns.json("roots")?;
    if roots.iter().any(|one| one.0 == root) {
        return Ok(Committed::Exists);
    }
    if roots.len() >= ROOTS_PER_TENANT_MAX {
        return Ok(Committed::TooMany);
    }
    roots.push(Base64(root.to_vec()));
    sql.execute(
        "UPDATE tenants SET roots = ?2 WHERE name = ?1",
        values![name.as_str(), &json(&roots)],
    )
    .await?;
    Ok(Committed::Written)
}

/// A new authority of a tenant, prepared to be written.
pub(crate) struct NewAuthority {
    pub(crate) tenant: TenantName,
    pub(crate) expected: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: StoredKey,
}

impl NewAuthority {
    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let found = load(sql, &self.tenant).await?;
        if found.is_none_or(|found| found.authority_certificate != self.expected) {
            return Ok(Committed::Stale);
        }
        let trusted = trust(sql, &self.tenant, &self.certificate).await?;
        if trusted == Committed::Written {
            sql.execute(
                "UPDATE tenants SET authority_certificate = ?2 WHERE name = ?1",
                values![self.tenant.as_str(), self.certificate],
            )
            .await?;
            private_key::replace(sql, &self.tenant, SigningRole::Authority, &self.key).await?;
        }
        Ok(trusted)
    }
}

/// Removes a trusted root from a tenant, unless it is the tenant's present authority.
pub(crate) async fn distrust(
    sql: &impl Sql,
    name: &TenantName,
    root: &[u8],
) -> Result<Committed, StoreError> {
    let Some(mut tenant) = load(sql, name).await? else { return Ok(Committed::Stale) };
    let count = tenant.roots.len();
    tenant.roots.retain(|one| one != root);
    if tenant.authority_certificate == root || tenant.roots.len() == count {
        return Ok(Committed::Stale);
    }
    let roots: Vec<_> = tenant.roots.into_iter().map(Base64).collect();
    sql.execute(
        "UPDATE tenants SET roots = ?2 WHERE name = ?1",
        values![name.as_str(), &json(&roots)],
    )
    .await?;
    Ok(Committed::Written)
}

pub(crate) async fn names(
    sql: &impl Sql,
    page: &Page<TenantName>,
) -> Result<Vec<TenantName>, StoreError> {
    let select = "SELECT name FROM tenants WHERE name > ?1 ORDER BY name LIMIT ?2";
    let after = page.after.as_ref().map_or("", TenantName::as_str);
    let rows = sql.query(select, values![after, page.limit]).await?;
    let mut names = Vec::new();
    for row in rows {
        names.push(Columns::of("tenants", 1, row).text("name")?);
    }
    Ok(names)
}

/// Whether there is a tenant, and therefore any sealed value.
pub(crate) async fn any(sql: &impl Sql) -> Result<bool, StoreError> {
    sql.value("SELECT EXISTS (SELECT 1 FROM tenants)", values![]).await
}

/// Checks that the tenant exists and was not deleted.
pub(crate) async fn check(sql: &impl Sql, name: &TenantName) -> Result<(), StoreError> {
    let is_there = "SELECT 1 FROM tenants WHERE name = ?1 AND state <> 'deleted'";
    if sql.exists(is_there, values![name.as_str()]).await? {
        return Ok(());
    }
    Err(StoreError::Misused("there is no such tenant"))
}

/// Counts one more device of a tenant. Answers whether that is within the maximum; if not, nothing
/// is counted.
pub(crate) async fn count_device(
    sql: &impl Sql,
    name: &TenantName,
    max: u64,
) -> Result<bool, StoreError> {
    let counted = sql
        .execute(
            "UPDATE tenants SET devices = devices + 1 WHERE name = ?1 AND devices < ?2",
            values![name.as_str(), number(max)],
        )
        .await?;
    Ok(counted == 1)
}

/// Whether a tenant may have one more device.
pub(crate) async fn has_room_for_device(
    sql: &impl Sql,
    name: &TenantName,
    max: u64,
) -> Result<bool, StoreError> {
    let has_room = "SELECT devices < ?2 FROM tenants WHERE name = ?1";
    sql.value(has_room, values![name.as_str(), number(max)]).await
}
