//! One due push: whether it is still needed, its outcome, and what follows.

use countersign_core::delivery::capacity::Health;
use countersign_core::delivery::{Delivery, DeliveryKind, Verdict};
use countersign_core::id::DeviceId;
use countersign_core::port::Notifier as _;
use countersign_core::push_policy::{self, PushSnapshot, RETRY, SkipReason};
use countersign_core::spec::Recipients;
use tracing::warn;

use super::dispatcher::{Dispatcher, Sent};
use super::push::PushOutcome;
use countersign_node::log;

impl Dispatcher {
    /// Loads the data that these pushes need, all at once. What is missing here is loaded again for
    /// each push.
    pub(super) async fn look(
        &self,
        deliveries: Vec<Delivery>,
    ) -> Vec<(Delivery, Option<PushSnapshot>)> {
        let device = |delivery: &Delivery| match delivery.kind {
            DeliveryKind::Push(device) => Some(device),
            DeliveryKind::Callback => None,
        };
        let who = deliveries.iter().filter_map(|one| {
            Some((one.destination.tenant().clone(), device(one)?, one.transaction))
        });
        let who: Vec<_> = who.collect();
        let mut seen = Vec::new();
        if !who.is_empty() {
            seen = self.core.push_snapshots(&who).await.unwrap_or_default();
        }
        let mut seen = seen.into_iter();
        let with_seen = |one: Delivery| match device(&one) {
            Some(_) => (one, seen.next().flatten()),
            None => (one, None),
        };
        deliveries.into_iter().map(with_seen).collect()
    }

    /// Makes one attempt to wake a device, if it is still needed. Uses the data in `seen`, which
    /// was loaded a moment ago, or else loads it.
    pub(super) async fn wake(
        &self,
        delivery: Delivery,
        device: DeviceId,
        seen: Option<PushSnapshot>,
    ) -> Sent {
        let (verdict, told, heard) = self.attempt(&delivery, device, seen).await;
        self.sent(&delivery, verdict, told, heard)
    }

    async fn attempt(
        &self,
        delivery: &Delivery,
        id: DeviceId,
        seen: Option<PushSnapshot>,
    ) -> (Verdict, String, Health) {
        let core = &self.core;
        let skip = |why: &str| (Verdict::Skipped, why.to_owned(), Health::Unknown);
        let tenant = delivery.destination.tenant();
        let push_snapshots = if seen.is_some() {
            Ok(seen)
        } else {
            let who = [(tenant.clone(), id, delivery.transaction)];
            core.push_snapshots(&who).await.map(|mut found| found.pop().flatten())
        };
        let PushSnapshot { device, user, transaction } = match push_snapshots {
            Ok(Some(push_snapshots)) => push_snapshots,
            Ok(None) => return skip("the device was removed"),
            Err(fault) => {
                log(&fault);
                let again = Verdict::Retry(core.now() + RETRY.first);
                return (again, "the ledger failed".to_owned(), Health::Unknown);
            }
        };
        let (Some(user), Some(transaction)) = (user, transaction) else {
            return skip("its transaction or its user was removed");
        };
        let (transaction, now) = (transaction.value, core.now());
        let is_present = match core.presence_elsewhere(tenant, &device.user, [id]).await {
            // Nothing is read if it is connected to this node.
            Ok(elsewhere) => {
                let is_here =
                    core.notifier().connected(tenant, &device.user, &Recipients::Device(id));
                is_here || elsewhere.iter().any(|one| one.is_connected() && one.device == id)
            }
            Err(fault) => {
                log(&fault);
                let again = Verdict::Retry(core.now() + RETRY.first);
                return (again, "the ledger failed".to_owned(), Health::Unknown);
            }
        };
        let policy = core.push_policy();
        let still = user.value.lock_state.check(now).map_err(|_| SkipReason::Locked);
        let still = still.and_then(|()| policy.still(&transaction, &device, is_present, now));
        let registration = match still {
            Ok(registration) => registration,
            Err(why) => return skip(&why.to_string()),
        };
        let sending = self.pushes.send(delivery.id, &transaction, &device, registration, now);
        let outcome = sending.await;
        let (now, jitter) = (core.now(), core.random_u128() as u8);
        let (count, deadline) = (delivery.attempts.saturating_add(1), transaction.deadline());
        let attempt = outcome.attempt();
        let verdict = push_policy::verdict(attempt, count, device.version, deadline, now, jitter);
        let told = outcome.to_string();
        tell(delivery, id, verdict, &told);
        (verdict, told, heard(&outcome))
    }
}

fn heard(outcome: &PushOutcome) -> Health {
    match outcome {
        PushOutcome::NoSender => Health::Unknown,
        outcome if outcome.is_outage() => Health::Outage(outcome.asked()),
        _ => Health::Well,
    }
}

/// Logs, once for each push, the problems that an operator can solve.
fn tell(delivery: &Delivery, device: DeviceId, verdict: Verdict, told: &str) {
    let tenant = delivery.destination.tenant();
    let host = || delivery.destination.host().to_string();
    match verdict {
        Verdict::GiveUp => warn!(
            %tenant, device.id = %device, delivery.host = host(),
            "Device {device} was not woken: {told}"
        ),
        // The event of a retired address is logged when it is written.
        Verdict::Done | Verdict::Skipped | Verdict::Retry(_) | Verdict::Retire { .. } => {}
    }
}
