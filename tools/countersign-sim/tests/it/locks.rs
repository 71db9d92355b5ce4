//! Scenarios of locks: after an acknowledged lock, no transaction is finished, even if its
//! verification had begun.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::device::{Device, DeviceStatus, Identity, Usage};
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::id::IdentityId;
use countersign_core::port::{Change, Commit, Committed, Ledger as _};
use countersign_core::push::Push;
use countersign_core::refusal::{
    ActorRefusal, AdminRefusal, DeviceError, DeviceRefusal, Fault, StartRefusal,
};
use countersign_core::tenant::{Tenant, TenantState};
use countersign_core::transaction::{Decline, Event, Outcome};
use countersign_core::user::{Lock, LockState};
use countersign_proof::raw::Hash;
use countersign_sim::{Call, Interference};
use countersign_store::Store;

use crate::fixture::*;

#[test]
fn not_me_locks_the_user_until_the_lock_is_removed() {
    everywhere(async |fixture: Fixture| {
        let (declined, other) =
            (fixture.start(fixture.request()).await, fixture.taken(&[janes(1)]).await);
        fixture.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        let last = fixture.commits().pop().unwrap();
        let reported_by_user = LockState { lock: Lock::ReportedByUser, ..LockState::default() };
        assert_eq!(last.lock_state, Some(reported_by_user));
        assert_eq!(fixture.lock_state(janes(0)).await, reported_by_user);

        fixture.time.pass(core::time::Duration::from_secs(1));
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::UserLocked
        );
        assert_eq!(refusal(fixture.offers(janes(1)).await), ActorRefusal::UserLocked);
        assert_eq!(refusal(fixture.finish(janes(1), &other).await), DeviceRefusal::UserLocked);
        let again = fixture.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        assert_eq!(fixture.found(&declined).await.value, *again);
        fixture.offers(joes()).await.unwrap();

        fixture.set_lock(janes(0), Lock::Open).await;
        fixture.start(fixture.request()).await;
        fixture.finish(janes(1), &other).await.unwrap();
        // Repeated later, it does not lock again.
        fixture.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        assert_eq!(fixture.lock_state(janes(0)).await.lock, Lock::Open);
    });
}

#[test]
fn a_user_locked_between_take_and_finish_cannot_finish() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let before = fixture.found(&started).await;
        fixture.set_lock(janes(0), Lock::Administrator).await;
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::UserLocked);
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), DeviceRefusal::UserLocked);
        let declined = fixture.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), DeviceRefusal::UserLocked);
        assert_eq!(fixture.found(&started).await, before);
        fixture.set_lock(janes(0), Lock::Open).await;
        fixture.finish(janes(0), &started).await.unwrap();
    });
}

#[test]
fn a_device_locked_or_retired_between_take_and_finish_cannot_finish() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0), janes(1)]).await;
        let before = fixture.found(&started).await;
        for gone in [locked, retired] {
            fixture.change(janes(0), gone).await;
            assert_eq!(
                refusal(fixture.take(janes(0), &started).await),
                DeviceRefusal::DeviceLocked
            );
            assert_eq!(
                refusal(fixture.finish(janes(0), &started).await),
                DeviceRefusal::DeviceLocked
            );
            assert_eq!(refusal(fixture.offers(janes(0)).await), ActorRefusal::DeviceLocked);
            let declined = fixture.decline(janes(0), &started, Decline::NotMe).await;
            assert_eq!(refusal(declined), DeviceRefusal::DeviceLocked);
        }
        assert_eq!(fixture.found(&started).await, before);
        fixture.finish(janes(1), &started).await.unwrap();
    });
}

type Operation = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Runs an operation once, before the next commit reaches the store.
#[derive(Clone, Default)]
struct DuringCall(Arc<Mutex<Option<Operation>>>);

impl fmt::Debug for DuringCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InBetween")
    }
}

impl DuringCall {
    fn plan<F: Future<Output = ()> + Send + 'static>(
        &self,
        operation: impl FnOnce() -> F + Send + 'static,
    ) {
        let operation: Operation = Box::new(|| Box::pin(operation()));
        *self.0.lock().unwrap() = Some(operation);
    }

    fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl Interference for DuringCall {
    async fn before(&self, call: Call) -> Result<(), Fault> {
        let operation = match call {
            Call::Commit | Call::Register => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        };
        if let Some(operation) = operation {
            operation().await;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn a_tenant_that_is_unlocked_while_it_is_deleted_keeps_its_clients() {
    let between = DuringCall::default();
    everywhere_with(
        || between.clone(),
        async |fixture: Fixture<DuringCall>| {
            let tenant = &acme().tenant;
            fixture.engine.set_tenant_lock(OPERATOR, tenant, true).await.unwrap();
            let (store, then) = (fixture.store.clone(), between.clone());
            // The first commit says that the deletion begins, and the second one deletes a client.
            between.plan(move || async move { then.plan(move || unlock_tenant(store)) });
            let deleted = fixture.engine.delete_tenant(OPERATOR, tenant, true).await;
            assert!(between.is_done());
            assert_eq!(refusal(deleted), AdminRefusal::NotLocked);
            let client = fixture.store.read().client(tenant, &acme().client).await.unwrap();
            assert!(!client.expect("it is kept").value.tenant_locked);
            fixture.start(fixture.request()).await;
        },
    );
}

async fn unlock_tenant(store: Store) {
    let (expected, state) = (TenantState::Locked, TenantState::Active);
    let change = Change::SetTenantState { tenant: acme().tenant.clone(), expected, state };
    let commit = Commit { change, events: Vec::new() };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Written);
}

/// Locks jane, with acknowledgement, while her first phone is about to end its transaction.
async fn lock_user(store: Store) {
    set_lock(&store, janes(0), Lock::Administrator).await;
}

async fn lock_device(store: Store) {
    change_device(&store, janes(0), locked).await;
}

fn disabled(device: &mut Device) {
    device.identities.iter_mut().for_each(|identity| identity.enabled = false);
}

async fn disable_identity(store: Store) {
    change_device(&store, janes(0), disabled).await;
}

/// Hands in a right signature while `operation` runs. Answers the refusal.
async fn finish_while<F: Future<Output = ()> + Send + 'static>(
    fixture: &Fixture<DuringCall>,
    operation: impl FnOnce(Store) -> F + Send + 'static,
) -> DeviceRefusal {
    let started = fixture.taken(&[janes(0)]).await;
    let store = fixture.store.clone();
    fixture.faulty.interference.plan(move || operation(store));
    let answer = fixture.finish(janes(0), &started).await;
    assert!(fixture.faulty.interference.is_done());
    assert_eq!(fixture.outcome(&started).await, None, "it finished after the lock");
    refusal(answer)
}

#[test]
fn a_user_locked_while_the_signature_is_verified_cannot_finish() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        assert_eq!(finish_while(&fixture, lock_user).await, DeviceRefusal::UserLocked);
    });
}

