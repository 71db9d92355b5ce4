//! The fixture of the scenarios: a population in a store, an engine over it, and short methods for
//! the actions of users, phones and clients.

use core::fmt::Debug;
use core::time::Duration;
use countersign_sim::changes::Changes as _;
use std::ops::AsyncFn;
use std::sync::{Arc, LazyLock};

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{Device, DeviceStatus};
use countersign_core::engine::{
    Engine, FinishMode, Policy, SignatureRequest, StartRates, Submission, Taken,
};
use countersign_core::event::Actor;
use countersign_core::id::{TenantName, TransactionId, UserName};
use countersign_core::port::{
    Clock, Committed, Entropy, Handle, Ledger, Page, RowsMax, StoredMax, TransactionChange,
    Versioned,
};
use countersign_core::push_policy::{PushPolicy, When};
use countersign_core::refusal::{ActorError, CancelError, DeviceError, Error};
use countersign_core::spec::{Callback, Reference};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, Event, Outcome, Transaction};
use countersign_core::user::{Lock, LockPolicy, LockState};
use countersign_proof::Proof;
use countersign_sim::{
    FakeNotifier, FaultyStore, Interference, NoFaults, Phone, Population, TestTenant, Timeline,
    Written, block_on,
};
use countersign_store::Store;

/// Tenant acme with jane, who has three phones, and joe, who has one; tenant beta with another
/// jane.
pub(crate) static POPULATION: LazyLock<Population> = LazyLock::new(|| {
    Population::new(&[("acme", &[("jane", 3), ("joe", 1)]), ("beta", &[("jane", 1)])])
});

pub(crate) const POLICY: Policy = Policy {
    locks: LockPolicy { wrong_max: 5, first: Duration::from_mins(1), max: Duration::from_mins(3) },
    pin_reset: countersign_core::device::PinReset::Allowed,
    open_per_user_max: 4,
    start_rates: StartRates { client: None, tenant: None },
    stored_max: StoredMax::NONE,
    rows_max: RowsMax::NONE,
    push: PushPolicy { when: When::Absent, after: Duration::ZERO },
};

pub(crate) fn acme() -> &'static TestTenant {
    POPULATION.test_tenant("acme")
}

/// A phone of jane at acme, by number from 0.
pub(crate) fn janes(nth: usize) -> &'static Phone {
    acme().phone("jane", nth)
}

pub(crate) fn joes() -> &'static Phone {
    acme().phone("joe", 0)
}

/// The phone of jane at beta.
pub(crate) fn betas() -> &'static Phone {
    POPULATION.test_tenant("beta").phone("jane", 0)
}

/// An operator at the command line.
pub(crate) const OPERATOR: &Actor = &Actor::CommandLine(String::new());

pub(crate) type Node<S, I> = Engine<FaultyStore<S, I>, FakeNotifier, Timeline>;

/// A fixture over one store.
pub(crate) struct Fixture<I: Interference = NoFaults> {
    /// The store, without interference.
    pub(crate) store: Store,
    /// The store with interference, as the engine uses it.
    pub(crate) faulty: FaultyStore<Store, I>,
    pub(crate) engine: Node<Store, I>,
    pub(crate) notifier: FakeNotifier,
    pub(crate) time: Timeline,
}

/// Runs a test on every kind of store.
pub(crate) fn everywhere(tell: impl AsyncFn(Fixture)) {
    everywhere_with(|| NoFaults, tell);
}

/// Runs a test on every kind of store, with a new interference for each.
pub(crate) fn everywhere_with<I: Interference>(
    faults: impl Fn() -> I,
    tell: impl AsyncFn(Fixture<I>),
) {
    block_on(async {
        tell(Fixture::on(Store::memory(), faults()).await).await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::sqlite(directory.path(), None).unwrap();
        tell(Fixture::on(store.clone(), faults()).await).await;
        store.close().await.unwrap();
    });
}

impl<I: Interference> Fixture<I> {
    pub(crate) async fn on(store: Store, interference: I) -> Self {
        POPULATION.settle(&store).await;
        let (notifier, time) = (FakeNotifier::default(), Timeline::new(1));
        let faulty = FaultyStore::new(store.clone(), interference);
        let engine = Engine::new(faulty.clone(), notifier.clone(), time.clone(), POLICY);
        Self { store, faulty, engine, notifier, time }
    }

    /// A signature request to jane at acme.
    pub(crate) fn request(&self) -> SignatureRequest {
        acme().request(self.id(), &acme().users[0])
    }

    pub(crate) fn id(&self) -> TransactionId {
        TransactionId(self.time.random_u128())
    }

    pub(crate) async fn start(&self, request: SignatureRequest) -> Arc<Transaction> {
        self.engine.start(request, None).await.unwrap()
    }

    /// A transaction of jane that each of these phones has taken.
    pub(crate) async fn taken(&self, by: &[&Phone]) -> Arc<Transaction> {
        let started = self.start(self.request()).await;
        for phone in by {
            self.take(phone, &started).await.unwrap();
        }
        started
    }

    pub(crate) async fn take(&self, phone: &Phone, of: &Transaction) -> Result<Taken, DeviceError> {
        self.engine.take(phone.tenant(), phone.id(), of.spec.id, None).await
    }

    pub(crate) async fn take_with_pin(
        &self,
        phone: &Phone,
        of: &Transaction,
        pin: &str,
    ) -> Result<Taken, DeviceError> {
        let proof = phone.prove_pin(pin, of.spec.id);
        self.engine.take(phone.tenant(), phone.id(), of.spec.id, Some(&proof)).await
    }

