//! Where devices are connected, as the nodes of a fleet note it.

use countersign_core::id::{DeviceId, TenantName, UserName};
use countersign_core::port::{Presence, PresenceState};
use countersign_core::time::Timestamp;

use super::connection::Connection;
use crate::sql::Sql as _;
use crate::sql::column::{Columns, moment, number};
use crate::sql::device;
use crate::sql::error::StoreError;
use crate::sql::value::values;

/// The present time of the database, in milliseconds.
pub(super) const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

/// The end of the presence of a device that is connected.
const CONNECTED: i64 = i64::MAX;

/// The devices of a user at one node. Devices of the user that are not among them have left.
#[derive(Clone, Debug)]
pub struct UserPresence {
    /// The user's tenant.
    pub tenant: TenantName,
    /// The user.
    pub user: UserName,
    /// The devices that are online, when each last connected, and when the next poll of one that
    /// is not connected is overdue.
    pub devices: Vec<(DeviceId, Timestamp, Option<Timestamp>)>,
}

/// Where the devices of a user are or were. A node whose lease has ended has none.
pub(super) async fn load(
    sql: &Connection,
    tenant: &TenantName,
    user: &UserName,
) -> Result<Vec<Presence>, StoreError> {
    let select = format!(
        "SELECT presence.device, presence.node, presence.since, presence.until = {CONNECTED},
                presence.until > {NOW} AND coalesce(nodes.until > {NOW}, false)
           FROM presence LEFT JOIN nodes ON nodes.number = presence.node
          WHERE tenant = ?1 AND user_name = ?2"
    );
    let mut found = Vec::new();
    for row in sql.query(&select, values![tenant.as_str(), user.as_str()]).await? {
        let mut columns = Columns::of("presence", 0, row);
        let device = device::id(&mut columns, "device")?;
        let (node, since) = (columns.next("node")?, columns.moment("since")?);
        let (is_connected, is_online) = (columns.next("until")?, columns.next("until")?);
        let state = match (is_online, is_connected) {
            (false, _) => PresenceState::Gone,
            (true, true) => PresenceState::Connected,
            (true, false) => PresenceState::Polling,
        };
        found.push(Presence { device, node, since, state });
    }
    Ok(found)
}

/// Notes where the devices of these users are.
pub(super) async fn write(
    sql: &Connection,
    node: i64,
    users: &[UserPresence],
) -> Result<(), StoreError> {
    const LEAVE: &str = "UPDATE presence SET until = 0
         FROM unnest($2::text[], $3::text[]) AS u (tenant, user_name)
        WHERE presence.node = $1 AND presence.tenant = u.tenant
          AND presence.user_name = u.user_name AND presence.until <> 0";
    const COME: &str = "INSERT INTO presence (tenant, user_name, device, node, since, until)
        SELECT tenant, user_name, device, $1, since, until
          FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
               AS d (tenant, user_name, device, since, until)
        ON CONFLICT (tenant, user_name, device, node)
        DO UPDATE SET since = excluded.since, until = excluded.until";
    let (leave, come) = (sql.prepare(LEAVE).await?, sql.prepare(COME).await?);
    let tenants: Vec<&str> = users.iter().map(|one| one.tenant.as_str()).collect();
    let names: Vec<&str> = users.iter().map(|one| one.user.as_str()).collect();
    let (mut tenant_of, mut user_of, mut devices) = (Vec::new(), Vec::new(), Vec::new());
    let (mut since, mut until) = (Vec::new(), Vec::new());
    for one in users {
        for (device, came, overdue) in &one.devices {
            tenant_of.push(one.tenant.as_str());
            user_of.push(one.user.as_str());
            devices.push(number(device.number()));
            since.push(moment(*came));
            until.push(overdue.map_or(CONNECTED, moment));
        }
    }
    sql.send("BEGIN");
    let written = async {
        sql.client().execute(&leave, &[&node, &tenants, &names]).await?;
        let rows = sql.client();
        rows.execute(&come, &[&node, &tenant_of, &user_of, &devices, &since, &until]).await
    };
    match written.await {
        Ok(_) => Ok(sql.client().batch_execute("COMMIT").await?),
        Err(error) => {
            sql.send("ROLLBACK");
            Err(error.into())
        }
    }
}
