//! Deliveries: the callbacks and pushes that an event requires, their destinations, and their
//! retries.
//!
//! A delivery is written in the commit of the event that requires it, and completed afterwards by
//! any node, with as many attempts as needed. Waking a connected device or a waiting caller is a
//! notification, not a delivery.
//!
//! Each delivery has a [`Destination`], one for each receiver of each tenant. [`Capacity`] and
//! [`Circuit`] are kept for each destination, so that a slow receiver delays only its own
//! deliveries. Pushes have a capacity of their own, so that callbacks and pushes do not delay each
//! other.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use crate::limits::{
    DELIVERY_ATTEMPTS_MAX, DELIVERY_BACKOFF_MAX, DELIVERY_FAILURES_MAX, DELIVERY_PAUSE_MAX,
};
use crate::push::{self, Provider, PushAddress};
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// The kind of a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliveryKind {
    /// A callback: tell the caller's URL how the transaction ended.
    Callback,
    /// A push: wake this device through its push service.
    Push(DeviceId),
}

/// The receiver of a tenant's deliveries.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Destination {
    /// The tenant that sends the deliveries.
    pub tenant: TenantName,
    /// The server that receives them.
    pub endpoint: Endpoint,
}

/// The server that receives deliveries.
///
/// The ledger stores an endpoint as the text that [`fmt::Display`] writes, and endpoints are
/// ordered by that text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Endpoint {
    /// The receiver of a client's callbacks.
    Callback {
        /// Host and port, as the callback's URL writes them.
        authority: String,
    },
    /// A push service.
    Push {
        /// The service.
        provider: Provider,
        /// The part of the service. For Web Push, the host and port of the browser's service.
        /// Otherwise, the application that the device reports.
        part: String,
    },
}

/// A text that names no endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the text names no push service")]
pub struct BadEndpoint;

/// The prefix of every push service's text. No callback's text has it, because host and port
/// contain no slash.
const PUSH_PREFIX: &str = "push/";

/// A delivery that a commit queues.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewDelivery {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The kind of the delivery.
    pub kind: DeliveryKind,
    /// The receiver.
    pub destination: Destination,
    /// The time of the first attempt.
    pub due_at: Timestamp,
}

/// A delivery in the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// The delivery's id, the same in each attempt.
    pub id: DeliveryId,
    /// The tenant, and the receiver.
    pub destination: Destination,
    /// The transaction that required it.
    pub transaction: TransactionId,
    /// The kind of the delivery.
    pub kind: DeliveryKind,
    /// The time at which it was queued or replayed.
    pub queued_at: Timestamp,
    /// Attempts before this one, since it was queued or replayed.
    pub attempts: u16,
    /// The number of this lease of the delivery. A settlement names it, so that a late settlement
    /// does not affect the attempt of the next holder.
    pub lease: u32,
}

/// The result of one attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The receiver accepted it.
    Accepted,
    /// The receiver will never accept it.
    Rejected,
    /// The receiver will never accept it, nor anything else for this address, which is no longer
    /// registered.
    Gone,
    /// The receiver cannot accept it now, and may have said how long to wait.
    Deferred(Option<Duration>),
}

/// The decision after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The delivery is complete.
    Done,
    /// The delivery is no longer needed.
    Skipped,
    /// Try again at this time.
    Retry(Timestamp),
    /// Keep a callback as a dead letter. Remove a push, because it is useless later.
    GiveUp,
    /// Remove the push, and also the device's address if the device still has this version.
    Retire {
        /// The device's version at which the address was read.
        version: u32,
    },
}

/// The recorded result of one attempt of a claimed delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settlement {
    /// The delivery's tenant.
    pub tenant: TenantName,
    /// The delivery's id.
    pub id: DeliveryId,
    /// The lease under which it was claimed.
    pub lease: u32,
    /// The decision after the attempt.
    pub verdict: Verdict,
    /// The result in a few words, for lists of unsettled deliveries.
    pub outcome: String,
    /// The time of the settlement.
    pub at: Timestamp,
}

