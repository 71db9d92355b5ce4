//! A scheduler of many callers on one thread, which polls them in a random order from a seed.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

use crate::Prng;

/// Running futures. They must make progress at every poll, as futures over a store in memory do.
pub struct Scheduler<'a, T> {
    under_way: Vec<(usize, Pinned<'a, T>)>,
    joined: usize,
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A scheduler without futures.
impl<T> Default for Scheduler<'_, T> {
    fn default() -> Self {
        Self { under_way: Vec::new(), joined: 0 }
    }
}

impl<'a, T> Scheduler<'a, T> {
    /// Adds a future. Answers its number, from 0.
    pub fn join(&mut self, future: impl Future<Output = T> + 'a) -> usize {
        self.under_way.push((self.joined, Box::pin(future)));
        self.joined += 1;
        self.joined - 1
    }

    /// The number of running futures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether no future is running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Polls one of the futures. Answers its number, and its result if it is ready. There must be a
    /// running future.
    pub fn turn(&mut self, prng: &mut Prng) -> (usize, Option<T>) {
        let chosen = prng.roll(self.under_way.len());
        let (number, future) = &mut self.under_way[chosen];
        let number = *number;
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => (number, None),
            Poll::Ready(answer) => {
                drop(self.under_way.swap_remove(chosen));
                (number, Some(answer))
            }
        }
    }

    /// Drops one of the futures at its present point. There must be a running future.
    pub fn drop_one(&mut self, prng: &mut Prng) -> usize {
        let chosen = prng.roll(self.under_way.len());
        self.under_way.swap_remove(chosen).0
    }

    /// Polls until all futures are ready. Answers the results in the order in which the futures
    /// were added.
    pub fn finish(mut self, prng: &mut Prng) -> Vec<T> {
        let mut answers = Vec::new();
        while !self.is_empty() {
            if let (number, Some(answer)) = self.turn(prng) {
                answers.push((number, answer));
            }
        }
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// Polls these futures in turn, one poll each, until all are ready. Answers the results in their
/// order.
pub async fn at_once<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut under_way: Vec<_> = futures.into_iter().map(|future| Err(Box::pin(future))).collect();
    poll_fn(|context| {
        for place in &mut under_way {
            if let Err(future) = place
                && let Poll::Ready(answer) = future.as_mut().poll(context)
            {
                *place = Ok(answer);
            }
        }
        if under_way.iter().any(Result::is_err) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    under_way.into_iter().filter_map(Result::ok).collect()
}

struct Alarm(Thread);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future until it is ready, and sleeps while it waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Alarm(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
