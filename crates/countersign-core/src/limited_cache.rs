//! A cache with a limit, for values that can be read or computed again.
//!
//! It may forget any entry at any time, so it must not hold what has to be remembered, such as
//! tokens that were used or tries that were wrong.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The number of outdated places in the queue that are not worth removing.
const OUTDATED_MAX: usize = 64;

/// Entries of at most a total weight, such as their number or their bytes.
///
/// When it is full, the oldest entry is removed that was not used since it was last considered for
/// removal (second chance, also called clock).
#[derive(Debug)]
pub struct LimitedCache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The entries' keys and numbers in the order in which they are considered for removal. A place
    /// whose number is not its entry's is outdated.
    queue: VecDeque<(K, u64)>,
    weight: usize,
    weight_max: usize,
    /// The number of the latest entry.
    latest: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: usize,
    number: u64,
    is_used: bool,
}

impl<K: Clone + Eq + Hash, V> LimitedCache<K, V> {
    /// An empty cache for entries of this total weight.
    #[must_use]
    pub fn new(weight_max: usize) -> Self {
        let (entries, queue) = (HashMap::new(), VecDeque::new());
        Self { entries, queue, weight: 0, weight_max, latest: 0 }
    }

    /// The value of this key, which counts as used.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        entry.is_used = true;
        Some(&mut entry.value)
    }

    /// Inserts or replaces a value. Its weight counts as at least 1. A value that alone exceeds the
    /// limit is not kept.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        let weight = weight.max(1);
        self.remove(&key);
        if weight > self.weight_max {
            return;
        }
        while self.weight + weight > self.weight_max {
            self.consider_oldest();
        }
        self.latest += 1;
        self.weight += weight;
        let entry = Entry { value, weight, number: self.latest, is_used: false };
        self.entries.insert(key.clone(), entry);
        self.queue.push_back((key, self.latest));
        if self.queue.len() > 2 * self.entries.len() + OUTDATED_MAX {
            let entries = &self.entries;
            let is_current = |(key, number): &(K, u64)| {
                entries.get(key).is_some_and(|entry| entry.number == *number)
            };
            self.queue.retain(is_current);
        }
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.weight -= entry.weight;
        Some(entry.value)
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes the oldest entry, or puts it at the end if it was used meanwhile.
    fn consider_oldest(&mut self) {
        let (key, number) = self.queue.pop_front().expect("each entry has a place in the queue");
        match self.entries.get_mut(&key) {
            Some(entry) if entry.number == number && entry.is_used => {
                entry.is_used = false;
                self.queue.push_back((key, number));
            }
            Some(entry) if entry.number == number => drop(self.remove(&key)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cache: &LimitedCache<u32, u32>) -> Vec<u32> {
        let mut keys: Vec<_> = cache.entries.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_full_cache_removes_the_oldest_entry_that_was_not_used() {
        let mut cache = LimitedCache::new(3);
        for key in 1..=3 {
            cache.insert(key, key, 1);
        }
        assert_eq!(cache.get(&1).copied(), Some(1));
        cache.insert(4, 4, 1);
        assert_eq!(keys(&cache), [1, 3, 4]);
        cache.insert(5, 5, 1);
        assert_eq!(keys(&cache), [1, 4, 5], "the first entry had its second chance");
        cache.insert(6, 6, 1);
        assert_eq!(keys(&cache), [4, 5, 6]);
    }

    #[test]
    fn the_total_weight_never_exceeds_the_limit() {
        let mut cache = LimitedCache::new(10);
        for key in 0..1_000 {
            cache.insert(key % 7, key, key as usize % 5);
            cache.get(&(key % 3));
            if key % 11 == 0 {
                cache.remove(&(key % 7));
            }
            let weight: usize = cache.entries.values().map(|entry| entry.weight).sum();
            assert_eq!(cache.weight, weight);
            assert!(weight <= 10 && cache.queue.len() <= 2 * cache.len() + OUTDATED_MAX);
        }
        cache.insert(1, 1, 11);
        assert_eq!(cache.get(&1), None, "it is too heavy");
        cache.insert(2, 2, 10);
        assert_eq!(keys(&cache), [2]);
    }

    #[test]
    fn a_replaced_value_is_the_new_one_and_its_weight_counts_once() {
        let mut cache = LimitedCache::new(4);
        cache.insert(1, 10, 3);
        cache.insert(1, 11, 2);
        cache.insert(2, 20, 2);
        assert_eq!(keys(&cache), [1, 2]);
        assert_eq!(cache.get(&1).copied(), Some(11));
        assert_eq!((cache.remove(&1), cache.remove(&1)), (Some(11), None));
        assert_eq!((cache.len(), cache.is_empty()), (1, false));
    }

    #[test]
    fn entries_that_come_and_go_leave_no_places_behind() {
        let mut cache = LimitedCache::new(100);
        for key in 0..10_000 {
            cache.insert(key, key, 1);
            cache.remove(&key);
        }
        assert!(cache.is_empty() && cache.queue.len() <= OUTDATED_MAX + 1);
    }
}
