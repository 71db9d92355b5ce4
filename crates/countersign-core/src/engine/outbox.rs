//! The outbox: the deliveries that events require, and the use cases of workers and operators on
//! them.

use super::Engine;
use crate::delivery::{DeliveryKind, Destination, NewDelivery, Settlement};
use crate::device::Device;
use crate::event::{Actor, EventKind, FrequentEvent, Subject};
use crate::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use crate::port::{
    Change, Claim, Claimed, Clock, Committed, Entropy, Ledger, Notification, Notifier, Settle,
};
use crate::push_policy::{PushPolicy, PushSnapshot};
use crate::refusal::Fault;
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Leases deliveries that are due: see [`Ledger::claim`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        self.store.claim(claim).await
    }

    /// Records the result of a claimed delivery: see [`Ledger::settle`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        let settled = self.store.settle(Settle::Claimed(settlement)).await?;
        if let Some(event) = settled.event {
            self.notifier.recorded(FrequentEvent::default(), &[event]);
        }
        Ok(())
    }

    /// Reads the snapshots on which pushes are decided: see [`Ledger::push_snapshots`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        self.store.push_snapshots(who).await
    }

    /// Turns deliveries of one destination that have waited too long into dead letters: see
    /// [`Settle::Expired`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        let (destination, outcome) = (destination.clone(), outcome.to_owned());
        let expired = Settle::Expired { destination, now, queued_before, outcome };
        Ok(self.store.settle(expired).await?.changed)
    }

    /// Makes dead letters due again: one, or all of the tenant's, at most
    /// [`crate::limits::DELIVERIES_CHANGED_MAX`]. Answers how many.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn replay(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        which: Option<DeliveryId>,
    ) -> Result<u16, Fault> {
        let subject = which.map_or(Subject::DeadLetters, Subject::Delivery);
        let event = self.event(tenant, EventKind::DeliveriesReplayed, actor, subject, Vec::new());
        let change = Change::Replay { tenant: tenant.clone(), which, at: event.at };
        let Committed::Replayed(count) = self.commit(change, vec![event]).await? else {
            return Ok(0);
        };
        self.notifier.notify(Notification::NewDelivery);
        Ok(count)
    }
}

/// The deliveries that `event` requires. `recipients` are the devices that may be pushed, each with
/// whether it is connected.
#[must_use]
pub(super) fn deliveries_for(
    event: Event,
    transaction: &Transaction,
    recipients: &[(&Device, bool)],
    policy: &PushPolicy,
    mut random_u128: impl FnMut() -> DeliveryId,
) -> Vec<NewDelivery> {
    match event {
        Event::Started => {
            let push = |(device, is_present): &(&Device, bool)| {
                let wait = policy.wait(*is_present)?;
                let address = &device.push.registration()?.address;
                let tenant = &transaction.spec.tenant;
                Some(NewDelivery {
                    id: random_u128(),
                    kind: DeliveryKind::Push(device.id),
                    destination: Destination::of_push(tenant, address, &device.about.app),
                    due_at: transaction.spec.started_at + wait,
                })
            };
            recipients.iter().filter_map(push).collect()
        }
        Event::Ended(_) => NewDelivery::callback(random_u128(), transaction).into_iter().collect(),
        Event::Reached
        | Event::Taken
        | Event::PinProved
        | Event::PinMistaken
        | Event::CodeMistaken
        | Event::Discarded => Vec::new(),
    }
}
