//! Claims due deliveries, makes the calls, and has their results recorded.
//!
//! One task handles everything: the ledger's answers, the calls in progress, the notification that
//! a delivery was committed here, and the clock. It has no queue: a claimed delivery starts at
//! once, and deliveries beyond the capacity stay in the ledger, where no receiver blocks another
//! one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::Fault;
use countersign_core::delivery::calls::{CallNumber, Calls};
use countersign_core::delivery::capacity::{Capacity, CircuitChange, Health};
use countersign_core::delivery::{
    Attempt, Delivery, DeliveryKind, Destination, RetryPolicy, Settlement, Verdict,
};
use countersign_core::id::TenantName;
use countersign_core::limits::{
    DELIVERIES_CHANGED_MAX, DELIVERY_LEASE_MARGIN, DELIVERY_OUTCOME_BYTES_MAX,
};
use countersign_core::port::{Claim, Claimed, Handle, Keys as _};
use countersign_core::push_policy::{PushSnapshot, RETRY};
use countersign_core::time::Timestamp;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::push::Pushes;
use super::settlements::SettlementBatcher;
use super::webhook::{CallOutcome, CallbackClient, Message, signed_content};
use super::{Callers, ResultBody};
use countersign_node::task::{Shutdown, panic_message};
use countersign_node::{Core, PrivateKeys, log};

/// How often the ledger is asked for due deliveries without a notification: for retries, and for
/// deliveries of other nodes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often deliveries behind an open circuit are checked for those that have waited too long.
const FORSAKE_EVERY: Duration = Duration::from_secs(30);

/// The operator's settings.
#[derive(Clone, Copy, Debug)]
pub struct DeliverySettings {
    /// Callbacks in progress at once.
    pub concurrency: u16,
    /// The part of `concurrency` for one destination.
    pub per_host: u16,
    /// Pushes in progress at once, in addition to callbacks.
    pub pushes: u16,
    /// The part of `pushes` for one destination.
    pub pushes_per_sender: u16,
    /// The longest time of one attempt.
    pub timeout: Duration,
    /// When a failed callback is tried again, and for how long.
    pub retry: RetryPolicy,
}

/// Makes deliveries until the process drains; deliveries in progress are then finished.
pub async fn work(core: Arc<Core>, callers: Callers, rules: DeliverySettings, tasks: Shutdown) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps = tokio::time::interval(FORSAKE_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Callers { keys, webhook, pushes, result_body, .. } = callers;
    let dispatcher = Arc::new(Dispatcher { core, keys, webhook, pushes, result_body, rules });
    let mut worker = Worker::new(Arc::clone(&dispatcher));
    let mut settlements = SettlementBatcher::new(Arc::clone(&dispatcher.core));
    let mut paying = FuturesUnordered::new();
    let mut look = true;
    while !tasks.is_draining()
        || !paying.is_empty()
        || !settlements.is_written()
        || !worker.claiming.is_terminated()
    {
        if look && !tasks.is_draining() && settlements.has_room() && worker.begin_claim() {
            look = false;
        }
        tokio::select! {
            claimed = &mut worker.claiming, if !worker.claiming.is_terminated() => {
                let (deliveries, calls) = worker.claimed(claimed);
                look |= !deliveries.is_empty();
                let sent = deliveries.into_iter().zip(calls);
                paying.extend(sent.map(|((one, seen), call)| {
                    dispatcher.pay_safely(one, seen).map(move |sent| (call, sent)).boxed()
                }));
            }
            Some(first) = paying.next(), if !paying.is_empty() => {
                // Several notifications often arrive together.
                let mut next = Some(first);
                while let Some((call, sent)) = next {
                    look |= worker.sent(call, &sent);
                    settlements.note(sent.settlement);
                    next = paying.next().now_or_never().flatten();
                }
            }
            () = settlements.write() => {}
            () = dispatcher.core.notifier().delivery_queued() => look = true,
            _ = ticks.tick() => {
                worker.watch();
                look = true;
            }
            _ = sweeps.tick() => {
                worker.tidy();
                let open = worker.open_callbacks();
                dispatcher.give_up_expired(open).await;
            }
            () = tasks.until_draining(), if !tasks.is_draining() => info!("Draining: no new deliveries"),
        }
    }
}

