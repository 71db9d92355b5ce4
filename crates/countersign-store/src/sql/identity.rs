//! Identities, found through the tables `identities` and `identity_labels`, which are derived from
//! `devices`.

use core::fmt::Write as _;

use countersign_core::device::{Device, DeviceStatus};
use countersign_core::id::{DeviceId, TenantName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{CertificateEnds, DeviceCursor, Page, Versioned};
use countersign_core::time::Timestamp;

use super::column::{Columns, moment, number};
use super::device;
use super::error::StoreError;
use crate::master_key::MasterKeys;
use crate::sql::Sql;
use crate::sql::value::{Value, values};

/// Adds the rows that are derived from a device's identities: none of a retired device.
pub(crate) async fn insert(sql: &impl Sql, device: &Device) -> Result<(), StoreError> {
    if device.status == DeviceStatus::Retired {
        return Ok(());
    }
    let (tenant, number) = (device.tenant.as_str(), number(device.id.number()));
    for identity in &device.identities {
        let valid_until = identity.enabled.then(|| moment(identity.valid_until));
        sql.execute(
            "INSERT INTO identities (tenant, id, device, valid_until) VALUES (?1, ?2, ?3, ?4)",
            values![tenant, identity.id.to_string(), number, valid_until],
        )
        .await?;
        for label in &identity.labels {
            sql.execute(
                "INSERT INTO identity_labels (tenant, label, user_name, sequence, identity, device)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                values![
                    tenant,
                    label,
                    device.user.as_str(),
                    device.serial_number.sequence,
                    identity.id.to_string(),
                    number,
                ],
            )
            .await?;
        }
    }
    Ok(())
}

/// Removes the rows that are derived from a device's identities.
pub(crate) async fn remove(
    sql: &impl Sql,
    tenant: &TenantName,
    device: DeviceId,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM identities WHERE tenant = ?1 AND device = ?2",
        "DELETE FROM identity_labels WHERE tenant = ?1 AND device = ?2",
    ] {
        sql.execute(statement, values![tenant.as_str(), number(device.number())]).await?;
    }
    Ok(())
}

/// Counts the ends of enabled identities' certificates: before `?1`, from `?1` to `?2`, and the
/// first one from `?1` on.
pub(crate) const ENDS: &str = "SELECT
    (SELECT count(*) FROM identities WHERE valid_until < ?1),
    (SELECT count(*) FROM identities WHERE valid_until BETWEEN ?1 AND ?2),
    (SELECT min(valid_until) FROM identities WHERE valid_until >= ?1)";

pub(crate) async fn ends(
    sql: &impl Sql,
    now: Timestamp,
    until: Timestamp,
) -> Result<CertificateEnds, StoreError> {
    // The last second of a certificate is within its life.
    let now = Timestamp::of_seconds(now.seconds());
    let select = ENDS;
    let rows = sql.query(select, values![moment(now), moment(until)]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(CertificateEnds::default()) };
    let mut columns = Columns::of("identities", 0, row);
    Ok(CertificateEnds {
        ended: columns.number("count")?,
        ending: columns.number("count")?,
        first: columns.moment_or_none("valid_until")?,
    })
}

pub(crate) const COUNT: &str = "SELECT count(*) FROM
    (SELECT 1 FROM identity_labels WHERE tenant = ?1 AND label = ?2 LIMIT ?3) AS counted";

/// The devices with the label `?2`, and with each of `others` further labels, from `?6` on.
pub(crate) fn devices_with_statement(others: usize) -> String {
    let mut further = String::new();
    for at in 0..others {
        let _ = write!(
            further,
            " AND EXISTS (SELECT 1 FROM identity_labels AS other
                WHERE other.tenant = ?1 AND other.label = ?{} AND other.user_name = one.user_name
                  AND other.sequence = one.sequence AND other.identity = one.identity)",
            at + 6
        );
    }
    format!(
        "SELECT min(device) FROM identity_labels AS one
          WHERE tenant = ?1 AND label = ?2 AND (user_name, sequence) > (?3, ?4){further}
          GROUP BY user_name, sequence ORDER BY user_name, sequence LIMIT ?5"
    )
}

/// Reads the devices that hold an identity with all of these labels. The search begins with the
/// rarest label, so that a very common label beside a rare one costs nothing.
pub(crate) async fn devices_with(
    sql: &impl Sql,
    tenant: &TenantName,
    labels: &[String],
    page: &Page<DeviceCursor>,
    keys: &MasterKeys,
) -> Result<Vec<Versioned<Device>>, StoreError> {
    let mut counted = Vec::new();
    for label in labels {
        let held: u32 = sql.value(COUNT, values![tenant.as_str(), label, LISTED_MAX]).await?;
        counted.push((held, label));
    }
    counted.sort();
    let Some(((_, rarest), others)) = counted.split_first() else { return Ok(Vec::new()) };
    let (user, sequence) = device::after(page);
    let (tenant_key, limit) = (tenant.as_str(), page.limit);
    let mut given = values![tenant_key, rarest, user, sequence, limit].to_vec();
    given.extend(others.iter().map(|(_, label)| Value::Text(label)));
    let mut found = Vec::new();
    for row in sql.query(&devices_with_statement(others.len()), &given).await? {
        let id = device::id(&mut Columns::of("identity_labels", 0, row), "device")?;
        found.extend(device::load(sql, tenant, id, keys).await?);
    }
    Ok(found)
}
