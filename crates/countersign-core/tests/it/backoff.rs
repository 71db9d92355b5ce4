//! Retry times of deliveries: properties that hold for every answer of a receiver.

use core::time::Duration;

use countersign_core::delivery::circuit::Circuit;
use countersign_core::delivery::{Attempt, RetryPolicy, Verdict};
use countersign_core::limits::{
    DELIVERY_AGE_MAX, DELIVERY_ATTEMPTS_MAX, DELIVERY_BACKOFF_MAX, DELIVERY_FAILURES_MAX,
    DELIVERY_PAUSE_MAX,
};
use countersign_core::time::Timestamp;
use proptest::prelude::*;

/// A retry policy that the configuration permits.
fn retry() -> impl Strategy<Value = RetryPolicy> {
    let first = 1..=DELIVERY_BACKOFF_MAX.as_secs();
    let give_up_after = 1..=DELIVERY_AGE_MAX.as_secs();
    (first, give_up_after).prop_map(|(first, give_up_after)| RetryPolicy {
        first: Duration::from_secs(first),
        longest: DELIVERY_BACKOFF_MAX,
        give_up_after: Duration::from_secs(give_up_after),
    })
}

/// The wait that a receiver asks for: none, a reasonable one, or any other.
fn asked() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        Just(None),
        (0..10_000_u64).prop_map(|seconds| Some(Duration::from_secs(seconds))),
        any::<u64>().prop_map(|seconds| Some(Duration::from_secs(seconds))),
    ]
}

/// The attempts of one delivery: each is made when it is due, and fails.
fn waits(retry: RetryPolicy, asked: &[Option<Duration>], jitter: &[u8]) -> (Vec<Timestamp>, u16) {
    let (queued_at, mut now, mut tries) = (Timestamp(1_000), Timestamp(1_000), Vec::new());
    for count in 1.. {
        tries.push(now);
        let of = |at: usize| usize::from(count) % at;
        let (asked, jitter) = (asked[of(asked.len())], jitter[of(jitter.len())]);
        match retry.after(Attempt::Deferred(asked), count, queued_at, now, jitter) {
            Verdict::Retry(at) => now = at,
            Verdict::GiveUp => return (tries, count),
            Verdict::Done => panic!("no receiver accepted it"),
            Verdict::Skipped | Verdict::Retire { .. } => panic!("no receiver answered so"),
        }
    }
    unreachable!("it is given up some time")
}

proptest! {
    #[test]
    fn every_delivery_is_given_up_in_time_and_never_before(
        retry in retry(),
        asked in proptest::collection::vec(asked(), 1..6),
        jitter in proptest::collection::vec(any::<u8>(), 1..6),
    ) {
        let (tries, count) = waits(retry, &asked, &jitter);
        let over = Timestamp(1_000) + retry.give_up_after;
        let last = *tries.last().unwrap();
        prop_assert!(tries.windows(2).all(|two| two[0] < two[1]), "each attempt is later");
        prop_assert!(last <= over, "no attempt is made after the time is over");
        prop_assert!(last == over || count == DELIVERY_ATTEMPTS_MAX, "the whole time is used");
    }

    #[test]
    fn a_wait_is_at_least_what_the_receiver_asked_for_and_at_most_its_limit(
        retry in retry(),
        asked in asked(),
        count in 1..DELIVERY_ATTEMPTS_MAX,
        jitter: u8,
        now in 0..u64::from(u32::MAX),
    ) {
        let now = Timestamp(now);
        let attempt = Attempt::Deferred(asked);
        let Verdict::Retry(at) = retry.after(attempt, count, now, now, jitter) else {
            panic!("its time has only begun");
        };
        let over = now + retry.give_up_after;
        let asked = asked.unwrap_or_default();
        let doubled = retry.first.saturating_mul(1 << (count - 1).min(20));
        let longest = doubled.min(DELIVERY_BACKOFF_MAX);
        prop_assert!(at >= (now + asked).min(over), "the wait that the receiver asks for is kept");
        prop_assert!(at >= (now + longest * 7 / 16).min(over), "jitter takes at most 9/16");
        prop_assert!(at <= (now + asked.max(longest * 15 / 16)).min(over), "and at least 1/16");
        let next = retry.after(attempt, count + 1, now, now, jitter);
        prop_assert!(
            matches!(next, Verdict::Retry(next) if next >= at) || count + 1 >= DELIVERY_ATTEMPTS_MAX,
            "waits never become shorter"
        );
    }

    #[test]
    fn a_receiver_that_fails_in_a_row_is_not_called_and_then_probed_by_one_delivery(
        retry in retry(),
        asked in asked(),
        rounds in 1..40_u64,
    ) {
        let (mut circuit, mut now) = (Circuit::default(), Timestamp(1_000));
        for nth in 1..DELIVERY_FAILURES_MAX {
            prop_assert!(!circuit.failed(now, &retry, asked), "failure {nth} is one of few");
            prop_assert_eq!(circuit.lets(9, now), 9);
        }
        for round in 0..rounds {
            let opened = circuit.failed(now, &retry, asked);
            prop_assert_eq!(opened, round == 0, "only the first failure opens it");
            prop_assert_eq!(circuit.lets(9, now), 0, "the receiver is not called");
            // Deliveries that were in progress before also fail, and do not lengthen the pause.
            let before = circuit;
            circuit.failed(now, &retry, asked);
            now = now + DELIVERY_PAUSE_MAX;
            prop_assert_eq!(circuit.lets(9, now), 1, "no pause is longer than the longest");
            prop_assert_eq!(before.lets(9, now), 1);
        }
    }
}
