//! Simultaneous guesses: each is read before any other is written, and still no more are answered
//! than the policy allows.

use countersign_core::engine::{Request, Submission};
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::id::TransactionId;
use countersign_core::limits::ACTIVATIONS_PER_USER_MAX;
use countersign_core::port::Ledger as _;
use countersign_core::refusal::{DeviceError, DeviceRefusal, UserRefusal};
use countersign_core::secret::Secret;
use countersign_core::spec::{AcceptedFormats, Digits, Operation};
use countersign_core::transaction::{Outcome, Transaction};
use countersign_core::user::{Factor, Lock, LockState};
use countersign_proof::ocra;
use countersign_sim::{SlowWrites, TestTenant, at_once, pin_digest};

use countersign_store::Store;

use crate::fixture::*;

type SlowPlay = Fixture<SlowWrites>;

/// The number of simultaneous guesses.
const GUESSES: usize = 24;

fn eight() -> Digits {
    Digits::new(8).unwrap()
}

/// PINs, the right one last.
fn pins() -> impl Iterator<Item = String> {
    (1..GUESSES).map(|nth| format!("{nth:04}")).chain([TestTenant::PIN.to_owned()])
}

/// Codes for one transaction, the right one last.
fn codes(of: &Transaction) -> Vec<String> {
    let content = &of.spec.content;
    let key = janes(0).device.code_key.expose();
    let media_type = content.media_type.as_str();
    let right = ocra::code(key, 8, of.spec.id.bytes(), media_type, &content.bytes).unwrap();
    let wrong = (0..).map(|nth| format!("{nth:08}")).filter(|code| *code != right);
    wrong.take(GUESSES - 1).chain([right.clone()]).collect()
}

/// Checks that no more guesses were answered than the policy allows, and that the others met the
/// lock.
///
/// The right guess arrives last. If the disk is slow, stale guesses are repeated in any order, so
/// that the right one may be among those that the policy allows. It resets the count, and then as
/// many wrong ones as before may follow it.
#[track_caller]
fn judge<T: core::fmt::Debug>(store: &Store, call: &str, answers: Vec<Result<T, DeviceError>>) {
    assert_eq!(answers.len(), GUESSES);
    let (right, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let mut answered = 0;
    for answer in refused {
        // A guess that lost every race is not answered either.
        if matches!(answer, Err(DeviceError::Failed(_))) {
            continue;
        }
        match refusal(answer) {
            // The user is locked, by this guess or before, or the lock has ended the transaction.
            DeviceRefusal::PinWrong { tries_left: 0 }
            | DeviceRefusal::CodeWrong { tries_left: 0 }
            | DeviceRefusal::UserLocked
            | DeviceRefusal::Ended(Outcome::Locked) => {}
            // The right code was among those that the policy allows, and ended the transaction.
            DeviceRefusal::Ended(Outcome::Finished) | DeviceRefusal::Unknown
                if !right.is_empty() => {}
            DeviceRefusal::PinWrong { .. } | DeviceRefusal::CodeWrong { .. } => answered += 1,
            other => panic!("{call}: {other:?}"),
        }
    }
    let wrong_max = POLICY.locks.wrong_max - 1;
    // In memory each write follows all reads, so the right guess, the last one, meets the lock.
    if matches!(store, Store::Memory(_)) || right.is_empty() {
        assert!(right.is_empty(), "{call}: the right guess passed the limit");
        assert_eq!(answered, wrong_max, "{call}");
    } else {
        assert!(answered <= 2 * wrong_max, "{call}: {answered}");
    }
}

async fn start(
    fixture: &SlowPlay,
    formats: AcceptedFormats,
    pin_required: bool,
) -> std::sync::Arc<Transaction> {
    let mut request = fixture.request();
    (request.formats, request.pin_required) = (formats, pin_required);
    fixture.start(request).await
}

#[test]
fn simultaneous_guesses_of_the_present_pin_meet_the_lock() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let (tenant, device) = (janes(0).tenant(), janes(0).id());
            let digests: Vec<_> = pins().map(|pin| pin_digest(&pin, 1)).collect();
            let guess = |digest| fixture.engine.set_pin(tenant, device, digest, None);
            judge(&fixture.store, "the present PIN", at_once(digests.iter().map(guess)).await);
        },
    );
}

