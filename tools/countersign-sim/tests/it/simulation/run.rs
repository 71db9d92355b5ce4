//! A simulated run: nodes, concurrent callers, and checks of every write and every answer against
//! the [`Model`].

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{DeviceStatus, Usage};
use countersign_core::engine::{Engine, FinishMode, Policy, StartRates};
use countersign_core::event::{RecordedEvent, Subject};
use countersign_core::id::{DeliveryId, DeviceId, IdentityId, TransactionId};
use countersign_core::port::{Clock, Handle, Ledger, Page, StoredMax};
use countersign_core::push_policy::{PushPolicy, When};
use countersign_core::selector::Selector;
use countersign_core::spec::{Clocks, Recipients, SignatureFormat};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Decline;
use countersign_core::user::LockPolicy;
use countersign_sim::{
    FakeNotifier, FaultyStore, Phone, Prng, RAW, RandomFaults, Scheduler, TestTenant, Timeline,
    Written, block_on, is_injected,
};
use countersign_store::Store;

use super::model::Model;
use super::operation::{self, Act, Answer, Operation, SimulatedError, What};
use crate::fixture::{POPULATION, callback, reference};

pub(super) const POLICY: Policy = Policy {
    locks: LockPolicy { wrong_max: 3, first: Duration::from_secs(5), max: Duration::from_secs(20) },
    pin_reset: countersign_core::device::PinReset::Allowed,
    open_per_user_max: 4,
    start_rates: StartRates { client: None, tenant: None },
    stored_max: StoredMax::NONE,
    push: PushPolicy { when: When::Absent, after: Duration::ZERO },
};

