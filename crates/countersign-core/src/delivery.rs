//! Debts: what an event owes to somebody who is not on the line, whose turn it is, and when to try
//! again.
//!
//! A debt is written in the commit of the event that creates it, and paid afterwards by any node,
//! as often as needed. Waking a connected device or a waiting caller is a doorbell, never a debt.
//!
//! Each delivery stands in a [`Destination`], one for each receiver of each tenant. Places
//! ([`Capacity`]) and circuits ([`Circuit`]) are kept by lane, so that a slow receiver delays
//! nobody but itself. Pushes have places of their own, so that neither kind of debt holds up the
//! other.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use crate::limits::{
    DELIVERY_ATTEMPTS_MAX, DELIVERY_BACKOFF_MAX, DELIVERY_FAILURES_MAX, DELIVERY_PAUSE_MAX,
};
use crate::push;
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// What is owed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryKind {
    /// Tell the caller's address how the transaction ended.
    Callback,
    /// Wake this device through its push service.
    Push(DeviceId),
}

/// A tenant's way to one receiver.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Destination {
    /// Whose debts.
    pub tenant: TenantName,
    /// To whom: host and port as the callback's URL writes them; `push/`, the service and what is
    /// behind it for a push.
    pub host: String,
}

/// A debt that a commit creates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewDelivery {
    /// The id of its delivery.
    pub id: DeliveryId,
    /// What is owed.
    pub kind: DeliveryKind,
    /// To whom.
    pub destination: Destination,
    /// From when on.
    pub due_at: Timestamp,
}

/// A debt in the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Its id, the same in each attempt.
    pub id: DeliveryId,
    /// Whose it is, and who gets it.
    pub destination: Destination,
    /// What it is about.
    pub transaction: TransactionId,
    /// What is owed.
    pub kind: DeliveryKind,
    /// Since when it is owed, or when it was replayed.
    pub queued_at: Timestamp,
    /// Attempts made before this one, since it was owed or replayed.
    pub attempts: u16,
    /// Which of its leases this is. What is settled names it, so that a verdict that comes after
    /// the lease has ended says nothing of the next holder's attempt.
    pub lease: u32,
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// It arrived.
    Accepted,
    /// It will never be taken.
    Rejected,
    /// It will never be taken, and nothing else that goes there: the address is nobody's.
    Gone,
    /// Not now; the receiver may have said how long to wait.
    Deferred(Option<Duration>),
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Paid.
    Done,
    /// Not owed any more.
    Skipped,
    /// Try again at this moment.
    Retry(Timestamp),
    /// A callback is put aside for a person to look at; a push, which is of no use later, is let
    /// go.
    GiveUp,
    /// A push is let go, and the device's address with it, if the device is at this version still.
    Retire {
        /// The device's, at which its address was read.
        version: u32,
    },
}

/// What became of a claimed delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settlement {
    /// Whose it is.
    pub tenant: TenantName,
    /// Which.
    pub id: DeliveryId,
    /// The lease that it was claimed under.
    pub lease: u32,
    /// What follows.
    pub verdict: Verdict,
    /// What happened, in a few words for whoever lists what was not paid.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
}

impl NewDelivery {
    /// The callback that is owed for what `transaction` tells last, if one was asked for.
    #[must_use]
    pub fn callback(id: DeliveryId, transaction: &Transaction) -> Option<Self> {
        let spec = &transaction.spec;
        // The dialect wrote the URL in its normal form.
        let host = push::host(&spec.callback.as_ref()?.url).to_owned();
        let destination = Destination { tenant: spec.tenant.clone(), host };
        Some(Self { id, kind: DeliveryKind::Callback, destination, due_at: transaction.moment() })
    }
}

impl Destination {
    /// Whether it leads to a push service.
    #[must_use]
    pub fn is_push(&self) -> bool {
        push::is_push_endpoint(&self.host)
    }
}

