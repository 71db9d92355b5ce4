//! A simulated town: nodes, callers under way, and a watcher who compares everything that is written
//! and answered with the [`Model`].

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use countersign_core::Error;
use countersign_core::delivery::Debt;
use countersign_core::device::{DeviceStatus, Purpose};
use countersign_core::engine::{Engine, Manner, Policy, StartRates};
use countersign_core::id::{DeliveryId, DeviceId, IdentityId, TransactionId};
use countersign_core::port::{Clock, Handle, Ledger, StoredMax};
use countersign_core::selector::Selector;
use countersign_core::terms::{Addressed, Clocks, Form};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Decline;
use countersign_core::user::{Lock, LockPolicy};
use countersign_core::waking::{PushPolicy, When};
use countersign_sim::{
    Board, Crowd, Dice, House, Phone, RAW, Stage, Timeline, Unsteady, Written, block_on,
    is_injected,
};
use countersign_store::Store;

use super::deed::{self, Deed, Told, What};
use super::model::Model;
use crate::play::{WORLD, callback, reference};

pub(super) const POLICY: Policy = Policy {
    locks: LockPolicy { wrong_max: 3, first: Duration::from_secs(5), max: Duration::from_secs(20) },
    open_per_user_max: 4,
    start_rates: StartRates { client: None, tenant: None },
    stored_max: StoredMax::NONE,
    push: PushPolicy { when: When::Absent, after: Duration::ZERO },
};

const NODES: usize = 3;
const UNDER_WAY_MAX: usize = 6;
/// On either side of each call to the store.
const FAILS_ONE_IN: usize = 60;
const WRONG_PIN: &str = "0000";

pub(super) struct Town {
    seed: u64,
    dice: Dice,
    time: Timeline,
    store: Stage<Store, Unsteady>,
    nodes: Vec<Rc<deed::Town>>,
    crowd: Crowd<'static, Result<Told, Error>>,
    under_way: BTreeMap<usize, Caller>,
    model: Model,
    watched: usize,
    /// What devices have signed, and keep until they are answered.
    signed: BTreeMap<(DeviceId, TransactionId), Rc<[u8]>>,
    orders: Vec<Deed>,
    races_lost: usize,
    story: Vec<String>,
}

/// Somebody who waits for an answer.
struct Caller {
    deed: Deed,
    /// What it has written so far.
    writes: usize,
    /// How often it was asked before.
    repeats: usize,
    /// Whether the device or its user was locked when it was asked, and has been ever since.
    is_barred: bool,
}

/// A town that falls says which it was.
impl Drop for Town {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.story.len().saturating_sub(40);
            eprintln!("seed {}:\n{}", self.seed, self.story[last..].join("\n"));
        }
    }
}

