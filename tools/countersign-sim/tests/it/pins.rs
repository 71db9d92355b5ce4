//! Scenarios of PINs: what they protect, the effect of wrong ones, and changes.

use core::time::Duration;

use countersign_core::engine::SignatureRequest;
use countersign_core::event::Actor;
use countersign_core::id::TransactionId;
use countersign_core::refusal::{ActorRefusal, DeviceRefusal, PinResetRefusal, StartRefusal};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome};
use countersign_core::user::{Factor, Lock, LockState};
use countersign_sim::{START, TestTenant, pin_digest};

use crate::fixture::*;

const RIGHT: &str = TestTenant::PIN;
const WRONG: &str = "0000";

fn with_pin(fixture: &Fixture) -> SignatureRequest {
    let mut request = fixture.request();
    request.pin_required = true;
    request
}

/// Gives wrong PINs until the user is locked. Answers the end of the lock.
async fn lock(fixture: &Fixture) -> Timestamp {
    let started = fixture.start(with_pin(fixture)).await;
    for _ in 1..POLICY.locks.wrong_max {
        fixture.take_with_pin(janes(0), &started, WRONG).await.unwrap_err();
    }
    let last = fixture.take_with_pin(janes(0), &started, WRONG).await;
    assert_eq!(refusal(last), DeviceRefusal::PinWrong { tries_left: 0 });
    match fixture.lock_state(janes(0)).await.lock {
        Lock::Until(end) => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_the_pin_no_content_is_released_and_no_wrong_pin_is_counted() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(with_pin(&fixture)).await;
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::PinRequired);
        assert_eq!(fixture.events(&started), [Event::Started]);
        assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());
        fixture.change(janes(1), |device| device.pin = None).await;
        let unset = fixture.take_with_pin(janes(1), &started, RIGHT).await;
        assert_eq!(refusal(unset), DeviceRefusal::PinUnset);
        assert_eq!(refusal(fixture.finish(janes(0), &started).await), DeviceRefusal::NotTaken);
    });
}

#[test]
fn a_wrong_pin_is_counted_before_it_is_answered_and_a_right_one_resets_the_count() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(with_pin(&fixture)).await;
        for (nth, tries_left) in [(0, 4), (1, 3), (0, 2), (0, 1)] {
            let answer = fixture.take_with_pin(janes(nth), &started, WRONG).await;
            assert_eq!(refusal(answer), DeviceRefusal::PinWrong { tries_left });
            assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 5 - tries_left);
        }
        fixture.take_with_pin(janes(1), &started, RIGHT).await.unwrap();
        assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());
        let last = fixture.commits().pop().unwrap();
        assert_eq!((last.event, last.lock_state), (Event::Taken, Some(LockState::default())));
        assert_eq!(fixture.found(&started).await.version, 6);
    });
}

#[test]
fn a_pin_proof_for_one_transaction_is_wrong_for_another() {
    everywhere(async |fixture: Fixture| {
        let (one, other) =
            (fixture.start(with_pin(&fixture)).await, fixture.start(with_pin(&fixture)).await);
        let proof = janes(0).prove_pin(RIGHT, one.spec.id);
        let (tenant, device) = (janes(0).tenant(), janes(0).id());
        let answer = fixture.engine.take(tenant, device, other.spec.id, Some(&proof)).await;
        assert_eq!(refusal(answer), DeviceRefusal::PinWrong { tries_left: 4 });
    });
}