/// How long a receiver is tried.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The wait after the first failure; each further one is twice as long.
    pub first: Duration,
    /// The longest wait, unless the receiver asks for a longer one.
    pub longest: Duration,
    /// How long after it was owed a delivery is given up.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// Decides what follows attempt number `count`, the first being 1, of what is owed since
    /// `queued_at`.
    ///
    /// Waits double, or are what the receiver asked for if that is longer. `jitter`, 0 to 255,
    /// takes from a sixteenth to nine sixteenths off, so that deliveries that failed together do
    /// not come back together. The last attempt is made when the time is over, whatever the
    /// receiver asked for.
    #[must_use]
    pub fn after(
        &self,
        attempt: Attempt,
        count: u16,
        queued_at: Timestamp,
        now: Timestamp,
        jitter: u8,
    ) -> Verdict {
        let over = queued_at + self.give_up_after;
        match attempt {
            Attempt::Accepted => Verdict::Done,
            Attempt::Rejected | Attempt::Gone => Verdict::GiveUp,
            Attempt::Deferred(_) if count >= DELIVERY_ATTEMPTS_MAX || now >= over => {
                Verdict::GiveUp
            }
            Attempt::Deferred(asked) => {
                let wait = self.doubled(count.saturating_sub(1), self.longest);
                let spread = wait * (480 - u32::from(jitter)) / 512;
                Verdict::Retry((now + spread.max(asked.unwrap_or_default())).min(over))
            }
        }
    }

    /// The first wait, doubled `times`, at most `max`.
    fn doubled(&self, times: u16, max: Duration) -> Duration {
        self.first.saturating_mul(1 << u32::from(times).min(20)).min(max)
    }
}

/// Whether a lane's receiver is called at all. Closed until [`DELIVERY_FAILURES_MAX`] failures in a
/// row; then open for a pause, after which one delivery may try whether it is well again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Circuit {
    in_a_row: u16,
    openings: u16,
    shut_until: Option<Timestamp>,
    failed_at: Timestamp,
}

impl Circuit {
    /// Deliveries that may be on their way at once, of `max` where all is well.
    #[must_use]
    pub fn lets(&self, max: u16, now: Timestamp) -> u16 {
        match self.shut_until {
            None => max,
            Some(until) if now < until => 0,
            Some(_) => 1,
        }
    }

    /// The receiver failed. Answers whether that opened the circuit.
    pub fn failed(&mut self, now: Timestamp, retry: &RetryPolicy, asked: Option<Duration>) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.failed_at = now;
        let was_called = self.shut_until.is_none_or(|until| now >= until);
        if self.in_a_row < DELIVERY_FAILURES_MAX || !was_called {
            return false;
        }
        let first = self.openings == 0;
        self.openings = self.openings.saturating_add(1);
        let pause = retry.doubled(self.openings, DELIVERY_PAUSE_MAX.min(retry.longest));
        let asked = asked.unwrap_or_default().min(DELIVERY_PAUSE_MAX);
        self.shut_until = Some(now + pause.max(asked));
        first
    }

    /// Whether its last failure is so long ago that it says nothing any more: every delivery that
    /// waited for another try has had one since.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.failed_at + 2 * DELIVERY_BACKOFF_MAX
    }

    /// Whether the receiver is not called, a try now and then aside.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shut_until.is_some()
    }
}

/// Places for deliveries on their way: in all, for one tenant, in one lane. So no receiver can hold
/// every place, nor can a tenant with many receivers. Callbacks and pushes have places of their
/// own.
#[derive(Clone, Debug)]
pub struct Capacity {
    callbacks: Permits,
    pushes: Permits,
    limited: BTreeMap<Destination, u16>,
}

#[derive(Clone, Debug)]
struct Permits {
    free: u16,
    destination_max: u16,
    tenant_max: u16,
    destinations: BTreeMap<Destination, u16>,
    tenants: BTreeMap<TenantName, u16>,
}

impl Permits {
    /// `permits` in all, `destination_max` for one lane, three quarters for one tenant.
    fn new(permits: u16, destination_max: u16) -> Self {
        let tenant_max = permits - permits / 4;
        let (destinations, tenants) = Default::default();
        Self { free: permits, destination_max, tenant_max, destinations, tenants }
    }
}

