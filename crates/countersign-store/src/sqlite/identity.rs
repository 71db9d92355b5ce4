//! Identities, found through the tables `identities` and `identity_labels`, which are derived from
//! `devices`.

use countersign_core::device::Device;
use countersign_core::id::{DeviceId, IdentityId, TenantName, UserName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{CertificateEnds, DeviceCursor, Page, Versioned};
use countersign_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::column::{Columns, json, moment};
use super::device;
use super::error::StoreError;
use crate::master_key::MasterKeys;

pub(super) const DEVICE_OF: &str = "SELECT device FROM identities WHERE tenant = ?1 AND id = ?2";

/// Reads the device that holds an identity, and runs `then` for its user on the same snapshot.
pub(super) fn load_and<T>(
    sql: &Connection,
    tenant: &TenantName,
    id: IdentityId,
    keys: &MasterKeys,
    then: impl FnOnce(&UserName) -> Result<T, StoreError>,
) -> Result<Option<(Versioned<Device>, T)>, StoreError> {
    let mut select = sql.prepare_cached(DEVICE_OF)?;
    // As long as this statement is active, the others read the same snapshot.
    let mut rows = select.query([tenant.as_str(), &id.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let held_by = device::id(&mut Columns::of("identities", 0, row), "device")?;
    let Some(device) = device::load(sql, tenant, held_by, keys)? else { return Ok(None) };
    let then = then(&device.value.user)?;
    Ok(Some((device, then)))
}

/// Counts the ends of enabled identities' certificates: before `?1`, from `?1` to `?2`, and the
/// first one from `?1` on.
pub(super) const ENDS: &str = "SELECT
    (SELECT count(*) FROM identities WHERE valid_until < ?1),
    (SELECT count(*) FROM identities WHERE valid_until BETWEEN ?1 AND ?2),
    (SELECT min(valid_until) FROM identities WHERE valid_until >= ?1)";

pub(super) fn ends(
    sql: &Connection,
    now: Timestamp,
    until: Timestamp,
) -> Result<CertificateEnds, StoreError> {
    // The last second of a certificate is within its life.
    let now = Timestamp::of_seconds(now.seconds());
    let mut select = sql.prepare_cached(ENDS)?;
    let mut rows = select.query(params![moment(now), moment(until)])?;
    let Some(row) = rows.next()? else { return Ok(CertificateEnds::default()) };
    let mut columns = Columns::of("identities", 0, row);
    Ok(CertificateEnds {
        ended: columns.number("count")?,
        ending: columns.number("count")?,
        first: columns.moment_or_none("valid_until")?,
    })
}

pub(super) const COUNT: &str = "SELECT count(*) FROM
    (SELECT 1 FROM identity_labels WHERE tenant = ?1 AND label = ?2 LIMIT ?3)";

/// The devices with the label `?2`, and with every other label of `?3`, which is JSON.
pub(super) const DEVICES_WITH: &str = "SELECT device
     FROM identity_labels AS one
    WHERE tenant = ?1 AND label = ?2 AND NOT EXISTS
          (SELECT 1 FROM json_each(?3) AS wanted WHERE NOT EXISTS
                  (SELECT 1 FROM identity_labels AS other
                    WHERE other.tenant = ?1 AND other.label = wanted.value
                      AND other.user = one.user AND other.sequence = one.sequence
                      AND other.identity = one.identity))
      AND (user, sequence) > (?5, ?6)
    GROUP BY user, sequence ORDER BY user, sequence LIMIT ?4";

/// Reads the devices that hold an identity with all of these labels. The search begins with the
/// rarest label, so that a very common label beside a rare one costs nothing.
pub(super) fn devices_with(
    sql: &Connection,
    tenant: &TenantName,
    labels: &[String],
    page: &Page<DeviceCursor>,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    let mut counted = Vec::new();
    for label in labels {
        let mut count = sql.prepare_cached(COUNT)?;
        let held: u32 =
            count.query_row(params![tenant.as_str(), label, LISTED_MAX], |row| row.get(0))?;
        counted.push((held, label));
    }
    let Some((_, rarest)) = counted.into_iter().min() else { return Ok(Vec::new()) };
    let mut select = sql.prepare_cached(DEVICES_WITH)?;
    let (user, sequence) = device::after(page);
    let labels = json(&labels);
    let mut rows =
        select.query(params![tenant.as_str(), rarest, labels, page.limit, user, sequence])?;
    let mut found: Vec<DeviceId> = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(device::id(&mut Columns::of("identity_labels", 0, row), "device")?);
    }
    let load = |id| device::load(sql, tenant, id, keys).transpose();
    found.into_iter().filter_map(load).collect()
}
