//! Rows of tenants and of their clients. Their private keys are in `private_key.rs`.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::port::{Committed, Page, SigningRole, StoredKey};
use countersign_core::tenant::{Client, NewTenant, Tenant};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::column::{Base64, Columns, json, moment};
use super::error::StoreError;
use super::private_key;

/// A tenant and its private keys, prepared to be written.
pub(super) struct Row {
    new: NewTenant,
    roots: String,
}

impl Row {
    pub(super) fn of(new: NewTenant) -> Self {
        let roots: Vec<_> = new.tenant.roots.iter().cloned().map(Base64).collect();
        Self { roots: json(&roots), new }
    }

    pub(super) fn insert(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let NewTenant { tenant, authority_key, token_key } = &self.new;
        let made = sql
            .prepare_cached(
                "INSERT INTO tenants (name, authority_certificate, roots, token_public_key,
                                      users_made, created_at)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                tenant.name.as_str(),
                tenant.authority_certificate,
                self.roots,
                tenant.token_public_key,
                moment(tenant.created_at),
            ])?;
        if made != 1 {
            return Ok(Committed::Exists);
        }
        private_key::insert(sql, &tenant.name, SigningRole::Authority, authority_key)?;
        private_key::insert(sql, &tenant.name, SigningRole::Tokens, token_key)?;
        Ok(Committed::Written)
    }
}

pub(super) fn load(sql: &Connection, name: &TenantName) -> Result<Option<Tenant>, StoreError> {
    let mut select = sql.prepare_cached(
        "SELECT name, authority_certificate, roots, token_public_key, created_at
           FROM tenants WHERE name = ?1",
    )?;
    let mut rows = select.query([name.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of("tenants", 1, row);
    let name: TenantName = columns.text("name")?;
    let authority_certificate = columns.next("authority_certificate")?;
    let roots: Vec<Base64> = columns.json("roots")?;
    Ok(Some(Tenant {
        authority_certificate,
        roots: roots.into_iter().map(|root| root.0).collect(),
        token_public_key: columns.bytes("token_public_key")?,
        created_at: columns.moment("created_at")?,
        name,
    }))
}

/// Adds a trusted root to a tenant.
pub(super) fn trust(
    sql: &Connection,
    name: &TenantName,
    root: &[u8],
) -> Result<Committed, StoreError> {
    let mut select = sql.prepare_cached("SELECT name, roots FROM tenants WHERE name = ?1")?;
    let mut rows = select.query([name.as_str()])?;
    let Some(row) = rows.next()? else { return Err(rusqlite::Error::QueryReturnedNoRows.into()) };
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
    sql.prepare_cached("UPDATE tenants SET roots = ?2 WHERE name = ?1")?
        .execute([name.as_str(), &json(&roots)])?;
    Ok(Committed::Written)
}

/// A new authority of a tenant, prepared to be written.
pub(super) struct NewAuthority {
    pub(super) tenant: TenantName,
    pub(super) expected: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: StoredKey,
}

impl NewAuthority {
    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let found = load(sql, &self.tenant)?;
        if found.is_none_or(|found| found.authority_certificate != self.expected) {
            return Ok(Committed::Stale);
        }
        let trusted = trust(sql, &self.tenant, &self.certificate)?;
        if trusted == Committed::Written {
            sql.prepare_cached("UPDATE tenants SET authority_certificate = ?2 WHERE name = ?1")?
                .execute(params![self.tenant.as_str(), self.certificate])?;
            private_key::replace(sql, &self.tenant, SigningRole::Authority, &self.key)?;
        }
        Ok(trusted)
    }
}

/// Removes a root of a tenant, unless it is the tenant's present authority.
pub(super) fn retire_authority(
    sql: &Connection,
    name: &TenantName,
    root: &[u8],
) -> Result<Committed, StoreError> {
    let Some(mut tenant) = load(sql, name)? else { return Ok(Committed::Stale) };
    let count = tenant.roots.len();
    tenant.roots.retain(|one| one != root);
    if tenant.authority_certificate == root || tenant.roots.len() == count {
        return Ok(Committed::Stale);
    }
    let roots: Vec<_> = tenant.roots.into_iter().map(Base64).collect();
    sql.prepare_cached("UPDATE tenants SET roots = ?2 WHERE name = ?1")?
        .execute([name.as_str(), &json(&roots)])?;
    Ok(Committed::Written)
}

pub(super) fn names(
    sql: &Connection,
    page: &Page<TenantName>,
) -> Result<Vec<TenantName>, StoreError> {
    let mut select =
        sql.prepare_cached("SELECT name FROM tenants WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    let after = page.after.as_ref().map_or("", TenantName::as_str);
    let mut rows = select.query(params![after, page.limit])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.push(Columns::of("tenants", 1, row).text("name")?);
    }
    Ok(names)
}

/// Whether there is a tenant, and therefore any sealed value.
pub(super) fn any(sql: &Connection) -> Result<bool, StoreError> {
    Ok(sql.prepare_cached("SELECT EXISTS (SELECT 1 FROM tenants)")?.query_row([], |r| r.get(0))?)
}

/// A client and its callback key, prepared to be written.
pub(super) struct ClientRow {
    pub(super) client: Client,
    pub(super) callback_key: StoredKey,
}

impl ClientRow {
    pub(super) fn insert(&self, sql: &Connection) -> Result<Committed, StoreError> {
        check(sql, &self.client.tenant)?;
        let made = sql
            .prepare_cached(
                "INSERT INTO clients (tenant, id, name, secret_digest, scopes, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                self.client.tenant.as_str(),
                self.client.id.as_str(),
                self.client.name,
                self.client.secret_digest,
                self.client.scopes.as_ref().map(json),
                moment(self.client.created_at),
            ])?;
        if made != 1 {
            return Ok(Committed::Exists);
        }
        let Client { tenant, id, .. } = &self.client;
        private_key::insert_callback_key(sql, tenant, id, &self.callback_key)?;
        Ok(Committed::Written)
    }
}

/// Reads the client of that id, in this tenant or in any tenant.
pub(super) fn load_client(
    sql: &Connection,
    tenant: Option<&TenantName>,
    id: &ClientId,
) -> Result<Option<Client>, StoreError> {
    let which = if tenant.is_some() { "id = ?1 AND tenant = ?2" } else { "id = ?1 AND ?2 IS NULL" };
    let mut select = sql.prepare_cached(&format!(
        "SELECT tenant, id, name, secret_digest, scopes, created_at FROM clients WHERE {which}",
    ))?;
    let mut rows = select.query(params![id.as_str(), tenant.map(TenantName::as_str)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of("clients", 2, row);
    let tenant: TenantName = columns.text("tenant")?;
    let id: ClientId = columns.text("id")?;
    Ok(Some(Client {
        name: columns.next("name")?,
        secret_digest: columns.bytes("secret_digest")?,
        scopes: columns.json_or_none("scopes")?,
        created_at: columns.moment("created_at")?,
        tenant,
        id,
    }))
}

/// Checks that the tenant exists.
pub(super) fn check(sql: &Connection, name: &TenantName) -> Result<(), StoreError> {
    sql.prepare_cached("SELECT 1 FROM tenants WHERE name = ?1")?
        .query_row([name.as_str()], |_| Ok(()))
        .optional()?
        .ok_or(StoreError::Misused("there is no such tenant"))
}
