//! Every call fails once: each use case is lived through as often as it calls the store, and each time
//! another call fails, before or after its work. The callers repeat themselves until they are answered,
//! and nobody can tell afterwards that anything went wrong.

use core::fmt::Debug;
use core::time::Duration;
use std::ops::AsyncFn;
use std::sync::Arc;

use countersign_core::delivery::Debt;
use countersign_core::device::PinDigest;
use countersign_core::engine::Order;
use countersign_core::id::{DeviceId, TransactionId};
use countersign_core::port::{Handle, Registry};
use countersign_core::transaction::{Decline, End, Event, Outcome, Take, Transaction};
use countersign_core::user::{Lock, Standing};
use countersign_core::{Error, Fault};
use countersign_sim::{FailsOnce, House, When, block_on, is_injected, pin_digest};
use countersign_store::Store;

use crate::play::*;

/// How often a caller repeats itself; one call fails, so it needs not do so often.
const TRIES: usize = 3;

/// What is there in the end, as anybody can see it.
#[derive(Debug, PartialEq)]
struct Account {
    outcome: Option<Outcome>,
    by: Option<DeviceId>,
    takes: Vec<Take>,
    /// Without the proofs of a PIN that was proved already.
    events: Vec<Event>,
    debts: Vec<Debt>,
    standing: Standing,
    pin: Option<PinDigest>,
}

impl Account {
    async fn of(play: &Play<FailsOnce>, transaction: &Transaction) -> Self {
        let found = play.found(transaction).await;
        let mut events = play.events(transaction);
        assert_eq!(found.version as usize, events.len(), "versions grow by one per event");
        events.retain(|event| *event != Event::PinProved);
        let mut debts = play.debts().await;
        assert!(debts.iter().all(|(id, _)| *id == transaction.terms.id));
        debts.sort_by_key(|(_, debt)| format!("{debt:?}"));
        let device = play.store.device(janes(0).tenant(), janes(0).id()).await.unwrap();
        Self {
            outcome: found.value.end().map(End::outcome),
            by: found.value.end().and_then(End::by),
            takes: found.value.takes,
            events,
            debts: debts.into_iter().map(|(_, debt)| debt).collect(),
            standing: play.standing(janes(0)).await,
            pin: device.unwrap().value.pin,
        }
    }
}

/// Repeats a call until it is answered, which it must be with yes.
async fn until_answered<T: Debug, E: Into<Error>>(call: impl AsyncFn() -> Result<T, E>) -> T {
    for _ in 0..TRIES {
        match call().await.map_err(Into::into) {
            Ok(answer) => return answer,
            Err(Error::Failed(fault)) if is_injected(&fault) => {}
            Err(error) => panic!("it was answered with {error:?}"),
        }
    }
    panic!("it was not answered");
}

/// Lives the life once for each call, on both sides of it, on every store.
fn every_call_fails_once(
    expected: &[Event],
    debts: usize,
    live: &impl AsyncFn(&Play<FailsOnce>) -> Arc<Transaction>,
) {
    block_on(async {
        let play = Play::on(Store::memory(), FailsOnce::at(0, When::Before)).await;
        let lived = live(&play).await;
        let account = Account::of(&play, &lived).await;
        assert_eq!((account.events.as_slice(), account.debts.len()), (expected, debts));
        for nth in 1..=play.engine.store.interference.calls() {
            for when in [When::Before, When::After] {
                again(nth, when, live, &account).await;
            }
        }
    });
}

async fn again(
    nth: u64,
    when: When,
    live: &impl AsyncFn(&Play<FailsOnce>) -> Arc<Transaction>,
    expected: &Account,
) {
    let directory = tempfile::tempdir().unwrap();
    let stores = [Store::memory(), Store::sqlite(directory.path(), None).unwrap()];
    for store in stores {
        let play = Play::on(store, FailsOnce::at(nth, when)).await;
        let told = live(&play).await;
        assert!(play.engine.store.interference.calls() >= nth);
        assert_eq!(Account::of(&play, &told).await, *expected, "call {nth}, {when:?}");
        assert_eq!(play.found(&told).await.value, *told, "call {nth}, {when:?}");
        play.store.close().await.unwrap();
    }
}

