//! Virtual time, and chance to go with it: a `Clock` and `Entropy` that do what a test says.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::port::{Clock, Entropy};
use countersign_core::time::Timestamp;

use crate::Prng;

/// When every timeline begins: in January 2027, well inside the certificates' validity.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

/// Time that moves only when told to. Clones share it, and share the dice.
#[derive(Clone, Debug)]
pub struct Timeline {
    now: Arc<AtomicU64>,
    /// How far this node's clock is ahead of the others.
    ahead: Duration,
    prng: Arc<Mutex<Prng>>,
}

impl Timeline {
    /// Time at [`START`], and the dice of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Arc::new(AtomicU64::new(START.0)),
            ahead: Duration::ZERO,
            prng: Arc::new(Mutex::new(Prng::seeded(seed))),
        }
    }

    /// The same time as another node's clock has it, which is ahead by so much.
    #[must_use]
    pub fn ahead_by(&self, ahead: Duration) -> Self {
        Self { ahead, ..self.clone() }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let passed = Timestamp(self.now.load(Ordering::Relaxed)) + time;
        self.now.store(passed.0, Ordering::Relaxed);
    }

    /// Sets the clock, back too: what a `Clock` must never do, for tests of what happens if it
    /// does.
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