    /// Signs, and hands in the signature.
    pub(crate) async fn finish(
        &self,
        phone: &Phone,
        of: &Transaction,
    ) -> Result<Arc<Transaction>, DeviceError> {
        self.hand_in(phone, of, &phone.submission(&phone.sign(&of.spec))).await
    }

    pub(crate) async fn hand_in(
        &self,
        phone: &Phone,
        of: &Transaction,
        submission: &Submission<'_>,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let (mode, id) = (FinishMode::Taken, of.spec.id);
        let done = self.engine.finish(mode, phone.tenant(), phone.id(), id, submission).await;
        done.map(|done| done.transaction)
    }

    pub(crate) async fn decline(
        &self,
        phone: &Phone,
        of: &Transaction,
        reason: Decline,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let words = String::new();
        self.engine.decline(phone.tenant(), phone.id(), of.spec.id, reason, words).await
    }

    pub(crate) async fn cancel(&self, of: &Transaction) -> Result<Arc<Transaction>, CancelError> {
        let spec = &of.spec;
        let actor = Actor::Client(spec.client.clone());
        self.engine.cancel(&actor, &spec.tenant, &Handle::Id(spec.id), |_| true).await
    }

    pub(crate) async fn offers(&self, phone: &Phone) -> Result<Vec<TransactionId>, ActorError> {
        let offers = self.engine.offers(phone.tenant(), phone.id(), None).await?;
        Ok(offers.iter().map(|offer| offer.spec.id).collect())
    }

    /// The transaction in the ledger.
    pub(crate) async fn found(&self, of: &Transaction) -> Versioned<Transaction> {
        let found = self.store.read().transaction(&of.spec.tenant, &Handle::Id(of.spec.id)).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn outcome(&self, of: &Transaction) -> Option<Outcome> {
        self.found(of).await.value.end().map(End::outcome)
    }

    /// The queued deliveries, whenever they are due, in the order in which they were queued.
    pub(crate) async fn deliveries(&self) -> Vec<(TransactionId, DeliveryKind)> {
        let mut deliveries = Vec::new();
        for test_tenant in &POPULATION.test_tenants {
            let outbox = self
                .store
                .deliveries(&test_tenant.tenant, false, Page::first(1_000))
                .await
                .unwrap()
                .rows;
            deliveries.extend(outbox.into_iter().map(|outbox| outbox.delivery));
        }
        deliveries.into_iter().map(|delivery| (delivery.transaction, delivery.kind)).collect()
    }

    /// The committed events of this transaction, in order.
    pub(crate) fn events(&self, of: &Transaction) -> Vec<Event> {
        let commits = self.commits();
        let its = commits.iter().filter(|commit| commit.transaction.spec.id == of.spec.id);
        its.map(|commit| commit.event).collect()
    }

    pub(crate) fn commits(&self) -> Vec<TransactionChange> {
        let tape = self.faulty.tape();
        let commits = tape.into_iter().filter_map(|written| match written {
            Written::Commit(commit) => Some(*commit),
            _ => None,
        });
        commits.collect()
    }

    pub(crate) async fn lock_state(&self, phone: &Phone) -> LockState {
        standing_of(&self.store, phone.tenant(), phone.user()).await.value
    }

    pub(crate) async fn set_lock(&self, phone: &Phone, lock: Lock) {
        set_lock(&self.store, phone, lock).await;
    }

    pub(crate) async fn change(&self, phone: &Phone, change: impl Fn(&mut Device)) {
        change_device(&self.store, phone, change).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }
}

async fn standing_of(store: &Store, tenant: &TenantName, user: &UserName) -> Versioned<LockState> {
    let user = store.read().user(tenant, user).await.unwrap().unwrap();
    Versioned { value: user.value.lock_state, version: user.version }
}

/// Sets a user's lock, as an administrator does.
pub(crate) async fn set_lock(store: &Store, phone: &Phone, lock: Lock) {
    let (tenant, user) = (phone.tenant(), phone.user());
    let before = standing_of(store, tenant, user).await;
    let after = LockState { lock, ..before.value };
    let changed = store.set_lock_state(tenant, user, before.version, after).await.unwrap();
    assert_eq!(changed, Committed::Written);
}

/// Changes a device, as an administrator does.
pub(crate) async fn change_device(store: &Store, phone: &Phone, change: impl Fn(&mut Device)) {
    let found = store.read().device(phone.tenant(), phone.id()).await.unwrap().unwrap();
    let mut device = found.value;
    change(&mut device);
    assert_eq!(store.change_device(device, found.version).await.unwrap(), Committed::Written);
}

pub(crate) fn locked(device: &mut Device) {
    device.status = DeviceStatus::Locked;
}

pub(crate) fn retired(device: &mut Device) {
    device.status = DeviceStatus::Retired;
}

pub(crate) fn callback() -> Callback {
    Callback { url: "https://shop.example/done".into(), headers: Vec::new() }
}

/// A reference with that name. Two references with one name are the same request if `request` is
/// equal.
pub(crate) fn reference(name: &str, request: u8) -> Reference {
    Reference { name: name.into(), request: [request; 32] }
}

/// The refusal in an answer.
#[track_caller]
pub(crate) fn refusal<T: Debug, R: Debug>(answer: Result<T, Error<R>>) -> R {
    match answer {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// The proof of a finished transaction.
#[track_caller]
pub(crate) fn proof(transaction: &Transaction) -> &Proof {
    match transaction.end() {
        Some(End::Finished { proof, .. }) => proof,
        other => panic!("it did not finish: {other:?}"),
    }
}
