//! The invariants that hold after every write, checked on a simple model of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use countersign_core::delivery::{DeliveryKind, Verdict};
use countersign_core::device::{Device, DeviceStatus};
use countersign_core::id::{DeliveryId, DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{TransactionChange, Versioned};
use countersign_core::selector::Selector;
use countersign_core::spec::{Recipients, SignatureFormat};
use countersign_core::tenant::TenantState;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_core::user::{Lock, LockState};
use countersign_sim::{Phone, Written};

use super::run::POLICY;
use crate::fixture::POPULATION;

/// The expected contents of the ledger.
pub(super) struct Model {
    /// The number of committed steps of transactions.
    pub(super) commits: usize,
    pub(super) transactions: BTreeMap<TransactionId, (Transaction, u32)>,
    /// The transactions of which only the evidence is kept.
    evidence: BTreeSet<TransactionId>,
    /// The removed transactions, in their final state.
    gone: BTreeMap<TransactionId, Transaction>,
    standings: BTreeMap<(TenantName, UserName), LockState>,
    devices: BTreeMap<DeviceId, Device>,
    /// The tenants that are not active.
    tenants: BTreeMap<TenantName, TenantState>,
    pub(super) outstanding: BTreeMap<DeliveryId, (TransactionId, DeliveryKind)>,
    /// Deliveries settled by a worker whose lease may have ended before.
    pub(super) settled: BTreeSet<DeliveryId>,
    /// Pushes of transactions that have ended meanwhile.
    pub(super) called_off: BTreeSet<DeliveryId>,
}

impl Model {
    pub(super) fn new() -> Self {
        let phones = || POPULATION.test_tenants.iter().flat_map(|test_tenant| &test_tenant.phones);
        let user = |device: &Device| (device.tenant.clone(), device.user.clone());
        Self {
            transactions: BTreeMap::new(),
            evidence: BTreeSet::new(),
            gone: BTreeMap::new(),
            commits: 0,
            standings: phones().map(|phone| (user(&phone.device), LockState::default())).collect(),
            devices: phones().map(|phone| (phone.id(), phone.device.clone())).collect(),
            tenants: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            settled: BTreeSet::new(),
            called_off: BTreeSet::new(),
        }
    }

    pub(super) fn device(&self, id: DeviceId) -> &Device {
        &self.devices[&id]
    }

    pub(super) fn transaction(&self, id: TransactionId) -> &Transaction {
        self.transactions.get(&id).map_or_else(|| &self.gone[&id], |(transaction, _)| transaction)
    }

    /// The transactions that had ended by then.
    pub(super) fn ended_by(&self, before: Timestamp) -> Vec<TransactionId> {
        let is_such = |t: &Transaction| matches!(t.state, State::Ended { at, .. } if at <= before);
        let such = self.transactions.values().filter(|(transaction, _)| is_such(transaction));
        such.map(|(transaction, _)| transaction.spec.id).collect()
    }

    /// The transactions of a tenant of which there is anything left.
    pub(super) fn transactions_of(&self, tenant: &TenantName) -> Vec<TransactionId> {
        let all = self.transactions.iter();
        let theirs = all.filter(|(_, (transaction, _))| transaction.spec.tenant == *tenant);
        theirs.map(|(id, _)| *id).collect()
    }

    /// Records that only these of a deleted tenant's deliveries are left.
    pub(super) fn call_off(&mut self, tenant: &TenantName, left: &BTreeSet<DeliveryId>) {
        let is_theirs = |id| self.transaction(id).spec.tenant == *tenant;
        let gone =
            self.outstanding.iter().filter(|(id, (of, _))| !left.contains(id) && is_theirs(*of));
        let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
        self.called_off.extend(gone);
    }

    /// Records what retention left of an ended transaction, or the deletion of its tenant.
    pub(super) fn purge(
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

    /// Records a write, and checks the invariants.
    pub(super) fn watch(&mut self, written: &Written) {
        match written {
            Written::Commit(commit) => {
                self.commits += 1;
                self.commit(commit);
            }
            Written::LockState(tenant, user, lock_state) => {
                self.standings.insert((tenant.clone(), user.clone()), *lock_state);
            }
            Written::Tenant(tenant, TenantState::Active) => {
                assert!(!self.is_deleted(tenant), "a tenant that is deleted stays so");
                self.tenants.remove(tenant);
            }
            Written::Tenant(tenant, state) => {
                assert!(!self.is_deleted(tenant), "a tenant that is deleted stays so");
                self.tenants.insert(tenant.clone(), *state);
            }
            // The ledger is asked which rows are gone.
            Written::TenantRemoved { tenant, is_complete } => {
                assert!(self.tenants.contains_key(tenant), "only a locked tenant is deleted");
                if *is_complete {
                    self.tenants.insert(tenant.clone(), TenantState::Deleted);
                }
            }
            Written::Device(device) => {
                self.devices.insert(device.id, (**device).clone());
            }
            Written::Settled(settlement) => {
                assert_eq!(settlement.verdict, Verdict::Done);
                assert!(
                    self.outstanding.contains_key(&settlement.id),
                    "only a queued delivery is settled"
                );
                self.settled.insert(settlement.id);
            }
            Written::Purged(_) => {} // The ledger is asked which rows are gone.
        }
    }

    fn commit(&mut self, commit: &TransactionChange) {
        let id = commit.transaction.spec.id;
        let mut commit = commit.clone();
        if self.evidence.contains(&id) {
            // The commit was decided before retention left only the evidence.
            commit.transaction = evidence(&commit.transaction);
        }
        let (commit, next) = (&commit, &commit.transaction);
        match commit.expected {
            None => self.begins(commit),
            Some(expected) => {
                let (before, version) = &self.transactions[&id];
                assert_eq!(expected, *version, "versions grow by one per event");
                let is_deletion = commit.event == Event::Discarded;
                assert_eq!(before.end().is_some(), is_deletion, "nothing else follows the end");
                assert_eq!(before.spec, next.spec, "terms never change");
                self.goes_on(commit, before);
            }
        }
        self.has_deliveries(commit);
        if let Some(lock_state) = commit.lock_state {
            let key = (next.spec.tenant.clone(), next.spec.user.clone());
            self.standings.insert(key, lock_state);
        }
        let version = commit.expected.unwrap_or(0) + 1;
        self.transactions.insert(id, (next.clone(), version));
    }

    fn begins(&self, commit: &TransactionChange) {
        let spec = &commit.transaction.spec;
        assert!(!self.transactions.contains_key(&spec.id), "an id begins once");
        let same_tenant = || {
            let all = self.transactions.values().map(|(transaction, _)| transaction);
            all.filter(|other| other.spec.tenant == spec.tenant)
        };
        if let Some(reference) = &spec.reference {
            let name = |t: &Transaction| t.spec.reference.as_ref().map(|r| r.name.clone());
            let twin = same_tenant().find(|other| name(other).as_ref() == Some(&reference.name));
            assert!(twin.is_none(), "a reference names one transaction");
        }
        let theirs = same_tenant().filter(|other| other.spec.user == spec.user);
        let open = theirs.filter(|other| other.end().is_none()).count();
        assert!(open < usize::from(POLICY.open_per_user_max), "the bound on open ones holds");
        assert!(self.may(&commit.transaction, spec.started_at), "a locked user is not asked");
        if let Recipients::Device(device) = spec.recipients {
            assert_eq!(self.devices[&device].status, DeviceStatus::Active);
        }
        let is_over = commit.transaction.end().is_some();
        assert_eq!(commit.event == Event::Ended(Outcome::Expired), is_over);
    }

    fn goes_on(&self, commit: &TransactionChange, before: &Transaction) {
        let next = &commit.transaction;
        let took = &next.takes[before.takes.len()..];
        assert_eq!(next.takes[..before.takes.len()], before.takes, "a take stays");
        let is_end = commit.event == Event::Ended(Outcome::Finished);
        let takes = usize::from(commit.event == Event::Taken);
        // A finish at once also takes the transaction, if no PIN is required.
        let at_once = is_end && took.len() == 1 && !next.spec.pin_required;
        assert!(took.len() == takes || at_once, "one event, one take");
        for take in took {
            assert!(take.at < before.deadline(), "nothing is taken at its deadline");
            assert!(!before.taken_by(take.device), "a device is noted once");
            assert!(self.may(next, take.at) && self.is_active(take.device), "a lock holds");
        }
        if let (Some(first), true) = (next.takes.first(), next.spec.once) {
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
                assert!(next.spec.pin_required);
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

    fn ends(&self, commit: &TransactionChange, before: &Transaction, at: Timestamp, end: &End) {
        let next = &commit.transaction;
        match end {
            End::Expired(_) => assert!(at >= before.deadline(), "nothing expires early"),
            _ => assert!(at < before.deadline(), "the deadline outranks every answer"),
        }
        if let Some(by) = end.by() {
            let device = self.device(by);
            assert!(next.spec.recipients.includes(by), "it was addressed");
            assert_eq!((&device.tenant, &device.user), (&next.spec.tenant, &next.spec.user));
            assert!(self.is_active(by), "a locked device ends nothing");
            assert!(self.may(next, at), "no locked user or device ends a transaction");
        }
        match end {
            End::Finished { by, proof, .. } => {
                assert!(next.taken_by(*by), "only a device that took it finishes");
                assert_eq!(proof.raw().is_some(), next.spec.formats.accept(SignatureFormat::Raw));
                assert_eq!(proof.transaction(), next.spec.id.bytes());
                let content = digest(&SHA256, &next.spec.content.bytes);
                assert_eq!(proof.content_digest(), content.as_ref());
                let fit = |i: &&countersign_core::device::Identity| {
                    i.enabled
                        && i.usage == next.spec.usage()
                        && Selector::any(&next.spec.selectors, self.device(*by), i)
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
                let lock = commit.lock_state.map(|lock_state| lock_state.lock);
                assert!(matches!(lock, Some(Lock::Until(_))), "the user is locked with it");
            }
            _ => {}
        }
    }

    /// Checks that the deliveries are exactly those that the event requires.
    fn has_deliveries(&mut self, commit: &TransactionChange) {
        let spec = &commit.transaction.spec;
        let mut pushed = BTreeSet::new();
        for outstanding in &commit.deliveries {
            if let DeliveryKind::Push(device) = outstanding.kind {
                assert_eq!(commit.event, Event::Started, "a start pushes, and nothing else");
                let device = &self.devices[&device];
                assert!(spec.recipients.includes(device.id) && device.user == spec.user);
                assert!(pushed.insert(device.id), "one push for one device");
            }
        }
        let callbacks = commit.deliveries.len() - pushed.len();
        let is_end = matches!(commit.event, Event::Ended(_));
        let outstanding = usize::from(is_end && spec.callback.is_some());
        assert_eq!(callbacks, outstanding, "an end requires one callback if the client gave a URL");
        if is_end {
            let is_its = |(id, kind): &(TransactionId, DeliveryKind)| {
                *id == spec.id && matches!(kind, DeliveryKind::Push(_))
            };
            let called_off = self.outstanding.iter().filter(|(_, outstanding)| is_its(outstanding));
            self.called_off.extend(called_off.map(|(id, _)| *id));
        }
        for outstanding in &commit.deliveries {
            let before = self.outstanding.insert(outstanding.id, (spec.id, outstanding.kind));
            assert!(before.is_none(), "each delivery has its own id");
        }
    }

    /// Whether a tenant was deleted.
    pub(super) fn is_deleted(&self, tenant: &TenantName) -> bool {
        self.tenants.get(tenant) == Some(&TenantState::Deleted)
    }

    fn may(&self, transaction: &Transaction, at: Timestamp) -> bool {
        let spec = &transaction.spec;
        if self.tenants.contains_key(&spec.tenant) {
            return false;
        }
        self.standings[&(spec.tenant.clone(), spec.user.clone())].check(at).is_ok()
    }

    /// Whether the phone is locked, and whether its user and its tenant are, until they are
    /// unlocked.
    pub(super) fn locks(&self, phone: &Phone) -> [bool; 3] {
        let user = (phone.tenant().clone(), phone.user().clone());
        let lock = self.standings[&user].lock;
        let user_is_locked = matches!(lock, Lock::Administrator | Lock::ReportedByUser);
        let tenant_is_locked = self.tenants.contains_key(phone.tenant());
        [!self.is_active(phone.id()), user_is_locked, tenant_is_locked]
    }

    fn is_active(&self, device: DeviceId) -> bool {
        self.devices[&device].status == DeviceStatus::Active
    }
}

/// The evidence of a finished transaction. A CMS contains its content; other signatures do not.
fn evidence(whole: &Transaction) -> Transaction {
    let mut spec = (*whole.spec).clone();
    (spec.callback, spec.notice, spec.request) = (None, None, None);
    if spec.formats.accept(SignatureFormat::Cms) {
        spec.content.bytes.clear();
    }
    Transaction { spec: Arc::new(spec), ..whole.clone() }
}
