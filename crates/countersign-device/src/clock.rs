//! What time it is for the server, as far as the device knows.

use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_wire::limits::SKEW_MAX;

/// The system's clock, corrected by what the server said of its own. The only place that reads it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Milliseconds that the server's clock is ahead.
    ahead: AtomicI64,
}

impl Clock {
    /// Since the Unix epoch.
    pub(crate) fn now(&self) -> Duration {
        corrected(system(), self.ahead.load(Ordering::Relaxed))
    }

    /// Goes by the server's clock from now on.
    pub(crate) fn correct(&self, server_time: Duration) {
        self.ahead.store(millis(server_time) - millis(system()), Ordering::Relaxed);
    }

    /// Goes by the server's clock where it is further away than the protocol allows: no call might
    /// be refused for it on a channel, but a deadline would be misjudged.
    pub(crate) fn check(&self, server_time: Option<SystemTime>) {
        let since = server_time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(time) = since.filter(|time| self.now().abs_diff(*time) > SKEW_MAX) {
            self.correct(time);
        }
    }

    /// How long it is until `then`; nothing, once it has passed.
    pub(crate) fn until(&self, then: Duration) -> Duration {
        then.saturating_sub(self.now())
    }
}

fn system() -> Duration {
    // A clock before 1970 is as wrong as one at 1970: the server will say so.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn corrected(system: Duration, ahead: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis(system).saturating_add(ahead)).unwrap_or(0))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrected_clock_goes_on_from_the_servers_time() {
        let clock = Clock::default();
        let there = Duration::from_secs(4_000_000_000);
        clock.correct(there);
        assert!(clock.now().abs_diff(there) < Duration::from_secs(5));
        assert_eq!(clock.until(there.saturating_sub(Duration::from_secs(9))), Duration::ZERO);
    }

    #[test]
    fn only_a_difference_that_matters_is_taken_over() {
        let clock = Clock::default();
        clock.check(Some(SystemTime::now() + Duration::from_secs(30)));
        assert_eq!(clock.ahead.load(Ordering::Relaxed), 0);
        clock.check(Some(SystemTime::now() - Duration::from_hours(1)));
        assert!(clock.until(system()) > Duration::from_mins(59));
        clock.check(None);
        assert!(clock.until(system()) > Duration::from_mins(59));
    }

    #[test]
    fn no_time_that_a_server_says_overflows() {
        let clock = Clock::default();
        for said in [Duration::MAX, Duration::ZERO] {
            clock.correct(said);
            let _ = clock.until(Duration::MAX);
        }
        assert!(clock.now() < Duration::from_mins(1));
    }
}