#[test]
fn simultaneous_guesses_of_the_old_pin_of_a_change_meet_the_lock() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let (tenant, device) = (janes(0).tenant(), janes(0).id());
            let new = pin_digest("7913", 2);
            let proofs: Vec<_> =
                pins().map(|pin| janes(0).prove_pin(&pin, TransactionId(0))).collect();
            let guesses = proofs
                .iter()
                .map(|proof| fixture.engine.set_pin(tenant, device, &new, Some(proof)));
            judge(&fixture.store, "a change", at_once(guesses).await);
        },
    );
}

#[test]
fn simultaneous_guesses_of_the_pin_of_a_first_or_repeated_take_meet_the_lock() {
    for is_taken in [false, true] {
        everywhere_with(
            || SlowWrites,
            async |fixture: SlowPlay| {
                let started = start(&fixture, AcceptedFormats::Cms, true).await;
                if is_taken {
                    fixture.take_with_pin(janes(0), &started, TestTenant::PIN).await.unwrap();
                }
                let pins: Vec<_> = pins().collect();
                let guesses = pins.iter().map(|pin| fixture.take_with_pin(janes(0), &started, pin));
                judge(&fixture.store, "a take", at_once(guesses).await);
            },
        );
    }
}

#[test]
fn simultaneous_guesses_of_pins_for_several_transactions_count_together() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let mut open = Vec::new();
            for _ in 0..POLICY.open_per_user_max {
                open.push(start(&fixture, AcceptedFormats::Cms, true).await);
            }
            let pins: Vec<_> = pins().collect();
            let guesses = pins.iter().zip(open.iter().cycle());
            let guesses = guesses.map(|(pin, open)| fixture.take_with_pin(janes(0), open, pin));
            judge(&fixture.store, "takes", at_once(guesses).await);
        },
    );
}

#[test]
fn simultaneous_guesses_of_codes_by_a_device_meet_the_lock() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let started = start(&fixture, AcceptedFormats::CodeOrCms(eight()), false).await;
            fixture.take(janes(0), &started).await.unwrap();
            let codes = codes(&started);
            let submissions: Vec<_> = codes.iter().map(|code| submission(code)).collect();
            let guess = |submission| fixture.hand_in(janes(0), &started, submission);
            judge(&fixture.store, "a finish", at_once(submissions.iter().map(guess)).await);
        },
    );
}

#[test]
fn simultaneous_guesses_of_codes_through_a_gateway_meet_the_lock() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let mut request = fixture.request();
            (request.formats, request.once) = (AcceptedFormats::CodeOrCms(eight()), true);
            let started = fixture.start(request).await;
            let (tenant, user) = (janes(0).tenant(), janes(0).user());
            let request = Request {
                tenant: tenant.clone(),
                key: started.spec.request_key,
                operation: Operation::Sign,
                client: None,
            };
            fixture.take(janes(0), &started).await.unwrap();
            let codes = codes(&started);
            let submissions: Vec<_> = codes.iter().map(|code| submission(code)).collect();
            let guess = |submission| fixture.engine.complete(&request, user, None, submission);
            judge(&fixture.store, "a gateway", at_once(submissions.iter().map(guess)).await);
        },
    );
}

fn submission(code: &str) -> Submission<'_> {
    Submission::Code { digits: code.as_bytes() }
}

#[test]
fn setting_the_present_pin_again_is_a_right_guess_and_resets_the_count() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let (tenant, device) = (janes(0).tenant(), janes(0).id());
            let set =
                async |pin| fixture.engine.set_pin(tenant, device, &pin_digest(pin, 1), None).await;
            let wrong = set("1111").await;
            assert_eq!(refusal(wrong), DeviceRefusal::PinWrong { tries_left: 4 });
            set(TestTenant::PIN).await.unwrap();
            assert_eq!(fixture.lock_state(janes(0)).await, LockState::default());
        },
    );
}