impl Town {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let inner = Store::memory();
        block_on(WORLD.settle(&inner));
        let store = Stage::new(inner, Unsteady::new(dice.fork(), FAILS_ONE_IN));
        let time = Timeline::new(seed);
        let nodes = (0..NODES).map(|nth| {
            let board = Board::default();
            match nth {
                0 => {}
                1 => board.half_deafen(dice.fork()),
                _ => board.deafen(),
            }
            let clock = time.ahead_by(Duration::from_millis(400 * nth as u64));
            Rc::new(Engine::new(store.clone(), board, clock, POLICY))
        });
        Self {
            seed,
            nodes: nodes.collect(),
            dice,
            time,
            store,
            crowd: Crowd::default(),
            under_way: BTreeMap::new(),
            model: Model::new(),
            watched: 0,
            signed: BTreeMap::new(),
            orders: Vec::new(),
            races_lost: 0,
            story: Vec::new(),
        }
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        match self.dice.roll(40) {
            0 => {
                let wait = if self.dice.one_in(8) { 15_000 } else { 1_500 };
                self.time.pass(Duration::from_millis(self.dice.roll(wait) as u64));
            }
            1 => self.come_or_go(),
            2 if self.dice.one_in(4) && !self.crowd.is_empty() => {
                let gone = self.crowd.drop_one(&mut self.dice);
                self.under_way.remove(&gone);
                self.story.push(format!("{gone} hangs up"));
            }
            3..12 if self.crowd.len() < UNDER_WAY_MAX => {
                let deed = self.new_deed();
                self.send(deed, 0);
            }
            _ if !self.crowd.is_empty() => self.turn(),
            _ => {}
        }
    }

    /// Everybody is heard out; then time ends what is still open, and what is owed is counted.
    pub(super) fn end(&mut self) {
        while !self.crowd.is_empty() {
            self.turn();
        }
        self.time.pass(Duration::from_hours(24));
        let sweeper = Engine::new(
            Stage::new(self.store.inner.clone(), countersign_sim::Untouched),
            Board::default(),
            self.time.clone(),
            POLICY,
        );
        block_on(sweeper.sweep()).unwrap();
        for written in sweeper.store.tape() {
            self.model.watch(&written);
        }
        let due = block_on(sweeper.sweep()).unwrap();
        assert_eq!((due.now, due.next), (Vec::new(), None), "time ends everything");
        let ids: Vec<_> = self.model.transactions.keys().copied().collect();
        for id in ids {
            self.compare(id);
            let end = self.model.transaction(id).end().expect("time ends everything");
            self.story.push(format!("it is over: {}", end.outcome()));
        }

        self.settle_accounts();
    }

    /// What is left to pay is what was owed and not paid.
    fn settle_accounts(&self) {
        let mut left = BTreeSet::new();
        for house in &WORLD.houses {
            let unpaid = self.store.inner.deliveries(&house.tenant, false, u16::MAX);
            for unpaid in block_on(unpaid).unwrap() {
                let delivery = unpaid.delivery;
                let owed = (delivery.transaction, delivery.debt);
                assert_eq!(self.model.owed.get(&delivery.id), Some(&owed), "nothing else is owed");
                let is_off = self.model.called_off.contains(&delivery.id);
                assert!(!is_off, "nor a push for what has ended");
                left.insert(delivery.id);
            }
        }
        let (paid, called_off) = (&self.model.paid, &self.model.called_off);
        let forgotten =
            |id: &&DeliveryId| !left.contains(id) && !paid.contains(id) && !called_off.contains(id);
        assert_eq!(self.model.owed.keys().find(forgotten), None, "no debt is forgotten");
    }

    pub(super) fn into_story(mut self) -> Vec<String> {
        std::mem::take(&mut self.story)
    }

    fn send(&mut self, mut deed: Deed, repeats: usize) {
        // A surface draws an id for each call; only a reference makes two calls one order.
        if let (What::Start(order), 1..) = (&mut deed.what, repeats) {
            order.id = TransactionId(self.dice.draw());
        }
        let node = Rc::clone(self.dice.pick(&self.nodes));
        let (asked, is_barred) = (deed.clone(), self.model.bars(deed.phone));
        let number = self.crowd.join(async move { asked.ask(&node).await });
        self.story.push(format!("{number} at {}: {deed}", self.time.now().0));
        self.under_way.insert(number, Caller { deed, writes: 0, repeats, is_barred });
    }

    /// Gives one caller a turn, and looks at what came of it.
    fn turn(&mut self) {
        let (number, answer) = self.crowd.turn(&mut self.dice);
        let written = self.store.tape_since(self.watched);
        self.watched += written.len();
        let caller = self.under_way.get_mut(&number).expect("it is under way");
        caller.writes += written.len();
        for written in written {
            self.model.watch(&written);
            if let Written::Commit(commit) = &written {
                let id = commit.transaction.terms.id;
                self.compare(id);
                self.story.push(format!("{number} wrote {:?} to {id}", commit.event));
            }
            if let Written::Forgotten(before) = written {
                self.look_what_is_gone(before);
            }
        }
        for caller in self.under_way.values_mut() {
            caller.is_barred &= self.model.bars(caller.deed.phone);
        }
        if self.store.races_lost() > self.races_lost {
            self.races_lost = self.store.races_lost();
            self.story.push(format!("{number} decided again"));
        }
        let Some(answer) = answer else { return };
        let Caller { deed, writes, repeats, is_barred } =
            self.under_way.remove(&number).expect("it is under way");
        match answer {
            Ok(told) => {
                deed.check(&told, &self.model);
                let is_shown = matches!(deed.what, What::Take { .. });
                assert!(!is_barred || !is_shown, "who is locked is shown nothing: {deed}");
                self.story.push(format!("{number} is told yes"));
            }
            Err(Error::Refused(refusal)) => {
                let changed_nothing = writes == 0 || deed.is_event(&refusal);
                assert!(changed_nothing, "a refusal changes nothing: {deed}: {refusal}");
                self.story.push(format!("{number} is told: {refusal}"));
            }
            Err(Error::Failed(fault)) => {
                assert!(is_injected(&fault), "a fault of our own: {fault:?}");
                self.story.push(format!("{number} met a fault"));
                // Whoever hears nothing repeats the call, if they are not tired of it.
                if repeats < 4 {
                    self.send(deed, repeats + 1);
                }
            }
        }
    }

    /// Retention removes what it may, and leaves the evidence.
    fn look_what_is_gone(&mut self, before: Timestamp) {
        let mut owed = BTreeSet::new();
        for house in &WORLD.houses {
            let all = self.store.inner.deliveries(&house.tenant, false, u16::MAX);
            let all = block_on(all).unwrap().into_iter().map(|unpaid| unpaid.delivery);
            owed.extend(all.filter(|d| d.debt == Debt::Callback).map(|d| d.transaction));
        }
        for id in self.model.ended_by(before) {
            let was = self.model.transaction(id).terms.tenant.clone();
            let left = block_on(self.store.inner.load(&was, &Handle::Id(id))).unwrap();
            let kept = if left.is_some() { "the evidence of" } else { "nothing of" };
            if left.as_ref().map(|left| &left.value) != Some(self.model.transaction(id)) {
                self.story.push(format!("retention left {kept} {id}"));
            }
            self.model.forget(id, left, owed.contains(&id));
        }
    }

    /// The ledger holds what the model does.
    fn compare(&self, id: TransactionId) {
        let (expected, version) = &self.model.transactions[&id];
        let (tenant, id) = (&expected.terms.tenant, Handle::Id(id));
        let found = block_on(self.store.inner.load(tenant, &id))
            .unwrap()
            .expect("what was committed is there");
        assert_eq!((&found.value, found.version), (expected, *version), "acknowledged is durable");
    }

    fn come_or_go(&mut self) {
        let phone = self.any_phone();
        let node = Rc::clone(self.dice.pick(&self.nodes));
        if self.dice.one_in(2) {
            node.doorbell.connect(phone.tenant(), phone.user(), phone.id());
        } else {
            node.doorbell.disconnect(phone.tenant(), phone.user(), phone.id());
        }
    }

    fn any_phone(&mut self) -> &'static Phone {
        let house = self.dice.pick(&WORLD.houses);
        self.dice.pick(&house.phones)
    }

    fn new_deed(&mut self) -> Deed {
        let phone = self.any_phone();
        let what = match self.dice.roll(60) {
            0..13 => return self.new_order(phone),
            13..17 => What::Offers,
            17..19 => What::Sweep,
            19 => What::Forget(Duration::from_secs(*self.dice.pick(&[0, 3, 10]))),
            20..22 => What::Pay,
            22 => What::Lock(*self.dice.pick(&[Lock::Administrator, Lock::Open, Lock::Open])),
            23 => What::Lock(Lock::Open),
            24 => {
                use DeviceStatus::{Active, Locked};
                What::Status(*self.dice.pick(&[Locked, Active, Active]))
            }
            25 => What::Enable(!self.dice.one_in(3)),
            26 => self.new_pin(phone),
            _ => return self.about_one(phone),
        };
        Deed { phone, what }
    }

    fn new_order(&mut self, phone: &'static Phone) -> Deed {
        if !self.orders.is_empty() && self.dice.one_in(6) {
            let mut deed = self.dice.pick(&self.orders).clone();
            if let What::Start(order) = &mut deed.what {
                order.id = TransactionId(self.dice.draw());
                if let (Some(reference), true) = (&mut order.reference, self.dice.one_in(3)) {
                    reference.request = [9; 32];
                }
            }
            return deed;
        }
        let id = TransactionId(self.dice.draw());
        let house = WORLD.house(phone.tenant().as_str());
        let mut order = match self.dice.roll(4) {
            0 => house.html_order(id, phone.user()),
            1 => house.digest_order(id, phone.user()),
            _ => house.order(id, phone.user()),
        };
        if !order.selectors.is_empty() && self.dice.one_in(3) {
            let purpose = order.content.media_type.purpose();
            let (id, device) = (Some(phone.identity(purpose).id), Some(phone.id()));
            order.selectors = vec![Selector { id, device, ..Selector::default() }];
        }
        order.pin_required = self.dice.one_in(3);
        order.once = self.dice.one_in(4);
        order.callback = self.dice.one_in(2).then(callback);
        order.reference = self.dice.one_in(2).then(|| reference(&id.to_string(), 1));
        if self.dice.one_in(4) {
            order.addressed = Addressed::Device(phone.id());
        }
        let seconds = |dice: &mut Dice, of: &[u64]| Duration::from_secs(*dice.pick(of));
        order.clocks = if self.dice.one_in(4) {
            Clocks::One(seconds(&mut self.dice, &[1, 10, 60]))
        } else {
            let go_online = seconds(&mut self.dice, &[0, 5, 30, 30, 30]);
            Clocks::Two { go_online, sign: seconds(&mut self.dice, &[1, 10, 60]) }
        };
        let deed = Deed { phone, what: What::Start(Box::new(order)) };
        let names = |deed: &Deed| matches!(&deed.what, What::Start(o) if o.reference.is_some());
        if names(&deed) {
            self.orders.push(deed.clone());
        }
        deed
    }

    /// The PIN of this version: every phone's first is [`House::PIN`].
    fn pin(version: u32) -> String {
        if version == 1 { House::PIN.into() } else { format!("PIN {version}") }
    }

    fn pin_version(&self, phone: &Phone) -> u32 {
        self.model.device(phone.id()).pin.as_ref().expect("it is never taken away").version
    }

    fn new_pin(&mut self, phone: &Phone) -> What {
        let version = self.pin_version(phone);
        let old = if self.dice.one_in(3) { WRONG_PIN.into() } else { Self::pin(version) };
        What::Pin { version: version + 1, old, new: Self::pin(version + 1) }
    }

    /// Something about a transaction, mostly an open one and mostly by a device that may.
    fn about_one(&mut self, stranger: &'static Phone) -> Deed {
        let all = self.model.transactions.values().map(|(transaction, _)| transaction);
        let mut ids: Vec<_> = all.clone().map(|transaction| transaction.terms.id).collect();
        let open: Vec<_> = all.filter(|t| t.end().is_none()).map(|t| t.terms.id).collect();
        if !open.is_empty() && !self.dice.one_in(8) {
            ids = open;
        }
        if ids.is_empty() {
            return self.new_order(stranger);
        }
        let id = *self.dice.pick(&ids);
        let transaction = self.model.transaction(id).clone();
        let house = WORLD.house(transaction.terms.tenant.as_str());
        let is_theirs = |phone: &&Phone| *phone.user() == transaction.terms.user;
        let theirs: Vec<_> = house.phones.iter().filter(is_theirs).collect();
        let takers: Vec<_> =
            theirs.iter().copied().filter(|phone| transaction.taken_by(phone.id())).collect();
        let phone = match self.dice.roll(16) {
            0 => stranger,
            1..6 => *self.dice.pick(&theirs),
            _ if takers.is_empty() => *self.dice.pick(&theirs),
            _ => *self.dice.pick(&takers),
        };
        let what = match self.dice.roll(24) {
            0 if self.dice.one_in(2) => What::Discard { id },
            0 => What::Cancel { id },
            1 => What::Fail { id },
            2 => What::Decline { id, reason: Decline::User },
            3 if self.dice.one_in(2) => What::Decline { id, reason: Decline::NotMe },
            4..7 => self.forged(phone, id),
            7..16 if !takers.is_empty() || self.dice.one_in(4) => self.finish(phone, id),
            _ => {
                let pin = match self.dice.roll(8) {
                    0 => None,
                    1..4 => Some(WRONG_PIN.into()),
                    _ => Some(Self::pin(self.pin_version(phone))),
                };
                What::Take { id, pin }
            }
        };
        Deed { phone, what }
    }

    /// A device keeps what it signed, and hands that in again; some forget, and sign anew.
    fn finish(&mut self, phone: &Phone, id: TransactionId) -> What {
        let key = (phone.id(), id);
        if !self.signed.contains_key(&key) || self.dice.one_in(8) {
            let value = phone.sign_rightly(&self.model.transaction(id).terms);
            self.signed.insert(key, value.into());
        }
        let value = Rc::clone(&self.signed[&key]);
        let terms = &self.model.transaction(id).terms;
        let identity = phone.identity(terms.purpose()).id;
        let form = terms.forms.all()[0];
        let manner = if self.dice.one_in(3) { Manner::AtOnce } else { Manner::Taken };
        What::Finish { id, value, identity, form, manner, is_forged: false }
    }

    /// A signature that is good for something else, or for nothing.
    fn forged(&mut self, phone: &Phone, id: TransactionId) -> What {
        let terms = &self.model.transaction(id).terms;
        if terms.forms.accept(Form::Raw) && self.dice.one_in(2) {
            return self.forged_raw(phone, id);
        }
        let content = phone.identity(Purpose::Content).id;
        let digest = phone.identity(Purpose::Digest).id;
        let others = WORLD.houses.iter().flat_map(|house| &house.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.dice.pick(&others);
        let kept: Vec<_> = self.signed.iter().filter(|((_, of), _)| *of != id).collect();
        let (value, identity): (Vec<u8>, IdentityId) = match self.dice.roll(6) {
            0 if !kept.is_empty() => (self.dice.pick(&kept).1.to_vec(), content),
            1 => (other.sign(terms), content),
            2 => (other.sign(terms), other.identity(Purpose::Content).id),
            3 => (phone.sign_as(Purpose::Digest, terms), digest),
            4 => (phone.sign_as(Purpose::Digest, terms), content),
            _ => {
                let mut value = phone.sign(terms);
                *value.last_mut().expect("a signature has bytes") ^= 1;
                (value, content)
            }
        };
        let (form, manner) = (Form::Cms, Manner::Taken);
        What::Finish { id, value: value.into(), identity, form, manner, is_forged: true }
    }

    /// A raw signature that is not one, or not by whom it is to be, or not over what.
    fn forged_raw(&mut self, phone: &Phone, id: TransactionId) -> What {
        let terms = &self.model.transaction(id).terms;
        let right = terms.purpose();
        let wrong = if right == Purpose::Content { Purpose::Digest } else { Purpose::Content };
        let others = WORLD.houses.iter().flat_map(|house| &house.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.dice.pick(&others);
        let own = phone.identity(right).id;
        let (value, identity) = match self.dice.roll(6) {
            0 => (other.sign_raw_as(right, terms), own),
            1 => (other.sign_raw_as(right, terms), other.identity(right).id),
            2 => (phone.sign_raw_as(wrong, terms), own),
            3 => (phone.sign_raw_as(wrong, terms), phone.identity(wrong).id),
            4 => (phone.sign_digest_as(right, &RAW.hash().of(b"something else")), own),
            _ => {
                let mut value = phone.sign_raw_as(right, terms);
                value.push(0);
                (value, own)
            }
        };
        let (form, manner) = (Form::Raw, Manner::AtOnce);
        What::Finish { id, value: value.into(), identity, form, manner, is_forged: true }
    }
}
