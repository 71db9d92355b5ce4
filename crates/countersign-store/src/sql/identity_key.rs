//! Rows of the public keys that identities have or had. A row is never changed and never removed.

use countersign_core::enrolment::IdentityKey;
use countersign_core::id::TenantName;
use countersign_core::port::Committed;

use super::error::StoreError;
use crate::sql::Sql;
use crate::sql::value::values;

/// Checks that these keys, and the serial numbers of their certificates, are new. It only reads,
/// because a check may make a unit of work write nothing.
pub(crate) async fn check(
    sql: &impl Sql,
    tenant: &TenantName,
    keys: &[IdentityKey],
) -> Result<Committed, StoreError> {
    let by_key = "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND key_digest = ?2";
    let by_serial = "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND certificate_serial = ?2";
    for (at, key) in keys.iter().enumerate() {
        let others = &keys[..at];
        if others.iter().any(|other| other.key_digest == key.key_digest)
            || sql.exists(by_key, values![tenant.as_str(), key.key_digest]).await?
        {
            return Ok(Committed::KeyUsed);
        }
        let Some(serial) = key.certificate_serial else { continue };
        if others.iter().any(|other| other.certificate_serial == Some(serial))
            || sql.exists(by_serial, values![tenant.as_str(), serial.to_be_bytes()]).await?
        {
            return Ok(Committed::SerialUsed);
        }
    }
    Ok(Committed::Written)
}

/// Checks that a renewed certificate's key is not another identity's, and that its serial number is
/// new. It only reads.
pub(crate) async fn check_renewal(
    sql: &impl Sql,
    tenant: &TenantName,
    key: &IdentityKey,
) -> Result<Committed, StoreError> {
    let others =
        "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND key_digest = ?2 AND identity <> ?3";
    if sql
        .exists(others, values![tenant.as_str(), key.key_digest, key.identity.to_string()])
        .await?
    {
        return Ok(Committed::KeyUsed);
    }
    let Some(serial) = key.certificate_serial else { return Ok(Committed::Written) };
    let by_serial = "SELECT 1 FROM identity_keys WHERE tenant = ?1 AND certificate_serial = ?2";
    let is_used = sql.exists(by_serial, values![tenant.as_str(), serial.to_be_bytes()]).await?;
    Ok(if is_used { Committed::SerialUsed } else { Committed::Written })
}

/// Records the key of a renewed certificate, which [`check_renewal`] accepted.
pub(crate) async fn renew(
    sql: &impl Sql,
    tenant: &TenantName,
    key: &IdentityKey,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO identity_keys (tenant, key_digest, identity, certificate_serial)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, key_digest) DO UPDATE SET certificate_serial = ?4",
        values![
            tenant.as_str(),
            key.key_digest,
            key.identity.to_string(),
            key.certificate_serial.map(u128::to_be_bytes),
        ],
    )
    .await?;
    Ok(())
}

/// Records keys that [`check`] accepted.
pub(crate) async fn insert(
    sql: &impl Sql,
    tenant: &TenantName,
    keys: &[IdentityKey],
) -> Result<(), StoreError> {
    let insert = "INSERT INTO identity_keys (tenant, key_digest, identity, certificate_serial)
         VALUES (?1, ?2, ?3, ?4)";
    for key in keys {
        sql.execute(
            insert,
            values![
                tenant.as_str(),
                key.key_digest,
                key.identity.to_string(),
                key.certificate_serial.map(u128::to_be_bytes),
            ],
        )
        .await?;
    }
    Ok(())
}
