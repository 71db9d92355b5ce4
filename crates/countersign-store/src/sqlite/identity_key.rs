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

/// Checks that a renewed certificate's key is not another identity's, and that its serial number is
/// new. It only reads.
pub(super) fn check_renewal(
    sql: &Connection,
    tenant: &TenantName,
    key: &IdentityKey,
) -> Result<Committed, StoreError> {
    let mut others = sql.prepare_cached(
        "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND key_digest = ?2 AND identity <> ?3",
    )?;
    if others.exists(params![tenant.as_str(), key.key_digest, key.identity.to_string()])? {
        return Ok(Committed::KeyUsed);
    }
    let Some(serial) = key.certificate_serial else { return Ok(Committed::Written) };
    let mut by_serial = sql.prepare_cached(
        "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND certificate_serial = ?2",
    )?;
    let is_used = by_serial.exists(params![tenant.as_str(), serial.to_be_bytes()])?;
    Ok(if is_used { Committed::SerialUsed } else { Committed::Written })
}

/// Records the key of a renewed certificate, which [`check_renewal`] accepted.
pub(super) fn renew(
    sql: &Connection,
    tenant: &TenantName,
    key: &IdentityKey,
) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO identity_keys (tenant, key_digest, identity, certificate_serial)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, key_digest) DO UPDATE SET certificate_serial = ?4",
    )?
    .execute(params![
        tenant.as_str(),
        key.key_digest,
        key.identity.to_string(),
        key.certificate_serial.map(u128::to_be_bytes),
    ])?;
    Ok(())
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
