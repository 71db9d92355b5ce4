//! The pause before the next try: it grows, and it is random, so that devices do not all return at
//! once.

use core::time::Duration;

/// The first pause, before randomisation.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_mins(1);
/// The shortest pause after randomisation, so that a device never loops without a pause.
const LEAST: Duration = Duration::from_millis(100);

/// Pauses that double up to [`LONGEST`], of each of which a random part is used. So devices that
/// lost a server at the same time do not reconnect at the same time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let mut chance = [0; 4];
        aws_lc_rs::rand::fill(&mut chance).expect("the system's random generator does not fail");
        let share = f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX);
        longest.mul_f64(share).max(LEAST)
    }

    /// Starts again at the first pause, after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_zero() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| (LEAST..=LONGEST).contains(wait)), "{waits:?}");
        assert!(waits[0] <= FIRST, "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > LONGEST / 4), "{waits:?}");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
