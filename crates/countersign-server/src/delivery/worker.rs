//! Claims what is due, pays it, and has what became of it written down.
//!
//! One task looks at everything: the ledger's answers, the calls on their way, the bell that rings when a
//! debt was committed here, and the clock. It keeps no queue: what it claims is on its way at once, and
//! what there is no place for stays in the ledger, where no receiver stands in another one's way.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_core::Fault;
use countersign_core::delivery::{
    Attempt, Circuit, Debt, Delivery, Lane, Patience, Room, Settlement, Verdict,
};
use countersign_core::limits::{
    DELIVERIES_CHANGED_MAX, DELIVERY_LEASE_MARGIN, DELIVERY_OUTCOME_BYTES_MAX,
};
use countersign_core::port::{Chance as _, Claim, Claimed, Handle, Ledger as _, Registry as _};
use countersign_core::time::Timestamp;
use countersign_core::waking::{PATIENCE, Waking};
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::book::Book;
use super::push::Pushes;
use super::webhook::{Message, Outcome, Webhook};
use super::{Callers, ResultBody};
use crate::egress::names;
use crate::node::{Core, log};
use crate::task::{Shutdown, panic_message};

/// How often the ledger is asked for what is due, when no bell rings: retries, and debts of other nodes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what waits behind an open circuit is looked through for what has waited too long.
const FORSAKE_EVERY: Duration = Duration::from_secs(30);

/// What the operator decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Deliveries on their way at once.
    pub(crate) concurrency: u16,
    /// Of these, in one lane.
    pub(crate) per_host: u16,
    /// Pushes on their way at once, besides.
    pub(crate) pushes: u16,
    /// Of these, in one lane.
    pub(crate) pushes_per_sender: u16,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
    /// How long a receiver is tried.
    pub(crate) patience: Patience,
}

/// Pays debts until the process drains; what is on its way then is finished.
pub(crate) async fn work(core: Arc<Core>, callers: Callers, rules: Rules, tasks: Shutdown) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweeps = tokio::time::interval(FORSAKE_EVERY);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Callers { webhook, pushes, result_body } = callers;
    let desk = Arc::new(Desk { core, webhook, pushes, result_body, rules });
    let mut worker = Worker::new(Arc::clone(&desk));
    let mut book = Book::new(Arc::clone(&desk.core));
    let mut paying = FuturesUnordered::new();
    let mut look = true;
    while !tasks.has_begun()
        || !paying.is_empty()
        || !book.is_written()
        || !worker.claiming.is_terminated()
    {
        if look && !tasks.has_begun() && book.has_room() && worker.begin_claim() {
            look = false;
        }
        tokio::select! {
            claimed = &mut worker.claiming, if !worker.claiming.is_terminated() => {
                let deliveries = worker.claimed(claimed);
                look |= !deliveries.is_empty();
                let paid = deliveries.into_iter();
                paying.extend(paid.map(|(one, seen)| desk.pay_safely(one, seen).boxed()));
            }
            Some(first) = paying.next(), if !paying.is_empty() => {
                // Answers come many at a time.
                let mut next = Some(first);
                while let Some(paid) = next {
                    look |= worker.paid(&paid);
                    book.note(paid.settlement);
                    next = paying.next().now_or_never().flatten();
                }
            }
            () = book.write() => {}
            () = desk.core.doorbell.owed() => look = true,
            _ = ticks.tick() => look = true,
            _ = sweeps.tick() => {
                worker.tidy();
                let open = worker.open_lanes();
                desk.forsake(open).await;
            }
            () = tasks.begun(), if !tasks.has_begun() => info!("No new deliveries are begun"),
        }
    }
}

/// What the calls need.
pub(super) struct Desk {
    pub(super) core: Arc<Core>,
    webhook: Webhook,
    pub(super) pushes: Pushes,
    result_body: ResultBody,
    rules: Rules,
}

/// How a delivery went, for whoever decides what is claimed next.
pub(super) struct Paid {
    pub(super) lane: Lane,
    pub(super) heard: Heard,
    /// What is to be written down. After a panic nothing: its lease will end.
    pub(super) settlement: Option<Settlement>,
}

/// What an attempt says of its receiver.
pub(super) enum Heard {
    /// Nothing: it was not called.
    Nothing,
    /// It is well.
    Well,
    /// It is not, and may have said for how long.
    Outage { asked: Option<Duration>, told: String },
}

/// Who is given places.
struct Worker {
    desk: Arc<Desk>,
    room: Room,
    /// Of lanes whose last call failed, and of no others.
    circuits: HashMap<Lane, Circuit>,
    /// Where the next claim begins.
    after: Option<Lane>,
    claiming: Fuse<BoxFuture<'static, Result<Due, Fault>>>,
}

/// What was claimed, pushes with what they stand on, and where the next claim begins.
struct Due {
    deliveries: Vec<(Delivery, Option<Waking>)>,
    resume: Option<Lane>,
}

