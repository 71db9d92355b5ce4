//! Rows of deliveries: debts that wait to be paid.

use countersign_core::delivery::{Debt, Delivery, Verdict};
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::column::{Columns, moment, number};
use super::device;
use super::trouble::Trouble;
use crate::memory::begun;

/// Queues a debt.
pub(super) fn insert(
    sql: &Connection,
    tenant: &TenantName,
    transaction: TransactionId,
    id: DeliveryId,
    debt: &Debt,
    due_at: Timestamp,
) -> Result<(), Trouble> {
    let (debt, device) = match debt {
        Debt::Callback => ("callback", None),
        Debt::Push(device) => ("push", Some(number(device.number()))),
    };
    sql.prepare_cached(
        "INSERT INTO deliveries (tenant, id, transaction_id, debt, device, attempts, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
    )?
    .execute(params![
        tenant.as_str(),
        id.0.to_be_bytes(),
        transaction.bytes(),
        debt,
        device,
        moment(due_at),
    ])?;
    Ok(())
}

pub(super) const ANY_DUE: &str = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE due_at <= ?1)";

pub(super) fn any_due(sql: &Connection, now: Timestamp) -> Result<bool, Trouble> {
    Ok(sql.prepare_cached(ANY_DUE)?.query_row([moment(now)], |row| row.get(0))?)
}

pub(super) const CLAIM: &str = "SELECT tenant, id, transaction_id, debt, device, attempts, seq
       FROM deliveries WHERE due_at <= ?1
      ORDER BY due_at, seq LIMIT ?2";

/// Leases what is due. The attempt counts from now on, so that a delivery which takes its node down
/// is given up in the end.
pub(super) fn claim(
    sql: &Connection,
    now: Timestamp,
    lease_end: Timestamp,
    limit: u16,
) -> Result<Vec<Delivery>, Trouble> {
    let mut claimed = Vec::new();
    {
        let mut select = sql.prepare_cached(CLAIM)?;
        let mut rows = select.query(params![moment(now), limit])?;
        while let Some(row) = rows.next()? {
            claimed.push(read(row)?);
        }
    }
    let mut lease =
        sql.prepare_cached("UPDATE deliveries SET due_at = ?2, attempts = ?3 WHERE seq = ?1")?;
    for (seq, delivery) in &claimed {
        lease.execute(params![seq, moment(lease_end), begun(delivery.attempts)])?;
    }
    Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
}

pub(super) fn settle(
    sql: &Connection,
    tenant: &TenantName,
    id: DeliveryId,
    verdict: Verdict,
) -> Result<(), Trouble> {
    let (tenant, id) = (tenant.as_str(), id.0.to_be_bytes());
    let due_at = match verdict {
        Verdict::Done => {
            sql.prepare_cached("DELETE FROM deliveries WHERE tenant = ?1 AND id = ?2")?
                .execute(params![tenant, id])?;
            return Ok(());
        }
        Verdict::Retry(due_at) => Some(moment(due_at)),
        Verdict::GiveUp => None,
    };
    sql.prepare_cached("UPDATE deliveries SET due_at = ?3 WHERE tenant = ?1 AND id = ?2")?
        .execute(params![tenant, id, due_at])?;
    Ok(())
}

fn read(row: &rusqlite::Row<'_>) -> Result<(i64, Delivery), Trouble> {
    let mut columns = Columns::of("deliveries", 2, row);
    let tenant = columns.text("tenant")?;
    let id = DeliveryId(columns.id("id")?);
    let transaction = TransactionId(columns.id("transaction_id")?);
    let debt: String = columns.next("debt")?;
    let device = device::id_or_none(&mut columns, "device")?;
    let debt = match (debt.as_str(), device) {
        ("callback", None) => Debt::Callback,
        ("push", Some(device)) => Debt::Push(device),
        _ => return Err(columns.corrupt("debt", format!("no such debt as {debt:?}"))),
    };
    let attempts = columns.next("attempts")?;
    let seq = columns.next("seq")?;
    Ok((seq, Delivery { id, tenant, transaction, debt, attempts }))
}
