//! What a story is told with: a world in a store, an engine over it, and short words for what people,
//! phones and relying parties do.

use core::fmt::Debug;
use core::time::Duration;
use std::ops::AsyncFn;
use std::sync::{Arc, LazyLock};

use countersign_core::delivery::Debt;
use countersign_core::device::{Device, DeviceStatus};
use countersign_core::engine::{Engine, Order, Policy, StartRates, Submission, Taken};
use countersign_core::id::{TenantName, TransactionId, UserName};
use countersign_core::port::{
    Chance, Changed, Clock, Commit, Handle, Ledger, Registry, StoredMax, Versioned,
};
use countersign_core::terms::{Callback, Reference};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, Event, Outcome, Transaction};
use countersign_core::user::{Lock, LockPolicy, Standing};
use countersign_core::waking::{PushPolicy, When};
use countersign_core::{Error, Refusal};
use countersign_proof::Proof;
use countersign_sim::{
    Board, House, Interference, Phone, Stage, Timeline, Untouched, World, Written, block_on,
};
use countersign_store::Store;

/// acme with jane, who has three phones, and joe, who has one; beta with a jane of its own.
pub(crate) static WORLD: LazyLock<World> =
    LazyLock::new(|| World::new(&[("acme", &[("jane", 3), ("joe", 1)]), ("beta", &[("jane", 1)])]));

pub(crate) const POLICY: Policy = Policy {
    locks: LockPolicy { wrong_max: 5, first: Duration::from_mins(1), max: Duration::from_mins(3) },
    open_per_user_max: 4,
    start_rates: StartRates { client: None, tenant: None },
    stored_max: StoredMax::NONE,
    push: PushPolicy { when: When::Absent, after: Duration::ZERO },
};

pub(crate) fn acme() -> &'static House {
    WORLD.house("acme")
}

/// One of jane's phones at acme, from 0.
pub(crate) fn janes(nth: usize) -> &'static Phone {
    acme().phone("jane", nth)
}

pub(crate) fn joes() -> &'static Phone {
    acme().phone("joe", 0)
}

/// The phone of the jane at beta.
pub(crate) fn betas() -> &'static Phone {
    WORLD.house("beta").phone("jane", 0)
}

pub(crate) type Node<S, I> = Engine<Stage<S, I>, Board, Timeline>;

/// A story's stage.
pub(crate) struct Play<I: Interference = Untouched> {
    /// The store itself, beyond all tricks.
    pub(crate) store: Store,
    pub(crate) engine: Node<Store, I>,
    pub(crate) board: Board,
    pub(crate) time: Timeline,
}

/// Tells the same story to every kind of store.
pub(crate) fn everywhere(tell: impl AsyncFn(Play)) {
    everywhere_with(|| Untouched, tell);
}

/// The same, with new tricks for each.
pub(crate) fn everywhere_with<I: Interference>(
    tricks: impl Fn() -> I,
    tell: impl AsyncFn(Play<I>),
) {
    block_on(async {
        tell(Play::on(Store::memory(), tricks()).await).await;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::sqlite(directory.path(), None).unwrap();
        tell(Play::on(store.clone(), tricks()).await).await;
        store.close().await.unwrap();
    });
}

impl<I: Interference> Play<I> {
    pub(crate) async fn on(store: Store, interference: I) -> Self {
        WORLD.settle(&store).await;
        let (board, time) = (Board::default(), Timeline::new(1));
        let stage = Stage::new(store.clone(), interference);
        let engine = Engine::new(stage, board.clone(), time.clone(), POLICY);
        Self { store, engine, board, time }
    }

    /// An order for jane's signature at acme.
    pub(crate) fn order(&self) -> Order {
        acme().order(self.id(), &acme().users[0])
    }

    pub(crate) fn id(&self) -> TransactionId {
        TransactionId(self.time.draw())
    }

    pub(crate) async fn start(&self, order: Order) -> Arc<Transaction> {
        self.engine.start(order).await.unwrap()
    }

    /// A transaction of jane's that each of these phones has taken.
    pub(crate) async fn taken(&self, by: &[&Phone]) -> Arc<Transaction> {
        let started = self.start(self.order()).await;
        for phone in by {
            self.take(phone, &started).await.unwrap();
        }
        started
    }

    pub(crate) async fn take(&self, phone: &Phone, of: &Transaction) -> Result<Taken, Error> {
        self.engine.take(phone.tenant(), phone.id(), of.terms.id, None).await
    }

    pub(crate) async fn take_with_pin(
        &self,
        phone: &Phone,
        of: &Transaction,
        pin: &str,
    ) -> Result<Taken, Error> {
        let proof = phone.prove_pin(pin, of.terms.id);
        self.engine.take(phone.tenant(), phone.id(), of.terms.id, Some(&proof)).await
    }

