//! Rows of clients. Their callback keys are in `private_key.rs`.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{
    ClientDeletion, Committed, Listed, Page, StoredKey, TokenKeys, Versioned,
};
use countersign_core::role::{Role, Roles};
use countersign_core::tenant::{Account, Client, ClientSecret, CredentialState, PasswordGrant};

use super::column::{Columns, json, moment};
use super::error::StoreError;
use super::{private_key, tenant};
use crate::sql::Sql;
use crate::sql::value::values;

/// The columns of a client, in the order in which [`read`] reads them.
const COLUMNS: &str = "clients.tenant, clients.id, clients.version, clients.name, clients.roles,
    clients.state, clients.secret_number, clients.secret_digest, clients.secret_not_after,
    clients.secret_before_digest, clients.secret_before_not_after, clients.password_number,
    clients.account, clients.account_hash, clients.scopes, clients.created_at,
    (SELECT state <> 'active' FROM tenants WHERE tenants.name = clients.tenant)";

/// A client and its callback key, prepared to be written.
pub(crate) struct Row {
    pub(crate) client: Client,
    pub(crate) callback_key: StoredKey,
}

impl Row {
    pub(crate) async fn insert(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let client = &self.client;
        tenant::check(sql, &client.tenant).await?;
        let made = sql
            .execute(
                "INSERT INTO clients (tenant, id, version, name, roles, state, secret_number,
                                      secret_digest, secret_not_after, secret_before_digest,
                                      secret_before_not_after, password_number, account,
                                      account_hash, scopes, created_at)
                 VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
                 ON CONFLICT DO NOTHING",
                values![
                    client.tenant.as_str(),
                    client.id.as_str(),
                    client.name,
                    written(client.roles),
                    client.state.as_str(),
                    client.secret_number,
                    client.secret.digest,
                    client.secret.not_after.map(moment),
                    client.secret_before.map(|before| before.digest),
                    client.secret_before.and_then(|before| before.not_after).map(moment),
                    client.password.number,
                    client.password.account.as_ref().map(|account| account.name.as_str()),
                    client.password.account.as_ref().map(|account| &account.hash),
                    client.scopes.as_ref().map(json),
                    moment(client.created_at),
                ],
            )
            .await?;
        if made != 1 {
            return Ok(Committed::Exists);
        }
        private_key::insert_callback_key(sql, &client.tenant, &client.id, &self.callback_key)
            .await?;
        Ok(Committed::Written)
    }
}

