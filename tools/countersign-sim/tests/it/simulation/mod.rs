//! Simulation from seeds: several nodes over one store that fails at times, many callers at once
//! who overtake each other between reading and writing, clocks that disagree, and people who do
//! what they should not. The dice are the only chance there is: a seed is a bug report.
//!
//! What must always hold is in [`model`]; what may be done is in [`operation`].

mod model;
mod operation;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;

use self::run::Simulation;

/// Steps of one seed; afterwards everybody is heard out, and time ends everything.
const STEPS: usize = 500;

/// Takes a seed through its story. The same seed tells the same one.
fn simulate(seed: u64) -> Vec<String> {
    let mut town = Simulation::new(seed);
    for _ in 0..STEPS {
        town.step();
    }
    town.end();
    town.into_story()
}

/// Each kind of line in a story, so that it can be told whether anything happened at all.
type Tally = BTreeMap<&'static str, usize>;

/// What must have come about in so many seeds, lest they prove nothing.
const COMES_ABOUT: &[&str] = &[
    "it is over: finished",
    "it is over: declined",
    "it is over: failed",
    "it is over: expired",
    "it is over: cancelled",
    "it is over: locked",
    "forged",
    "raw, Taken",
    "raw, AtOnce",
    "wrote Discarded",
    "retention left the evidence of",
    "retention left nothing of",
    "no such transaction",
    "a fault",
    "hangs up",
    "the user is locked",
    "the device is locked",
    "the deadline has passed",
    "the PIN is wrong",
    "the device has not taken the transaction",
    "another device has taken the transaction",
    "the user has too many open transactions",
    "this transaction id was used for another request",
    "the transaction has already ended: finished",
    "the identity is not one that may sign this",
    "the signature was not accepted",
    "decided again",
];

/// From so many seeds on everything must have come about.
const ENOUGH: u64 = 100;

fn run(seeds: Range<u64>) {
    let mut tally = Tally::new();
    let are_enough = seeds.end - seeds.start >= ENOUGH;
    for seed in seeds {
        let trace = simulate(seed);
        assert!(trace == simulate(seed), "seed {seed} does not replay");
        for word in COMES_ABOUT {
            *tally.entry(word).or_default() +=
                trace.iter().filter(|line| line.contains(word)).count();
        }
    }
    let missing: Vec<_> = tally.iter().filter(|(_, count)| **count < 5).collect();
    assert!(missing.is_empty() || !are_enough, "it hardly came about: {missing:?} of {tally:?}");
}

/// How many seeds each test takes, and from which on: 1,000 from 0, or what `SIM_SEEDS` and
/// `SIM_FIRST` say, for a long night. `cargo xtask sim` says it.
fn seeds() -> Range<u64> {
    let asked = |name, otherwise| {
        let asked = std::env::var(name).map(|asked| asked.parse());
        asked.unwrap_or(Ok(otherwise)).unwrap_or_else(|_| panic!("{name} is a number"))
    };
    let first: u64 = asked("SIM_FIRST", 0);
    first..first + asked("SIM_SEEDS", 1_000)
}

/// Two tests, so that two cores have something to do.
#[test]
fn no_order_of_events_breaks_an_invariant() {
    run(seeds());
}

/// Others, so far off that the two never meet.
#[test]
fn no_other_order_of_events_breaks_an_invariant() {
    let Range { start, end } = seeds();
    run((1 << 40) + start..(1 << 40) + end);
}