/// The parts that the calls need.
pub(super) struct Dispatcher {
    pub(super) core: Arc<Core>,
    keys: PrivateKeys,
    webhook: CallbackClient,
    pub(super) pushes: Pushes,
    result_body: ResultBody,
    rules: DeliverySettings,
}

/// The result of a delivery, for the choice of the next claim.
pub(super) struct Sent {
    pub(super) is_push: bool,
    pub(super) heard: Health,
    /// The result in a few words, for the log.
    pub(super) told: String,
    /// The result to record. `None` after a panic; then the lease expires.
    pub(super) settlement: Option<Settlement>,
}

/// Gives capacity to deliveries.
struct Worker {
    dispatcher: Arc<Dispatcher>,
    calls: Calls,
    /// The destination after which the next claim begins.
    after: Option<Destination>,
    claiming: Fuse<BoxFuture<'static, Result<ClaimedBatch, Fault>>>,
}

/// Claimed deliveries, the data that the pushes need, and the start of the next claim.
struct ClaimedBatch {
    deliveries: Vec<(Delivery, Option<PushSnapshot>)>,
    resume: Option<Destination>,
    is_partial: bool,
}

impl Worker {
    fn new(dispatcher: Arc<Dispatcher>) -> Self {
        let rules = dispatcher.rules;
        let capacity = Capacity::new(rules.concurrency, rules.per_host);
        let capacity = capacity.for_pushes(rules.pushes, rules.pushes_per_sender);
        let claiming = Fuse::terminated();
        Self { dispatcher, calls: Calls::new(capacity), after: None, claiming }
    }

    /// Asks the ledger for due deliveries, unless it is being asked or there is no capacity.
    /// Returns whether the ledger is being asked.
    fn begin_claim(&mut self) -> bool {
        if !self.claiming.is_terminated() || !self.calls.capacity().has_free() {
            return false;
        }
        let rules = self.dispatcher.rules;
        let now = self.dispatcher.core.now();
        let claim = Claim {
            now,
            lease_end: now + rules.timeout + DELIVERY_LEASE_MARGIN,
            capacity: self.calls.capacity().clone(),
            after: self.after.clone(),
        };
        let dispatcher = Arc::clone(&self.dispatcher);
        let claiming = async move {
            let Claimed { deliveries, resume, is_partial } = dispatcher.core.claim(claim).await?;
            Ok(ClaimedBatch { deliveries: dispatcher.look(deliveries).await, resume, is_partial })
        };
        self.claiming = claiming.boxed().fuse();
        true
    }

    /// Takes the capacity for the claimed deliveries.
    fn claimed(
        &mut self,
        claimed: Result<ClaimedBatch, Fault>,
    ) -> (Vec<(Delivery, Option<PushSnapshot>)>, Vec<CallNumber>) {
        match claimed {
            Ok(ClaimedBatch { deliveries, resume, is_partial }) => {
                self.after = resume;
                let destinations = deliveries.iter().map(|(delivery, _)| &delivery.destination);
                let now = self.dispatcher.core.now();
                let calls = self.calls.begin(destinations, is_partial, now);
                (deliveries, calls)
            }
            Err(fault) => {
                log(&fault);
                Default::default()
            }
        }
    }

    /// Calls that have become slow give their permits to others.
    fn watch(&mut self) {
        self.calls.watch(self.dispatcher.core.now());
    }

    /// Returns the capacity, and records what the call said about its endpoint. Returns whether it
    /// is time for a claim: one claim for much capacity is cheaper than many small ones.
    fn sent(&mut self, call: CallNumber, sent: &Sent) -> bool {
        let now = self.dispatcher.core.now();
        let retry = if sent.is_push { RETRY } else { self.dispatcher.rules.retry };
        let (destination, change) = self.calls.end(call, sent.heard, now, &retry);
        if let Some(change) = change {
            tell_change(&destination, change, &sent.told);
            self.count_circuits();
        }
        let capacity = self.calls.capacity();
        capacity.available(&destination, now) >= capacity.in_use(&destination) / 4
    }

    /// Forgets endpoints without recent calls.
    fn tidy(&mut self) {
        self.calls.tidy(self.dispatcher.core.now());
        self.count_circuits();
    }

