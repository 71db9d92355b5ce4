//! The outbox, in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;

use countersign_core::delivery::selection::{self, DueDeliveries, Selection};
use countersign_core::delivery::{
    Delivery, DeliveryKind, Destination, NewDelivery, Settlement, Verdict,
};
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::limits::DELIVERIES_CHANGED_MAX;
use countersign_core::port::{Claim, Claimed, DeliveryCursor, Listed, OutboxEntry, Page};
use countersign_core::time::Timestamp;

use crate::answered::answered;
use crate::attempts::begun;
use crate::{BACKLOG_COUNTED_MAX, Backlog};

/// The deliveries by number, in the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    entries: BTreeMap<u64, OutboxEntry>,
    /// The number of the latest delivery.
    queued: u64,
}

impl Deliveries {
    pub(super) fn has(&self, tenant: &TenantName, id: DeliveryId) -> bool {
        self.place(tenant, id).is_some()
    }

    /// Whether a transaction has a callback in the outbox, dead letter or not.
    pub(super) fn owe(&self, tenant: &TenantName, transaction: TransactionId) -> bool {
        let mut theirs = self.entries.values().filter(|outbox| is_for(outbox, tenant, transaction));
        theirs.any(|outbox| outbox.delivery.kind == DeliveryKind::Callback)
    }

    /// Removes the deliveries of a transaction.
    pub(super) fn purge(&mut self, tenant: &TenantName, transaction: TransactionId) {
        self.entries.retain(|_, outbox| !is_for(outbox, tenant, transaction));
    }

    /// Removes at most `limit` deliveries of a tenant, and answers how many.
    pub(super) fn remove_of_tenant(&mut self, tenant: &TenantName, limit: usize) -> usize {
        let is_own = |outbox: &OutboxEntry| outbox.delivery.destination.tenant() == tenant;
        let own = self.entries.iter().filter(|(_, outbox)| is_own(outbox));
        let going: Vec<_> = own.map(|(number, _)| *number).take(limit).collect();
        for number in &going {
            self.entries.remove(number);
        }
        going.len()
    }

    /// Removes the pushes of a transaction.
    pub(super) fn call_off(&mut self, tenant: &TenantName, transaction: TransactionId) {
        self.entries.retain(|_, outbox| {
            let is_push = matches!(outbox.delivery.kind, DeliveryKind::Push(_));
            !(is_push && is_for(outbox, tenant, transaction))
        });
    }

    /// Queues a delivery of a transaction.
    pub(super) fn queue(&mut self, transaction: TransactionId, delivery: NewDelivery) {
        let NewDelivery { id, kind, destination, due_at } = delivery;
        let (queued_at, attempts, lease) = (due_at, 0, 0);
        let delivery = Delivery { id, destination, transaction, kind, queued_at, attempts, lease };
        let entry = OutboxEntry { delivery, due_at: Some(due_at), outcome: None };
        self.queued += 1;
        self.entries.insert(self.queued, entry);
    }

