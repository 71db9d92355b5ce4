//! Rows of deliveries.

pub(super) mod select;

use countersign_core::delivery::{
    Delivery, DeliveryKind, Destination, EndpointId, NewDelivery, Receiver, Settlement, Verdict,
};
use countersign_core::event::NewEvent;
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::limits::DELIVERIES_CHANGED_MAX;
use countersign_core::port::{DeliveryCursor, Listed, OutboxEntry, Page, Settle, Settled};
use countersign_core::push_policy::{PushState, Pushed};
use countersign_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::column::{Columns, moment, number};
use super::error::StoreError;
use super::{contact, device, event};
use crate::memory::begun;

/// Queues a delivery.
pub(super) fn insert(
    sql: &Connection,
    transaction: TransactionId,
    new: &NewDelivery,
) -> Result<(), StoreError> {
    let (kind, device) = match new.kind {
        DeliveryKind::Callback => ("callback", None),
        DeliveryKind::Push(device) => ("push", Some(number(device.number()))),
    };
    sql.prepare_cached(
        "INSERT INTO deliveries (tenant, id, transaction_id, kind, device, attempts, due_at,
                                 host, endpoint, queued_at, lease)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?6, 0)",
    )?
    .execute(params![
        new.destination.tenant().as_str(),
        new.id.0.to_be_bytes(),
        transaction.bytes(),
        kind,
        device,
        moment(new.due_at),
        new.destination.host().to_string(),
        number(new.destination.endpoint.number()),
    ])?;
    Ok(())
}

pub(super) const CALL_OFF: &str =
    "DELETE FROM deliveries WHERE tenant = ?1 AND transaction_id = ?2 AND kind = 'push'";

/// Removes the queued pushes of a transaction.
pub(super) fn call_off(
    sql: &Connection,
    tenant: &TenantName,
    transaction: TransactionId,
) -> Result<(), StoreError> {
    sql.prepare_cached(CALL_OFF)?.execute(params![tenant.as_str(), transaction.bytes()])?;
    Ok(())
}

pub(super) use select::candidates;

/// A due delivery, as it was found. The first node that leases it gets it.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    seq: i64,
    due_at: i64,
}

/// Leases the candidates that no other node has leased meanwhile. The attempt counts from now on,
/// so that a delivery that crashes its node is eventually given up.
pub(super) fn lease(
    sql: &Connection,
    candidates: &[Candidate],
    lease_end: Timestamp,
) -> Result<Vec<Delivery>, StoreError> {
    let mut leased = Vec::with_capacity(candidates.len());
    let mut select = sql.prepare_cached(
        "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease
           FROM deliveries WHERE seq = ?1 AND due_at = ?2",
    )?;
    for candidate in candidates {
        let mut rows = select.query(params![candidate.seq, candidate.due_at])?;
        if let Some(row) = rows.next()? {
            let delivery = read(&mut Columns::of("deliveries", 2, row))?;
            leased.push((candidate.seq, Delivery { lease: delivery.lease + 1, ..delivery }));
        }
    }
    let mut update = sql.prepare_cached(
        "UPDATE deliveries SET due_at = ?2, attempts = ?3, lease = ?4 WHERE seq = ?1",
    )?;
    for (seq, delivery) in &leased {
        let attempts = begun(delivery.attempts);
        update.execute(params![seq, moment(lease_end), attempts, delivery.lease])?;
    }
    Ok(leased.into_iter().map(|(_, delivery)| delivery).collect())
}

pub(super) fn settle(sql: &Connection, settle: &Settle) -> Result<Settled, StoreError> {
    match settle {
        Settle::Claimed(settlement) => settle_claimed(sql, settlement),
        Settle::Expired { destination, now, queued_before, outcome } => {
            let changed = give_up_expired(sql, destination, *now, *queued_before, outcome)?;
            Ok(Settled { changed, event: None })
        }
    }
}

fn settle_claimed(sql: &Connection, settlement: &Settlement) -> Result<Settled, StoreError> {
    let Settlement { tenant, id, lease, verdict, outcome, at } = settlement;
    let which = params![tenant.as_str(), id.0.to_be_bytes(), lease];
    let mut find = sql.prepare_cached(
        "SELECT tenant, id, seq, device, transaction_id FROM deliveries
          WHERE tenant = ?1 AND id = ?2 AND lease = ?3",
    )?;
    let mut rows = find.query(which)?;
    let Some(row) = rows.next()? else { return Ok(Settled::default()) };
    let mut columns = Columns::of("deliveries", 2, row);
    let (_, _): (String, Vec<u8>) = (columns.next("tenant")?, columns.next("id")?);
    let seq: i64 = columns.next("seq")?;
    let device = device::id_or_none(&mut columns, "device")?;
    let transaction = TransactionId(columns.id("transaction_id")?);
    let kept = match verdict {
        Verdict::Retry(due_at) => Some(Some(moment(*due_at))),
        Verdict::GiveUp if device.is_none() => Some(None),
        Verdict::Done | Verdict::Skipped | Verdict::GiveUp | Verdict::Retire { .. } => None,
    };
    match kept {
        Some(due_at) => sql
            .prepare_cached("UPDATE deliveries SET due_at = ?2, outcome = ?3 WHERE seq = ?1")?
            .execute(params![seq, due_at, outcome])?,
        None => sql.prepare_cached("DELETE FROM deliveries WHERE seq = ?1")?.execute([seq])?,
    };
    let mut written = None;
    if let Some(device) = device {
        let pushed =
            Pushed { state: PushState::after(*verdict), at: *at, outcome: outcome.clone() };
        contact::note_push(sql, tenant, transaction, device, &pushed)?;
        if let Verdict::Retire { version } = verdict
            && device::retire_push(sql, tenant, device, *version, *at)?
        {
            let event = NewEvent::of_retired_push(settlement, device);
            event::Row::of(&event).insert(sql)?;
            written = Some(event);
        }
    }
    Ok(Settled { changed: 1, event: written })
}

