//! Rows of tenants and of their clients.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::port::{Committed, Page};
use countersign_core::secret::{Key32, Secret};
use countersign_core::tenant::{Authority, Client, Tenant};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::column::{Base64, Columns, json, moment};
use super::error::StoreError;
use crate::seal::{MasterKeys, Owner, SealContext};

/// A tenant, prepared to be written.
pub(super) struct Row {
    name: TenantName,
    authority_certificate: Vec<u8>,
    authority_key: Vec<u8>,
    roots: String,
    token_key: Vec<u8>,
    created_at: i64,
}

impl Row {
    pub(super) fn of(tenant: &Tenant, keys: &MasterKeys) -> Self {
        let seal = |owner, secret: &Secret<Vec<u8>>| {
            keys.seal(SealContext { tenant: &tenant.name, owner }, secret.expose())
        };
        let roots: Vec<_> = tenant.roots.iter().cloned().map(Base64).collect();
        Self {
            name: tenant.name.clone(),
            authority_certificate: tenant.authority.certificate.clone(),
            authority_key: seal(Owner::AuthorityKey, &tenant.authority.key),
            roots: json(&roots),
            token_key: seal(Owner::TokenKey, &tenant.token_key),
            created_at: moment(tenant.created_at),
        }
    }

    pub(super) fn insert(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let made = sql
            .prepare_cached(
                "INSERT INTO tenants (name, authority_certificate, authority_key, roots,
                                      token_key, users_made, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                self.name.as_str(),
                self.authority_certificate,
                self.authority_key,
                self.roots,
                self.token_key,
                self.created_at,
            ])?;
        Ok(if made == 1 { Committed::Written } else { Committed::Exists })
    }
}

pub(super) fn load(
    sql: &Connection,
    name: &TenantName,
    keys: &MasterKeys,
) -> Result<Option<Tenant>, StoreError> {
    let mut select = sql.prepare_cached(
        "SELECT name, authority_certificate, authority_key, roots, token_key, created_at
           FROM tenants WHERE name = ?1",
    )?;
    let mut rows = select.query([name.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of("tenants", 1, row);
    let name: TenantName = columns.text("name")?;
    let certificate = columns.next("authority_certificate")?;
    let key = columns.secret("authority_key", keys, &name, Owner::AuthorityKey)?;
    let roots: Vec<Base64> = columns.json("roots")?;
    let token_key = columns.secret("token_key", keys, &name, Owner::TokenKey)?;
    Ok(Some(Tenant {
        authority: Authority { certificate, key: Secret::new(key.to_vec()) },
        roots: roots.into_iter().map(|root| root.0).collect(),
        token_key: Secret::new(token_key.to_vec()),
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

/// A tenant whose key these master keys do not open.
pub(super) fn shut(sql: &Connection, keys: &MasterKeys) -> Result<Option<TenantName>, StoreError> {
    let mut select = sql.prepare("SELECT name, authority_key FROM tenants ORDER BY name")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("tenants", 1, row);
        let name: TenantName = columns.text("name")?;
        let sealed: Vec<u8> = columns.next("authority_key")?;
        if keys.open(SealContext { tenant: &name, owner: Owner::AuthorityKey }, &sealed).is_err() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A client, prepared to be written.
pub(super) struct ClientRow {
    client: Client,
    keys: WebhookKeys,
}

/// The keys of a client's callbacks, sealed.
pub(super) struct WebhookKeys {
    tenant: TenantName,
    id: ClientId,
    newest: Vec<u8>,
    before: Option<Vec<u8>>,
}

impl WebhookKeys {
    pub(super) fn of(
        tenant: &TenantName,
        id: &ClientId,
        newest: &Key32,
        before: Option<&Key32>,
        keys: &MasterKeys,
    ) -> Self {
        let place = SealContext { tenant, owner: Owner::WebhookKey(id) };
        let seal = |key: &Key32| keys.seal(place, key.expose());
        let (newest, before) = (seal(newest), before.map(seal));
        Self { tenant: tenant.clone(), id: id.clone(), newest, before }
    }

    pub(super) fn update(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let changed = sql
            .prepare_cached(
                "UPDATE clients SET webhook_key = ?3, webhook_key_before = ?4
                  WHERE tenant = ?1 AND id = ?2
                    AND (?4 IS NULL OR webhook_key_before IS NULL)",
            )?
            .execute(params![self.tenant.as_str(), self.id.as_str(), self.newest, self.before])?;
        Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
    }
}

impl ClientRow {
    pub(super) fn of(client: Client, keys: &MasterKeys) -> Self {
        let (newest, before) = (&client.webhook_key, client.webhook_key_before.as_ref());
        let keys = WebhookKeys::of(&client.tenant, &client.id, newest, before, keys);
        Self { client, keys }
    }

    pub(super) fn insert(&self, sql: &Connection) -> Result<Committed, StoreError> {
        check(sql, &self.client.tenant)?;
        let made = sql
            .prepare_cached(
                "INSERT INTO clients (tenant, id, name, secret_digest, webhook_key,
                                      webhook_key_before, scopes, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                self.client.tenant.as_str(),
                self.client.id.as_str(),
                self.client.name,
                self.client.secret_digest,
                self.keys.newest,
                self.keys.before,
                self.client.scopes.as_ref().map(json),
                moment(self.client.created_at),
            ])?;
        Ok(if made == 1 { Committed::Written } else { Committed::Exists })
    }
}

/// Reads the client of that id, in this tenant or in any tenant.
pub(super) fn load_client(
    sql: &Connection,
    tenant: Option<&TenantName>,
    id: &ClientId,
    keys: &MasterKeys,
) -> Result<Option<Client>, StoreError> {
    let which = if tenant.is_some() { "id = ?1 AND tenant = ?2" } else { "id = ?1 AND ?2 IS NULL" };
    let mut select = sql.prepare_cached(&format!(
        "SELECT tenant, id, name, secret_digest, webhook_key, webhook_key_before, scopes,
                created_at
           FROM clients WHERE {which}",
    ))?;
    let mut rows = select.query(params![id.as_str(), tenant.map(TenantName::as_str)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of("clients", 2, row);
    let tenant: TenantName = columns.text("tenant")?;
    let id: ClientId = columns.text("id")?;
    Ok(Some(Client {
        name: columns.next("name")?,
        secret_digest: columns.bytes("secret_digest")?,
        webhook_key: columns.secret32("webhook_key", keys, &tenant, Owner::WebhookKey(&id))?,
        webhook_key_before: columns.secret32_or_none(
            "webhook_key_before",
            keys,
            &tenant,
            Owner::WebhookKey(&id),
        )?,
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