impl NewDelivery {
    /// The callback for the present state of `transaction`, if the client asked for callbacks.
    #[must_use]
    pub fn callback(id: DeliveryId, transaction: &Transaction) -> Option<Self> {
        let spec = &transaction.spec;
        // The dialect has normalised the URL.
        let authority = push::host(&spec.callback.as_ref()?.url).to_owned();
        let endpoint = Endpoint::Callback { authority };
        let destination = Destination { tenant: spec.tenant.clone(), endpoint };
        Some(Self { id, kind: DeliveryKind::Callback, destination, due_at: transaction.moment() })
    }
}

impl Destination {
    /// Whether it is a push service.
    #[must_use]
    pub fn is_push(&self) -> bool {
        matches!(self.endpoint, Endpoint::Push { .. })
    }
}

impl Endpoint {
    /// The endpoint of pushes to a device. `app` is the application that the device reports.
    #[must_use]
    pub fn of_push(address: &PushAddress, app: &str) -> Self {
        let part = match address.provider {
            Provider::WebPush => push::host(&address.token),
            Provider::Apns | Provider::Fcm | Provider::Webhook => app,
        };
        Self::Push { provider: address.provider, part: part.to_owned() }
    }

    /// The parts of its text.
    fn parts(&self) -> [&str; 4] {
        match self {
            Self::Callback { authority } => [authority, "", "", ""],
            Self::Push { provider, part } => [PUSH_PREFIX, provider.as_str(), "/", part],
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let Some(push) = text.strip_prefix(PUSH_PREFIX) else {
            return Ok(Self::Callback { authority: text.to_owned() });
        };
        let (provider, part) = push.split_once('/').ok_or(BadEndpoint)?;
        let provider = Provider::ALL.into_iter().find(|one| one.as_str() == provider);
        Ok(Self::Push { provider: provider.ok_or(BadEndpoint)?, part: part.to_owned() })
    }
}

/// By the text, which is the order of the rows in the ledger.
impl Ord for Endpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |endpoint| Self::parts(endpoint).into_iter().flat_map(str::bytes);
        bytes(self).cmp(bytes(other))
    }
}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// When a failed delivery is tried again, and when it is given up.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The wait after the first failure. Each further wait is twice as long.
    pub first: Duration,
    /// The longest wait, unless the receiver asks for a longer one.
    pub longest: Duration,
    /// The time from queueing after which a delivery is given up.
    pub give_up_after: Duration,
}

impl RetryPolicy {
    /// Decides what follows attempt number `count`, the first being 1, of a delivery that was
    /// queued at `queued_at`.
    ///
    /// Each wait is twice the one before, or the receiver's own wait if that is longer. `jitter`, 0
    /// to 255, takes one sixteenth to nine sixteenths off, so that deliveries that failed together
    /// are not retried together. The last attempt is made when the time is over, whatever wait the
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

/// Whether a destination's receiver is called at all. The circuit is closed until
/// [`DELIVERY_FAILURES_MAX`] failures in a row. Then it is open for a pause, after which one
/// delivery probes the receiver.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Circuit {
    in_a_row: u16,
    openings: u16,
    shut_until: Option<Timestamp>,
    failed_at: Timestamp,
}

impl Circuit {
    /// The number of deliveries that may be in progress at once; `max` if the circuit is closed.
    #[must_use]
    pub fn lets(&self, max: u16, now: Timestamp) -> u16 {
        match self.shut_until {
            None => max,
            Some(until) if now < until => 0,
            Some(_) => 1,
        }
    }

    /// Records a failure. Answers whether it opened the circuit.
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

    /// Whether the last failure is too old to matter: every delivery that waited for a retry has
    /// had one since.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.failed_at + 2 * DELIVERY_BACKOFF_MAX
    }

    /// Whether the circuit is open: the receiver is called only for probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shut_until.is_some()
    }
}

/// The limits of deliveries in progress: in all, for one tenant, for one destination. One receiver
/// cannot use the whole capacity, and neither can a tenant with many receivers. Callbacks and
/// pushes have separate capacities.
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
    /// A capacity of `permits` in all, `destination_max` for one destination, three quarters for
    /// one tenant.
    fn new(permits: u16, destination_max: u16) -> Self {
        let tenant_max = permits - permits / 4;
        let (destinations, tenants) = Default::default();
        Self { free: permits, destination_max, tenant_max, destinations, tenants }
    }
}

impl Capacity {
    /// An unused capacity: `permits` in all, `destination_max` for one destination, three quarters
    /// for one tenant; and the same again for pushes.
    #[must_use]
    pub fn new(permits: u16, destination_max: u16) -> Self {
        let callbacks = Permits::new(permits, destination_max);
        Self { pushes: callbacks.clone(), callbacks, limited: BTreeMap::new() }
    }