/// Writes a client's roles, state, secrets and account, if the client has this version.
pub(crate) async fn change(
    sql: &impl Sql,
    client: &Client,
    expected: u32,
) -> Result<Committed, StoreError> {
    let changed = sql
        .execute(
            "UPDATE clients SET version = version + 1, roles = ?4, state = ?5, secret_number = ?6,
                                secret_digest = ?7, secret_not_after = ?8,
                                secret_before_digest = ?9, secret_before_not_after = ?10,
                                password_number = ?11, account = ?12, account_hash = ?13
              WHERE tenant = ?1 AND id = ?2 AND version = ?3",
            values![
                client.tenant.as_str(),
                client.id.as_str(),
                expected,
                written(client.roles),
                client.state.as_str(),
                client.secret_number,
                client.secret.digest,
                client.secret.not_after.map(moment),
                client.secret_before.map(|before| before.digest),
                client.secret_before.and_then(|before| before.not_after).map(moment),
                client.password.number,
                client.password.account.as_ref().map(|account| account.name.as_str()),
                client.password.account.as_ref().map(|account| &account.hash),
            ],
        )
        .await?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

/// Removes a client; the ledger removes its callback keys with it.
pub(crate) async fn delete(sql: &impl Sql, old: &ClientDeletion) -> Result<Committed, StoreError> {
    let delete = "DELETE FROM clients
        WHERE tenant = ?1 AND id = ?2 AND (CAST(?3 AS BIGINT) = 0 OR EXISTS
              (SELECT 1 FROM tenants WHERE name = ?1 AND state <> 'active'))";
    let (tenant, id) = (old.tenant.as_str(), old.client.as_str());
    let gone = sql.execute(delete, values![tenant, id, old.only_of_locked]).await?;
    Ok(if gone == 1 { Committed::Written } else { Committed::Stale })
}

/// Reads the client of that id, in this tenant or in any tenant.
pub(crate) async fn load(
    sql: &impl Sql,
    tenant: Option<&TenantName>,
    id: &ClientId,
) -> Result<Option<Versioned<Client>>, StoreError> {
    let found = if let Some(tenant) = tenant {
        let select = format!("SELECT {COLUMNS} FROM clients WHERE tenant = ?1 AND id = ?2");
        sql.first(&select, values![tenant.as_str(), id.as_str()]).await?
    } else {
        let select = format!("SELECT {COLUMNS} FROM clients WHERE id = ?1");
        sql.first(&select, values![id.as_str()]).await?
    };
    found.map(|row| read(&mut Columns::of("clients", 2, row))).transpose()
}

/// Reads a client, and the keys that verify its tenant's access tokens, with one statement.
pub(crate) async fn load_holder(
    sql: &impl Sql,
    tenant: &TenantName,
    id: &ClientId,
) -> Result<Option<(Client, TokenKeys)>, StoreError> {
    let select = format!(
        "SELECT {COLUMNS}, tenants.token_public_key, tenants.token_key_before,
                tenants.token_key_before_not_after
           FROM clients JOIN tenants ON tenants.name = clients.tenant
          WHERE clients.tenant = ?1 AND clients.id = ?2"
    );
    let select = &select;
    let rows = sql.query(select, values![tenant.as_str(), id.as_str()]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut columns = Columns::of("clients", 2, row);
    let client = read(&mut columns)?.value;
    let keys = tenant::read_token_keys(&mut columns)?;
    Ok(Some((client, keys)))
}

/// Lists the clients of a tenant, by id.
pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    page: &Page<ClientId>,
) -> Result<Listed<Client, ClientId>, StoreError> {
    let select =
        format!("SELECT {COLUMNS} FROM clients WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let select = &select;
    let after = page.after.as_ref().map_or("", ClientId::as_str);
    let rows = sql.query(select, values![tenant.as_str(), after, page.limit]).await?;
    let mut clients = Vec::new();
    for row in rows {
        clients.push(read(&mut Columns::of("clients", 2, row))?.value);
    }
    Ok(Listed::new(clients, page.limit, |last| last.id.clone()))
}

fn read(columns: &mut Columns) -> Result<Versioned<Client>, StoreError> {
    let tenant: TenantName = columns.text("tenant")?;
    let id: ClientId = columns.text("id")?;
    let version = columns.next("version")?;
    let name = columns.next("name")?;
    let roles: Vec<String> = columns.json("roles")?;
    let role = |name: &String| Role::ALL.into_iter().find(|role| role.as_str() == name);
    let roles: Option<Roles> = roles.iter().map(role).collect();
    let roles = roles.ok_or_else(|| columns.corrupt("roles", "one is not the name of a role"))?;
    let state = columns.one_of("state", CredentialState::ALL, CredentialState::as_str)?;
    let secret_number = columns.next("secret_number")?;
    let secret = ClientSecret {
        digest: columns.bytes("secret_digest")?,
        not_after: columns.moment_or_none("secret_not_after")?,
    };
    let before = columns.bytes_or_none("secret_before_digest")?;
    let not_after = columns.moment_or_none("secret_before_not_after")?;
    let password =
        PasswordGrant { number: columns.next("password_number")?, account: read_account(columns)? };
    let value = Client {
        tenant,
        id,
        name,
        roles,
        state,
        secret_number,
        secret,
        secret_before: before.map(|digest| ClientSecret { digest, not_after }),
        password,
        scopes: columns.json_or_none("scopes")?,
        created_at: columns.moment("created_at")?,
        tenant_locked: columns.next("tenant")?,
    };
    Ok(Versioned { value, version })
}

fn read_account(columns: &mut Columns) -> Result<Option<Account>, StoreError> {
    let name: Option<String> = columns.next("account")?;
    let hash: Option<String> = columns.next("account_hash")?;
    let Some((name, hash)) = name.zip(hash) else { return Ok(None) };
    let name = name.parse().map_err(|error| columns.corrupt("account", error))?;
    Ok(Some(Account { name, hash }))
}

/// Roles as a JSON array of their names.
fn written(roles: Roles) -> String {
    json(&roles.iter().map(Role::as_str).collect::<Vec<_>>())
}
