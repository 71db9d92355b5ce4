//! Rows of private keys, which are sealed: signing keys of tenants, and callback keys of clients.
//!
//! They have tables of their own, so that reading a tenant or a client reads no private key. The
//! ledger removes them with their tenant or client.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{Committed, SigningRole, StoredKey};

use super::column::Columns;
use super::error::StoreError;
use crate::keys::CallbackKeys;
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};
use crate::sql::Sql;
use crate::sql::value::values;

pub(crate) async fn insert(
    sql: &impl Sql,
    tenant: &TenantName,
    role: SigningRole,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO signing_keys (tenant, role, stored) VALUES (?1, ?2, ?3)",
        values![tenant.as_str(), role.as_str(), key.as_bytes()],
    )
    .await?;
    Ok(())
}

/// Replaces a tenant's signing key. The old one is gone.
pub(crate) async fn replace(
    sql: &impl Sql,
    tenant: &TenantName,
    role: SigningRole,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.execute(
        "UPDATE signing_keys SET stored = ?3 WHERE tenant = ?1 AND role = ?2",
        values![tenant.as_str(), role.as_str(), key.as_bytes()],
    )
    .await?;
    Ok(())
}

pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    role: SigningRole,
) -> Result<Option<StoredKey>, StoreError> {
    let select = "SELECT stored FROM signing_keys WHERE tenant = ?1 AND role = ?2";
    let stored = sql.find(select, values![tenant.as_str(), role.as_str()]).await?;
    Ok(stored.map(StoredKey::new))
}

/// A tenant whose authority's key these master keys do not open.
pub(crate) async fn shut(sql: &impl Sql, keys: &MasterKeys) -> Result<Option<String>, StoreError> {
    let select = "SELECT tenant, stored FROM signing_keys WHERE role = ?1 ORDER BY tenant";
    let rows = sql.query(select, values![SigningRole::Authority.as_str()]).await?;
    for row in rows {
        let mut columns = Columns::of("signing_keys", 1, row);
        let (name, stored): (String, Vec<u8>) = (columns.next("tenant")?, columns.next("stored")?);
        let opens = name.parse().is_ok_and(|tenant| {
            let place = SealContext { tenant: &tenant, owner: Owner::AuthorityKey };
            keys.open(place, &stored).is_ok()
        });
        if !opens {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

pub(crate) async fn insert_callback_key(
    sql: &impl Sql,
    tenant: &TenantName,
    client: &ClientId,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO callback_keys (tenant, client, newest) VALUES (?1, ?2, ?3)",
        values![tenant.as_str(), client.as_str(), key.as_bytes()],
    )
    .await?;
    Ok(())
}

pub(crate) async fn load_callback_keys(
    sql: &impl Sql,
    tenant: &TenantName,
    client: &ClientId,
) -> Result<Option<CallbackKeys>, StoreError> {
    let select = "SELECT newest, before FROM callback_keys WHERE tenant = ?1 AND client = ?2";
    let Some(row) = sql.first(select, values![tenant.as_str(), client.as_str()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns::of("callback_keys", 0, row);
    let newest = StoredKey::new(columns.next("newest")?);
    let before: Option<Vec<u8>> = columns.next("before")?;
    Ok(Some(CallbackKeys { newest, before: before.map(StoredKey::new) }))
}

/// Adds a new callback key, if only one signs now.
pub(crate) async fn rotate_callback_key(
    sql: &impl Sql,
    tenant: &TenantName,
    client: &ClientId,
    key: &StoredKey,
) -> Result<Committed, StoreError> {
    let changed = sql
        .execute(
            "UPDATE callback_keys SET before = newest, newest = ?3
              WHERE tenant = ?1 AND client = ?2 AND before IS NULL",
            values![tenant.as_str(), client.as_str(), key.as_bytes()],
        )
        .await?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

/// Removes the older callback key, if there are two.
pub(crate) async fn retire_callback_key(
    sql: &impl Sql,
    tenant: &TenantName,
    client: &ClientId,
) -> Result<Committed, StoreError> {
    let changed = sql
        .execute(
            "UPDATE callback_keys SET before = NULL WHERE tenant = ?1 AND client = ?2",
            values![tenant.as_str(), client.as_str()],
        )
        .await?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}
