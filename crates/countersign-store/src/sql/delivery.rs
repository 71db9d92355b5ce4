//! Rows of deliveries.

pub(crate) mod select;

use countersign_core::delivery::{
    Delivery, DeliveryKind, Destination, EndpointId, NewDelivery, Receiver, Settlement, Verdict,
};
use countersign_core::event::NewEvent;
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::limits::DELIVERIES_CHANGED_MAX;
use countersign_core::port::{DeliveryCursor, Listed, OutboxEntry, Page, Settle, Settled};
use countersign_core::push_policy::{PushState, Pushed};
use countersign_core::time::Timestamp;

use super::column::{Columns, moment, number};
use super::error::StoreError;
use super::{contact, device, event};
use crate::attempts::begun;
use crate::sql::Sql;
use crate::sql::value::values;

/// Queues a delivery.
pub(crate) async fn insert(
    sql: &impl Sql,
    transaction: TransactionId,
    new: &NewDelivery,
) -> Result<(), StoreError> {
    let (kind, device) = match new.kind {
        DeliveryKind::Callback => ("callback", None),
        DeliveryKind::Push(device) => ("push", Some(number(device.number()))),
    };
    sql.execute(
        "INSERT INTO deliveries (tenant, id, transaction_id, kind, device, attempts, due_at,
                                 host, endpoint, queued_at, lease)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8, ?6, 0)",
        values![
            new.destination.tenant().as_str(),
            new.id.0.to_be_bytes(),
            transaction.bytes(),
            kind,
            device,
            moment(new.due_at),
            new.destination.host().to_string(),
            number(new.destination.endpoint.number()),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) const CALL_OFF: &str =
    "DELETE FROM deliveries WHERE tenant = ?1 AND transaction_id = ?2 AND kind = 'push'";

/// Removes the queued pushes of a transaction.
pub(crate) async fn call_off(
    sql: &impl Sql,
    tenant: &TenantName,
    transaction: TransactionId,
) -> Result<(), StoreError> {
    sql.execute(CALL_OFF, values![tenant.as_str(), transaction.bytes()]).await?;
    Ok(())
}

pub(crate) use select::candidates;

/// A due delivery, as it was found. The first node that leases it gets it.
#[derive(Clone)]
pub(crate) struct Candidate {
    tenant: TenantName,
    id: DeliveryId,
    due_at: i64,
}

/// Leases the candidates that no other node has leased meanwhile. The attempt counts from now on,
/// so that a delivery that crashes its node is eventually given up.
pub(crate) async fn lease(
    sql: &impl Sql,
    candidates: &[Candidate],
    lease_end: Timestamp,
) -> Result<Vec<Delivery>, StoreError> {
    let mut leased = Vec::with_capacity(candidates.len());
    let select = "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease
           FROM deliveries WHERE tenant = ?1 AND id = ?2 AND due_at = ?3
                /* FOR UPDATE SKIP LOCKED */";
    for Candidate { tenant, id, due_at } in candidates {
        let key = (tenant.as_str(), id.0.to_be_bytes());
        if let Some(row) = sql.first(select, values![key.0, key.1, due_at]).await? {
            let delivery = read(&mut Columns::of("deliveries", 2, row))?;
            leased.push(Delivery { lease: delivery.lease + 1, ..delivery });
        }
    }
    let update = "UPDATE deliveries SET due_at = ?3, attempts = ?4, lease = ?5
      WHERE tenant = ?1 AND id = ?2";
    for Delivery { id, destination, attempts, lease, .. } in &leased {
        let key = (destination.tenant().as_str(), id.0.to_be_bytes());
        let attempts = begun(*attempts);
        sql.execute(update, values![key.0, key.1, moment(lease_end), attempts, lease]).await?;
    }
    Ok(leased)
}

pub(crate) async fn settle(sql: &impl Sql, settle: &Settle) -> Result<Settled, StoreError> {
    match settle {
        Settle::Claimed(settlement) => settle_claimed(sql, settlement).await,
        Settle::Expired { destination, now, queued_before, outcome } => {
            let changed = give_up_expired(sql, destination, *now, *queued_before, outcome).await?;
            Ok(Settled { changed, event: None })
        }
    }
}

async fn settle_claimed(sql: &impl Sql, settlement: &Settlement) -> Result<Settled, StoreError> {
    let Settlement { tenant, id, lease, verdict, outcome, at } = settlement;
    let (tenant_key, id) = (tenant.as_str(), id.0.to_be_bytes());
    let find = "SELECT tenant, id, device, transaction_id FROM deliveries
          WHERE tenant = ?1 AND id = ?2 AND lease = ?3 /* FOR UPDATE */";
    let Some(row) = sql.first(find, values![tenant_key, id, lease]).await? else {
        return Ok(Settled::default());
    };
    let mut columns = Columns::of("deliveries", 2, row).after(2);
    let device = device::id_or_none(&mut columns, "device")?;
    let transaction = TransactionId(columns.id("transaction_id")?);
    let kept = match verdict {
        Verdict::Retry(due_at) => Some(Some(moment(*due_at))),
        Verdict::GiveUp if device.is_none() => Some(None),
        Verdict::Done | Verdict::Skipped | Verdict::GiveUp | Verdict::Retire { .. } => None,
    };
    if let Some(due_at) = kept {
        let update =
            "UPDATE deliveries SET due_at = ?3, outcome = ?4 WHERE tenant = ?1 AND id = ?2";
        sql.execute(update, values![tenant_key, id, due_at, outcome]).await?;
    } else {
        let delete = "DELETE FROM deliveries WHERE tenant = ?1 AND id = ?2";
        sql.execute(delete, values![tenant_key, id]).await?;
    }
    let mut written = None;
    if let Some(device) = device {
        let pushed =
            Pushed { state: PushState::after(*verdict), at: *at, outcome: outcome.clone() };
        contact::note_push(sql, tenant, transaction, device, &pushed).await?;
        if let Verdict::Retire { version } = verdict
            && device::retire_push(sql, tenant, device, *version, *at).await?
        {
            let event = NewEvent::of_retired_push(settlement, device);
            sql.record(&event::Row::of(&event)).await?;
            written = Some(event);
        }
    }
    Ok(Settled { changed: 1, event: written })
}