impl Worker {
    fn new(desk: Arc<Desk>) -> Self {
        let rules = desk.rules;
        let room = Room::new(rules.concurrency, rules.per_host);
        let room = room.for_pushes(rules.pushes, rules.pushes_per_sender);
        let claiming = Fuse::terminated();
        Self { desk, room, circuits: HashMap::new(), after: None, claiming }
    }

    /// Asks for what is due, unless that is being asked, or there is no place. Answers whether it is.
    fn begin_claim(&mut self) -> bool {
        if !self.claiming.is_terminated() || self.room.free() == 0 {
            return false;
        }
        let rules = self.desk.rules;
        let now = self.desk.core.now();
        let narrowed = self.circuits.iter().filter(|(_, circuit)| circuit.is_open());
        let narrowed = narrowed.map(|(lane, circuit)| (lane.clone(), circuit.lets(u16::MAX, now)));
        self.room.narrow(narrowed.collect::<Vec<_>>());
        let claim = Claim {
            now,
            lease_end: now + rules.timeout + DELIVERY_LEASE_MARGIN,
            room: self.room.clone(),
            after: self.after.clone(),
        };
        let desk = Arc::clone(&self.desk);
        let claiming = async move {
            let Claimed { deliveries, resume } = desk.core.store.claim(claim).await?;
            Ok(Due { deliveries: desk.look(deliveries).await, resume })
        };
        self.claiming = claiming.boxed().fuse();
        true
    }

    /// Takes the places of what was claimed.
    fn claimed(&mut self, claimed: Result<Due, Fault>) -> Vec<(Delivery, Option<Waking>)> {
        match claimed {
            Ok(Due { deliveries, resume }) => {
                self.after = resume;
                for (delivery, _) in &deliveries {
                    self.room.take(&delivery.lane, 1);
                }
                deliveries
            }
            Err(fault) => {
                log(&fault);
                Vec::new()
            }
        }
    }

    /// Gives a place back, and remembers how its receiver is. Answers whether it is time for a claim: one is
    /// made for many places rather than many for one each.
    fn paid(&mut self, paid: &Paid) -> bool {
        self.room.leave(&paid.lane);
        let (host, is_push) = (&paid.lane.host, paid.lane.is_push());
        let what = if is_push { "pushes" } else { "callbacks" };
        match &paid.heard {
            Heard::Nothing => {}
            Heard::Well => {
                if self.circuits.remove(&paid.lane).is_some_and(|circuit| circuit.is_open()) {
                    info!(delivery.host = host, "{host} takes {what} again");
                }
            }
            Heard::Outage { asked, told } => {
                let patience = if is_push { &PATIENCE } else { &self.desk.rules.patience };
                let now = self.desk.core.now();
                let circuit = self.circuits.entry(paid.lane.clone()).or_default();
                if circuit.failed(now, patience, *asked) {
                    warn!(
                        delivery.host = host,
                        "{host} takes no {what} ({told}): they wait, and one is tried now and then"
                    );
                }
            }
        }
        self.room.left(&paid.lane) >= self.room.held(&paid.lane) / 4
    }

    /// Forgets receivers that nobody has called lately.
    fn tidy(&mut self) {
        let now = self.desk.core.now();
        self.circuits.retain(|_, circuit| !circuit.is_stale(now));
    }

    /// The lanes of callbacks whose receivers are not called. Pushes go when their transactions end.
    fn open_lanes(&self) -> Vec<Lane> {
        let callbacks = self.circuits.iter().filter(|(lane, _)| !lane.is_push());
        let open = callbacks.filter(|(_, circuit)| circuit.is_open());
        open.map(|(lane, _)| lane.clone()).collect()
    }
}

/// What is to be said, once it has been looked up.
struct Letter {
    callback: countersign_core::terms::Callback,
    body: Bytes,
    client: countersign_core::tenant::Client,
}

impl Desk {
    /// [`Desk::pay`], so that no delivery takes the others with it.
    fn pay_safely(
        self: &Arc<Self>,
        delivery: Delivery,
        seen: Option<Waking>,
    ) -> impl Future<Output = Paid> + use<> {
        let (desk, id, lane) = (Arc::clone(self), delivery.id, delivery.lane.clone());
        let paying = async move {
            let tenant = delivery.lane.tenant.clone();
            names::on_behalf_of(&tenant, desk.pay(delivery, seen)).await
        };
        AssertUnwindSafe(paying).catch_unwind().map(move |paid| {
            paid.unwrap_or_else(|panic| {
                let said = panic_message(&*panic);
                error!(delivery.id = %id, "Delivery {id} panicked: {said}");
                Paid { lane, heard: Heard::Nothing, settlement: None }
            })
        })
    }

