//! Rows of contacts: the results of waking a device for a transaction.

use countersign_core::id::{DeviceId, TenantName, TransactionId};
use countersign_core::push_policy::{Contact, PushState, Pushed};
use countersign_core::time::Timestamp;

use super::column::{Columns, moment, number};
use super::device;
use super::error::StoreError;
use crate::sql::Sql;
use crate::sql::value::values;

/// Records the state of a device's push.
pub(crate) async fn note_push(
    sql: &impl Sql,
    tenant: &TenantName,
    transaction: TransactionId,
    device: DeviceId,
    pushed: &Pushed,
) -> Result<(), StoreError> {
    sql.execute(
        "INSERT INTO contacts (tenant, transaction_id, device, push, push_at, push_outcome)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (tenant, transaction_id, device)
             DO UPDATE SET push = ?4, push_at = ?5, push_outcome = ?6",
        values![
            tenant.as_str(),
            transaction.bytes(),
            number(device.number()),
            pushed.state.as_str(),
            moment(pushed.at),
            pushed.outcome,
        ],
    )
    .await?;
    Ok(())
}

/// Records the time at which a device first asked for its open transactions, for each of these
/// transactions.
pub(crate) async fn note_reached(
    sql: &impl Sql,
    tenant: &TenantName,
    transactions: &[TransactionId],
    device: DeviceId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let note =
        "INSERT INTO contacts (tenant, transaction_id, device, reached_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, transaction_id, device)
             DO UPDATE SET reached_at = ?4 WHERE contacts.reached_at IS NULL";
    for id in transactions {
        sql.execute(
            note,
            values![tenant.as_str(), id.bytes(), number(device.number()), moment(at)],
        )
        .await?;
    }
    Ok(())
}

pub(crate) const LIST: &str =
    "SELECT tenant, transaction_id, device, push, push_at, push_outcome, reached_at
       FROM contacts WHERE tenant = ?1 AND transaction_id = ?2 ORDER BY device";

pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    transaction: TransactionId,
) -> Result<Vec<Contact>, StoreError> {
    let select = LIST;
    let rows = sql.query(select, values![tenant.as_str(), transaction.bytes()]).await?;
    let mut contacts = Vec::new();
    for row in rows {
        let mut columns = Columns::of("contacts", 3, row);
        let (_, _): (String, Vec<u8>) = (columns.next("tenant")?, columns.next("transaction_id")?);
        let device = device::id(&mut columns, "device")?;
        let push = read_push(&mut columns)?;
        contacts.push(Contact { device, push, reached_at: columns.moment_or_none("reached_at")? });
    }
    Ok(contacts)
}

fn read_push(columns: &mut Columns) -> Result<Option<Pushed>, StoreError> {
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
