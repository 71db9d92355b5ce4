//! Stories of locks: nothing finishes after a lock that was acknowledged, not even what was nearly
//! done.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::device::{Device, DeviceStatus, Identity, Purpose};
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::id::IdentityId;
use countersign_core::port::Registry as _;
use countersign_core::push::Push;
use countersign_core::tenant::Tenant;
use countersign_core::transaction::{Decline, Event, Outcome};
use countersign_core::user::{Lock, Standing};
use countersign_core::{Error, Fault, Refusal};
use countersign_proof::raw::Hash;
use countersign_sim::{Call, Interference};
use countersign_store::Store;

use crate::play::*;

#[test]
fn not_me_holds_the_user_against_everything_until_somebody_lifts_it() {
    everywhere(async |play: Play| {
        let (declined, other) = (play.start(play.order()).await, play.taken(&[janes(1)]).await);
        play.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        let last = play.commits().pop().unwrap();
        let disowned = Standing { lock: Lock::Disowned, ..Standing::default() };
        assert_eq!(last.standing, Some(disowned));
        assert_eq!(play.standing(janes(0)).await, disowned);

        play.time.pass(core::time::Duration::from_secs(1));
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::UserLocked);
        assert_eq!(refusal(play.offers(janes(1)).await), Refusal::UserLocked);
        assert_eq!(refusal(play.finish(janes(1), &other).await), Refusal::UserLocked);
        let again = play.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        assert_eq!(play.found(&declined).await.value, *again);
        play.offers(joes()).await.unwrap();

        play.set_lock(janes(0), Lock::Open).await;
        play.start(play.order()).await;
        play.finish(janes(1), &other).await.unwrap();
        // Said once more, it does not lock again.
        play.decline(janes(0), &declined, Decline::NotMe).await.unwrap();
        assert_eq!(play.standing(janes(0)).await.lock, Lock::Open);
    });
}

#[test]
fn a_user_locked_between_take_and_finish_does_not_finish() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        let before = play.found(&started).await;
        play.set_lock(janes(0), Lock::Administrator).await;
        assert_eq!(refusal(play.take(janes(0), &started).await), Refusal::UserLocked);
        assert_eq!(refusal(play.finish(janes(0), &started).await), Refusal::UserLocked);
        let declined = play.decline(janes(0), &started, Decline::User).await;
        assert_eq!(refusal(declined), Refusal::UserLocked);
        assert_eq!(play.found(&started).await, before);
        play.set_lock(janes(0), Lock::Open).await;
        play.finish(janes(0), &started).await.unwrap();
    });
}

#[test]
fn a_device_locked_or_retired_between_take_and_finish_does_not_finish() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0), janes(1)]).await;
        let before = play.found(&started).await;
        for gone in [locked, retired] {
            play.change(janes(0), gone).await;
            assert_eq!(refusal(play.take(janes(0), &started).await), Refusal::DeviceLocked);
            assert_eq!(refusal(play.finish(janes(0), &started).await), Refusal::DeviceLocked);
            assert_eq!(refusal(play.offers(janes(0)).await), Refusal::DeviceLocked);
            let declined = play.decline(janes(0), &started, Decline::NotMe).await;
            assert_eq!(refusal(declined), Refusal::DeviceLocked);
        }
        assert_eq!(play.found(&started).await, before);
        play.finish(janes(1), &started).await.unwrap();
    });
}

type Deed = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Does something once, when the next commit is on its way and before the store hears of it.
#[derive(Clone, Default)]
struct InBetween(Arc<Mutex<Option<Deed>>>);

impl fmt::Debug for InBetween {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InBetween")
    }
}

impl InBetween {
    fn plan<F: Future<Output = ()> + Send + 'static>(
        &self,
        deed: impl FnOnce() -> F + Send + 'static,
    ) {
        let deed: Deed = Box::new(|| Box::pin(deed()));
        *self.0.lock().unwrap() = Some(deed);
    }

    fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl Interference for InBetween {
    async fn before(&self, call: Call) -> Result<(), Fault> {
        let deed = match call {
            Call::Commit | Call::Register => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
            _ => None,
        };
        if let Some(deed) = deed {
            deed().await;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        Ok(())
    }
}

/// A lock, acknowledged while jane's first phone is about to end its transaction.
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

/// Hands in a right signature while `deed` is done, and gives the refusal.
async fn finish_while<F: Future<Output = ()> + Send + 'static>(
    play: &Play<InBetween>,
    deed: impl FnOnce(Store) -> F + Send + 'static,
) -> Refusal {
    let started = play.taken(&[janes(0)]).await;
    let store = play.store.clone();
    play.engine.store.interference.plan(move || deed(store));
    let answer = play.finish(janes(0), &started).await;
    assert!(play.engine.store.interference.is_done());
    assert_eq!(play.outcome(&started).await, None, "it finished after the lock");
    refusal(answer)
}

