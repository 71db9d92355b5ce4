//! How long to wait before the next try: longer each time, and never as long as everybody else.

use core::time::Duration;

/// The first wait, before chance.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// What chance leaves at least: a device never spins.
const LEAST: Duration = Duration::from_millis(100);

/// Waits that double up to [`LONGEST`], of each of which chance takes a part: devices that lost one
/// server together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let mut chance = [0; 4];
        aws_lc_rs::rand::fill(&mut chance).expect("the system's random generator does not fail");
        let share = f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX);
        longest.mul_f64(share).max(LEAST)
    }

    /// It went well: the next wait is a first one.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_never_nothing() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| (LEAST..=LONGEST).contains(wait)), "{waits:?}");
        assert!(waits[0] <= FIRST, "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > LONGEST / 4), "{waits:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
