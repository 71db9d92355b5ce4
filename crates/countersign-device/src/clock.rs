//! The server's time, as far as the device knows it.

use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_wire::limits::SKEW_MAX;

/// The system's clock with a correction from the server. Only this type reads the system's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// The milliseconds by which the server's clock is ahead.
    ahead: AtomicI64,
}

impl Clock {
    /// The server's time since the Unix epoch.
    pub(crate) fn now(&self) -> Duration {
        corrected(system(), self.ahead.load(Ordering::Relaxed))
    }

    /// Sets the correction to the server's time.
    pub(crate) fn correct(&self, server_time: Duration) {
        self.ahead.store(millis(server_time) - millis(system()), Ordering::Relaxed);
    }

    /// Sets the correction if the difference exceeds the protocol's limit. On a channel no call is
    /// refused for it, but deadlines would be misjudged.
    pub(crate) fn check(&self, server_time: Option<SystemTime>) {
        let since = server_time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(time) = since.filter(|time| self.now().abs_diff(*time) > SKEW_MAX) {
            self.correct(time);
        }
    }

    /// The duration until `then`; zero if it has passed.
    pub(crate) fn until(&self, then: Duration) -> Duration {
        then.saturating_sub(self.now())
    }
}

fn system() -> Duration {
    // A clock before 1970 counts as 1970: both are wrong, and the server corrects them.
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
    fn a_corrected_clock_continues_from_the_servers_time() {
        let clock = Clock::default();
        let there = Duration::from_secs(4_000_000_000);
        clock.correct(there);
        assert!(clock.now().abs_diff(there) < Duration::from_secs(5));
        assert_eq!(clock.until(there.saturating_sub(Duration::from_secs(9))), Duration::ZERO);
    }

    #[test]
    fn only_a_difference_over_the_limit_corrects_the_clock() {
        let clock = Clock::default();
        clock.check(Some(SystemTime::now() + Duration::from_secs(30)));
        assert_eq!(clock.ahead.load(Ordering::Relaxed), 0);
        clock.check(Some(SystemTime::now() - Duration::from_hours(1)));
        assert!(clock.until(system()) > Duration::from_mins(59));
        clock.check(None);
        assert!(clock.until(system()) > Duration::from_mins(59));
    }

    #[test]
    fn no_server_time_overflows() {
        let clock = Clock::default();
        for said in [Duration::MAX, Duration::ZERO] {
            clock.correct(said);
            let _ = clock.until(Duration::MAX);
        }
        assert!(clock.now() < Duration::from_mins(1));
    }
}