impl Capacity {
    /// An empty one: `permits` in all, `destination_max` for one lane, three quarters for one
    /// tenant; and as many again for pushes.
    #[must_use]
    pub fn new(permits: u16, destination_max: u16) -> Self {
        let callbacks = Permits::new(permits, destination_max);
        Self { pushes: callbacks.clone(), callbacks, limited: BTreeMap::new() }
    }

    /// With so many places for pushes.
    #[must_use]
    pub fn for_pushes(self, permits: u16, destination_max: u16) -> Self {
        Self { pushes: Permits::new(permits, destination_max), ..self }
    }

    /// Places that are free.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.callbacks.free.saturating_add(self.pushes.free)
    }

    /// Places that a lane has.
    #[must_use]
    pub fn in_use(&self, destination: &Destination) -> u16 {
        let permits = if destination.is_push() { &self.pushes } else { &self.callbacks };
        permits.destinations.get(destination).copied().unwrap_or(0)
    }

    /// Places that a lane may still have.
    #[must_use]
    pub fn available(&self, destination: &Destination) -> u16 {
        let permits = if destination.is_push() { &self.pushes } else { &self.callbacks };
        let in_use = self.in_use(destination);
        let limited = self.limited.get(destination).copied().unwrap_or(u16::MAX);
        let destination_max = permits.destination_max.min(limited);
        let tenant_held = permits.tenants.get(&destination.tenant).copied().unwrap_or(0);
        let tenant_left = permits.tenant_max.saturating_sub(tenant_held);
        permits.free.min(destination_max.saturating_sub(in_use)).min(tenant_left)
    }

    fn permits(&mut self, destination: &Destination) -> &mut Permits {
        if destination.is_push() { &mut self.pushes } else { &mut self.callbacks }
    }

    /// Takes places for a lane; no more than [`Capacity::available`].
    pub fn acquire(&mut self, destination: &Destination, count: u16) {
        let permits = self.permits(destination);
        permits.free = permits.free.checked_sub(count).expect("no more than are left");
        if count > 0 {
            *permits.destinations.entry(destination.clone()).or_default() += count;
            *permits.tenants.entry(destination.tenant.clone()).or_default() += count;
        }
    }

    /// Gives a lane's place back.
    pub fn release(&mut self, destination: &Destination) {
        fn less<K: Ord>(in_use: &mut BTreeMap<K, u16>, key: &K) {
            let count = in_use.get_mut(key).expect("who leaves a place had it");
            *count -= 1;
            if *count == 0 {
                in_use.remove(key);
            }
        }
        let permits = self.permits(destination);
        less(&mut permits.destinations, destination);
        less(&mut permits.tenants, &destination.tenant);
        permits.free += 1;
    }

    /// Bounds some lanes further, and no others.
    pub fn limit(&mut self, destinations: impl IntoIterator<Item = (Destination, u16)>) {
        self.limited = destinations.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(2),
        longest: DELIVERY_BACKOFF_MAX,
        give_up_after: Duration::from_hours(24),
    };
    const LATER: Attempt = Attempt::Deferred(None);

    fn destination(tenant: &str, host: &str) -> Destination {
        Destination { tenant: tenant.parse().expect("a name"), host: host.into() }
    }

    #[test]
    fn the_first_retries_come_within_two_four_and_eight_seconds() {
        for (count, within) in [(1, 2_000), (2, 4_000), (3, 8_000)] {
            for jitter in [0, 255] {
                let verdict = RETRY.after(LATER, count, Timestamp(0), Timestamp(0), jitter);
                let Verdict::Retry(at) = verdict else { panic!("given up at {count}") };
                // A sixteenth is left to whoever looks for what is due.
                assert!(at.0 <= within * 15 / 16 && at.0 >= within * 7 / 16, "{count}: {at:?}");
            }
        }
    }

    #[test]
    fn a_receiver_that_asks_for_longer_gets_it_until_the_time_is_over() {
        let after = |asked, count, now| {
            let asked = Attempt::Deferred(Some(Duration::from_secs(asked)));
            RETRY.after(asked, count, Timestamp(0), Timestamp(now), 9)
        };
        assert_eq!(after(90, 1, 0), Verdict::Retry(Timestamp(90_000)));
        let day = 86_400_000;
        assert_eq!(after(u64::MAX, 1, 5), Verdict::Retry(Timestamp(day)), "the last try");
        assert_eq!(after(90, 2, day), Verdict::GiveUp);
        assert_eq!(after(90, DELIVERY_ATTEMPTS_MAX, 0), Verdict::GiveUp);
        let rejected = RETRY.after(Attempt::Rejected, 1, Timestamp(0), Timestamp(0), 9);
        assert_eq!(rejected, Verdict::GiveUp);
    }

    #[test]
    fn waits_grow_to_an_hour_and_a_day_holds_a_bounded_number_of_them() {
        let (mut now, mut count) = (Timestamp(0), 0);
        let last = loop {
            count += 1;
            match RETRY.after(LATER, count, Timestamp(0), now, 255) {
                Verdict::Retry(at) => {
                    assert!(now.until(at) <= DELIVERY_BACKOFF_MAX);
                    now = at;
                }
                verdict => break verdict,
            }
        };
        assert_eq!(last, Verdict::GiveUp);
        assert!((30..100).contains(&count), "{count}");
    }

    #[test]
    fn a_circuit_opens_at_the_tenth_failure_in_a_row_and_lets_one_try_again() {
        let mut circuit = Circuit::default();
        for _ in 1..DELIVERY_FAILURES_MAX {
            assert!(!circuit.failed(Timestamp(0), &RETRY, None));
            assert_eq!(circuit.lets(8, Timestamp(0)), 8);
        }
        assert!(circuit.failed(Timestamp(0), &RETRY, None));
        assert!(!circuit.failed(Timestamp(1), &RETRY, None), "it was on its way before");
        assert_eq!(circuit.lets(8, Timestamp(3_999)), 0);
        assert_eq!(circuit.lets(8, Timestamp(4_000)), 1);
        circuit.failed(Timestamp(5_000), &RETRY, None);
        assert_eq!(circuit.lets(8, Timestamp(12_999)), 0, "the next pause is longer");
        for _ in 0..40 {
            circuit.failed(Timestamp(1 << 40), &RETRY, Some(Duration::MAX));
        }
        let pause = Timestamp(1 << 40) + DELIVERY_PAUSE_MAX;
        assert_eq!(circuit.lets(8, pause), 1, "no pause is longer than the longest");
    }

    #[test]
    fn no_lane_and_no_tenant_gets_every_place() {
        let mut capacity = Capacity::new(8, 3);
        for (host, available) in [("a", 3), ("b", 3), ("c", 0)] {
            let destination = destination("acme", host);
            assert_eq!(capacity.available(&destination), available);
            capacity.acquire(&destination, available);
        }
        assert_eq!(capacity.available(&destination("beta", "a")), 2, "what is free");
        capacity.release(&destination("acme", "a"));
        assert_eq!(capacity.available(&destination("acme", "c")), 1);
        capacity.limit([(destination("beta", "a"), 0), (destination("acme", "c"), 7)]);
        assert_eq!(
            (
                capacity.available(&destination("beta", "a")),
                capacity.available(&destination("beta", "b"))
            ),
            (0, 3)
        );
        assert_eq!(capacity.available(&destination("acme", "c")), 1);
        assert_eq!(Capacity::new(1, 1).available(&destination("acme", "a")), 1);
        let push = destination("acme", "push/apns/app");
        let mut capacity = Capacity::new(8, 3).for_pushes(4, 2);
        assert_eq!((capacity.available(&push), capacity.free()), (2, 12));
        capacity.acquire(&push, 2);
        assert_eq!(
            (capacity.available(&push), capacity.available(&destination("acme", "a"))),
            (0, 3),
            "each has its own"
        );
    }
}