    /// Updates the gauges of open circuits.
    fn count_circuits(&self) {
        let (endpoints, hosts) = self.calls.capacity().open_counts();
        for (of, count) in [("endpoint", endpoints), ("host", hosts)] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge, far below 2^52")]
            metrics::gauge!("countersign_delivery_circuits_open", "of" => of).set(count as f64);
        }
    }

    /// The callbacks' destinations whose circuit is open. Pushes are not among them, because they
    /// expire with their transactions.
    fn open_callbacks(&self) -> Vec<Destination> {
        let open = self.calls.capacity().open();
        open.filter(|destination| !destination.is_push()).cloned().collect()
    }
}

/// Logs that a circuit opened or closed.
fn tell_change(destination: &Destination, change: CircuitChange, told: &str) {
    let (tenant, host) = (destination.tenant(), destination.host().to_string());
    let what = if destination.is_push() { "pushes" } else { "callbacks" };
    match change {
        CircuitChange::EndpointOpened => warn!(
            %tenant, delivery.host = host,
            "Circuit opened for an endpoint at {host} ({told}): its {what} are queued, and probes \
             are sent"
        ),
        CircuitChange::HostOpened => warn!(
            %tenant, delivery.host = host,
            "Circuit opened for {host}, because several endpoints fail ({told}): their {what} are \
             queued, and probes are sent"
        ),
        CircuitChange::EndpointClosed => info!(
            %tenant, delivery.host = host,
            "Circuit closed for an endpoint at {host}: its {what} are sent again"
        ),
        CircuitChange::HostClosed => {
            info!(%tenant, delivery.host = host, "Circuit closed for {host}: {what} are sent again");
        }
    }
}

/// The content of a callback, once it has been loaded.
struct CallbackRequest {
    callback: countersign_core::spec::Callback,
    message: Message,
}

impl Dispatcher {
    /// [`Dispatcher::deliver`], with panics caught, so that one delivery does not affect the
    /// others.
    fn pay_safely(
        self: &Arc<Self>,
        delivery: Delivery,
        seen: Option<PushSnapshot>,
    ) -> impl Future<Output = Sent> + use<> {
        let (dispatcher, id) = (Arc::clone(self), delivery.id);
        let paying = async move { dispatcher.deliver(delivery, seen).await };
        AssertUnwindSafe(paying).catch_unwind().map(move |sent| {
            sent.unwrap_or_else(|panic| {
                let said = panic_message(&*panic);
                error!(delivery.id = %id, "Delivery {id} panicked: {said}");
                Sent {
                    is_push: false,
                    heard: Health::Unknown,
                    told: said.to_owned(),
                    settlement: None,
                }
            })
        })
    }

    /// Makes one attempt.
    async fn deliver(&self, delivery: Delivery, seen: Option<PushSnapshot>) -> Sent {
        if let DeliveryKind::Push(device) = delivery.kind {
            return self.wake(delivery, device, seen).await;
        }
        let (attempt, told, heard) = match self.letter(&delivery).await {
            Ok(Some(letter)) => {
                let outcome = self.call(delivery.destination.tenant(), letter).await;
                (outcome.attempt(), outcome.to_string(), health(&outcome))
            }
            Ok(None) => {
                let told = "its transaction or its client was removed";
                (Attempt::Rejected, told.to_owned(), Health::Unknown)
            }
            Err(fault) => {
                log(&fault);
                (Attempt::Deferred(None), "the ledger failed".to_owned(), Health::Unknown)
            }
        };
        let count = delivery.attempts.saturating_add(1);
        let (now, jitter) = (self.core.now(), self.core.random_u128() as u8);
        let retry = &self.rules.retry;
        let verdict = retry.after(attempt, count, delivery.queued_at, now, jitter);
        tell(&delivery, count, verdict, &told, now);
        self.sent(&delivery, verdict, told, heard)
    }

