//! Debts that wait to be paid, in memory.

use std::convert::Infallible;

use countersign_core::delivery::{Debt, Delivery, Lane, Owed, Settlement, Verdict};
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::limits::DELIVERIES_CHANGED_MAX;
use countersign_core::port::{Claim, Claimed, Unpaid};
use countersign_core::time::Timestamp;

use crate::claim::walk;

/// In the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Deliveries(Vec<Unpaid>);

impl Deliveries {
    pub(super) fn has(&self, tenant: &TenantName, id: DeliveryId) -> bool {
        self.place(tenant, id).is_some()
    }

    /// Whether a callback is owed for a transaction, given up or not.
    pub(super) fn owe(&self, tenant: &TenantName, transaction: TransactionId) -> bool {
        let mut theirs = self.0.iter().filter(|unpaid| is_for(unpaid, tenant, transaction));
        theirs.any(|unpaid| unpaid.delivery.debt == Debt::Callback)
    }

    /// Removes what is owed for a transaction.
    pub(super) fn forget(&mut self, tenant: &TenantName, transaction: TransactionId) {
        self.0.retain(|unpaid| !is_for(unpaid, tenant, transaction));
    }

    /// Removes the pushes that are owed for a transaction.
    pub(super) fn call_off(&mut self, tenant: &TenantName, transaction: TransactionId) {
        self.0.retain(|unpaid| {
            let is_push = matches!(unpaid.delivery.debt, Debt::Push(_));
            !(is_push && is_for(unpaid, tenant, transaction))
        });
    }

    /// Queues what a transaction owes.
    pub(super) fn queue(&mut self, transaction: TransactionId, owed: Owed) {
        let Owed { id, debt, lane, due_at } = owed;
        let (owed_at, attempts, lease) = (due_at, 0, 0);
        let delivery = Delivery { id, lane, transaction, debt, owed_at, attempts, lease };
        self.0.push(Unpaid { delivery, due_at: Some(due_at), outcome: None });
    }

    pub(super) fn claim(&mut self, claim: Claim) -> Claimed {
        let (now, lease_end) = (claim.now, claim.lease_end);
        let all = &self.0;
        let waiting = || all.iter().filter(|unpaid| unpaid.due_at.is_some());
        let next = |after: Option<&Lane>| {
            let lanes = waiting().map(|unpaid| &unpaid.delivery.lane);
            let lane = lanes.filter(|lane| after.is_none_or(|after| *lane > after)).min();
            Ok::<_, Infallible>(lane.cloned())
        };
        let due = |lane: &Lane, places: u16| {
            let mut due: Vec<usize> = (0..all.len()).collect();
            due.retain(|at| {
                all[*at].delivery.lane == *lane && all[*at].due_at.is_some_and(|at| at <= now)
            });
            due.sort_by_key(|at| all[*at].due_at);
            due.truncate(places.into());
            Ok(due)
        };
        let Ok((places, resume)) = walk(claim, next, due);
        let lease = |at: usize| {
            let unpaid = &mut self.0[at];
            unpaid.due_at = Some(lease_end);
            unpaid.delivery.lease += 1;
            let claimed = unpaid.delivery.clone();
            unpaid.delivery.attempts = begun(claimed.attempts);
            claimed
        };
        Claimed { deliveries: places.into_iter().map(lease).collect(), resume }
    }

    /// Answers the delivery that was settled, if its lease is the last one.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Option<Delivery> {
        let at = self.place(&settlement.tenant, settlement.id)?;
        let unpaid = &mut self.0[at];
        if unpaid.delivery.lease != settlement.lease {
            return None;
        }
        let delivery = unpaid.delivery.clone();
        unpaid.outcome = Some(settlement.outcome.clone());
        match (settlement.verdict, delivery.debt) {
            (Verdict::Done | Verdict::Needless | Verdict::Retire { .. }, _)
            | (Verdict::GiveUp, Debt::Push(_)) => drop(self.0.remove(at)),
            (Verdict::Retry(due_at), _) => unpaid.due_at = Some(due_at),
            (Verdict::GiveUp, Debt::Callback) => unpaid.due_at = None,
        }
        Some(delivery)
    }

    pub(super) fn forsake(
        &mut self,
        lane: &Lane,
        now: Timestamp,
        owed_before: Timestamp,
        outcome: &str,
    ) -> u16 {
        let old = |unpaid: &&mut Unpaid| {
            unpaid.delivery.lane == *lane
                && unpaid.due_at.is_some_and(|at| at <= now)
                && unpaid.delivery.owed_at <= owed_before
        };
        let old = self.0.iter_mut().filter(old).take(DELIVERIES_CHANGED_MAX.into());
        old.fold(0, |count, unpaid| {
            unpaid.due_at = None;
            unpaid.outcome = Some(outcome.to_owned());
            count + 1
        })
    }

    pub(super) fn list(&self, tenant: &TenantName, given_up: bool, limit: u16) -> Vec<Unpaid> {
        let theirs = self.0.iter().filter(|unpaid| unpaid.delivery.lane.tenant == *tenant);
        let asked = theirs.filter(|unpaid| !given_up || unpaid.due_at.is_none());
        asked.take(limit.into()).cloned().collect()
    }

    pub(super) fn replay(
        &mut self,
        tenant: &TenantName,
        which: Option<DeliveryId>,
        now: Timestamp,
    ) -> u16 {
        let asked = |unpaid: &&mut Unpaid| {
            let delivery = &unpaid.delivery;
            delivery.lane.tenant == *tenant
                && which.is_none_or(|id| delivery.id == id)
                && unpaid.due_at.is_none()
        };
        let asked = self.0.iter_mut().filter(asked).take(DELIVERIES_CHANGED_MAX.into());
        asked.fold(0, |count, unpaid| {
            unpaid.due_at = Some(now);
            unpaid.delivery.owed_at = now;
            unpaid.delivery.attempts = 0;
            count + 1
        })
    }

    fn place(&self, tenant: &TenantName, id: DeliveryId) -> Option<usize> {
        let this = |delivery: &Delivery| delivery.lane.tenant == *tenant && delivery.id == id;
        self.0.iter().position(|unpaid| this(&unpaid.delivery))
    }
}

/// One more attempt than before. Stays below the largest number, so that whoever counts the one in
/// hand does not overflow.
pub(crate) fn begun(attempts: u16) -> u16 {
    attempts.saturating_add(1).min(u16::MAX - 1)
}

fn is_for(unpaid: &Unpaid, tenant: &TenantName, transaction: TransactionId) -> bool {
    unpaid.delivery.lane.tenant == *tenant && unpaid.delivery.transaction == transaction
}
