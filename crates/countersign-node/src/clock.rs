//! The adapter of clock and randomness: the only place that reads the clock, and where ids are
//! drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use countersign_core::port::{Clock, Entropy};
use countersign_core::time::Timestamp;

/// How far this clock may be ahead of the system's until the server is not ready: such a server
/// refuses proofs that are fresh, and issues tokens that others find dated ahead.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_mins(1);

/// The machine's clock and the system's randomness. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct System {
    started: Instant,
    /// The greatest difference between the system clock and the time since `started`, so far, in
    /// milliseconds.
    offset: Arc<AtomicU64>,
}

/// The present moment of a clock that never goes back, for intervals in logs.
pub(crate) fn running() -> Instant {
    Instant::now()
}

impl Default for System {
    fn default() -> Self {
        Self { started: Instant::now(), offset: Arc::default() }
    }
}

impl System {
    /// How far this clock is ahead of the system clock. More than zero if the system clock was set
    /// back since the start.
    pub fn ahead(&self) -> Duration {
        let system = system_milliseconds();
        Duration::from_millis(self.at(self.started.elapsed(), system).0.saturating_sub(system))
    }

    /// The time when `running` has passed since the start and the system clock shows `system`, in
    /// milliseconds.
    fn at(&self, running: Duration, system: u64) -> Timestamp {
        let running = milliseconds(running);
        let offset = system.saturating_sub(running);
        let greatest = self.offset.fetch_max(offset, Ordering::Relaxed).max(offset);
        Timestamp(running.saturating_add(greatest))
    }
}

/// If the system clock is set back, this clock goes on from the latest time that it gave, by the
/// monotonic clock. Deadlines were set and certificates checked by that time, and a clock that
/// stood still would stop every deadline.
impl Clock for System {
    fn now(&self) -> Timestamp {
        self.at(self.started.elapsed(), system_milliseconds())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The system clock, in milliseconds since the Unix epoch.
fn system_milliseconds() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Entropy for System {
    fn random_u128(&self) -> u128 {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
        u128::from_be_bytes(bytes)
    }
}

/// The moment after this much time, by the clock of the runtime's timers.
pub(crate) fn deadline(after: Duration) -> tokio::time::Instant {
    tokio::time::Instant::now() + after
}

/// The system's monotonic clock, in microseconds, by which the service manager orders reloads.
pub fn monotonic_microseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let [seconds, nanoseconds] = [now.tv_sec, now.tv_nsec].map(i64::unsigned_abs);
    seconds * 1_000_000 + nanoseconds / 1_000
}

/// The time that passes from its making on, by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the beginning.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// A moment as the standard library's type.
pub fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(at.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    /// The clock's answers at moments given as seconds since its start, and the system clock's
    /// seconds since then.
    fn told(moments: &[(u64, i64)]) -> Vec<i64> {
        let system = System::default();
        let at = |&(running, wall): &(u64, i64)| {
            let now = system
                .at(Duration::from_secs(running), START.saturating_add_signed(wall * 1_000))
                .0;
            (i64::try_from(now).unwrap() - i64::try_from(START).unwrap()) / 1_000
        };
        moments.iter().map(at).collect()
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on_from_its_latest_time() {
        let day = 86_400;
        assert_eq!(
            told(&[(0, 0), (1, 1 + day), (2, 2), (60, 60), (61, 0)]),
            [0, 1 + day, 2 + day, 60 + day, 61 + day]
        );
    }

    #[test]
    fn a_clock_that_is_set_ahead_or_slept_is_followed() {
        assert_eq!(told(&[(0, 0), (1, 1), (2, 900), (3, 901)]), [0, 1, 900, 901]);
    }

    #[test]
    fn it_says_how_far_it_is_ahead() {
        let system = System::default();
        assert!(system.ahead() < Duration::from_secs(1));
        system.offset.fetch_add(90_000, Ordering::Relaxed);
        let ahead = system.ahead();
        assert!((Duration::from_secs(80)..=Duration::from_secs(91)).contains(&ahead), "{ahead:?}");
        assert!(ahead > CLOCK_AHEAD_MAX);
    }

    #[test]
    fn the_monotonic_clock_goes_forward_in_microseconds() {
        let (before, measured) = (monotonic_microseconds(), Instant::now());
        std::thread::yield_now();
        while measured.elapsed() < Duration::from_micros(50) {}
        assert!(monotonic_microseconds() >= before + 50);
    }

    #[test]
    fn two_readings_never_go_back() {
        let system = System::default();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let system = system.clone();
                std::thread::spawn(move || {
                    let readings: Vec<_> = (0..10_000).map(|_| system.now()).collect();
                    assert!(readings.is_sorted());
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
