//! Callers that wait for a transaction's end: found by the transaction, counted by the client.
//!
//! The guarantee: joining, leaving and waking cost the same however many others wait, apart from
//! the depth of a tree.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Waiters of type `W`, for transactions of type `T`, on behalf of clients of type `C`.
#[derive(Debug)]
pub(super) struct Waiters<T, C, W> {
    /// By transaction, and then by a unique number.
    waiting: BTreeMap<(T, u64), W>,
    /// The number of waiters of each client, including woken ones that have not left; no entry is
    /// zero.
    clients: HashMap<C, usize>,
}

/// The client has as many waiting callers as it may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooMany;

impl<T, C, W> Default for Waiters<T, C, W> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), clients: HashMap::new() }
    }
}

impl<T: Copy + Ord, C: Eq + Hash, W> Waiters<T, C, W> {
    /// Adds a caller of `client`, which may have `max` callers, under a unique number.
    ///
    /// # Errors
    /// [`TooMany`]; then nothing is added.
    pub(super) fn join(
        &mut self,
        client: C,
        transaction: T,
        number: u64,
        waiter: W,
        max: usize,
    ) -> Result<(), TooMany> {
        let count = self.clients.entry(client).or_default();
        if *count >= max {
            return Err(TooMany);
        }
        *count += 1;
        self.waiting.insert((transaction, number), waiter);
        Ok(())
    }

    /// Removes a caller that joined, woken or not.
    pub(super) fn leave(&mut self, client: &C, transaction: T, number: u64) {
        self.waiting.remove(&(transaction, number));
        if let Some(count) = self.clients.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(client);
            }
        }
    }

    /// Takes the callers that wait for a transaction. They count until they leave.
    pub(super) fn wake(&mut self, transaction: T) -> Vec<W> {
        let all = (transaction, 0)..=(transaction, u64::MAX);
        let numbers: Vec<_> = self.waiting.range(all).map(|(key, _)| *key).collect();
        numbers.iter().filter_map(|key| self.waiting.remove(key)).collect()
    }

    /// Whether a caller waits for the transaction.
    pub(super) fn has(&self, transaction: T) -> bool {
        self.waiting.range((transaction, 0)..=(transaction, u64::MAX)).next().is_some()
    }

    /// The waiting callers, each with its transaction.
    pub(super) fn all(&self) -> impl Iterator<Item = (T, &W)> {
        self.waiting.iter().map(|((transaction, _), waiter)| (*transaction, waiter))
    }

    /// The number of waiting callers.
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;

    thread_local! {
        static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// A transaction's number that counts how often it is compared.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    struct Counted(u64);

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    /// The number of comparisons for each of `crowd` callers of one transaction to leave.
    fn cost_of_leaving(crowd: u64) -> u64 {
        let mut waiters = Waiters::default();
        for number in 0..crowd {
            waiters.join("shop", Counted(1), number, (), usize::MAX).unwrap();
        }
        COMPARED.set(0);
        for number in (0..crowd).rev() {
            waiters.leave(&"shop", Counted(1), number);
        }
        assert_eq!((waiters.count(), waiters.clients.len()), (0, 0));
        COMPARED.get() / crowd
    }

    #[test]
    fn leaving_a_crowd_of_fifty_thousand_costs_each_hardly_more_than_leaving_a_crowd_of_fifty() {
        let (small, large) = (cost_of_leaving(50), cost_of_leaving(50_000));
        // A tree that is a thousand times as large is about ten binary levels deeper.
        assert!(large < small + 64, "{small} and {large} comparisons");
    }

    #[test]
    fn a_client_has_no_more_callers_than_it_may_and_others_are_not_affected() {
        let mut waiters = Waiters::default();
        assert_eq!(waiters.join("shop", 1, 1, (), 2), Ok(()));
        assert_eq!(waiters.join("shop", 2, 2, (), 2), Ok(()));
        assert_eq!(waiters.join("shop", 3, 3, (), 2), Err(TooMany));
        assert_eq!(waiters.join("bank", 3, 4, (), 2), Ok(()));
        assert_eq!(waiters.count(), 3);
        waiters.leave(&"shop", 1, 1);
        assert_eq!(waiters.join("shop", 3, 5, (), 2), Ok(()));
    }

    #[test]
    fn who_is_woken_counts_until_they_leave_and_others_wait_on() {
        let mut waiters = Waiters::default();
        for (number, transaction) in [(1, 7), (2, 7), (3, 8)] {
            waiters.join("shop", transaction, number, number, 3).unwrap();
        }
        assert_eq!(waiters.wake(7), [1, 2]);
        assert_eq!((waiters.count(), waiters.wake(7)), (1, vec![]));
        assert_eq!(waiters.join("shop", 9, 4, 4, 3), Err(TooMany), "two have not left yet");
        waiters.leave(&"shop", 7, 1);
        assert_eq!(waiters.join("shop", 9, 4, 4, 3), Ok(()));
    }
}