#[test]
fn setting_a_first_pin_does_not_reset_the_count_of_wrong_ones() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            fixture.change(janes(1), |device| device.pin = None).await;
            let started = start(&fixture, AcceptedFormats::Cms, true).await;
            fixture.take_with_pin(janes(0), &started, "1111").await.unwrap_err();
            let (tenant, device) = (janes(1).tenant(), janes(1).id());
            fixture.engine.set_pin(tenant, device, &pin_digest("2222", 1), None).await.unwrap();
            assert_eq!(fixture.lock_state(janes(0)).await.wrong_pins, 1);
        },
    );
}

#[test]
fn a_right_code_between_wrong_pins_does_not_shorten_their_locks() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            for seconds in [60, 120, 180] {
                let guessed = start(&fixture, AcceptedFormats::Cms, true).await;
                let before = fixture.now();
                for _ in 0..POLICY.locks.wrong_max {
                    fixture.take_with_pin(janes(0), &guessed, "1111").await.unwrap_err();
                }
                let Lock::Until(end) = fixture.lock_state(janes(0)).await.lock else {
                    panic!("not locked")
                };
                assert_eq!(before.until(end).as_secs(), seconds);
                fixture.time.jump(end);
                let signed = start(&fixture, AcceptedFormats::CodeOrCms(eight()), false).await;
                fixture.take(janes(0), &signed).await.unwrap();
                let code = codes(&signed).pop().unwrap();
                fixture.hand_in(janes(0), &signed, &submission(&code)).await.unwrap();
            }
            let lock_state = fixture.lock_state(janes(0)).await;
            let row = lock_state.record_failure(Factor::Code, &POLICY.locks, fixture.now()).0;
            assert_eq!((row.pin_locks_in_a_row, row.code_locks_in_a_row), (3, 0));
        },
    );
}

fn activation(fixture: &SlowPlay, id: u128, code: &str) -> Activation {
    Activation {
        id,
        tenant: janes(0).tenant().clone(),
        user: janes(0).user().clone(),
        code: Secret::new(code.as_bytes().to_vec()),
        not_after: fixture.now() + core::time::Duration::from_secs(9),
        maker: OPERATOR.clone(),
        secret: false,
        chosen: true,
        labels: Vec::new(),
        state: ActivationState::Open,
    }
}

/// The number of jane's codes that can still be used.
async fn open_codes(fixture: &SlowPlay, code: &str) -> usize {
    let (tenant, user) = (janes(0).tenant(), janes(0).user());
    let all = fixture.store.read().activations(tenant, user, fixture.now()).await.unwrap();
    let is_open = |found: &Activation| {
        found.state == ActivationState::Open && found.code.expose().starts_with(code.as_bytes())
    };
    all.iter().filter(|found| is_open(&found.value)).count()
}

#[test]
fn simultaneous_activation_codes_stay_within_their_limit() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            // At most as many at once as a use case may lose races: each round creates one.
            for round in 0..5 {
                let made = (0..10).map(|nth| {
                    let id = 1_000 + round * 10 + nth;
                    fixture.engine.create_activation(
                        OPERATOR,
                        activation(&fixture, id, &format!("MADE-{id}")),
                    )
                });
                at_once(made).await;
            }
            assert_eq!(open_codes(&fixture, "MADE-").await, ACTIVATIONS_PER_USER_MAX);
            let one_more =
                fixture.engine.create_activation(OPERATOR, activation(&fixture, 1, "MADE-1")).await;
            assert_eq!(refusal(one_more), UserRefusal::ManyCodes);
        },
    );
}

#[test]
fn a_chosen_code_that_is_created_simultaneously_is_created_once() {
    everywhere_with(
        || SlowWrites,
        async |fixture: SlowPlay| {
            let made = (0..10).map(|id| {
                fixture
                    .engine
                    .create_activation(OPERATOR, activation(&fixture, 1_000 + id, "BLUE-HORSE"))
            });
            let answers = at_once(made).await;
            let made = answers.iter().filter(|answer| answer.is_ok()).count();
            assert_eq!((made, open_codes(&fixture, "BLUE-HORSE").await), (1, 1));
            for answer in answers.into_iter().filter(Result::is_err) {
                assert_eq!(refusal(answer), UserRefusal::Exists);
            }
        },
    );
}
