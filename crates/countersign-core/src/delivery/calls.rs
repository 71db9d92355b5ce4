//! The calls that one node has in progress.

use std::collections::BTreeMap;

use super::capacity::{Capacity, CircuitChange, Health};
use super::{Destination, RetryPolicy};
use crate::limits::SLOW_CALL;
use crate::time::Timestamp;

/// The calls that one node has in progress, and the capacity that is left.
#[derive(Debug)]
pub struct Calls {
    capacity: Capacity,
    begun: u64,
    open: BTreeMap<u64, Call>,
}

/// The number of a call of this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallNumber(u64);

#[derive(Debug)]
struct Call {
    destination: Destination,
    begun_at: Timestamp,
    is_slow: bool,
}

impl Calls {
    /// No calls, and this unused capacity.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, begun: 0, open: BTreeMap::new() }
    }

    /// The capacity that is left.
    #[must_use]
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Begins the calls of claimed deliveries. `is_partial` says whether others had to wait.
    pub fn begin<'a>(
        &mut self,
        destinations: impl Iterator<Item = &'a Destination>,
        is_partial: bool,
        now: Timestamp,
    ) -> Vec<CallNumber> {
        if !is_partial {
            self.capacity.forget_served();
        }
        let begin = |destination: &Destination| {
            if is_partial {
                self.capacity.note_served(destination);
            }
            let is_slow = self.capacity.acquire(destination);
            let call = Call { destination: destination.clone(), begun_at: now, is_slow };
            self.begun += 1;
            self.open.insert(self.begun, call);
            CallNumber(self.begun)
        };
        destinations.map(begin).collect()
    }

    /// Gives quick calls the permits of calls that have become slow. Answers whether there were
    /// any.
    pub fn watch(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        for call in self.open.values_mut().take_while(|call| call.begun_at + SLOW_CALL <= now) {
            if !call.is_slow && self.capacity.slow(&call.destination) {
                call.is_slow = true;
                any = true;
            }
        }
        any
    }

    /// Ends a call. Answers its destination, and the circuit that it opened or closed.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn end(
        &mut self,
        number: CallNumber,
        health: Health,
        now: Timestamp,
        retry: &RetryPolicy,
    ) -> (Destination, Option<CircuitChange>) {
        let call = self.open.remove(&number.0).expect("a call ends once");
        self.capacity.release(&call.destination, call.is_slow);
        let is_slow = now >= call.begun_at + SLOW_CALL;
        let change = self.capacity.heard(&call.destination, health, is_slow, now, retry);
        (call.destination, change)
    }

    /// Forgets what is known of endpoints without recent calls.
    pub fn tidy(&mut self, now: Timestamp) {
        self.capacity.tidy(now);
    }
}
