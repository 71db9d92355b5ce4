//! Rows of private keys, which are sealed: signing keys of tenants, and callback keys of clients.
//!
//! They have tables of their own, so that reading a tenant or a client reads no private key. The
//! ledger removes them with their tenant or client.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{Committed, SigningRole, StoredKey};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::StoreError;
use crate::keys::CallbackKeys;
use crate::master_key::MasterKeys;
use crate::seal::{Owner, SealContext};

pub(super) fn insert(
    sql: &Connection,
    tenant: &TenantName,
    role: SigningRole,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO signing_keys (tenant, role, stored) VALUES (?1, ?2, ?3)")?
        .execute(params![tenant.as_str(), role.as_str(), key.as_bytes()])?;
    Ok(())
}

/// Replaces a tenant's signing key. The old one is gone.
pub(super) fn replace(
    sql: &Connection,
    tenant: &TenantName,
    role: SigningRole,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.prepare_cached("UPDATE signing_keys SET stored = ?3 WHERE tenant = ?1 AND role = ?2")?
        .execute(params![tenant.as_str(), role.as_str(), key.as_bytes()])?;
    Ok(())
}

pub(super) fn load(
    sql: &Connection,
    tenant: &TenantName,
    role: SigningRole,
) -> Result<Option<StoredKey>, StoreError> {
    let mut select =
        sql.prepare_cached("SELECT stored FROM signing_keys WHERE tenant = ?1 AND role = ?2")?;
    let stored = select.query_row([tenant.as_str(), role.as_str()], |row| row.get(0));
    Ok(stored.optional()?.map(StoredKey::new))
}

/// A tenant whose authority's key these master keys do not open.
pub(super) fn shut(sql: &Connection, keys: &MasterKeys) -> Result<Option<String>, StoreError> {
    let mut select =
        sql.prepare("SELECT tenant, stored FROM signing_keys WHERE role = ?1 ORDER BY tenant")?;
    let mut rows = select.query([SigningRole::Authority.as_str()])?;
    while let Some(row) = rows.next()? {
        let (name, stored): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
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

pub(super) fn insert_callback_key(
    sql: &Connection,
    tenant: &TenantName,
    client: &ClientId,
    key: &StoredKey,
) -> Result<(), StoreError> {
    sql.prepare_cached("INSERT INTO callback_keys (tenant, client, newest) VALUES (?1, ?2, ?3)")?
        .execute(params![tenant.as_str(), client.as_str(), key.as_bytes()])?;
    Ok(())
}

pub(super) fn load_callback_keys(
    sql: &Connection,
    tenant: &TenantName,
    client: &ClientId,
) -> Result<Option<CallbackKeys>, StoreError> {
    let mut select = sql.prepare_cached(
        "SELECT newest, before FROM callback_keys WHERE tenant = ?1 AND client = ?2",
    )?;
    let keys = select.query_row([tenant.as_str(), client.as_str()], |row| {
        let before: Option<Vec<u8>> = row.get(1)?;
        let newest = StoredKey::new(row.get(0)?);
        Ok(CallbackKeys { newest, before: before.map(StoredKey::new) })
    });
    Ok(keys.optional()?)
}

/// Adds a new callback key, if only one signs now.
pub(super) fn rotate_callback_key(
    sql: &Connection,
    tenant: &TenantName,
    client: &ClientId,
    key: &StoredKey,
) -> Result<Committed, StoreError> {
    let changed = sql
        .prepare_cached(
            "UPDATE callback_keys SET before = newest, newest = ?3
              WHERE tenant = ?1 AND client = ?2 AND before IS NULL",
        )?
        .execute(params![tenant.as_str(), client.as_str(), key.as_bytes()])?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}

/// Removes the older callback key, if there are two.
pub(super) fn retire_callback_key(
    sql: &Connection,
    tenant: &TenantName,
    client: &ClientId,
) -> Result<Committed, StoreError> {
    let changed = sql
        .prepare_cached("UPDATE callback_keys SET before = NULL WHERE tenant = ?1 AND client = ?2")?
        .execute([tenant.as_str(), client.as_str()])?;
    Ok(if changed == 1 { Committed::Written } else { Committed::Stale })
}