#[test]
fn the_fifth_wrong_pin_locks_the_user_and_ends_the_transaction_in_one_commit() {
    everywhere(async |fixture: Fixture| {
        let mut request = with_pin(&fixture);
        request.callback = Some(callback());
        let started = fixture.start(request).await;
        fixture.take_with_pin(janes(1), &started, RIGHT).await.unwrap();
        for _ in 0..4 {
            fixture.take_with_pin(janes(0), &started, WRONG).await.unwrap_err();
        }
        let fifth = fixture.take_with_pin(janes(0), &started, WRONG).await;
        assert_eq!(refusal(fifth), DeviceRefusal::PinWrong { tries_left: 0 });

        let last = fixture.commits().pop().unwrap();
        assert_eq!(last.event, Event::Ended(Outcome::Locked));
        assert_eq!(last.deliveries.len(), 1);
        let lock = Lock::Until(START + POLICY.locks.first);
        let lock_state = LockState { lock, pin_locks_in_a_row: 1, ..LockState::default() };
        assert_eq!(last.lock_state, Some(lock_state));
        assert_eq!(fixture.lock_state(janes(0)).await, lock_state);
        let ended = fixture.found(&started).await.value;
        assert_eq!(ended.end(), Some(&End::Locked { by: janes(0).id(), factor: Factor::Pin }));
        // Another phone that had taken it can no longer finish it.
        assert_eq!(refusal(fixture.finish(janes(1), &started).await), DeviceRefusal::UserLocked);
        fixture.time.pass(POLICY.locks.first);
        let finished = fixture.finish(janes(1), &started).await;
        assert_eq!(refusal(finished), DeviceRefusal::Ended(Outcome::Locked));
    });
}

#[test]
fn a_lock_ends_by_itself_and_each_further_one_is_longer_up_to_a_maximum() {
    everywhere(async |fixture: Fixture| {
        for seconds in [60, 120, 180, 180] {
            let before = fixture.now();
            let until = lock(&fixture).await;
            assert_eq!(before.until(until), Duration::from_secs(seconds));
            assert_eq!(
                refusal(fixture.engine.start(fixture.request(), None).await),
                StartRefusal::UserLocked
            );
            fixture.time.jump(Timestamp(until.0 - 1));
            assert_eq!(refusal(fixture.offers(janes(0)).await), ActorRefusal::UserLocked);
            fixture.time.jump(until);
            fixture.offers(janes(0)).await.unwrap();
        }
        let started = fixture.start(with_pin(&fixture)).await;
        fixture.take_with_pin(janes(0), &started, RIGHT).await.unwrap();
        assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());
        let before = fixture.now();
        assert_eq!(before.until(lock(&fixture).await), Duration::from_mins(1));
    });
}

#[test]
fn a_pin_proved_again_counts_as_right_and_gives_the_same_content() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(with_pin(&fixture)).await;
        fixture.take_with_pin(janes(0), &started, RIGHT).await.unwrap();
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::PinRequired);
        let answer = fixture.take_with_pin(janes(0), &started, WRONG).await;
        assert_eq!(refusal(answer), DeviceRefusal::PinWrong { tries_left: 4 });
        let again = fixture.take_with_pin(janes(0), &started, RIGHT).await.unwrap();
        assert_eq!(again.transaction.takes.len(), 1);
        assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 0);
        let events = [Event::Started, Event::Taken, Event::PinMistaken, Event::PinProved];
        assert_eq!(fixture.events(&started), events);
    });
}

/// Changes the PIN of jane's first phone to `new`, proving `old`.
async fn change(
    fixture: &Fixture,
    new: (&str, u32),
    old: Option<&str>,
) -> Result<(), DeviceRefusal> {
    let proof = old.map(|old| janes(0).prove_pin(old, TransactionId(0)));
    let (tenant, device) = (janes(0).tenant(), janes(0).id());
    let new = pin_digest(new.0, new.1);
    match fixture.engine.set_pin(tenant, device, &new, proof.as_deref()).await {
        Ok(()) => Ok(()),
        answer => Err(refusal(answer)),
    }
}

#[test]
fn the_first_pin_needs_no_proof_and_each_next_one_proves_the_one_before() {
    everywhere(async |fixture: Fixture| {
        fixture.change(janes(0), |device| device.pin = None).await;
        assert_eq!(change(&fixture, ("1111", 2), None).await, Err(DeviceRefusal::PinUnset));
        assert_eq!(change(&fixture, ("1111", 1), None).await, Ok(()));
        assert_eq!(change(&fixture, ("1111", 1), None).await, Ok(()));
        assert_eq!(
            change(&fixture, ("2222", 3), Some("1111")).await,
            Err(DeviceRefusal::PinOutOfTurn)
        );
        assert_eq!(change(&fixture, ("2222", 2), Some("1111")).await, Ok(()));
        assert_eq!(change(&fixture, ("2222", 2), Some("1111")).await, Ok(()));
        assert_eq!(change(&fixture, ("1111", 1), None).await, Err(DeviceRefusal::PinOutOfTurn));
        assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());

        let started = fixture.start(with_pin(&fixture)).await;
        let old = fixture.take_with_pin(janes(0), &started, "1111").await;
        assert_eq!(refusal(old), DeviceRefusal::PinWrong { tries_left: 4 });
        fixture.take_with_pin(janes(0), &started, "2222").await.unwrap();
    });
}

