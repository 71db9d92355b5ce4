//! Virtual time with random numbers from a seed: a `Clock` and an `Entropy` that a test controls.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::port::{Clock, Entropy};
use countersign_core::time::Timestamp;

use crate::Prng;

/// The start of every timeline: in January 2027, well within the certificates' validity.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// A clock that a test moves. Clones share its time and its random numbers.
#[derive(Clone, Debug)]
pub struct Timeline {
    now: Arc<AtomicU64>,
    /// The time by which this node's clock is ahead of the others.
    ahead: Duration,
    prng: Arc<Mutex<Prng>>,
}

impl Timeline {
    /// A clock at [`START`], with random numbers from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(START.0)),
            ahead: Duration::ZERO,
            prng: Arc::new(Mutex::new(Prng::seeded(seed))),
        }
    }

    /// The clock of another node, which is ahead by this time.
    #[must_use]
    pub fn ahead_by(&self, ahead: Duration) -> Self {
        Self { ahead, ..self.clone() }
    }

    /// Moves the clock forward.
    pub fn pass(&self, time: Duration) {
        let passed = Timestamp(self.now.load(Ordering::Relaxed)) + time;
        self.now.store(passed.0, Ordering::Relaxed);
    }

    /// Sets the clock, even backwards. A `Clock` must never do so; this is for tests of the
    /// consequences.
    pub fn jump(&self, to: Timestamp) {
        self.now.store(to.0, Ordering::Relaxed);
    }
}

impl Clock for Timeline {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed)) + self.ahead
    }
}

impl Entropy for Timeline {
    fn random_u128(&self) -> u128 {
        self.prng.lock().unwrap_or_else(PoisonError::into_inner).random_u128()
    }
}
