//! Limits on wrong guesses of secrets, for each client address and for each user.
//!
//! The limit is checked before a guess is answered. Answering and counting are one step under one
//! lock, so that concurrent guesses get no more answers than the limit, and a right guess does not
//! bypass it. Only wrong guesses count. The counts belong to this process, and a restart clears
//! them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use countersign_core::time::Timestamp;
use parking_lot::Mutex;

/// Counters that are kept. Beyond that, the least recently used are dropped first.
const COUNTERS_REMEMBERED_MAX: usize = 131_072;
/// Bits of an IPv6 address that count as one client: the owner of one address has the whole /64
/// (RFC 6177, section 2).
const IPV6_CLIENT_BITS: u32 = 64;

/// Wrong guesses that are answered in a period. All of them may come at once; each is forgiven
/// after its share of the period (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    count: NonZeroU32,
    period: Duration,
}

/// A counter of one kind of wrong guesses, such as those from one address.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// A keyed hash of the counted thing, so that an attacker cannot aim at another's counter.
    key: u64,
    quota: Quota,
}

/// A guess that was wrong or not checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wrong {
    /// The guess is wrong, and has been counted.
    Guess,
    /// There were too many wrong guesses. Whether this one is right is not revealed.
    TooMany,
}

/// Counts of wrong guesses.
#[derive(Debug, Default)]
pub struct Tries {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

/// When each counter is back at zero, in microseconds since the Unix epoch, in two generations: the
/// older one is dropped when the newer one is full.
#[derive(Debug, Default)]
struct Counts {
    new: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Quota {
    /// So many guesses in a minute.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self { count, period: Duration::from_mins(1) }
    }

    /// So many guesses in an hour.
    pub fn per_hour(count: NonZeroU32) -> Self {
        Self { count, period: Duration::from_hours(1) }
    }

    /// The quota with its count multiplied by `factor`.
    pub fn times(self, factor: NonZeroU32) -> Self {
        Self { count: self.count.saturating_mul(factor), ..self }
    }

    /// In microseconds.
    fn period(self) -> u64 {
        u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX)
    }

    /// The time after which one guess is forgiven, in microseconds.
    fn share(self) -> u64 {
        (self.period() / u64::from(self.count.get())).max(1)
    }
}

impl Tries {
    /// The counter of `what`, which must include its kind.
    pub fn counter(&self, quota: Quota, what: impl Hash) -> Counter {
        Counter { key: self.hasher.hash_one(what), quota }
    }

    /// Checks whether a guess would be answered.
    ///
    /// # Errors
    /// [`Wrong::TooMany`] if one of the counters has reached its quota.
    pub fn check(&self, counters: &[Counter], now: Timestamp) -> Result<(), Wrong> {
        self.counts.lock().check(counters, now)
    }

    /// Answers a guess with the result of `guess`, if the counters allow it. A wrong guess is
    /// counted in all of them. `guess` runs under the lock, so it must be short.
    ///
    /// # Errors
    /// [`Wrong::TooMany`] as [`check`](Self::check), and [`Wrong::Guess`] if `guess` returns
    /// nothing.
    pub fn judge<T>(
        &self,
        counters: &[Counter],
        now: Timestamp,
        guess: impl FnOnce() -> Option<T>,
    ) -> Result<T, Wrong> {
        let mut counts = self.counts.lock();
        counts.check(counters, now)?;
        guess().ok_or_else(|| {
            for counter in counters {
                counts.count(counter, now);
            }
            Wrong::Guess
        })
    }

    /// Drops counters that are back at zero.
    pub fn tidy(&self, now: Timestamp) {
        let mut counts = self.counts.lock();
        counts.new.retain(|_, until| *until > micros(now));
        counts.old.retain(|_, until| *until > micros(now));
    }
}

impl Counts {
    fn check(&self, counters: &[Counter], now: Timestamp) -> Result<(), Wrong> {
        let is_full = |counter: &Counter| {
            let owed = self.until(counter.key).saturating_sub(micros(now));
            owed.saturating_add(counter.quota.share()) > counter.quota.period()
        };
        if counters.iter().any(is_full) { Err(Wrong::TooMany) } else { Ok(()) }
    }

