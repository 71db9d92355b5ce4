//! Rows of contacts: the results of waking a device for a transaction.

use countersign_core::id::{DeviceId, TenantName, TransactionId};
use countersign_core::push_policy::{Contact, PushState, Pushed};
use countersign_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::column::{Columns, moment, number};
use super::device;
use super::error::StoreError;

/// Records the state of a device's push.
pub(super) fn note_push(
    sql: &Connection,
    tenant: &TenantName,
    transaction: TransactionId,
    device: DeviceId,
    pushed: &Pushed,
) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO contacts (tenant, transaction_id, device, push, push_at, push_outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET push = ?4, push_at = ?5, push_outcome = ?6",
    )?
    .execute(params![
        tenant.as_str(),
        transaction.bytes(),
        number(device.number()),
        pushed.state.as_str(),
        moment(pushed.at),
        pushed.outcome,
    ])?;
    Ok(())
}

/// Records the time at which a device first asked for its open transactions, for each of these
/// transactions.
pub(super) fn note_reached(
    sql: &Connection,
    tenant: &TenantName,
    transactions: &[TransactionId],
    device: DeviceId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut note = sql.prepare_cached(
        "INSERT INTO contacts (tenant, transaction_id, device, reached_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET reached_at = ?4 WHERE reached_at IS NULL",
    )?;
    for id in transactions {
        note.execute(params![tenant.as_str(), id.bytes(), number(device.number()), moment(at)])?;
    }
    Ok(())
}

pub(super) const LIST: &str =
    "SELECT tenant, transaction_id, device, push, push_at, push_outcome, reached_at
       FROM contacts WHERE tenant = ?1 AND transaction_id = ?2 ORDER BY device";

pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    transaction: TransactionId,
) -> Result<Vec<Contact>, StoreError> {
    let mut select = sql.prepare_cached(LIST)?;
    let mut rows = select.query(params![tenant.as_str(), transaction.bytes()])?;
    let mut contacts = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("contacts", 3, row);
        let (_, _): (String, Vec<u8>) = (columns.next("tenant")?, columns.next("transaction_id")?);
        let device = device::id(&mut columns, "device")?;
        let push = read_push(&mut columns)?;
        contacts.push(Contact { device, push, reached_at: columns.moment_or_none("reached_at")? });
    }
    Ok(contacts)
}

fn read_push(columns: &mut Columns<'_>) -> Result<Option<Pushed>, StoreError> {
    let state: Option<String> = columns.next("push")?;
    let at = columns.moment_or_none("push_at")?;
    let outcome = columns.next("push_outcome")?;
    match (state, at, outcome) {
        (None, None, None) => Ok(None),
        (Some(name), Some(at), Some(outcome)) => {
            let state = PushState::ALL.into_iter().find(|state| state.as_str() == name);
            let state = state.ok_or_else(|| columns.corrupt("push", "no such state"))?;
            Ok(Some(Pushed { state, at, outcome }))
        }
        _ => Err(columns.corrupt("push", "a push has a state, a moment and an outcome")),
    }
}