#[test]
fn a_user_locked_while_the_signature_is_verified_does_not_finish() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        assert_eq!(finish_while(&play, lock_user).await, Refusal::UserLocked);
    });
}

#[test]
fn a_device_locked_while_the_signature_is_verified_does_not_finish() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        assert_eq!(finish_while(&play, lock_device).await, Refusal::DeviceLocked);
    });
}

#[test]
fn an_identity_disabled_while_the_signature_is_verified_does_not_finish() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        assert_eq!(finish_while(&play, disable_identity).await, Refusal::UnfitIdentity);
    });
}

/// Gives jane's first phone one more identity.
async fn add_identity<I: Interference>(play: &Play<I>) -> Result<Identity, Error> {
    let (tenant, phone) = (janes(0).tenant(), janes(0).id());
    let (_, certificate) = acme().authority.issue("one more");
    let id = IdentityId(7);
    let key = countersign_proof::public_key(&certificate).unwrap();
    let issue = |_: &Tenant, _: &Device| {
        let identity = Identity {
            id,
            purpose: Purpose::Digest,
            certificate: certificate.clone(),
            chain: Vec::new(),
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
    play.engine.add_identity(tenant, phone, &key, Purpose::Digest, issue).await
}

#[test]
fn a_device_gets_no_identity_after_its_user_was_locked_meanwhile() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        let tricks = &play.engine.store.interference;
        for deed in [lock_user_boxed as fn(Store) -> Boxed, lock_device_boxed] {
            let store = play.store.clone();
            tricks.plan(move || deed(store));
            let refused = refusal(add_identity(&play).await);
            assert!(matches!(refused, Refusal::UserLocked | Refusal::DeviceLocked), "{refused}");
            assert!(tricks.is_done());
            let read = play.store.device(janes(0).tenant(), janes(0).id()).await.unwrap().unwrap();
            assert_eq!(read.value.identities.len(), 2);
            play.set_lock(janes(0), Lock::Open).await;
        }
        // A change that locks nobody only makes it try again.
        change_device(&play.store, janes(0), |device| device.status = DeviceStatus::Active).await;
        let store = play.store.clone();
        tricks.plan(move || async move {
            change_device(&store, janes(0), |device| device.push = Push::None).await;
        });
        add_identity(&play).await.unwrap();
        assert!(tricks.is_done());
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
fn nothing_starts_and_nothing_is_taken_after_a_lock_that_was_acknowledged_meanwhile() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        let started = play.start(play.order()).await;
        let tricks = &play.engine.store.interference;
        let store = play.store.clone();
        tricks.plan(move || lock_device(store));
        assert_eq!(refusal(play.take(janes(0), &started).await), Refusal::DeviceLocked);
        let store = play.store.clone();
        tricks.plan(move || lock_user(store));
        assert_eq!(refusal(play.take(janes(1), &started).await), Refusal::UserLocked);
        assert_eq!(play.events(&started), [Event::Started]);

        play.set_lock(janes(0), Lock::Open).await;
        let store = play.store.clone();
        tricks.plan(move || lock_user(store));
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::UserLocked);
        assert_eq!(play.commits().len(), 1);
    });
}

#[test]
fn a_change_that_locks_nobody_only_makes_the_commit_try_again() {
    everywhere_with(InBetween::default, async |play: Play<InBetween>| {
        let started = play.taken(&[janes(0)]).await;
        let store = play.store.clone();
        play.engine.store.interference.plan(move || async move {
            change_device(&store, janes(0), |device| device.push = Push::None).await;
        });
        play.finish(janes(0), &started).await.unwrap();
        assert!(play.engine.store.interference.is_done());
        assert_eq!(play.outcome(&started).await, Some(Outcome::Finished));
    });
}
