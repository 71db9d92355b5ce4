//! One push that is due: is it still needed, what came of it, and what follows.

use countersign_core::delivery::{Debt, Delivery, Verdict};
use countersign_core::id::DeviceId;
use countersign_core::port::{Chance as _, Doorbell as _, Ledger as _};
use countersign_core::terms::Addressed;
use countersign_core::waking::{self, Needless, PATIENCE, Waking};
use tracing::warn;

use super::push::Outcome;
use super::worker::{Desk, Heard, Paid};
use crate::node::log;

impl Desk {
    /// Reads what the pushes among these stand on, all at once. What is not found here is looked for again by
    /// each.
    pub(super) async fn look(&self, deliveries: Vec<Delivery>) -> Vec<(Delivery, Option<Waking>)> {
        let device = |delivery: &Delivery| match delivery.debt {
            Debt::Push(device) => Some(device),
            Debt::Callback => None,
        };
        let who = deliveries
            .iter()
            .filter_map(|one| Some((one.lane.tenant.clone(), device(one)?, one.transaction)));
        let who: Vec<_> = who.collect();
        let mut seen = Vec::new();
        if !who.is_empty() {
            seen = self.core.store.waking(&who).await.unwrap_or_default();
        }
        let mut seen = seen.into_iter();
        let with_seen = |one: Delivery| match device(&one) {
            Some(_) => (one, seen.next().flatten()),
            None => (one, None),
        };
        deliveries.into_iter().map(with_seen).collect()
    }

    /// Makes one attempt to wake a device, if it still has to be: by what was `seen` a moment ago, or else is read.
    pub(super) async fn wake(
        &self,
        delivery: Delivery,
        device: DeviceId,
        seen: Option<Waking>,
    ) -> Paid {
        let (verdict, told, heard) = self.attempt(&delivery, device, seen).await;
        self.paid(delivery, verdict, told, heard)
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        id: DeviceId,
        seen: Option<Waking>,
    ) -> (Verdict, String, Heard) {
        let core = &self.core;
        let needless = |why: &str| (Verdict::Needless, why.to_owned(), Heard::Nothing);
        let tenant = &delivery.lane.tenant;
        let waking = if seen.is_some() {
            Ok(seen)
        } else {
            let who = [(tenant.clone(), id, delivery.transaction)];
            core.store.waking(&who).await.map(|mut found| found.pop().flatten())
        };
        let Waking { device, user, transaction } = match waking {
            Ok(Some(waking)) => waking,
            Ok(None) => return needless("the device is gone"),
            Err(fault) => {
                log(&fault);
                let again = Verdict::Retry(core.now() + PATIENCE.first);
                return (again, "the ledger failed".to_owned(), Heard::Nothing);
            }
        };
        let (Some(user), Some(transaction)) = (user, transaction) else {
            return needless("its transaction or its user is gone");
        };
        let (transaction, now) = (transaction.value, core.now());
        let is_present = core.doorbell.online(tenant, &device.user, &Addressed::Device(id));
        let policy = core.push_policy();
        let still = user.value.standing.check(now).map_err(|_| Needless::Locked);
        let still = still.and_then(|()| policy.still(&transaction, &device, is_present, now));
        let registration = match still {
            Ok(registration) => registration,
            Err(why) => return needless(&why.to_string()),
        };
        let sending = self.pushes.send(delivery.id, &transaction, &device, registration, now);
        let outcome = sending.await;
        let (now, jitter) = (core.now(), core.world.draw() as u8);
        let (count, deadline) = (delivery.attempts.saturating_add(1), transaction.deadline());
        let attempt = outcome.attempt();
        let verdict = waking::verdict(attempt, count, device.version, deadline, now, jitter);
        let told = outcome.to_string();
        tell(delivery, id, verdict, &told);
        (verdict, told, heard(&outcome))
    }
}

fn heard(outcome: &Outcome) -> Heard {
    match outcome {
        Outcome::NoSender => Heard::Nothing,
        outcome if outcome.is_outage() => {
            Heard::Outage { asked: outcome.asked(), told: outcome.to_string() }
        }
        _ => Heard::Well,
    }
}

/// Logs what an operator can do something about, once for each push.
fn tell(delivery: &Delivery, device: DeviceId, verdict: Verdict, told: &str) {
    let (tenant, lane) = (&delivery.lane.tenant, &delivery.lane.host);
    match verdict {
        Verdict::Retire { .. } => warn!(
            %tenant, device.id = %device, delivery.host = lane,
            "Device {device} cannot be woken any more, until it registers again: {told}"
        ),
        Verdict::GiveUp => warn!(
            %tenant, device.id = %device, delivery.host = lane,
            "Device {device} was not woken: {told}"
        ),
        Verdict::Done | Verdict::Needless | Verdict::Retry(_) => {}
    }
}