pub(crate) const GIVE_UP_EXPIRED: &str = "UPDATE deliveries SET due_at = NULL, outcome = ?5
      WHERE tenant = ?1 AND seq IN (SELECT seq FROM deliveries
                     WHERE tenant = ?1 AND host = ?2 AND endpoint = ?6 AND due_at <= ?3
                       AND queued_at <= ?4 LIMIT ?7)";

async fn give_up_expired(
    sql: &impl Sql,
    destination: &Destination,
    now: Timestamp,
    queued_before: Timestamp,
    outcome: &str,
) -> Result<u16, StoreError> {
    let changed = sql
        .execute(
            GIVE_UP_EXPIRED,
            values![
                destination.tenant().as_str(),
                destination.host().to_string(),
                moment(now),
                moment(queued_before),
                outcome,
                number(destination.endpoint.number()),
                DELIVERIES_CHANGED_MAX,
            ],
        )
        .await?;
    Ok(changed as u16)
}

const LIST: &str =
    "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease, due_at, outcome
       FROM deliveries WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
pub(crate) const LIST_DEAD_LETTERS: &str =
    "SELECT tenant, id, transaction_id, kind, device, attempts, host, endpoint, queued_at, lease, due_at, outcome
       FROM deliveries INDEXED BY deliveries_dead_letters
      WHERE tenant = ?1 AND due_at IS NULL AND seq > ?2 ORDER BY seq LIMIT ?3";
const SEQ: &str = "SELECT seq FROM deliveries WHERE tenant = ?1 AND id = ?2";

pub(crate) async fn list(
    sql: &impl Sql,
    tenant: &TenantName,
    dead_letters: bool,
    page: Page<DeliveryCursor>,
) -> Result<Listed<OutboxEntry, DeliveryCursor>, StoreError> {
    let select = if dead_letters { LIST_DEAD_LETTERS } else { LIST };
    let after = page.after.map_or(-1, |DeliveryCursor(seq)| number(seq));
    let rows = sql.query(select, values![tenant.as_str(), after, page.limit]).await?;
    let mut listed = Vec::new();
    for row in rows {
        let mut columns = Columns::of("deliveries", 2, row);
        let delivery = read(&mut columns)?;
        let due_at = columns.moment_or_none("due_at")?;
        listed.push(OutboxEntry { delivery, due_at, outcome: columns.next("outcome")? });
    }
    let is_full = listed.len() == usize::from(page.limit);
    let next = match listed.last().filter(|_| is_full) {
        None => None,
        Some(last) => {
            let id = last.delivery.id.0.to_be_bytes();
            let seq: i64 = sql.value(SEQ, values![tenant.as_str(), id]).await?;
            Some(DeliveryCursor(seq.cast_unsigned()))
        }
    };
    Ok(Listed { rows: listed, next })
}

pub(crate) const REPLAY_ALL: &str =
    "UPDATE deliveries SET due_at = ?2, queued_at = ?2, attempts = 0
      WHERE tenant = ?1 AND seq IN (SELECT seq FROM deliveries INDEXED BY deliveries_dead_letters
                     WHERE tenant = ?1 AND due_at IS NULL ORDER BY seq LIMIT ?3)";

pub(crate) async fn replay(
    sql: &impl Sql,
    tenant: &TenantName,
    which: Option<DeliveryId>,
    now: Timestamp,
) -> Result<u16, StoreError> {
    let (tenant, now) = (tenant.as_str(), moment(now));
    let changed = match which {
        Some(id) => {
            sql.execute(
                "UPDATE deliveries SET due_at = ?3, queued_at = ?3, attempts = 0
                  WHERE tenant = ?1 AND id = ?2 AND due_at IS NULL",
                values![tenant, id.0.to_be_bytes(), now],
            )
            .await?
        }
        None => sql.execute(REPLAY_ALL, values![tenant, now, DELIVERIES_CHANGED_MAX]).await?,
    };
    Ok(changed as u16)
}

/// Reads the columns from `tenant` to `lease`.
fn read(columns: &mut Columns) -> Result<Delivery, StoreError> {
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

fn endpoint(columns: &mut Columns) -> Result<EndpointId, StoreError> {
    let endpoint: i64 = columns.next("endpoint")?;
    Ok(EndpointId::from_number(endpoint.cast_unsigned()))
}
