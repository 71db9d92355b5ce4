//! The counts of each worker and of all of them together.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::dialect::{CYCLE_MAX, Cycle};
use crate::process::Usage;

/// The counts of one worker.
pub(super) struct Tally {
    counts: Counts,
    pub(super) ended: Instant,
}

/// Cycles and failures. Times are in microseconds.
#[derive(Clone)]
pub(super) struct Counts {
    /// From a cycle's beginning, or its planned time, to its answer.
    pub(super) latency: Histogram<u64>,
    /// From the device's sending of its signature to the application's answer.
    pub(super) completion: Histogram<u64>,
    /// From the device's confirmation to the application's answer: the delay between the two.
    pub(super) acknowledgement: Histogram<u64>,
    /// The polls of applications that poll.
    pub(super) polls: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// The figures of a load, over all its turns.
pub(super) struct Measured {
    pub(super) counts: Counts,
    /// The sum of the turns' durations, each from its first beginning to its last end.
    pub(super) elapsed: Duration,
    /// The server's use of resources during that time.
    pub(super) used: Usage,
    /// The CPU time of this process during that time.
    pub(super) own_cpu: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { counts: Counts::new(), ended: Instant::now() }
    }

    pub(super) fn count(&mut self, began: Instant, cycle: &Cycle) {
        let Cycle { completed, acknowledged, answered, polls } = *cycle;
        self.ended = Instant::now();
        let counts = &mut self.counts;
        counts.polls += u64::from(polls);
        let mut record = |into: fn(&mut Counts) -> &mut Histogram<u64>, time: Duration| {
            into(counts).saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        };
        record(|counts| &mut counts.latency, answered.saturating_duration_since(began));
        record(|counts| &mut counts.completion, answered - completed);
        record(
            |counts| &mut counts.acknowledgement,
            answered.saturating_duration_since(acknowledged),
        );
    }

    pub(super) fn fail(&mut self, why: String) {
        self.counts.errors += 1;
        self.counts.first_error.get_or_insert(why);
    }

    /// Returns the first failure, and clears all counts.
    pub(super) fn reset(&mut self) -> Option<String> {
        std::mem::replace(self, Self::new()).counts.first_error
    }
}

impl Counts {
    fn new() -> Self {
        let longest = u64::try_from(CYCLE_MAX.as_micros()).unwrap_or(u64::MAX);
        // Ten times the longest cycle: in an open loop a cycle may begin long after its planned
        // time.
        let histogram =
            Histogram::new_with_bounds(1, longest * 10, 3).expect("the bounds are valid");
        Self {
            latency: histogram.clone(),
            completion: histogram.clone(),
            acknowledgement: histogram,
            polls: 0,
            errors: 0,
            first_error: None,
        }
    }

    fn add(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.completion, &other.completion),
            (&mut self.acknowledgement, &other.acknowledgement),
        ] {
            own.add(others).expect("both have the same bounds");
        }
        self.polls += other.polls;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}

impl Measured {
    pub(super) fn nothing() -> Self {
        let (used, elapsed) = (Usage::default(), Duration::ZERO);
        Self { counts: Counts::new(), elapsed, used, own_cpu: Duration::ZERO }
    }

    /// Adds one turn: the counts of its workers, and the resources used in it.
    pub(super) fn add<'a>(
        &mut self,
        began: Instant,
        tallies: impl Iterator<Item = &'a Tally>,
        used: Usage,
        own_cpu: Duration,
    ) {
        let mut ended = began;
        for tally in tallies {
            self.counts.add(&tally.counts);
            ended = ended.max(tally.ended);
        }
        self.elapsed += ended - began;
        self.used += used;
        self.own_cpu += own_cpu;
    }
}
