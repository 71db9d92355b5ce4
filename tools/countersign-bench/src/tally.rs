//! What was counted: by each worker, and of all of them together.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::dialect::{CYCLE_MAX, Cycle};
use crate::process::Usage;

/// What one worker counts.
pub(super) struct Tally {
    counts: Counts,
    pub(super) ended: Instant,
}

/// Cycles and failures. Times are in microseconds.
#[derive(Clone)]
pub(super) struct Counts {
    /// From a cycle's beginning, or when it was to begin, to its answer.
    pub(super) latency: Histogram<u64>,
    /// From the device's sending of its signature to the application's answer.
    pub(super) completion: Histogram<u64>,
    /// From the device's being told that its signature is good to the application's answer: how
    /// much later the one knows than the other.
    pub(super) acknowledgement: Histogram<u64>,
    /// Of applications that have to ask for their answer.
    pub(super) polls: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// What came of a load, in all of its turns.
pub(super) struct Measured {
    pub(super) counts: Counts,
    /// From each turn's first beginning to its last end.
    pub(super) elapsed: Duration,
    /// Of the server, during that time.
    pub(super) used: Usage,
    /// Of this process, during that time.
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

    /// What failed first; forgets everything.
    pub(super) fn reset(&mut self) -> Option<String> {
        std::mem::replace(self, Self::new()).counts.first_error
    }
}

impl Counts {
    fn new() -> Self {
        let longest = u64::try_from(CYCLE_MAX.as_micros()).unwrap_or(u64::MAX);
        // Ten times the longest: in an open loop a cycle may begin long after its time.
        let histogram =
            Histogram::new_with_bounds(1, longest * 10, 3).expect("the bounds are some");
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
            own.add(others).expect("their bounds are the same");
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

    /// Adds one turn: what its workers counted, and what was used meanwhile.
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
