//! The [`Interference`]s of a [`FaultyStore`](crate::FaultyStore): no fault, one fault at a chosen
//! call, or random faults.

use core::future::{Future, poll_fn};
use core::task::Poll;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::Fault;

use crate::{Call, Interference, Prng};

const INJECTED: &str = "a fault that the test asked for";

fn injected() -> Fault {
    Fault::new(INJECTED, "an injected fault")
}

/// Whether the fault was injected by this crate.
#[must_use]
pub fn is_injected(fault: &Fault) -> bool {
    fault.to_string() == INJECTED
}

/// No interference: the store works normally.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl Interference for NoFaults {
    async fn before(&self, _: Call) -> Result<(), Fault> {
        Ok(())
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        Ok(())
    }
}

/// Delays every write by one poll. If several callers are polled in turn, each of them reads before
/// any of them writes.
#[derive(Clone, Copy, Debug)]
pub struct SlowWrites;

impl Interference for SlowWrites {
    async fn before(&self, call: Call) -> Result<(), Fault> {
        if matches!(call, Call::Commit | Call::Register) {
            give_way().await;
        }
        Ok(())
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        Ok(())
    }
}

/// Whether a call fails before or after its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The call does nothing.
    Before,
    /// The call does its work, and only the answer is lost.
    After,
}

/// Makes only the n-th call fail. Clones share one count.
#[derive(Clone, Debug)]
pub struct FailsOnce {
    nth: u64,
    when: When,
    calls: Arc<AtomicU64>,
}

impl FailsOnce {
    /// Fails at call number `nth`, the first being 1; never if it is 0.
    #[must_use]
    pub fn at(nth: u64, when: When) -> Self {
        Self { nth, when, calls: Arc::new(AtomicU64::new(0)) }
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Interference for FailsOnce {
    async fn before(&self, _: Call) -> Result<(), Fault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call == self.nth && self.when == When::Before { Err(injected()) } else { Ok(()) }
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        if self.calls() == self.nth && self.when == When::After { Err(injected()) } else { Ok(()) }
    }
}

/// Delays every call by one poll, and some answers as well, so that callers overtake each other
/// between reads and writes. Before and after each call, it fails once in so many times.
#[derive(Clone, Debug)]
pub struct RandomFaults {
    prng: Arc<Mutex<Prng>>,
    /// 0 means never.
    fails_one_in: usize,
}

impl RandomFaults {
    /// Fails once in `fails_one_in` times, before and after each call; never if it is 0.
    #[must_use]
    pub fn new(prng: Prng, fails_one_in: usize) -> Self {
        Self { prng: Arc::new(Mutex::new(prng)), fails_one_in }
    }

    fn fails(&self) -> Result<(), Fault> {
        let mut prng = self.prng.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fails_one_in > 0 && prng.one_in(self.fails_one_in) {
            return Err(injected());
        }
        Ok(())
    }
}

impl Interference for RandomFaults {
    async fn before(&self, _: Call) -> Result<(), Fault> {
        give_way().await;
        self.fails()
    }

    async fn after(&self, _: Call) -> Result<(), Fault> {
        let is_slow = self.prng.lock().unwrap_or_else(PoisonError::into_inner).one_in(4);
        if is_slow {
            give_way().await;
        }
        self.fails()
    }
}

/// A future that is ready at the second poll.
fn give_way() -> impl Future<Output = ()> + Send {
    let mut asked = false;
    poll_fn(move |context| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
