//! What must hold after whatever was written, in whatever order: the invariants, over a plain picture
//! of what the ledger should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use countersign_core::delivery::{Debt, Verdict};
use countersign_core::device::{Device, DeviceStatus};
use countersign_core::id::{DeliveryId, DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Commit, Versioned};
use countersign_core::selector::Selector;
use countersign_core::terms::{Addressed, Form};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_core::user::{Lock, Standing};
use countersign_sim::{Phone, Written};

use super::town::POLICY;
use crate::play::WORLD;

/// What there should be.
pub(super) struct Model {
    pub(super) transactions: BTreeMap<TransactionId, (Transaction, u32)>,
    /// Those of them of which only the evidence is kept.
    evidence: BTreeSet<TransactionId>,
    /// Those that are gone, as they ended.
    gone: BTreeMap<TransactionId, Transaction>,
    standings: BTreeMap<(TenantName, UserName), Standing>,
    devices: BTreeMap<DeviceId, Device>,
    pub(super) owed: BTreeMap<DeliveryId, (TransactionId, Debt)>,
    /// By somebody whose lease may have ended before.
    pub(super) paid: BTreeSet<DeliveryId>,
    /// Pushes for what has ended meanwhile.
    pub(super) called_off: BTreeSet<DeliveryId>,
}

impl Model {
    pub(super) fn new() -> Self {
        let phones = || WORLD.houses.iter().flat_map(|house| &house.phones);
        let user = |device: &Device| (device.tenant.clone(), device.user.clone());
        Self {
            transactions: BTreeMap::new(),
            evidence: BTreeSet::new(),
            gone: BTreeMap::new(),
            standings: phones().map(|phone| (user(&phone.device), Standing::default())).collect(),
            devices: phones().map(|phone| (phone.id(), phone.device.clone())).collect(),
            owed: BTreeMap::new(),
            paid: BTreeSet::new(),
            called_off: BTreeSet::new(),
        }
    }

    pub(super) fn device(&self, id: DeviceId) -> &Device {
        &self.devices[&id]
    }

    pub(super) fn transaction(&self, id: TransactionId) -> &Transaction {
        self.transactions.get(&id).map_or_else(|| &self.gone[&id], |(transaction, _)| transaction)
    }

    /// Those that had ended by then.
    pub(super) fn ended_by(&self, before: Timestamp) -> Vec<TransactionId> {
        let is_such = |t: &Transaction| matches!(t.state, State::Ended { at, .. } if at <= before);
        let such = self.transactions.values().filter(|(transaction, _)| is_such(transaction));
        such.map(|(transaction, _)| transaction.terms.id).collect()
    }

    /// Takes in what retention left of one that had ended.
    pub(super) fn forget(
        &mut self,
        id: TransactionId,
        left: Option<Versioned<Transaction>>,
        is_owed: bool,
    ) {
        let (before, version) = self.transactions[&id].clone();
        if left.as_ref().is_some_and(|left| left.value == before) {
            return;
        }
        assert!(!is_owed, "nothing goes before its callback is taken");
        if let Some(left) = left {
            let kept = evidence(&before);
            assert_eq!((&left.value, left.version), (&kept, version), "evidence stays as it was");
            self.evidence.insert(id);
            self.transactions.insert(id, (kept, version));
        } else {
            let is_signed = matches!(before.end(), Some(End::Finished { .. }));
            assert!(!is_signed, "what was signed stays");
            self.transactions.remove(&id);
            self.gone.insert(id, before);
        }
    }

    /// Takes in what was written.
    pub(super) fn watch(&mut self, written: &Written) {
        match written {
            Written::Commit(commit) => self.commit(commit),
            Written::Standing(tenant, user, standing) => {
                self.standings.insert((tenant.clone(), user.clone()), *standing);
            }
            Written::Device(device) => {
                self.devices.insert(device.id, (**device).clone());
            }
            Written::Settled(settlement) => {
                assert_eq!(settlement.verdict, Verdict::Done);
                assert!(self.owed.contains_key(&settlement.id), "only what is owed is paid");
                self.paid.insert(settlement.id);
            }
            Written::Forgotten(_) => {} // What is gone is looked for in the ledger.
        }
    }

