//! Every state with every input, before and at the deadline. The tables are committed beside this
//! file. Review their diff whenever `step` changes.

use std::fmt::Write as _;

use countersign_core::id::TransactionId;
use countersign_core::refusal::DeviceRefusal;
use countersign_core::spec::TransactionSpec;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{
    Decline, End, Event, Input, Outcome, Pin, State, Step, Take, TakeOrigin, Timeout, Transaction,
};
use countersign_core::user::Factor;
use expect_test::expect_file;

use super::{ID, ann, bob, proof, spec, transaction};

fn states(spec: &TransactionSpec) -> Vec<(&'static str, Transaction)> {
    let waiting = |reached| transaction(spec.clone(), State::Waiting { reached });
    let taken = Transaction {
        takes: vec![Take { device: ann(), at: Timestamp(1_000), origin: TakeOrigin::Device }],
        ..transaction(spec.clone(), State::Taken { deadline: Timestamp(21_000) })
    };
    let ended =
        |end| Transaction { state: State::Ended { at: Timestamp(2_000), end }, ..taken.clone() };
    vec![
        ("Waiting, unreached", waiting(false)),
        ("Waiting, reached", waiting(true)),
        ("Taken by Ann", taken.clone()),
        (
            "Finished by Ann",
            ended(End::Finished { by: ann(), proof: proof(ID, 1), identity: None }),
        ),
        ("Declined by Ann", ended(declined(Decline::User))),
        ("Failed by Ann", ended(End::Failed { by: ann(), reason: "broken".into() })),
        ("Expired", ended(End::Expired(Timeout::Sign))),
        ("Cancelled", ended(End::Cancelled)),
        ("Cancelled, discarded", Transaction { discarded: true, ..ended(End::Cancelled) }),
        ("Locked by Ann", ended(End::Locked { by: ann(), factor: Factor::Pin })),
    ]
}

fn declined(reason: Decline) -> End {
    End::Declined { by: ann(), reason, words: "no".into() }
}

fn inputs() -> Vec<(&'static str, Input)> {
    let take = |device, pin| Input::Take { device, pin };
    let finish = |device, proof| Input::Finish { device, proof, identity: None };
    let decline =
        |device, reason, words: &str| Input::Decline { device, reason, words: words.into() };
    vec![
        ("reach", Input::Reach),
        ("take, Ann, no PIN", take(ann(), Pin::Absent)),
        ("take, Ann, right PIN", take(ann(), Pin::Right)),
        ("take, Ann, wrong PIN", take(ann(), Pin::Wrong { locks: false })),
        ("take, Ann, last wrong PIN", take(ann(), Pin::Wrong { locks: true })),
        ("take, Bob, right PIN", take(bob(), Pin::Right)),
        ("fetch, Ann", Input::Fetch { device: ann() }),
        ("fetch, Bob", Input::Fetch { device: bob() }),
        ("finish, Ann", finish(ann(), proof(ID, 1))),
        ("finish, Ann, another signature", finish(ann(), proof(ID, 2))),
        ("finish, Ann, another transaction", finish(ann(), proof(TransactionId(6), 1))),
        ("finish, Bob", finish(bob(), proof(ID, 3))),
        ("wrong code, Ann", Input::MistakeCode { device: ann(), locks: false }),
        ("last wrong code, Ann", Input::MistakeCode { device: ann(), locks: true }),
        ("wrong code, Bob", Input::MistakeCode { device: bob(), locks: false }),
        ("decline, Ann", decline(ann(), Decline::User, "no")),
        ("decline, Ann, in other words", decline(ann(), Decline::User, "never")),
        ("decline, Ann, not me", decline(ann(), Decline::NotMe, "no")),
        ("decline, Bob", decline(bob(), Decline::User, "no")),
        ("fail, Ann", Input::Fail { device: ann(), reason: "broken".into() }),
        ("fail, Bob", Input::Fail { device: bob(), reason: "broken".into() }),
        ("cancel", Input::Cancel),
        ("discard", Input::Discard),
        ("tick", Input::Tick),
    ]
}

fn cell(before: &Transaction, outcome: Result<Step, DeviceRefusal>) -> String {
    match outcome {
        Err(refusal) => format!("no: {refusal:?}"),
        Ok(Step { event: None, next }) => {
            assert_eq!(&next, before, "a step without an event changes nothing");
            "same".into()
        }
        Ok(Step { event: Some(event), next }) => match (event, next.state) {
            (Event::Ended(_), State::Ended { end: End::Expired(clock), .. }) => {
                format!("-> Expired({clock:?})")
            }
            _ => format!("-> {event:?}"),
        },
    }
}

#[test]
fn every_state_meets_every_input_before_and_at_the_deadline_as_written() {
    let once = TransactionSpec { once: true, ..spec() };
    let pin = TransactionSpec { pin_required: true, ..spec() };
    let mut page = String::new();
    for (title, spec) in [
        ("Without PIN, several devices", spec()),
        ("Without PIN, only one device", once),
        ("With PIN, several devices", pin),
    ] {
        writeln!(page, "{title}\n{}", "=".repeat(title.len())).unwrap();
        for (state, before) in states(&spec) {
            writeln!(page, "\n{state:<18} | {:<43} | at the deadline", "before the deadline")
                .unwrap();
            for (name, input) in inputs() {
                let deadline = before.deadline();
                let [early, late] = [Timestamp(deadline.0 - 1), deadline]
                    .map(|now| cell(&before, before.clone().step(input.clone(), now)));
                writeln!(page, "  {name:<32} {early:<45} {late}").unwrap();
            }
        }
        page.push('\n');
    }
    expect_file!["../../src/transaction.table.txt"].assert_eq(&page);
}

#[test]
fn an_ended_transaction_is_deleted_once_and_never_changes_otherwise() {
    for (name, before) in states(&spec()).into_iter().filter(|(_, t)| t.state.is_ended()) {
        for (input_name, input) in inputs() {
            let outcome = before.clone().step(input, Timestamp(3_000));
            let Ok(Step { event: Some(event), next }) = outcome else { continue };
            assert_eq!(event, Event::Discarded, "{name} was changed by {input_name}");
            assert!(!before.discarded, "{name} was deleted twice");
            assert_eq!(next, Transaction { discarded: true, ..before.clone() });
        }
    }
}

#[test]
fn every_outcome_has_a_name_of_its_own() {
    let mut names: Vec<&str> = [
        Outcome::Finished,
        Outcome::Declined,
        Outcome::Failed,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Locked,
    ]
    .map(Outcome::as_str)
    .to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 6);
}
