//! Simulation from seeds: several nodes over one store that sometimes fails, many concurrent
//! callers that overtake each other between reads and writes, clocks that differ, and users that
//! act wrongly. All randomness comes from the seed, so that a seed is a complete bug report.
//!
//! [`model`] has the invariants, and [`operation`] the operations.

mod model;
mod operation;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;

use self::run::Simulation;

/// The steps of one seed. Afterwards all callers are answered, and time ends every transaction.
const STEPS: usize = 500;

/// Runs one seed, and answers its trace. The same seed gives the same trace.
fn simulate(seed: u64) -> Vec<String> {
    let mut simulation = Simulation::new(seed);
    for _ in 0..STEPS {
        simulation.step();
    }
    simulation.end();
    simulation.into_log()
}

/// The count of each kind of line in the traces, to show that the operations did occur.
type Tally = BTreeMap<&'static str, usize>;

/// The kinds of lines that must occur in [`ENOUGH`] seeds. Without them, the test would prove
/// nothing.
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
    "LockTenant(true)",
    "rows of beta are deleted",
];

/// The number of seeds from which on every kind of line must have occurred.
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

/// The seeds of each test: 1,000 from 0, or as set by `SIM_SEEDS` and `SIM_FIRST` for a long run,
/// as `cargo xtask sim` does.
fn seeds() -> Range<u64> {
    let asked = |name, otherwise| {
        let asked = std::env::var(name).map(|asked| asked.parse());
        asked.unwrap_or(Ok(otherwise)).unwrap_or_else(|_| panic!("{name} is a number"))
    };
    let first: u64 = asked("SIM_FIRST", 0);
    first..first + asked("SIM_SEEDS", 1_000)
}

/// There are two tests, to use two cores.
#[test]
fn no_order_of_events_breaks_an_invariant() {
    run(seeds());
}

/// Other seeds, far enough away that the two ranges never overlap.
#[test]
fn no_other_order_of_events_breaks_an_invariant() {
    let Range { start, end } = seeds();
    run((1 << 40) + start..(1 << 40) + end);
}