    /// The content of a callback. `None` if its transaction or its client was removed.
    async fn letter(&self, delivery: &Delivery) -> Result<Option<CallbackRequest>, Fault> {
        let (core, tenant) = (&self.core, delivery.destination.tenant());
        let handle = Handle::Id(delivery.transaction);
        let Some(transaction) = core.read().transaction(tenant, &handle).await? else {
            return Ok(None);
        };
        let transaction = transaction.value;
        let Some(callback) = transaction.spec.callback.clone() else { return Ok(None) };
        let Some(body) = (self.result_body)(&transaction) else { return Ok(None) };
        let (id, at, client) = (delivery.id, core.now(), &transaction.spec.client);
        let content = signed_content(id, at, &body);
        let macs = self.keys.callback_macs(tenant, client, &content).await?;
        Ok(macs.map(|macs| {
            let message = Message { id, at, body: body.into(), macs };
            CallbackRequest { callback, message }
        }))
    }

    async fn call(&self, tenant: &TenantName, letter: CallbackRequest) -> CallOutcome {
        let outcome = self.webhook.call(tenant, &letter.callback, letter.message).await;
        metrics::counter!("countersign_delivery_attempts_total", "outcome" => outcome.as_str())
            .increment(1);
        outcome
    }

    /// Gives up deliveries that have waited too long behind an open circuit, instead of letting
    /// each fail by itself.
    async fn give_up_expired(&self, destinations: Vec<Destination>) {
        let core = &self.core;
        let now = core.now();
        let give_up_after = self.rules.retry.give_up_after.as_millis();
        let age = u64::try_from(give_up_after).unwrap_or(u64::MAX);
        let queued_before = Timestamp(now.0.saturating_sub(age));
        let outcome = "not called: the circuit was open too long";
        for destination in destinations {
            match core.give_up_expired(&destination, now, queued_before, outcome).await {
                Ok(0) => {}
                Ok(count) => {
                    let (tenant, host) = (destination.tenant(), destination.host());
                    count_outcome("dead_letter", count.into());
                    let more = if count == DELIVERIES_CHANGED_MAX { " or more" } else { "" };
                    warn!(
                        tenant = %tenant, delivery.host = host.to_string(),
                        "{count}{more} deliveries to {host} were given up: circuit open too long; \
                         `countersign delivery replay --tenant {tenant}` tries again"
                    );
                }
                Err(fault) => log(&fault),
            }
        }
    }

    pub(super) fn sent(
        &self,
        delivery: &Delivery,
        verdict: Verdict,
        mut outcome: String,
        heard: Health,
    ) -> Sent {
        outcome.truncate(outcome.floor_char_boundary(DELIVERY_OUTCOME_BYTES_MAX));
        let settlement = Settlement {
            tenant: delivery.destination.tenant().clone(),
            id: delivery.id,
            lease: delivery.lease,
            verdict,
            outcome,
            at: self.core.now(),
        };
        let (is_push, told) = (delivery.destination.is_push(), settlement.outcome.clone());
        Sent { is_push, heard, told, settlement: Some(settlement) }
    }
}

fn health(outcome: &CallOutcome) -> Health {
    match outcome {
        outcome if !outcome.is_outage() => Health::Well,
        CallOutcome::Answered(_, asked) => Health::Outage(*asked),
        CallOutcome::Unanswered(_) => Health::Outage(None),
    }
}

/// Counts the result of an attempt, and logs once that a delivery is given up.
fn tell(delivery: &Delivery, count: u16, verdict: Verdict, told: &str, now: Timestamp) {
    match verdict {
        Verdict::Done => {
            count_outcome("delivered", 1);
            let waited = delivery.queued_at.until(now).as_secs_f64();
            metrics::histogram!("countersign_delivery_seconds").record(waited);
        }
        Verdict::Retry(_) => count_outcome("retried", 1),
        Verdict::Skipped | Verdict::Retire { .. } => {} // Neither occurs for a callback.
        Verdict::GiveUp => {
            count_outcome("dead_letter", 1);
            let (id, destination) = (delivery.id, &delivery.destination);
            warn!(
                delivery.id = %id, delivery.attempts = count, tenant = %destination.tenant(),
                delivery.host = destination.host().to_string(),
                "Delivery {id} to {} was given up at attempt {count}: {told}", destination.host()
            );
        }
    }
}

fn count_outcome(outcome: &'static str, count: u64) {
    metrics::counter!("countersign_deliveries_total", "outcome" => outcome).increment(count);
}