/// An order that can be repeated, and whose end is owed to its caller.
fn order(play: &Play<FailsOnce>) -> Order {
    let mut order = play.order();
    order.reference = Some(reference("order 7", 1));
    order.callback = Some(callback());
    order
}

async fn start(play: &Play<FailsOnce>, order: Order) -> Arc<Transaction> {
    until_answered(async || play.engine.start(order.clone()).await).await
}

#[test]
fn what_is_finished_is_finished_once_wherever_the_store_fails() {
    let events = [Event::Started, Event::Reached, Event::Taken, Event::Ended(Outcome::Finished)];
    every_call_fails_once(&events, 1, &async |play| {
        let started = start(play, order(play)).await;
        let offers = until_answered(async || play.offers(janes(0)).await).await;
        assert_eq!(offers, [started.terms.id]);
        until_answered(async || play.take(janes(0), &started).await).await;
        let value = janes(0).sign(&started.terms);
        let submission = janes(0).submission(&value);
        let done =
            until_answered(async || play.hand_in(janes(0), &started, &submission).await).await;
        assert_eq!(proof(&done).evidence(), value);
        done
    });
}

#[test]
fn a_pin_is_proved_and_reset_wherever_the_store_fails() {
    let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Finished)];
    every_call_fails_once(&events, 1, &async |play| {
        let wrong = Standing { wrong_pins: 3, ..Standing::default() };
        let (tenant, user) = (janes(0).tenant(), janes(0).user());
        let found = play.store.user(tenant, user).await.unwrap().unwrap();
        play.store.set_standing(tenant, user, found.version, wrong).await.unwrap();
        let mut order = order(play);
        order.pin_required = true;
        let started = start(play, order).await;
        until_answered(async || play.take_with_pin(janes(0), &started, House::PIN).await).await;
        assert_eq!(play.standing(janes(0)).await, Standing::default());
        let value = janes(0).sign(&started.terms);
        let submission = janes(0).submission(&value);
        until_answered(async || play.hand_in(janes(0), &started, &submission).await).await
    });
}

#[test]
fn not_me_is_heard_once_wherever_the_store_fails() {
    let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Declined)];
    every_call_fails_once(&events, 1, &async |play| {
        let started = start(play, order(play)).await;
        until_answered(async || play.take(janes(0), &started).await).await;
        let declined =
            until_answered(async || play.decline(janes(0), &started, Decline::NotMe).await).await;
        assert_eq!(play.standing(janes(0)).await.lock, Lock::Disowned);
        declined
    });
}

#[test]
fn what_failed_on_the_device_fails_once_wherever_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Failed)];
    every_call_fails_once(&events, 1, &async |play| {
        let started = start(play, order(play)).await;
        let (tenant, device, id) = (janes(0).tenant(), janes(0).id(), started.terms.id);
        until_answered(async || play.engine.fail(tenant, device, id, "no screen".into()).await)
            .await
    });
}

#[test]
fn what_is_cancelled_is_cancelled_once_wherever_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Cancelled)];
    every_call_fails_once(&events, 1, &async |play| {
        let started = start(play, order(play)).await;
        until_answered(async || play.cancel(&started).await).await
    });
}

#[test]
fn what_expires_expires_once_wherever_the_store_fails() {
    let events = [Event::Started, Event::Ended(Outcome::Expired)];
    every_call_fails_once(&events, 1, &async |play| {
        let started = start(play, order(play)).await;
        play.time.pass(Duration::from_mins(1));
        until_answered::<_, Fault>(async || play.engine.sweep().await).await;
        let id = Handle::Id(started.terms.id);
        until_answered(async || play.engine.transaction(&started.terms.tenant, &id).await).await
    });
}

#[test]
fn a_pin_is_changed_once_wherever_the_store_fails() {
    every_call_fails_once(&[Event::Started], 3, &async |play| {
        let started = start(play, order(play)).await;
        let proof = janes(0).prove_pin(House::PIN, TransactionId(0));
        let (tenant, device, new) = (janes(0).tenant(), janes(0).id(), pin_digest("1111", 2));
        until_answered(async || play.engine.set_pin(tenant, device, &new, Some(&proof)).await)
            .await;
        started
    });
}