#[test]
fn a_device_locked_while_the_signature_is_verified_cannot_finish() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        assert_eq!(finish_while(&fixture, lock_device).await, DeviceRefusal::DeviceLocked);
    });
}

#[test]
fn an_identity_disabled_while_the_signature_is_verified_cannot_finish() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        assert_eq!(finish_while(&fixture, disable_identity).await, DeviceRefusal::UnfitIdentity);
    });
}

/// Adds an identity to jane's first phone.
async fn add_identity<I: Interference>(fixture: &Fixture<I>) -> Result<Identity, DeviceError> {
    let (tenant, phone) = (janes(0).tenant(), janes(0).id());
    let (_, certificate) = acme().authority.issue("one more");
    let id = IdentityId(7);
    let key = countersign_proof::public_key(&certificate).unwrap();
    let issue = |_: &Tenant, _: &Device| {
        let identity = Identity {
            id,
            usage: Usage::Digest,
            certificate: certificate.clone(),
            chain: Vec::new(),
            valid_until: fixture.now(),
            imported: false,
            renewal: None,
            labels: Vec::new(),
            proposed_labels: Vec::new(),
            enabled: true,
            status_reason: String::new(),
        };
        let key_digest = Hash::Sha256.of(&certificate).try_into().unwrap();
        let certificate_serial = Some(7);
        Ok(NewIdentity {
            identity,
            key: IdentityKey { identity: id, key_digest, certificate_serial },
        })
    };
    fixture.engine.add_identity(tenant, phone, &key, Usage::Digest, issue).await
}

#[test]
fn a_device_gets_no_identity_if_its_user_is_locked_meanwhile() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        let faults = &fixture.faulty.interference;
        for operation in [lock_user_boxed as fn(Store) -> Boxed, lock_device_boxed] {
            let store = fixture.store.clone();
            faults.plan(move || operation(store));
            let refused = refusal(add_identity(&fixture).await);
            assert!(
                matches!(refused, DeviceRefusal::UserLocked | DeviceRefusal::DeviceLocked),
                "{refused}"
            );
            assert!(faults.is_done());
            let read = fixture
                .store
                .read()
                .device(janes(0).tenant(), janes(0).id())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(read.value.identities.len(), 2);
            fixture.set_lock(janes(0), Lock::Open).await;
        }
        // A change that is not a lock only causes another attempt.
        change_device(&fixture.store, janes(0), |device| device.status = DeviceStatus::Active)
            .await;
        let store = fixture.store.clone();
        faults.plan(move || async move {
            change_device(&store, janes(0), |device| device.push = Push::None).await;
        });
        add_identity(&fixture).await.unwrap();
        assert!(faults.is_done());
    });
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn lock_user_boxed(store: Store) -> Boxed {
    Box::pin(lock_user(store))
}

fn lock_device_boxed(store: Store) -> Boxed {
    Box::pin(lock_device(store))
}

#[test]
fn a_lock_acknowledged_meanwhile_prevents_a_start_and_a_take() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        let started = fixture.start(fixture.request()).await;
        let faults = &fixture.faulty.interference;
        let store = fixture.store.clone();
        faults.plan(move || lock_device(store));
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::DeviceLocked);
        let store = fixture.store.clone();
        faults.plan(move || lock_user(store));
        assert_eq!(refusal(fixture.take(janes(1), &started).await), DeviceRefusal::UserLocked);
        assert_eq!(fixture.events(&started), [Event::Started]);

        fixture.set_lock(janes(0), Lock::Open).await;
        let store = fixture.store.clone();
        faults.plan(move || lock_user(store));
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::UserLocked
        );
        assert_eq!(fixture.commits().len(), 1);
    });
}

#[test]
fn a_change_that_is_not_a_lock_only_makes_the_commit_try_again() {
    everywhere_with(DuringCall::default, async |fixture: Fixture<DuringCall>| {
        let started = fixture.taken(&[janes(0)]).await;
        let store = fixture.store.clone();
        fixture.faulty.interference.plan(move || async move {
            change_device(&store, janes(0), |device| device.push = Push::None).await;
        });
        fixture.finish(janes(0), &started).await.unwrap();
        assert!(fixture.faulty.interference.is_done());
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Finished));
    });
}