const NODES: usize = 3;
const UNDER_WAY_MAX: usize = 6;
/// The rate of faults, before and after each call to the store.
const FAILS_ONE_IN: usize = 60;
const WRONG_PIN: &str = "0000";

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
    /// Whether the device, and whether the user, was locked at the time of the call and ever since.
    /// Between two reads of one call, one of them may be unlocked and the other locked.
    locked: [bool; 2],
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
            if let Written::Purged(before) = written {
                self.look_what_is_gone(before);
            }
        }
        for caller in self.under_way.values_mut() {
            let now = self.model.locks(caller.operation.phone);
            caller.locked = [caller.locked[0] && now[0], caller.locked[1] && now[1]];
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
                let changed_nothing = writes == 0 || operation.is_event(&*refusal);
                assert!(changed_nothing, "a refusal changes nothing: {operation}: {refusal}");
                self.trace.push(format!("{number} is told: {refusal}"));
            }
            Err(SimulatedError::Failed(fault)) => {
                assert!(is_injected(&fault), "a fault of our own: {fault:?}");
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

    fn new_deed(&mut self) -> Operation {
        let phone = self.any_phone();
        let what = match self.prng.roll(66) {
            60.. => What::Administer(self.new_act()),
            0..13 => return self.new_order(phone),
            13..17 => What::Offers,
            17..19 => What::Sweep,
            19 => What::Forget(Duration::from_secs(*self.prng.pick(&[0, 3, 10]))),
            20..22 => What::Pay,
            22 => What::Lock(*self.prng.pick(&[true, false, false])),
            23 => What::Lock(false),
            24 => {
                use DeviceStatus::{Active, Locked};
                What::Status(*self.prng.pick(&[Locked, Active, Active]))
            }
            25 => What::Enable(!self.prng.one_in(3)),
            26 => self.new_pin(phone),
            _ => return self.about_one(phone),
        };
        Operation { phone, what }
    }

    /// A random operation of an operator. There are only few names, so that operations conflict.
    fn new_act(&mut self) -> Act {
        let number = self.prng.roll(8) as u32;
        match self.prng.roll(10) {
            0 => Act::CreateUser(number),
            1 => Act::DeleteUser(number),
            2 => Act::CreateActivation(self.prng.random_u128()),
            3 => Act::CreateClient(number),
            4 => Act::CreateApiKey(number),
            5 => Act::RotateCallbackKey(self.prng.one_in(2)),
            6 => Act::TrustRoot(number),
            7 => Act::SetPush(self.prng.one_in(2).then_some(number)),
            8 => Act::LogOut,
            _ => Act::Replay,
        }
    }

    fn new_order(&mut self, phone: &'static Phone) -> Operation {
        if !self.requests.is_empty() && self.prng.one_in(6) {
            let mut operation = self.prng.pick(&self.requests).clone();
            if let What::Start(request) = &mut operation.what {
                request.id = TransactionId(self.prng.random_u128());
                if let (Some(reference), true) = (&mut request.reference, self.prng.one_in(3)) {
                    reference.request = [9; 32];
                }
            }
            return operation;
        }
        let id = TransactionId(self.prng.random_u128());
        let test_tenant = POPULATION.test_tenant(phone.tenant().as_str());
        let mut request = match self.prng.roll(4) {
            0 => test_tenant.html_order(id, phone.user()),
            1 => test_tenant.digest_order(id, phone.user()),
            _ => test_tenant.request(id, phone.user()),
        };
        if !request.selectors.is_empty() && self.prng.one_in(3) {
            let usage = request.content.media_type.usage();
            let (id, device) = (Some(phone.identity(usage).id), Some(phone.id()));
            request.selectors = vec![Selector { id, device, ..Selector::default() }];
        }
        request.pin_required = self.prng.one_in(3);
        request.once = self.prng.one_in(4);
        request.callback = self.prng.one_in(2).then(callback);
        request.reference = self.prng.one_in(2).then(|| reference(&id.to_string(), 1));
        if self.prng.one_in(4) {
            request.recipients = Recipients::Device(phone.id());
        }
        let seconds = |prng: &mut Prng, of: &[u64]| Duration::from_secs(*prng.pick(of));
        request.clocks = if self.prng.one_in(4) {
            Clocks::One(seconds(&mut self.prng, &[1, 10, 60]))
        } else {
            let go_online = seconds(&mut self.prng, &[0, 5, 30, 30, 30]);
            Clocks::Two { go_online, sign: seconds(&mut self.prng, &[1, 10, 60]) }
        };
        let operation = Operation { phone, what: What::Start(Box::new(request)) };
        let names = |operation: &Operation| matches!(&operation.what, What::Start(o) if o.reference.is_some());
        if names(&operation) {
            self.requests.push(operation.clone());
        }
        operation
    }

    /// The PIN of this version. Every phone's first PIN is [`TestTenant::PIN`].
    fn pin(version: u32) -> String {
        if version == 1 { TestTenant::PIN.into() } else { format!("PIN {version}") }
    }

    fn pin_version(&self, phone: &Phone) -> u32 {
        self.model.device(phone.id()).pin.as_ref().expect("it is never taken away").version
    }

    fn new_pin(&mut self, phone: &Phone) -> What {
        let version = self.pin_version(phone);
        let old = if self.prng.one_in(3) { WRONG_PIN.into() } else { Self::pin(version) };
        What::Pin { version: version + 1, old, new: Self::pin(version + 1) }
    }

    /// An operation on a transaction, usually an open one and usually by a device that may act on
    /// it.
    fn about_one(&mut self, stranger: &'static Phone) -> Operation {
        let all = self.model.transactions.values().map(|(transaction, _)| transaction);
        let mut ids: Vec<_> = all.clone().map(|transaction| transaction.spec.id).collect();
        let open: Vec<_> = all.filter(|t| t.end().is_none()).map(|t| t.spec.id).collect();
        if !open.is_empty() && !self.prng.one_in(8) {
            ids = open;
        }
        if ids.is_empty() {
            return self.new_order(stranger);
        }
        let id = *self.prng.pick(&ids);
        let transaction = self.model.transaction(id).clone();
        let test_tenant = POPULATION.test_tenant(transaction.spec.tenant.as_str());
        let is_theirs = |phone: &&Phone| *phone.user() == transaction.spec.user;
        let theirs: Vec<_> = test_tenant.phones.iter().filter(is_theirs).collect();
        let takers: Vec<_> =
            theirs.iter().copied().filter(|phone| transaction.taken_by(phone.id())).collect();
        let phone = match self.prng.roll(16) {
            0 => stranger,
            1..6 => *self.prng.pick(&theirs),
            _ if takers.is_empty() => *self.prng.pick(&theirs),
            _ => *self.prng.pick(&takers),
        };
        let what = match self.prng.roll(24) {
            0 if self.prng.one_in(2) => What::Discard { id },
            0 => What::Cancel { id },
            1 => What::Fail { id },
            2 => What::Decline { id, reason: Decline::User },
            3 if self.prng.one_in(2) => What::Decline { id, reason: Decline::NotMe },
            4..7 => self.forged(phone, id),
            7..16 if !takers.is_empty() || self.prng.one_in(4) => self.finish(phone, id),
            _ => {
                let pin = match self.prng.roll(8) {
                    0 => None,
                    1..4 => Some(WRONG_PIN.into()),
                    _ => Some(Self::pin(self.pin_version(phone))),
                };
                What::Take { id, pin }
            }
        };
        Operation { phone, what }
    }

    /// A device keeps its signature and repeats it. Some lose it, and sign again.
    fn finish(&mut self, phone: &Phone, id: TransactionId) -> What {
        let key = (phone.id(), id);
        if !self.signed.contains_key(&key) || self.prng.one_in(8) {
            let value = phone.sign_rightly(&self.model.transaction(id).spec);
            self.signed.insert(key, value.into());
        }
        let value = Rc::clone(&self.signed[&key]);
        let spec = &self.model.transaction(id).spec;
        let identity = phone.identity(spec.usage()).id;
        let form = spec.formats.all()[0];
        let mode = if self.prng.one_in(3) { FinishMode::AtOnce } else { FinishMode::Taken };
        What::Finish { id, value, identity, form, mode, is_forged: false }
    }

    /// A signature that is valid for something else, or not at all.
    fn forged(&mut self, phone: &Phone, id: TransactionId) -> What {
        let spec = &self.model.transaction(id).spec;
        if spec.formats.accept(SignatureFormat::Raw) && self.prng.one_in(2) {
            return self.forged_raw(phone, id);
        }
        let content = phone.identity(Usage::Content).id;
        let digest = phone.identity(Usage::Digest).id;
        let others = POPULATION.test_tenants.iter().flat_map(|test_tenant| &test_tenant.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.prng.pick(&others);
        let kept: Vec<_> = self.signed.iter().filter(|((_, of), _)| *of != id).collect();
        let (value, identity): (Vec<u8>, IdentityId) = match self.prng.roll(6) {
            0 if !kept.is_empty() => (self.prng.pick(&kept).1.to_vec(), content),
            1 => (other.sign(spec), content),
            2 => (other.sign(spec), other.identity(Usage::Content).id),
            3 => (phone.sign_as(Usage::Digest, spec), digest),
            4 => (phone.sign_as(Usage::Digest, spec), content),
            _ => {
                let mut value = phone.sign(spec);
                *value.last_mut().expect("a signature has bytes") ^= 1;
                (value, content)
            }
        };
        let (form, mode) = (SignatureFormat::Cms, FinishMode::Taken);
        What::Finish { id, value: value.into(), identity, form, mode, is_forged: true }
    }

    /// A raw signature that is invalid, by the wrong identity, or over the wrong content.
    fn forged_raw(&mut self, phone: &Phone, id: TransactionId) -> What {
        let spec = &self.model.transaction(id).spec;
        let right = spec.usage();
        let wrong = if right == Usage::Content { Usage::Digest } else { Usage::Content };
        let others = POPULATION.test_tenants.iter().flat_map(|test_tenant| &test_tenant.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.prng.pick(&others);
        let own = phone.identity(right).id;
        let (value, identity) = match self.prng.roll(6) {
            0 => (other.sign_raw_as(right, spec), own),
            1 => (other.sign_raw_as(right, spec), other.identity(right).id),
            2 => (phone.sign_raw_as(wrong, spec), own),
            3 => (phone.sign_raw_as(wrong, spec), phone.identity(wrong).id),
            4 => (phone.sign_digest_as(right, &RAW.hash().of(b"something else")), own),
            _ => {
                let mut value = phone.sign_raw_as(right, spec);
                value.push(0);
                (value, own)
            }
        };
        let (form, mode) = (SignatureFormat::Raw, FinishMode::AtOnce);
        What::Finish { id, value: value.into(), identity, form, mode, is_forged: true }
    }
}