    /// Sets the capacity for pushes.
    #[must_use]
    pub fn for_pushes(self, permits: u16, destination_max: u16) -> Self {
        Self { pushes: Permits::new(permits, destination_max), ..self }
    }

    /// The number of unused permits.
    #[must_use]
    pub fn free(&self) -> u16 {
        self.callbacks.free.saturating_add(self.pushes.free)
    }

    /// The number of permits that a destination uses.
    #[must_use]
    pub fn in_use(&self, destination: &Destination) -> u16 {
        let permits = if destination.is_push() { &self.pushes } else { &self.callbacks };
        permits.destinations.get(destination).copied().unwrap_or(0)
    }

    /// The number of permits that a destination may still acquire.
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

    /// Acquires permits for a destination, at most [`Capacity::available`].
    pub fn acquire(&mut self, destination: &Destination, count: u16) {
        let permits = self.permits(destination);
        permits.free =
            permits.free.checked_sub(count).expect("at most the available permits are acquired");
        if count > 0 {
            *permits.destinations.entry(destination.clone()).or_default() += count;
            *permits.tenants.entry(destination.tenant.clone()).or_default() += count;
        }
    }

    /// Releases one permit of a destination.
    pub fn release(&mut self, destination: &Destination) {
        fn less<K: Ord>(in_use: &mut BTreeMap<K, u16>, key: &K) {
            let count = in_use.get_mut(key).expect("only an acquired permit is released");
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

    /// Lowers the limits of these destinations, and of no others.
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

    fn destination(tenant: &str, endpoint: &str) -> Destination {
        let endpoint = endpoint.parse().expect("an endpoint");
        Destination { tenant: tenant.parse().expect("a name"), endpoint }
    }

    #[test]
    fn an_endpoint_is_read_back_from_its_text_and_ordered_by_it() {
        let texts = [
            "",
            "a.example",
            "push",
            "push.example:8443",
            "push/apns/",
            "push/apns/app",
            "push/apns/app/2",
            "push/fcm/app",
            "push/webpush/push.example",
            "push0",
            "z",
        ];
        let endpoints = texts.map(|text| text.parse::<Endpoint>().unwrap());
        for (endpoint, text) in endpoints.iter().zip(texts) {
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(matches!(endpoint, Endpoint::Push { .. }), text.starts_with("push/"));
            for (other, other_text) in endpoints.iter().zip(texts) {
                assert_eq!(endpoint.cmp(other), text.cmp(other_text), "{text} {other_text}");
            }
        }
        for neither in ["push/", "push/apns", "push/pigeon/app"] {
            assert_eq!(neither.parse::<Endpoint>(), Err(BadEndpoint), "{neither}");
        }
    }

    #[test]
    fn the_first_retries_come_within_two_four_and_eight_seconds() {
        for (count, within) in [(1, 2_000), (2, 4_000), (3, 8_000)] {
            for jitter in [0, 255] {
                let verdict = RETRY.after(LATER, count, Timestamp(0), Timestamp(0), jitter);
                let Verdict::Retry(at) = verdict else { panic!("given up at {count}") };
                // The scheduler's polling interval may use the remaining sixteenth.
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
    fn a_circuit_opens_at_the_tenth_failure_in_a_row_and_then_lets_one_probe() {
        let mut circuit = Circuit::default();
        for _ in 1..DELIVERY_FAILURES_MAX {
            assert!(!circuit.failed(Timestamp(0), &RETRY, None));
            assert_eq!(circuit.lets(8, Timestamp(0)), 8);
        }
        assert!(circuit.failed(Timestamp(0), &RETRY, None));
        assert!(!circuit.failed(Timestamp(1), &RETRY, None), "it was in progress before");
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
    fn no_destination_and_no_tenant_gets_the_whole_capacity() {
        let mut capacity = Capacity::new(8, 3);
        for (host, available) in [("a", 3), ("b", 3), ("c", 0)] {
            let destination = destination("acme", host);
            assert_eq!(capacity.available(&destination), available);
            capacity.acquire(&destination, available);
        }
        assert_eq!(capacity.available(&destination("beta", "a")), 2, "the free permits");
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
