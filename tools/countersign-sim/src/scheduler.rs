//! Many callers at once, on one thread: polled in the order that the dice say.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};

use crate::Prng;

/// Futures under way. They must be ready to go on whenever they are polled, as those of a store in
/// memory are.
pub struct Scheduler<'a, T> {
    under_way: Vec<(usize, Pinned<'a, T>)>,
    joined: usize,
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An empty crowd.
impl<T> Default for Scheduler<'_, T> {
    fn default() -> Self {
        Self { under_way: Vec::new(), joined: 0 }
    }
}

impl<'a, T> Scheduler<'a, T> {
    /// One more; its number, from 0.
    pub fn join(&mut self, future: impl Future<Output = T> + 'a) -> usize {
        self.under_way.push((self.joined, Box::pin(future)));
        self.joined += 1;
        self.joined - 1
    }

    /// How many are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Gives one of them a turn: which it was, and its answer if that is what it came to. There
    /// must be some.
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

    /// One of them is heard of no more, wherever it was. There must be some.
    pub fn drop_one(&mut self, prng: &mut Prng) -> usize {
        let chosen = prng.roll(self.under_way.len());
        self.under_way.swap_remove(chosen).0
    }

    /// Gives turns until all have answered; the answers in the order in which they joined.
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

/// Runs futures that began together, one poll each in turn, until all have answered; the answers in
/// their order.
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

/// Runs one future to its end, and sleeps while it waits.
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