    fn commit(&mut self, commit: &Commit) {
        let id = commit.transaction.terms.id;
        let mut commit = commit.clone();
        if self.evidence.contains(&id) {
            commit.transaction = evidence(&commit.transaction); // It was read before it became that.
        }
        let (commit, next) = (&commit, &commit.transaction);
        match commit.expected {
            None => self.begins(commit),
            Some(expected) => {
                let (before, version) = &self.transactions[&id];
                assert_eq!(expected, *version, "versions grow by one per event");
                let is_deletion = commit.event == Event::Discarded;
                assert_eq!(before.end().is_some(), is_deletion, "nothing else follows the end");
                assert_eq!(before.terms, next.terms, "terms never change");
                self.goes_on(commit, before);
            }
        }
        self.owes(commit);
        if let Some(standing) = commit.standing {
            let key = (next.terms.tenant.clone(), next.terms.user.clone());
            self.standings.insert(key, standing);
        }
        let version = commit.expected.unwrap_or(0) + 1;
        self.transactions.insert(id, (next.clone(), version));
    }

    fn begins(&self, commit: &Commit) {
        let terms = &commit.transaction.terms;
        assert!(!self.transactions.contains_key(&terms.id), "an id begins once");
        let same_tenant = || {
            let all = self.transactions.values().map(|(transaction, _)| transaction);
            all.filter(|other| other.terms.tenant == terms.tenant)
        };
        if let Some(reference) = &terms.reference {
            let name = |t: &Transaction| t.terms.reference.as_ref().map(|r| r.name.clone());
            let twin = same_tenant().find(|other| name(other).as_ref() == Some(&reference.name));
            assert!(twin.is_none(), "a reference names one transaction");
        }
        let theirs = same_tenant().filter(|other| other.terms.user == terms.user);
        let open = theirs.filter(|other| other.end().is_none()).count();
        assert!(open < usize::from(POLICY.open_per_user_max), "the bound on open ones holds");
        assert!(self.may(&commit.transaction, terms.started_at), "a locked user is not asked");
        if let Addressed::Device(device) = terms.addressed {
            assert_eq!(self.devices[&device].status, DeviceStatus::Active);
        }
        let is_over = commit.transaction.end().is_some();
        assert_eq!(commit.event == Event::Ended(Outcome::Expired), is_over);
    }

    fn goes_on(&self, commit: &Commit, before: &Transaction) {
        let next = &commit.transaction;
        let took = &next.takes[before.takes.len()..];
        assert_eq!(next.takes[..before.takes.len()], before.takes, "a take stays");
        let is_end = commit.event == Event::Ended(Outcome::Finished);
        let takes = usize::from(commit.event == Event::Taken);
        // Who finishes at once takes it with that, where no PIN is asked for.
        let at_once = is_end && took.len() == 1 && !next.terms.pin_required;
        assert!(took.len() == takes || at_once, "one event, one take");
        for take in took {
            assert!(take.at < before.deadline(), "nothing is taken at its deadline");
            assert!(!before.taken_by(take.device), "a device is noted once");
            assert!(self.may(next, take.at) && self.is_active(take.device), "a lock holds");
        }
        if let (Some(first), true) = (next.takes.first(), next.terms.once) {
            assert!(next.takes.iter().all(|take| take.device == first.device), "once is once");
        }
        assert!(!before.discarded, "what was deleted is over");
        match (&next.state, commit.event) {
            (State::Ended { .. }, Event::Discarded) => {
                assert_eq!(next, &Transaction { discarded: true, ..before.clone() });
            }
            (State::Ended { at, end }, Event::Ended(outcome)) => {
                assert_eq!(end.outcome(), outcome);
                self.ends(commit, before, *at, end);
            }
            (State::Ended { .. }, _) | (_, Event::Ended(_)) => panic!("an end is one event"),
            (_, Event::PinMistaken | Event::PinProved) => {
                assert_eq!(next.state, before.state, "a PIN moves no state");
                assert!(next.terms.pin_required);
            }
            (State::Taken { deadline }, _) => {
                assert!(*deadline <= next.last_moment(), "the clocks bound it");
                if let State::Taken { deadline: before } = before.state {
                    assert_eq!(*deadline, before, "later takes do not move the deadline");
                }
            }
            (State::Waiting { .. }, event) => assert_eq!(event, Event::Reached),
        }
    }