    pub(super) fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for outbox in self.entries.values().take(BACKLOG_COUNTED_MAX as usize) {
            let is_callback = outbox.delivery.kind == DeliveryKind::Callback;
            *match (outbox.due_at, is_callback) {
                (None, _) => &mut backlog.dead_letters,
                (Some(_), true) => &mut backlog.callbacks,
                (Some(_), false) => &mut backlog.pushes,
            } += 1;
        }
        backlog
    }

    pub(super) fn claim(&mut self, claim: Claim) -> Claimed {
        let Claim { now, lease_end, capacity, after } = claim;
        let mut due = DueEntries { entries: &self.entries, now };
        let Ok(Selection { found, resume, is_partial }) =
            answered(selection::select(&mut due, capacity, after, now));
        let lease = |at: u64| {
            let outbox = self.entries.get_mut(&at)?;
            outbox.due_at = Some(lease_end);
            outbox.delivery.lease += 1;
            let claimed = outbox.delivery.clone();
            outbox.delivery.attempts = begun(claimed.attempts);
            Some(claimed)
        };
        Claimed { deliveries: found.into_iter().filter_map(lease).collect(), resume, is_partial }
    }

    /// Answers the settled delivery, if its lease is the latest one.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Option<Delivery> {
        let at = self.place(&settlement.tenant, settlement.id)?;
        let outbox = self.entries.get_mut(&at)?;
        if outbox.delivery.lease != settlement.lease {
            return None;
        }
        let delivery = outbox.delivery.clone();
        outbox.outcome = Some(settlement.outcome.clone());
        match (settlement.verdict, delivery.kind) {
            (Verdict::Done | Verdict::Skipped | Verdict::Retire { .. }, _)
            | (Verdict::GiveUp, DeliveryKind::Push(_)) => drop(self.entries.remove(&at)),
            (Verdict::Retry(due_at), _) => outbox.due_at = Some(due_at),
            (Verdict::GiveUp, DeliveryKind::Callback) => outbox.due_at = None,
        }
        Some(delivery)
    }

    pub(super) fn give_up_expired(
        &mut self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> u16 {
        let old = |outbox: &&mut OutboxEntry| {
            outbox.delivery.destination == *destination
                && outbox.due_at.is_some_and(|at| at <= now)
                && outbox.delivery.queued_at <= queued_before
        };
        let old = self.entries.values_mut().filter(old).take(DELIVERIES_CHANGED_MAX.into());
        old.fold(0, |count, outbox| {
            outbox.due_at = None;
            outbox.outcome = Some(outcome.to_owned());
            count + 1
        })
    }

    pub(super) fn list(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Listed<OutboxEntry, DeliveryCursor> {
        let after = page.after.map_or(0, |DeliveryCursor(number)| number);
        let asked = self.entries.range(after + 1..).filter(|(_, outbox)| {
            let is_asked = !dead_letters || outbox.due_at.is_none();
            outbox.delivery.destination.tenant() == tenant && is_asked
        });
        let rows: Vec<_> = asked.take(page.limit.into()).collect();
        let Listed { rows, next } =
            Listed::new(rows, page.limit, |(number, _)| DeliveryCursor(**number));
        Listed { rows: rows.into_iter().map(|(_, outbox)| outbox.clone()).collect(), next }
    }

    pub(super) fn replay(
        &mut self,
        tenant: &TenantName,
        which: Option<DeliveryId>,
        now: Timestamp,
    ) -> u16 {
        let asked = |outbox: &&mut OutboxEntry| {
            let delivery = &outbox.delivery;
            delivery.destination.tenant() == tenant
                && which.is_none_or(|id| delivery.id == id)
                && outbox.due_at.is_none()
        };
        let asked = self.entries.values_mut().filter(asked).take(DELIVERIES_CHANGED_MAX.into());
        asked.fold(0, |count, outbox| {
            outbox.due_at = Some(now);
            outbox.delivery.queued_at = now;
            outbox.delivery.attempts = 0;
            count + 1
        })
    }

    fn place(&self, tenant: &TenantName, id: DeliveryId) -> Option<u64> {
        let this =
            |delivery: &Delivery| delivery.destination.tenant() == tenant && delivery.id == id;
        let mut entries = self.entries.iter();
        entries.find(|(_, outbox)| this(&outbox.delivery)).map(|(number, _)| *number)
    }
}

/// The deliveries that are due at a time.
struct DueEntries<'a> {
    entries: &'a BTreeMap<u64, OutboxEntry>,
    now: Timestamp,
}

impl DueEntries<'_> {
    /// The due deliveries of one destination, or of all, the earliest first.
    fn sorted(&self, of: Option<&Destination>) -> Vec<(Destination, u64)> {
        let due = self.entries.iter().filter_map(|(number, outbox)| {
            let due_at = outbox.due_at.filter(|at| *at <= self.now)?;
            let destination = &outbox.delivery.destination;
            let is_asked = of.is_none_or(|of| of == destination);
            is_asked.then_some((due_at, *number, destination))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable_by_key(|(due_at, number, _)| (*due_at, *number));
        due.into_iter().map(|(_, number, destination)| (destination.clone(), number)).collect()
    }
}

impl DueDeliveries for DueEntries<'_> {
    type Found = u64;
    type Error = Infallible;

    async fn all(&mut self, limit: u16) -> Result<Option<Vec<(Destination, u64)>>, Infallible> {
        Ok(Some(self.sorted(None)).filter(|due| due.len() <= limit.into()))
    }

    async fn next(
        &mut self,
        after: Option<&Destination>,
        skips_receiver: bool,
    ) -> Result<Option<Destination>, Infallible> {
        let waiting = self.entries.values().filter(|outbox| outbox.due_at.is_some());
        let destinations = waiting.map(|outbox| &outbox.delivery.destination);
        let next = destinations.filter(|one| {
            after.is_none_or(|after| {
                *one > after && !(skips_receiver && one.receiver == after.receiver)
            })
        });
        Ok(next.min().cloned())
    }

    async fn of(&mut self, destination: &Destination, limit: u16) -> Result<Vec<u64>, Infallible> {
        let due = self.sorted(Some(destination)).into_iter().map(|(_, number)| number);
        Ok(due.take(limit.into()).collect())
    }
}

fn is_for(outbox: &OutboxEntry, tenant: &TenantName, transaction: TransactionId) -> bool {
    outbox.delivery.destination.tenant() == tenant && outbox.delivery.transaction == transaction
}
