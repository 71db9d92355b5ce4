//! A simulated run: nodes, concurrent callers, and checks of every write and every answer against
//! the [`Model`].

mod draws;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use countersign_core::delivery::DeliveryKind;
use countersign_core::engine::{Engine, Policy, StartRates};
use countersign_core::event::{RecordedEvent, Subject};
use countersign_core::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use countersign_core::port::{Clock, Handle, Ledger, Page, RowsMax, StoredMax};
use countersign_core::push_policy::{PushPolicy, When};
use countersign_core::time::Timestamp;
use countersign_core::user::LockPolicy;
use countersign_sim::{
    FakeNotifier, FaultyStore, Phone, Prng, RandomFaults, Scheduler, Timeline, Written, block_on,
    is_injected,
};
use countersign_store::Store;

use super::model::Model;
use super::operation::{self, Answer, Operation, SimulatedError, What};
use crate::fixture::POPULATION;

pub(super) const POLICY: Policy = Policy {
    locks: LockPolicy { wrong_max: 3, first: Duration::from_secs(5), max: Duration::from_secs(20) },
    pin_reset: countersign_core::device::PinReset::Allowed,
    open_per_user_max: 4,
    start_rates: StartRates { client: None, tenant: None },
    stored_max: StoredMax::NONE,
    rows_max: RowsMax::NONE,
    push: PushPolicy { when: When::Absent, after: Duration::ZERO },
};

const NODES: usize = 3;
const UNDER_WAY_MAX: usize = 6;
/// The rate of faults, before and after each call to the store.
const FAILS_ONE_IN: usize = 60;

pub(super) struct Simulation {
    seed: u64,
    prng: Prng,
    time: Timeline,
    store: FaultyStore<Store, RandomFaults>,
    nodes: Vec<Rc<operation::SimulatedNode>>,
    scheduler: Scheduler<'static, Result<Answer, SimulatedError>>,
    under_way: BTreeMap<usize, Caller>,
    model: Model,
    watched: usize,
    /// The signatures of devices, which keep them until they get an answer.
    signed: BTreeMap<(DeviceId, TransactionId), Rc<[u8]>>,
    requests: Vec<Operation>,
    races_lost: usize,
    trace: Vec<String>,
}

/// A caller that waits for an answer.
struct Caller {
    operation: Operation,
    /// The number of its writes so far.
    writes: usize,
    /// The number of its earlier attempts.
    repeats: usize,
    /// Whether the device, the user and the tenant were locked at the time of the call and ever
    /// since. Between two reads of one call, one of them may be unlocked and another locked.
    locked: [bool; 3],
}

