//! Rows of the public keys that identities have or had. A row is never changed and never removed.

use countersign_core::enrolment::IdentityKey;
use countersign_core::id::TenantName;
use countersign_core::port::Committed;
use rusqlite::{Connection, params};

use super::error::StoreError;

/// Checks that these keys, and the serial numbers of their certificates, are new. It only reads,
/// because a check may make a unit of work write nothing.
pub(super) fn check(
    sql: &Connection,
    tenant: &TenantName,
    keys: &[IdentityKey],
) -> Result<Committed, StoreError> {
    let mut by_key =
        sql.prepare_cached("SELECT 1 FROM identity_keys WHERE tenant = ?1 AND key_digest = ?2")?;
    let mut by_serial = sql.prepare_cached(
        "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND certificate_serial = ?2",
    )?;
    for (at, key) in keys.iter().enumerate() {
        let others = &keys[..at];
        if others.iter().any(|other| other.key_digest == key.key_digest)
            || by_key.exists(params![tenant.as_str(), key.key_digest])?
        {
            return Ok(Committed::KeyUsed);
        }
        let Some(serial) = key.certificate_serial else { continue };
        if others.iter().any(|other| other.certificate_serial == Some(serial))
            || by_serial.exists(params![tenant.as_str(), serial.to_be_bytes()])?
        {
            return Ok(Committed::SerialUsed);
        }
    }
    Ok(Committed::Written)
}

/// Records keys that [`check`] accepted.
pub(super) fn insert(
    sql: &Connection,
    tenant: &TenantName,
    keys: &[IdentityKey],
) -> Result<(), StoreError> {
    let mut insert = sql.prepare_cached(
        "INSERT INTO identity_keys (tenant, key_digest, identity, certificate_serial)
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for key in keys {
        insert.execute(params![
            tenant.as_str(),
            key.key_digest,
            key.identity.to_string(),
            key.certificate_serial.map(u128::to_be_bytes),
        ])?;
    }
    Ok(())
}
