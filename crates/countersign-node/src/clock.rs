//! The adapter of clock and randomness: the only place that reads the clock, and where ids are
//! drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_core::port::{Clock, Entropy};
use countersign_core::time::Timestamp;

/// The machine's clock and the system's randomness.
#[derive(Clone, Debug, Default)]
pub struct System {
    latest: Arc<AtomicU64>,
}

/// If the system clock is set back, this clock stands still until the latest time that it gave,
/// because deadlines were set and certificates checked by that time.
impl Clock for System {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let read = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.latest.fetch_max(read, Ordering::Relaxed).max(read))
    }
}

impl Entropy for System {
    fn random_u128(&self) -> u128 {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
        u128::from_be_bytes(bytes)
    }
}

/// A moment as the standard library's type.
pub fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_back_stands_still() {
        let system = System::default();
        let ahead = system.now().0 + 60_000;
        system.latest.store(ahead, Ordering::Relaxed);
        assert_eq!(system.now(), Timestamp(ahead));
    }
}