    /// Makes one attempt.
    async fn pay(&self, delivery: Delivery, seen: Option<Waking>) -> Paid {
        if let Debt::Push(device) = delivery.debt {
            return self.wake(delivery, device, seen).await;
        }
        let (attempt, told, heard) = match self.letter(&delivery).await {
            Ok(Some(letter)) => {
                let outcome = self.call(&delivery, &letter).await;
                (outcome.attempt(), outcome.to_string(), Heard::of(&outcome))
            }
            Ok(None) => {
                let told = "its transaction or its client is gone";
                (Attempt::Rejected, told.to_owned(), Heard::Nothing)
            }
            Err(fault) => {
                log(&fault);
                (Attempt::Deferred(None), "the ledger failed".to_owned(), Heard::Nothing)
            }
        };
        let count = delivery.attempts.saturating_add(1);
        let (now, jitter) = (self.core.now(), self.core.world.draw() as u8);
        let patience = &self.rules.patience;
        let verdict = patience.after(attempt, count, delivery.owed_at, now, jitter);
        tell(&delivery, count, verdict, &told, now);
        self.paid(delivery, verdict, told, heard)
    }

    /// What a callback says. `None` where its transaction or its client is gone.
    async fn letter(&self, delivery: &Delivery) -> Result<Option<Letter>, Fault> {
        let (store, tenant) = (&self.core.store, &delivery.lane.tenant);
        let handle = Handle::Id(delivery.transaction);
        let Some(transaction) = store.load(tenant, &handle).await? else { return Ok(None) };
        let transaction = transaction.value;
        let Some(callback) = transaction.terms.callback.clone() else { return Ok(None) };
        let Some(body) = (self.result_body)(&transaction) else { return Ok(None) };
        let client = store.client(tenant, &transaction.terms.client).await?;
        Ok(client.map(|client| Letter { callback, body: body.into(), client }))
    }

    async fn call(&self, delivery: &Delivery, letter: &Letter) -> Outcome {
        let client = &letter.client;
        let keys: Vec<_> =
            std::iter::once(&client.webhook_key).chain(&client.webhook_key_before).collect();
        let message = Message {
            id: delivery.id,
            at: self.core.now(),
            body: letter.body.clone(),
            keys: &keys,
        };
        let outcome = self.webhook.call(&letter.callback, message).await;
        metrics::counter!("countersign_delivery_attempts_total", "outcome" => outcome.as_str())
            .increment(1);
        outcome
    }

    /// Gives up what has waited too long behind an open circuit, and would wait for its turn to fail.
    async fn forsake(&self, lanes: Vec<Lane>) {
        let core = &self.core;
        let now = core.now();
        let give_up_after = self.rules.patience.give_up_after.as_millis();
        let age = u64::try_from(give_up_after).unwrap_or(u64::MAX);
        let owed_before = Timestamp(now.0.saturating_sub(age));
        let outcome = "not called: the receiver took nothing for too long";
        for lane in lanes {
            match core.store.forsake(&lane, now, owed_before, outcome).await {
                Ok(0) => {}
                Ok(count) => {
                    let (tenant, host) = (&lane.tenant, &lane.host);
                    count_outcome("given_up", count.into());
                    let more = if count == DELIVERIES_CHANGED_MAX { " or more" } else { "" };
                    warn!(
                        tenant = %tenant, delivery.host = host,
                        "{count}{more} deliveries to {host} were given up: it took nothing for too long; \
                         `countersign delivery replay --tenant {tenant}` tries again"
                    );
                }
                Err(fault) => log(&fault),
            }
        }
    }

    pub(super) fn paid(
        &self,
        delivery: Delivery,
        verdict: Verdict,
        mut outcome: String,
        heard: Heard,
    ) -> Paid {
        outcome.truncate(outcome.floor_char_boundary(DELIVERY_OUTCOME_BYTES_MAX));
        let settlement = Settlement {
            tenant: delivery.lane.tenant.clone(),
            id: delivery.id,
            lease: delivery.lease,
            verdict,
            outcome,
            at: self.core.now(),
        };
        Paid { lane: delivery.lane, heard, settlement: Some(settlement) }
    }
}

impl Heard {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            outcome if !outcome.is_outage() => Self::Well,
            Outcome::Answered(_, asked) => {
                Self::Outage { asked: *asked, told: outcome.to_string() }
            }
            Outcome::Unanswered(_) => Self::Outage { asked: None, told: outcome.to_string() },
        }
    }
}

/// Counts what became of an attempt, and logs a delivery that is given up, once.
fn tell(delivery: &Delivery, count: u16, verdict: Verdict, told: &str, now: Timestamp) {
    match verdict {
        Verdict::Done => {
            count_outcome("delivered", 1);
            let waited = delivery.owed_at.until(now).as_secs_f64();
            metrics::histogram!("countersign_delivery_seconds").record(waited);
        }
        Verdict::Retry(_) => count_outcome("retried", 1),
        Verdict::Needless | Verdict::Retire { .. } => {} // A callback is never either.
        Verdict::GiveUp => {
            count_outcome("given_up", 1);
            let (id, lane) = (delivery.id, &delivery.lane);
            warn!(
                delivery.id = %id, delivery.attempts = count, tenant = %lane.tenant,
                delivery.host = lane.host,
                "Delivery {id} to {} was given up at attempt {count}: {told}", lane.host
            );
        }
    }
}

fn count_outcome(outcome: &'static str, count: u64) {
    metrics::counter!("countersign_deliveries_total", "outcome" => outcome).increment(count);
}
