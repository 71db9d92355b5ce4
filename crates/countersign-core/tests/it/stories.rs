//! Sequences of steps of transactions.

use core::time::Duration;
use std::fmt::Write as _;

use countersign_core::limits::TAKES_MAX;
use countersign_core::refusal::DeviceRefusal;
use countersign_core::spec::{Clocks, Recipients, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, Input, Pin, Transaction};
use expect_test::{Expect, expect};

use super::{ID, ann, bob, proof, spec};

#[track_caller]
fn check(spec: TransactionSpec, online: bool, inputs: &[(Input, u64)], expected: &Expect) {
    let (mut transaction, event) = Transaction::start(TransactionSpec { online, ..spec });
    let mut story = format!("at 0: {event:?}, until {}\n", transaction.deadline().0);
    for (input, now) in inputs {
        match transaction.clone().step(input.clone(), Timestamp(*now)) {
            Ok(step) => {
                transaction = step.next;
                let event = step.event.map_or("nothing".into(), |event| format!("{event:?}"));
                writeln!(story, "at {now}: {event}, until {}", transaction.deadline().0).unwrap();
            }
            Err(refusal) => writeln!(story, "at {now}: {refusal}").unwrap(),
        }
    }
    expected.assert_eq(&story);
}

fn take(device: countersign_core::id::DeviceId) -> Input {
    Input::Take { device, pin: Pin::Absent }
}

#[test]
fn the_first_take_sets_the_deadline_and_later_takes_do_not_move_it() {
    check(
        spec(),
        true,
        &[(take(ann()), 4_000), (take(bob()), 9_000), (take(ann()), 9_500)],
        &expect![[r"
            at 0: Started, until 30000
            at 4000: Taken, until 24000
            at 9000: Taken, until 24000
            at 9500: nothing, until 24000
        "]],
    );
}

#[test]
fn a_take_at_the_last_moment_gains_no_time() {
    check(
        spec(),
        true,
        &[(take(ann()), 29_000), (Input::Tick, 29_999), (Input::Tick, 30_000)],
        &expect![[r"
            at 0: Started, until 30000
            at 29000: Taken, until 30000
            at 29999: nothing, until 30000
            at 30000: Ended(Expired), until 30000
        "]],
    );
}

#[test]
fn a_device_that_comes_online_in_time_stops_the_first_clock() {
    check(
        spec(),
        false,
        &[(Input::Reach, 9_999), (Input::Tick, 10_000), (Input::Reach, 11_000)],
        &expect![[r"
            at 0: Started, until 10000
            at 9999: Reached, until 30000
            at 10000: nothing, until 30000
            at 11000: nothing, until 30000
        "]],
    );
}

#[test]
fn a_transaction_expires_if_no_device_comes_online() {
    check(
        spec(),
        false,
        &[(Input::Reach, 10_000), (Input::Tick, 10_100), (take(ann()), 10_200)],
        &expect![[r"
            at 0: Started, until 10000
            at 10000: the deadline has passed
            at 10100: Ended(Expired), until 10100
            at 10200: the transaction has already ended: expired
        "]],
    );
}

#[test]
fn a_transaction_without_time_to_come_online_ends_when_it_starts() {
    let clocks = Clocks::Two { go_online: Duration::ZERO, sign: Duration::from_secs(20) };
    let spec = TransactionSpec { clocks, ..spec() };
    check(
        spec.clone(),
        false,
        &[],
        &expect![[r"
        at 0: Ended(Expired), until 0
    "]],
    );
    check(
        spec,
        true,
        &[(take(ann()), 1_000)],
        &expect![[r"
        at 0: Started, until 20000
        at 1000: Taken, until 20000
    "]],
    );
}

#[test]
fn one_clock_runs_from_start_to_end() {
    let spec = TransactionSpec { clocks: Clocks::One(Duration::from_mins(5)), ..spec() };
    check(
        spec,
        false,
        &[(Input::Reach, 1_000), (take(ann()), 299_000), (Input::Tick, 300_000)],
        &expect![[r"
            at 0: Started, until 300000
            at 1000: Reached, until 300000
            at 299000: Taken, until 300000
            at 300000: Ended(Expired), until 300000
        "]],
    );
}

#[test]
fn the_first_input_that_ends_a_transaction_wins() {
    let decline = Input::Decline { device: bob(), reason: Decline::User, words: String::new() };
    let finish = Input::Finish { device: ann(), proof: proof(ID, 1), identity: None };
    check(
        spec(),
        true,
        &[
            (take(ann()), 1_000),
            (decline.clone(), 2_000),
            (finish.clone(), 2_001),
            (decline, 2_002),
        ],
        &expect![[r"
            at 0: Started, until 30000
            at 1000: Taken, until 21000
            at 2000: Ended(Declined), until 2000
            at 2001: the transaction has already ended: declined
            at 2002: nothing, until 2000
        "]],
    );
}

#[test]
fn a_device_that_is_not_addressed_is_refused_as_unknown() {
    let spec = TransactionSpec { recipients: Recipients::Device(ann()), ..spec() };
    check(
        spec,
        true,
        &[(take(bob()), 1_000), (Input::Fail { device: bob(), reason: String::new() }, 2_000)],
        &expect![[r"
            at 0: Started, until 30000
            at 1000: no such transaction
            at 2000: no such transaction
        "]],
    );
}

#[test]
fn the_deadline_outranks_a_valid_signature_even_before_a_tick() {
    let finish = Input::Finish { device: ann(), proof: proof(ID, 1), identity: None };
    check(
        spec(),
        true,
        &[(take(ann()), 0), (finish.clone(), 20_000), (Input::Tick, 25_000), (finish, 26_000)],
        &expect![[r"
            at 0: Started, until 30000
            at 0: Taken, until 20000
            at 20000: the deadline has passed
            at 25000: Ended(Expired), until 25000
            at 26000: the transaction has already ended: expired
        "]],
    );
}

#[test]
fn a_take_above_the_maximum_is_refused_and_earlier_takes_stay_valid() {
    let (mut transaction, _) = Transaction::start(TransactionSpec { online: true, ..spec() });
    let device = |number: u64| number.try_into().unwrap();
    for number in 1..=TAKES_MAX as u64 {
        let step = transaction.step(take(device(number)), Timestamp(1_000)).unwrap();
        transaction = step.next;
    }
    let one_more = take(device(TAKES_MAX as u64 + 1));
    assert_eq!(
        transaction.clone().step(one_more, Timestamp(1_000)).unwrap_err(),
        DeviceRefusal::ManyTakes
    );
    let decline = Input::Decline { device: device(1), reason: Decline::User, words: String::new() };
    assert!(transaction.step(decline, Timestamp(1_000)).is_ok());
}