#[test]
fn a_change_without_the_old_pin_counts_as_a_wrong_pin_and_locks_at_the_fifth() {
    everywhere(async |fixture: Fixture| {
        for (old, tries_left) in [(WRONG, 4), ("2222", 3), (WRONG, 2), ("2222", 1)] {
            let answer = change(&fixture, ("2222", 2), Some(old)).await;
            assert_eq!(answer, Err(DeviceRefusal::PinWrong { tries_left }));
        }
        assert_eq!(
            change(&fixture, ("2222", 2), Some(WRONG)).await,
            Err(DeviceRefusal::PinWrong { tries_left: 0 })
        );
        assert_eq!(
            change(&fixture, ("2222", 2), Some(RIGHT)).await,
            Err(DeviceRefusal::UserLocked)
        );
        fixture.time.pass(POLICY.locks.first);
        assert_eq!(change(&fixture, ("2222", 2), Some(RIGHT)).await, Ok(()));
    });
}

#[test]
fn a_pin_cannot_be_guessed_by_setting_it_again() {
    everywhere(async |fixture: Fixture| {
        for left in [4, 3, 2, 1] {
            let guess = change(&fixture, ("1111", 1), None).await;
            assert_eq!(guess, Err(DeviceRefusal::PinWrong { tries_left: left }));
        }
        let last = change(&fixture, ("1111", 1), None).await;
        assert_eq!(last, Err(DeviceRefusal::PinWrong { tries_left: 0 }));
        assert_eq!(
            change(&fixture, (TestTenant::PIN, 1), None).await,
            Err(DeviceRefusal::UserLocked)
        );
    });
}

#[test]
fn a_change_without_proof_is_refused_and_a_right_proof_resets_the_count() {
    everywhere(async |fixture: Fixture| {
        assert_eq!(change(&fixture, ("1111", 2), None).await, Err(DeviceRefusal::PinRequired));
        assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 0);
        let wrong = change(&fixture, ("1111", 2), Some("9999")).await;
        assert_eq!(wrong, Err(DeviceRefusal::PinWrong { tries_left: 4 }));
        assert_eq!(change(&fixture, ("1111", 2), Some(TestTenant::PIN)).await, Ok(()));
        assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 0);
    });
}

#[test]
fn a_pin_that_was_reset_proves_nothing_and_the_next_one_is_a_first_one() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(with_pin(&fixture)).await;
        let wrong = fixture.take_with_pin(janes(0), &started, WRONG).await;
        assert_eq!(refusal(wrong), DeviceRefusal::PinWrong { tries_left: 4 });
        let (operator, tenant) = (Actor::CommandLine("root".into()), janes(0).tenant());
        let reset = async || fixture.engine.reset_pin(&operator, tenant, janes(0).id()).await;
        reset().await.unwrap();
        assert_eq!(refusal(reset().await), PinResetRefusal::Unchanged);
        for pin in [RIGHT, WRONG] {
            let old = fixture.take_with_pin(janes(0), &started, pin).await;
            assert_eq!(refusal(old), DeviceRefusal::PinUnset);
            let changed = change(&fixture, ("1111", 2), Some(pin)).await;
            assert_eq!(changed, Err(DeviceRefusal::PinUnset));
        }
        assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 1, "the count stays");
        assert_eq!(change(&fixture, ("1111", 1), None).await, Ok(()));
        fixture.take_with_pin(janes(0), &started, "1111").await.unwrap();
        let unknown = fixture.engine.reset_pin(&operator, tenant, 99.try_into().unwrap()).await;
        assert_eq!(refusal(unknown), PinResetRefusal::UnknownDevice);
    });
}
