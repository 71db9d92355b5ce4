//! Snapshots that one statement reads, where the shared SQL has several: a SQL transaction around
//! them costs PostgreSQL as much as they do.

use std::sync::LazyLock;

use countersign_core::id::{TenantName, TransactionId};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Handle, Part, Query, QuerySubject, Snapshot};

use super::connection::Connection;
use crate::master_key::MasterKeys;
use crate::sql::column::number;
use crate::sql::error::StoreError;
use crate::sql::value::{Cell, Cells, values};
use crate::sql::{Sql as _, device, transaction, user};

/// Whether [`load`] may read a snapshot.
pub(super) fn fits(query: Query<'_>) -> bool {
    matches!(
        (query.subject, query.parts),
        (QuerySubject::User(_), [Part::Devices])
            | (QuerySubject::Device(_), [Part::User, Part::Transaction(Handle::Id(_))])
            | (QuerySubject::Transaction(Handle::Id(_)), [])
    )
}

/// Reads a snapshot. `None` if it needs several statements.
pub(super) async fn load(
    sql: &Connection,
    tenant: &TenantName,
    query: Query<'_>,
    keys: &MasterKeys,
) -> Result<Option<Snapshot>, StoreError> {
    match (query.subject, query.parts) {
        (QuerySubject::User(name), [Part::Devices]) => {
            let (of, limit) = ((tenant.as_str(), name.as_str()), LISTED_MAX);
            let rows = sql.query(&USER_WITH_DEVICES, values![of.0, of.1, limit]).await?;
            user_with_devices(rows, keys)
        }
        (QuerySubject::Device(id), [Part::User, Part::Transaction(Handle::Id(on))]) => {
            let device = number(id.number());
            let rows = sql.query(&STEP, values![tenant.as_str(), device, on.bytes()]).await?;
            step(rows, keys)
        }
        (QuerySubject::Transaction(Handle::Id(id)), []) => open_or_ended(sql, tenant, *id).await,
        _ => Ok(None),
    }
}

/// A user, beside each of their devices.
pub(super) static USER_WITH_DEVICES: LazyLock<String> = LazyLock::new(user_with_devices_statement);
/// A device, its user and a transaction.
pub(super) static STEP: LazyLock<String> = LazyLock::new(step_statement);

fn user_with_devices_statement() -> String {
    let (users, devices) = (of("users", user::COLUMNS), of("devices", device::COLUMNS));
    let locked = device::TENANT_LOCKED;
    format!(
        "SELECT {users}, {devices}, {locked}
           FROM users LEFT JOIN LATERAL
                (SELECT * FROM devices
                  WHERE devices.tenant = ?1 AND devices.user_name = ?2 AND status <> 'retired'
                  ORDER BY devices.user_name, devices.sequence LIMIT ?3) AS devices ON true
          WHERE users.tenant = ?1 AND users.name = ?2"
    )
}

fn user_with_devices(rows: Vec<Cells>, keys: &MasterKeys) -> Result<Option<Snapshot>, StoreError> {
    let mut found = Snapshot::default();
    for mut of_user in rows {
        let of_device = of_user.split_off(count(user::COLUMNS));
        if found.user.is_none() {
            found.user = Some(user::read(of_user)?);
        }
        if is_there(&of_device) {
            found.devices.push(device::read(of_device, keys)?);
        }
    }
    found.devices.sort_by_key(|device| device.value.serial_number.sequence);
    Ok(found.user.is_some().then_some(found))
}

fn step_statement() -> String {
    let (users, devices) = (of("users", user::COLUMNS), of("devices", device::COLUMNS));
    let (transactions, locked) = (of("transactions", transaction::COLUMNS), device::TENANT_LOCKED);
    format!(
        "SELECT {devices}, {locked}, {users}, {transactions}
           FROM devices
                LEFT JOIN users ON users.tenant = ?1 AND users.name = devices.user_name
                LEFT JOIN transactions ON transactions.tenant = ?1 AND transactions.id = ?3
          WHERE devices.tenant = ?1 AND devices.id = ?2"
    )
}

fn step(rows: Vec<Cells>, keys: &MasterKeys) -> Result<Option<Snapshot>, StoreError> {
    let Some(mut of_device) = rows.into_iter().next() else { return Ok(None) };
    let mut of_user = of_device.split_off(count(device::COLUMNS) + 1);
    let of_transaction = of_user.split_off(count(user::COLUMNS));
    if !is_there(&of_user) || !is_there(&of_transaction) {
        // It may have become evidence.
        return Ok(None);
    }
    Ok(Some(Snapshot {
        device: Some(device::read(of_device, keys)?),
        user: Some(user::read(of_user)?),
        transaction: Some(transaction::read(of_transaction, "transactions")?),
        ..Snapshot::default()
    }))
}

/// A transaction, or its evidence. A transaction becomes evidence and never the reverse, so the two
/// statements need not be of one moment.
async fn open_or_ended(
    sql: &Connection,
    tenant: &TenantName,
    id: TransactionId,
) -> Result<Option<Snapshot>, StoreError> {
    let transaction = transaction::load(sql, tenant, &Handle::Id(id)).await?;
    Ok(Some(Snapshot { transaction, ..Snapshot::default() }))
}

/// The columns of a table, with its name.
fn of(table: &str, columns: &str) -> String {
    let named = columns.split(',').map(|column| format!("{table}.{}", column.trim()));
    named.collect::<Vec<_>>().join(", ")
}

fn count(columns: &str) -> usize {
    columns.split(',').count()
}

/// Whether an outer join found a row: its tenant is never NULL.
fn is_there(row: &Cells) -> bool {
    row.first().is_some_and(|tenant| *tenant != Cell::Null)
}