pub(super) const GIVE_UP_EXPIRED: &str = "UPDATE deliveries SET due_at = NULL, outcome = ?5
      WHERE seq IN (SELECT seq FROM deliveries
                     WHERE tenant = ?1 AND host = ?2 AND endpoint = ?6 AND due_at <= ?3
                       AND queued_at <= ?4 LIMIT ?7)";

fn give_up_expired(
    sql: &Connection,
    destination: &Destination,
    now: Timestamp,
    queued_before: Timestamp,
    outcome: &str,
) -> Result<u16, StoreError> {
    let changed = sql.prepare_cached(GIVE_UP_EXPIRED)?.execute(params![
        destination.tenant().as_str(),
        destination.host().to_string(),
        moment(now),
        moment(queued_before),
        outcome,
        number(destination.endpoint.number()),
        DELIVERIES_CHANGED_MAX,
    ])?;
    Ok(changed as u16)
}

const LIST: &str =
    "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease, due_at, outcome
       FROM deliveries WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
pub(super) const LIST_DEAD_LETTERS: &str =
    "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease, due_at, outcome
       FROM deliveries INDEXED BY deliveries_dead_letters
      WHERE tenant = ?1 AND due_at IS NULL AND seq > ?2 ORDER BY seq LIMIT ?3";
const SEQ: &str = "SELECT seq FROM deliveries WHERE tenant = ?1 AND id = ?2";

pub(super) fn list(
    sql: &Connection,
    tenant: &TenantName,
    dead_letters: bool,
    page: Page<DeliveryCursor>,
) -> Result<Listed<OutboxEntry, DeliveryCursor>, StoreError> {
    let mut select = sql.prepare_cached(if dead_letters { LIST_DEAD_LETTERS } else { LIST })?;
    let after = page.after.map_or(-1, |DeliveryCursor(seq)| number(seq));
    let mut rows = select.query(params![tenant.as_str(), after, page.limit])?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::of("deliveries", 2, row);
        let delivery = read(&mut columns)?;
        let due_at = columns.moment_or_none("due_at")?;
        listed.push(OutboxEntry { delivery, due_at, outcome: columns.next("outcome")? });
    }
    let is_full = listed.len() == usize::from(page.limit);
    let next = match listed.last().filter(|_| is_full) {
        None => None,
        Some(last) => {
            let given = params![tenant.as_str(), last.delivery.id.0.to_be_bytes()];
            let seq: i64 = sql.prepare_cached(SEQ)?.query_row(given, |row| row.get(0))?;
            Some(DeliveryCursor(seq.cast_unsigned()))
        }
    };
    Ok(Listed { rows: listed, next })
}

pub(super) const REPLAY_ALL: &str =
    "UPDATE deliveries SET due_at = ?2, queued_at = ?2, attempts = 0
      WHERE seq IN (SELECT seq FROM deliveries INDEXED BY deliveries_dead_letters
                     WHERE tenant = ?1 AND due_at IS NULL ORDER BY seq LIMIT ?3)";

pub(super) fn replay(
    sql: &Connection,
    tenant: &TenantName,
    which: Option<DeliveryId>,
    now: Timestamp,
) -> Result<u16, StoreError> {
    let (tenant, now) = (tenant.as_str(), moment(now));
    let changed = match which {
        Some(id) => sql
            .prepare_cached(
                "UPDATE deliveries SET due_at = ?3, queued_at = ?3, attempts = 0
                  WHERE tenant = ?1 AND id = ?2 AND due_at IS NULL",
            )?
            .execute(params![tenant, id.0.to_be_bytes(), now])?,
        None => {
            sql.prepare_cached(REPLAY_ALL)?.execute(params![tenant, now, DELIVERIES_CHANGED_MAX])?
        }
    };
    Ok(changed as u16)
}

/// Reads the columns from `tenant` to `lease`.
fn read(columns: &mut Columns<'_>) -> Result<Delivery, StoreError> {
    let tenant = columns.text("tenant")?;
    let id = DeliveryId(columns.id("id")?);
    let transaction = TransactionId(columns.id("transaction_id")?);
    let kind: String = columns.next("kind")?;
    let device = device::id_or_none(columns, "device")?;
    let kind = match (kind.as_str(), device) {
        ("callback", None) => DeliveryKind::Callback,
        ("push", Some(device)) => DeliveryKind::Push(device),
        _ => return Err(columns.corrupt("kind", format!("no such kind as {kind:?}"))),
    };
    let attempts = columns.next("attempts")?;
    let receiver = Receiver { tenant, host: columns.text("host")? };
    let destination = Destination { receiver, endpoint: endpoint(columns)? };
    let queued_at = columns.moment("queued_at")?;
    let lease = columns.next("lease")?;
    Ok(Delivery { id, destination, transaction, kind, queued_at, attempts, lease })
}

fn endpoint(columns: &mut Columns<'_>) -> Result<EndpointId, StoreError> {
    let endpoint: i64 = columns.next("endpoint")?;
    Ok(EndpointId::from_number(endpoint.cast_unsigned()))
}