/// Reports the seed if the run panics.
impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.trace.len().saturating_sub(40);
            eprintln!("seed {}:\n{}", self.seed, self.trace[last..].join("\n"));
        }
    }
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Self {
        let mut prng = Prng::seeded(seed);
        let inner = Store::memory();
        block_on(POPULATION.settle(&inner));
        let store = FaultyStore::new(inner, RandomFaults::new(prng.fork(), FAILS_ONE_IN));
        let time = Timeline::new(seed);
        let nodes = (0..NODES).map(|nth| {
            let notifier = FakeNotifier::default();
            match nth {
                0 => {}
                1 => notifier.lose_half(prng.fork()),
                _ => notifier.lose_all(),
            }
            let clock = time.ahead_by(Duration::from_millis(400 * nth as u64));
            Rc::new(Engine::new(store.clone(), notifier, clock, POLICY))
        });
        Self {
            seed,
            nodes: nodes.collect(),
            prng,
            time,
            store,
            scheduler: Scheduler::default(),
            under_way: BTreeMap::new(),
            model: Model::new(),
            watched: 0,
            signed: BTreeMap::new(),
            requests: Vec::new(),
            races_lost: 0,
            trace: Vec::new(),
        }
    }

    /// Performs one random step.
    pub(super) fn step(&mut self) {
        match self.prng.roll(40) {
            0 => {
                let wait = if self.prng.one_in(8) { 15_000 } else { 1_500 };
                self.time.pass(Duration::from_millis(self.prng.roll(wait) as u64));
            }
            1 => self.come_or_go(),
            2 if self.prng.one_in(4) && !self.scheduler.is_empty() => {
                let gone = self.scheduler.drop_one(&mut self.prng);
                self.under_way.remove(&gone);
                self.trace.push(format!("{gone} hangs up"));
            }
            3..12 if self.scheduler.len() < UNDER_WAY_MAX => {
                let operation = self.new_deed();
                self.send(operation, 0);
            }
            _ if !self.scheduler.is_empty() => self.turn(),
            _ => {}
        }
    }

    /// Answers all callers. Then time ends the open transactions, and the deliveries are checked.
    pub(super) fn end(&mut self) {
        while !self.scheduler.is_empty() {
            self.turn();
        }
        self.time.pass(Duration::from_hours(24));
        let store = FaultyStore::new(self.store.inner.clone(), countersign_sim::NoFaults);
        let notifier = FakeNotifier::default();
        let sweeper = Engine::new(store.clone(), notifier, self.time.clone(), POLICY);
        block_on(sweeper.sweep()).unwrap();
        for written in store.tape() {
            self.model.watch(&written);
        }
        let due = block_on(sweeper.sweep()).unwrap();
        assert_eq!((due.now, due.next), (Vec::new(), None), "time ends everything");
        let ids: Vec<_> = self.model.transactions.keys().copied().collect();
        for id in ids {
            self.compare(id);
            let end = self.model.transaction(id).end().expect("time ends everything");
            self.trace.push(format!("it is over: {}", end.outcome()));
        }

        self.settle_accounts();
        self.count_events();
    }

    /// Checks that each tenant's events are numbered without a gap, and that each commit of a
    /// transaction has its event.
    fn count_events(&self) {
        let mut of_transactions = 0;
        for test_tenant in &POPULATION.test_tenants {
            let events = self.store.inner.events(Some(&test_tenant.tenant), Page::first(u16::MAX));
            let events = block_on(events).unwrap().rows;
            let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
            assert!(numbers.iter().copied().eq(1..=events.len() as u64), "{numbers:?}");
            let is_step = |event: &&RecordedEvent| matches!(event.subject, Subject::Transaction(_));
            of_transactions += events.iter().filter(is_step).count();
        }
        assert_eq!(of_transactions, self.model.commits, "each commit has its event");
    }

    /// Checks that the unsettled deliveries are exactly those that were queued and not completed.
    fn settle_accounts(&self) {
        let mut left = BTreeSet::new();
        for test_tenant in &POPULATION.test_tenants {
            let outbox =
                self.store.inner.deliveries(&test_tenant.tenant, false, Page::first(u16::MAX));
            for outbox in block_on(outbox).unwrap().rows {
                let delivery = outbox.delivery;
                let outstanding = (delivery.transaction, delivery.kind);
                assert_eq!(
                    self.model.outstanding.get(&delivery.id),
                    Some(&outstanding),
                    "no other delivery is queued"
                );
                let is_off = self.model.called_off.contains(&delivery.id);
                assert!(!is_off, "nor a push for what has ended");
                left.insert(delivery.id);
            }
        }
        let (settled, called_off) = (&self.model.settled, &self.model.called_off);
        let forgotten = |id: &&DeliveryId| {
            !left.contains(id) && !settled.contains(id) && !called_off.contains(id)
        };
        assert_eq!(self.model.outstanding.keys().find(forgotten), None, "no delivery is lost");
    }

    pub(super) fn into_log(mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    fn send(&mut self, mut operation: Operation, repeats: usize) {
        // A dialect draws a new id for each call. Only a reference makes two calls the same
        // request.
        if let (What::Start(request), 1..) = (&mut operation.what, repeats) {
            request.id = TransactionId(self.prng.random_u128());
        }
        let node = Rc::clone(self.prng.pick(&self.nodes));
        let (asked, locked) = (operation.clone(), self.model.locks(operation.phone));
        let number = self.scheduler.join(async move { asked.ask(&node).await });
        self.trace.push(format!("{number} at {}: {operation}", self.time.now().0));
        self.under_way.insert(number, Caller { operation, writes: 0, repeats, locked });
    }

    /// Polls one caller, and checks the result.
    fn turn(&mut self) {
        let (number, answer) = self.scheduler.turn(&mut self.prng);
        let written = self.store.tape_since(self.watched);
        self.watched += written.len();
        let caller = self.under_way.get_mut(&number).expect("it is under way");
        caller.writes += written.len();
        for written in written {
            self.model.watch(&written);
            if let Written::Commit(commit) = &written {
                let id = commit.transaction.spec.id;
                self.compare(id);
                self.trace.push(format!("{number} wrote {:?} to {id}", commit.event));
            }
            match written {
                Written::Purged(before) => self.look_what_is_gone(before),
                Written::TenantRemoved { tenant, .. } => self.look_what_is_left(&tenant),
                _ => {}
            }
        }
        for caller in self.under_way.values_mut() {
            let now = self.model.locks(caller.operation.phone);
            caller.locked = std::array::from_fn(|nth| caller.locked[nth] && now[nth]);
        }
        if self.store.races_lost() > self.races_lost {
            self.races_lost = self.store.races_lost();
            self.trace.push(format!("{number} decided again"));
        }
        let Some(answer) = answer else { return };
        let Caller { operation, writes, repeats, locked } =
            self.under_way.remove(&number).expect("it is under way");
        match answer {
            Ok(told) => {
                operation.check(&told, &self.model);
                let is_shown = matches!(operation.what, What::Take { .. });
                let is_locked = locked.contains(&true);
                assert!(!is_locked || !is_shown, "who is locked is shown nothing: {operation}");
                self.trace.push(format!("{number} is told yes"));
            }
            Err(SimulatedError::Refused(refusal)) => {
                // A call with several commits is refused in between when its tenant is deleted.
                let is_late = self.model.is_deleted(operation.phone.tenant());
                let changed_nothing = writes == 0 || is_late || operation.is_event(&*refusal);
                assert!(changed_nothing, "a refusal changes nothing: {operation}: {refusal}");
                self.trace.push(format!("{number} is told: {refusal}"));
            }
            Err(SimulatedError::Failed(fault)) => {
                // A call that was decided before its tenant was deleted fails.
                let is_late = self.model.is_deleted(operation.phone.tenant());
                assert!(is_injected(&fault) || is_late, "a fault of our own: {fault:?}");
                self.trace.push(format!("{number} met a fault"));
                // A caller without an answer repeats the call, up to a number of times.
                if repeats < 4 {
                    self.send(operation, repeats + 1);
                }
            }
        }
    }

    /// Checks that retention removed only what it may, and left the evidence.
    fn look_what_is_gone(&mut self, before: Timestamp) {
        let mut outstanding = BTreeSet::new();
        for test_tenant in &POPULATION.test_tenants {
            let all =
                self.store.inner.deliveries(&test_tenant.tenant, false, Page::first(u16::MAX));
            let all = block_on(all).unwrap().rows.into_iter().map(|outbox| outbox.delivery);
            outstanding
                .extend(all.filter(|d| d.kind == DeliveryKind::Callback).map(|d| d.transaction));
        }
        for id in self.model.ended_by(before) {
            let was = self.model.transaction(id).spec.tenant.clone();
            let left =
                block_on(self.store.inner.read().transaction(&was, &Handle::Id(id))).unwrap();
            let kept = if left.is_some() { "the evidence of" } else { "nothing of" };
            if left.as_ref().map(|left| &left.value) != Some(self.model.transaction(id)) {
                self.trace.push(format!("retention left {kept} {id}"));
            }
            self.model.purge(id, left, outstanding.contains(&id));
        }
    }

    /// Checks that the deletion of a tenant removed no evidence, and nothing of another tenant.
    fn look_what_is_left(&mut self, tenant: &TenantName) {
        for id in self.model.transactions_of(tenant) {
            let left = block_on(self.store.inner.read().transaction(tenant, &Handle::Id(id)));
            self.model.purge(id, left.unwrap(), false);
        }
        let left = self.store.inner.deliveries(tenant, false, Page::first(u16::MAX));
        let left = block_on(left).unwrap().rows.into_iter().map(|outbox| outbox.delivery.id);
        self.model.call_off(tenant, &left.collect());
        self.trace.push(format!("rows of {tenant} are deleted"));
    }

    /// Compares the ledger with the model.
    fn compare(&self, id: TransactionId) {
        let (expected, version) = &self.model.transactions[&id];
        let (tenant, id) = (&expected.spec.tenant, Handle::Id(id));
        let found = block_on(self.store.inner.read().transaction(tenant, &id))
            .unwrap()
            .expect("what was committed is there");
        assert_eq!((&found.value, found.version), (expected, *version), "acknowledged is durable");
    }

    fn come_or_go(&mut self) {
        let phone = self.any_phone();
        let node = Rc::clone(self.prng.pick(&self.nodes));
        if self.prng.one_in(2) {
            node.notifier().connect(phone.tenant(), phone.user(), phone.id());
        } else {
            node.notifier().disconnect(phone.tenant(), phone.user(), phone.id());
        }
    }

    fn any_phone(&mut self) -> &'static Phone {
        let test_tenant = self.prng.pick(&POPULATION.test_tenants);
        self.prng.pick(&test_tenant.phones)
    }
}