    fn count(&mut self, counter: &Counter, now: Timestamp) {
        let begin = self.until(counter.key).max(micros(now));
        if self.new.len() >= COUNTERS_REMEMBERED_MAX / 2 && !self.new.contains_key(&counter.key) {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(counter.key, begin.saturating_add(counter.quota.share()));
    }

    fn until(&self, key: u64) -> u64 {
        self.new.get(&key).or_else(|| self.old.get(&key)).copied().unwrap_or_default()
    }
}

fn micros(at: Timestamp) -> u64 {
    at.0.saturating_mul(1_000)
}

/// The addresses that count as one client: an IPv4 address by itself, an IPv6 address with its
/// whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_CLIENT_BITS);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn quota(count: u32) -> Quota {
        Quota::per_minute(NonZeroU32::new(count).unwrap())
    }

    fn wrong(tries: &Tries, counters: &[Counter], now: Timestamp) -> Wrong {
        tries.judge(counters, now, || None::<()>).unwrap_err()
    }

    #[test]
    fn a_right_guess_over_the_limit_is_not_looked_at_and_one_below_it_does_not_count() {
        let tries = Tries::default();
        let counter = [tries.counter(quota(3), "here")];
        for _ in 0..9 {
            assert_eq!(tries.judge(&counter, NOW, || Some(7)), Ok(7));
        }
        for _ in 0..3 {
            assert_eq!(wrong(&tries, &counter, NOW), Wrong::Guess);
        }
        let looked: Result<(), _> = tries.judge(&counter, NOW, || panic!("it is looked at"));
        assert_eq!(looked, Err(Wrong::TooMany));
        assert_eq!(tries.check(&counter, NOW), Err(Wrong::TooMany));
        let other = [tries.counter(quota(3), "there")];
        assert_eq!(tries.judge(&other, NOW, || Some(7)), Ok(7));
    }

    #[test]
    fn each_wrong_guess_is_forgiven_after_its_share_of_the_period() {
        let tries = Tries::default();
        let counter = [tries.counter(quota(3), "here")];
        while wrong(&tries, &counter, NOW) == Wrong::Guess {}
        let later = |millis| NOW + Duration::from_millis(millis);
        assert!(tries.check(&counter, later(19_999)).is_err());
        assert_eq!(wrong(&tries, &counter, later(20_000)), Wrong::Guess);
        assert!(tries.check(&counter, later(20_000)).is_err());
        assert!(tries.check(&counter, later(40_000)).is_ok());
    }

    #[test]
    fn guesses_at_once_get_no_more_answers_than_the_limit() {
        let tries = Tries::default();
        let counter = [tries.counter(quota(5), "here")];
        let answered: u32 = std::thread::scope(|scope| {
            let guess =
                || (0..100).filter(|_| wrong(&tries, &counter, NOW) == Wrong::Guess).count();
            let guessers: Vec<_> = (0..8).map(|_| scope.spawn(guess)).collect();
            guessers.into_iter().map(|guesser| guesser.join().unwrap() as u32).sum()
        });
        assert_eq!(answered, 5);
    }

    #[test]
    fn a_wrong_guess_counts_in_each_counter_and_one_that_is_full_suffices() {
        let tries = Tries::default();
        let (narrow, wide) = (tries.counter(quota(1), 1), tries.counter(quota(2), 2));
        assert_eq!(wrong(&tries, &[narrow, wide], NOW), Wrong::Guess);
        assert_eq!(wrong(&tries, &[narrow, wide], NOW), Wrong::TooMany);
        assert_eq!(wrong(&tries, &[wide], NOW), Wrong::Guess, "what was not answered counted");
        assert_eq!(wrong(&tries, &[wide], NOW), Wrong::TooMany);
    }

    #[test]
    fn no_more_counters_are_remembered_than_may_be() {
        let tries = Tries::default();
        for what in 0..COUNTERS_REMEMBERED_MAX + 1_000 {
            wrong(&tries, &[tries.counter(quota(1), what)], NOW);
        }
        let counts = tries.counts.lock();
        assert!(counts.new.len() + counts.old.len() <= COUNTERS_REMEMBERED_MAX);
        drop(counts);
        let newest = [tries.counter(quota(1), COUNTERS_REMEMBERED_MAX + 999)];
        assert_eq!(wrong(&tries, &newest, NOW), Wrong::TooMany);
        tries.tidy(NOW + Duration::from_mins(1));
        assert!(tries.counts.lock().new.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_an_ipv4_address_is_one_in_either_spelling() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
    }
}