    fn ends(&self, commit: &Commit, before: &Transaction, at: Timestamp, end: &End) {
        let next = &commit.transaction;
        match end {
            End::Expired(_) => assert!(at >= before.deadline(), "nothing expires early"),
            _ => assert!(at < before.deadline(), "the deadline outranks every answer"),
        }
        if let Some(by) = end.by() {
            let device = self.device(by);
            assert!(next.terms.addressed.covers(by), "it was addressed");
            assert_eq!((&device.tenant, &device.user), (&next.terms.tenant, &next.terms.user));
            assert!(self.is_active(by), "a locked device ends nothing");
            assert!(self.may(next, at), "nobody who is locked ends anything");
        }
        match end {
            End::Finished { by, proof } => {
                assert!(next.taken_by(*by), "only a device that took it finishes");
                assert_eq!(proof.raw().is_some(), next.terms.forms.accept(Form::Raw));
                assert_eq!(proof.transaction(), next.terms.id.bytes());
                let content = digest(&SHA256, &next.terms.content.bytes);
                assert_eq!(proof.content_digest(), content.as_ref());
                let fit = |i: &&countersign_core::device::Identity| {
                    i.enabled
                        && i.purpose == next.terms.purpose()
                        && Selector::any(&next.terms.selectors, self.device(*by), i)
                        && proof
                            .signer()
                            .is_some_and(|s| digest(&SHA256, &i.certificate).as_ref() == s)
                };
                let signer = self.device(*by).identities.iter().find(fit);
                assert!(
                    signer.is_some(),
                    "the signer is an enabled identity of its that was meant"
                );
            }
            End::Locked { .. } => {
                let lock = commit.standing.map(|standing| standing.lock);
                assert!(matches!(lock, Some(Lock::Until(_))), "the user is locked with it");
            }
            _ => {}
        }
    }

    /// Debts are exactly those of the event.
    fn owes(&mut self, commit: &Commit) {
        let terms = &commit.transaction.terms;
        let mut pushed = BTreeSet::new();
        for owed in &commit.debts {
            if let Debt::Push(device) = owed.debt {
                assert_eq!(commit.event, Event::Started, "a start pushes, and nothing else");
                let device = &self.devices[&device];
                assert!(terms.addressed.covers(device.id) && device.user == terms.user);
                assert!(pushed.insert(device.id), "one push for one device");
            }
        }
        let callbacks = commit.debts.len() - pushed.len();
        let is_end = matches!(commit.event, Event::Ended(_));
        let owed = usize::from(is_end && terms.callback.is_some());
        assert_eq!(callbacks, owed, "an end owes one callback where there is an address");
        if is_end {
            let is_its = |(id, debt): &(TransactionId, Debt)| {
                *id == terms.id && matches!(debt, Debt::Push(_))
            };
            let called_off = self.owed.iter().filter(|(_, owed)| is_its(owed));
            self.called_off.extend(called_off.map(|(id, _)| *id));
        }
        for owed in &commit.debts {
            let before = self.owed.insert(owed.id, (terms.id, owed.debt));
            assert!(before.is_none(), "debts have ids of their own");
        }
    }

    fn may(&self, transaction: &Transaction, at: Timestamp) -> bool {
        let terms = &transaction.terms;
        self.standings[&(terms.tenant.clone(), terms.user.clone())].check(at).is_ok()
    }

    /// Whether the phone or its user is locked, until somebody lifts it.
    pub(super) fn bars(&self, phone: &Phone) -> bool {
        let user = (phone.tenant().clone(), phone.user().clone());
        let lock = self.standings[&user].lock;
        !self.is_active(phone.id()) || matches!(lock, Lock::Administrator | Lock::Disowned)
    }

    fn is_active(&self, device: DeviceId) -> bool {
        self.devices[&device].status == DeviceStatus::Active
    }
}

/// What is kept of what somebody signed: a CMS holds its content, other signatures do not.
fn evidence(whole: &Transaction) -> Transaction {
    let mut terms = (*whole.terms).clone();
    (terms.callback, terms.notice, terms.request) = (None, None, None);
    if terms.forms.accept(Form::Cms) {
        terms.content.bytes.clear();
    }
    Transaction { terms: Arc::new(terms), ..whole.clone() }
}
