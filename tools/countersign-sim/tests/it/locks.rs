//! Stories of locks: nothing finishes after a lock that was acknowledged, not even what was nearly
//! done.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::device::Device;
use countersign_core::push::Push;
use countersign_core::transaction::{Decline, Event, Outcome};
use countersign_core::user::{Lock, Standing};
use countersign_core::{Fault, Refusal};
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
            Call::Commit => self.0.lock().unwrap_or_else(PoisonError::into_inner).take(),
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
