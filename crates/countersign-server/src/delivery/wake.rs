//! One push that is due: is it still needed, what came of it, and what follows.

use countersign_core::delivery::{Debt, Delivery, Verdict};
use countersign_core::id::DeviceId;
use countersign_core::port::{Acting, Chance as _, Doorbell as _, Ledger as _};
use countersign_core::push::{self, Needless, PATIENCE};
use countersign_core::terms::Addressed;
use tracing::warn;

use super::push::Outcome;
use super::worker::{Desk, Heard, Paid};
use crate::surface::caller::log;

impl Desk {
    /// Reads what pushes stand on, together with those that were claimed with them; nothing of callbacks. What is
    /// not found here is looked for again by each.
    pub(super) async fn look(&self, deliveries: &[Delivery]) -> Vec<Option<Acting>> {
        let pushes = |delivery: &Delivery| match delivery.debt {
            Debt::Push(device) => {
                Some((delivery.lane.tenant.clone(), device, delivery.transaction))
            }
            Debt::Callback => None,
        };
        let who: Vec<_> = deliveries.iter().filter_map(pushes).collect();
        if who.is_empty() {
            return Vec::new();
        }
        let seen = self.core.store.each_acting(&who).await.unwrap_or_default();
        let mut seen = seen.into_iter();
        let of = |delivery: &Delivery| match delivery.debt {
            Debt::Push(_) => seen.next().flatten(),
            Debt::Callback => None,
        };
        deliveries.iter().map(of).collect()
    }

    /// Makes one attempt to wake a device, if it still has to be: by what was `seen` a moment ago, or else is read.
    pub(super) async fn wake(
        &self,
        delivery: Delivery,
        device: DeviceId,
        seen: Option<Acting>,
    ) -> Paid {
        let (verdict, told, heard) = self.attempt(&delivery, device, seen).await;
        self.paid(delivery, verdict, told, heard)
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        id: DeviceId,
        seen: Option<Acting>,
    ) -> (Verdict, String, Heard) {
        let core = &self.core;
        let needless = |why: &str| (Verdict::Needless, why.to_owned(), Heard::Nothing);
        let tenant = &delivery.lane.tenant;
        let acting = match seen {
            Some(acting) => Ok(Some(acting)),
            None => core.store.acting(tenant, id, delivery.transaction).await,
        };
        let acting = match acting {
            Ok(Some(acting)) => acting,
            Ok(None) => return needless("the device is gone"),
            Err(fault) => {
                log(&fault);
                let again = Verdict::Retry(core.now() + PATIENCE.first);
                return (again, "the ledger failed".to_owned(), Heard::Nothing);
            }
        };
        let Acting { device, user, transaction } = acting;
        let (Some(user), Some(transaction)) = (user, transaction) else {
            return needless("its transaction or its user is gone");
        };
        let (transaction, now) = (transaction.value, core.now());
        let is_present = core.doorbell.online(tenant, &device.value.user, &Addressed::Device(id));
        let policy = core.push_policy();
        let still = user.value.standing.check(now).map_err(|_| Needless::Locked);
        let still = still.and_then(|()| policy.still(&transaction, &device.value, is_present, now));
        let registration = match still {
            Ok(registration) => registration,
            Err(why) => return needless(&why.to_string()),
        };
        let sending = self.pushes.send(delivery.id, &transaction, &device.value, registration, now);
        let outcome = sending.await;
        let (now, jitter) = (core.now(), core.world.draw() as u8);
        let (count, deadline) = (delivery.attempts.saturating_add(1), transaction.deadline());
        let attempt = outcome.attempt();
        let verdict = push::verdict(attempt, count, device.version, deadline, now, jitter);
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