    /// Signs, and hands it in.
    pub(crate) async fn finish(
        &self,
        phone: &Phone,
        of: &Transaction,
    ) -> Result<Arc<Transaction>, Error> {
        self.hand_in(phone, of, &phone.submission(&phone.sign(&of.terms))).await
    }

    pub(crate) async fn hand_in(
        &self,
        phone: &Phone,
        of: &Transaction,
        submission: &Submission<'_>,
    ) -> Result<Arc<Transaction>, Error> {
        self.engine.finish(phone.tenant(), phone.id(), of.terms.id, submission).await
    }

    pub(crate) async fn decline(
        &self,
        phone: &Phone,
        of: &Transaction,
        reason: Decline,
    ) -> Result<Arc<Transaction>, Error> {
        self.engine.decline(phone.tenant(), phone.id(), of.terms.id, reason).await
    }

    pub(crate) async fn cancel(&self, of: &Transaction) -> Result<Arc<Transaction>, Error> {
        let terms = &of.terms;
        self.engine.cancel(&terms.tenant, &terms.client, &terms.user, &Handle::Id(terms.id)).await
    }

    pub(crate) async fn offers(&self, phone: &Phone) -> Result<Vec<TransactionId>, Error> {
        let offers = self.engine.offers(phone.tenant(), phone.id()).await?;
        Ok(offers.iter().map(|offer| offer.terms.id).collect())
    }

    /// What the ledger holds of it.
    pub(crate) async fn found(&self, of: &Transaction) -> Versioned<Transaction> {
        let found = self.store.load(&of.terms.tenant, &Handle::Id(of.terms.id)).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn outcome(&self, of: &Transaction) -> Option<Outcome> {
        self.found(of).await.value.end().map(End::outcome)
    }

    /// What is owed, now or at any time, in the order in which it came to be.
    pub(crate) async fn debts(&self) -> Vec<(TransactionId, Debt)> {
        let mut debts = Vec::new();
        for house in &WORLD.houses {
            let unpaid = self.store.deliveries(&house.tenant, false, 1_000).await.unwrap();
            debts.extend(unpaid.into_iter().map(|unpaid| unpaid.delivery));
        }
        debts.into_iter().map(|delivery| (delivery.transaction, delivery.debt)).collect()
    }

    /// The events committed to this transaction, in order.
    pub(crate) fn events(&self, of: &Transaction) -> Vec<Event> {
        let commits = self.commits();
        let its = commits.iter().filter(|commit| commit.transaction.terms.id == of.terms.id);
        its.map(|commit| commit.event).collect()
    }

    pub(crate) fn commits(&self) -> Vec<Commit> {
        let tape = self.engine.store.tape();
        let commits = tape.into_iter().filter_map(|written| match written {
            Written::Commit(commit) => Some(*commit),
            _ => None,
        });
        commits.collect()
    }

    pub(crate) async fn standing(&self, phone: &Phone) -> Standing {
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

async fn standing_of(store: &Store, tenant: &TenantName, user: &UserName) -> Versioned<Standing> {
    let user = store.user(tenant, user).await.unwrap().unwrap();
    Versioned { value: user.value.standing, version: user.version }
}

/// What an administrator does to a user.
pub(crate) async fn set_lock(store: &Store, phone: &Phone, lock: Lock) {
    let (tenant, user) = (phone.tenant(), phone.user());
    let before = standing_of(store, tenant, user).await;
    let after = Standing { lock, ..before.value };
    let changed = store.set_standing(tenant, user, before.version, after).await.unwrap();
    assert_eq!(changed, Changed::Written);
}

/// What an administrator does to a device.
pub(crate) async fn change_device(store: &Store, phone: &Phone, change: impl Fn(&mut Device)) {
    let found = store.device(phone.tenant(), phone.id()).await.unwrap().unwrap();
    let mut device = found.value;
    change(&mut device);
    assert_eq!(store.change_device(device, found.version).await.unwrap(), Changed::Written);
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

/// The caller's own name for an order, and whether it asks the same as another under that name.
pub(crate) fn reference(name: &str, request: u8) -> Reference {
    Reference { name: name.into(), request: [request; 32] }
}

/// Why it was turned down.
#[track_caller]
pub(crate) fn refusal<T: Debug>(answer: Result<T, Error>) -> Refusal {
    match answer {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// The proof in it.
#[track_caller]
pub(crate) fn proof(transaction: &Transaction) -> &Proof {
    match transaction.end() {
        Some(End::Finished { proof, .. }) => proof,
        other => panic!("it did not finish: {other:?}"),
    }
}
