//! The limits of deliveries in progress, and what is known of their receivers.
//!
//! The guarantee: no receiver uses the whole capacity, and neither does a tenant with many
//! receivers; a call that takes long does not use the capacity of quick ones; and an endpoint that
//! is not failing is never held back by others that are. Callbacks and pushes have separate
//! capacities.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::circuit::{Circuit, HostCircuit};
use super::{Destination, EndpointId, Receiver, RetryPolicy};
use crate::id::TenantName;
use crate::limits::{
    CALLS_TO_OPEN_HOST_MAX, CIRCUITS_MAX, CIRCUITS_PER_TENANT_MAX, DESTINATIONS_SERVED_MAX,
    SLOW_CALLS_FACTOR,
};
use crate::time::Timestamp;

/// The limits of deliveries in progress: in all, for one tenant, for one receiver, and for one
/// endpoint.
#[derive(Clone, Debug)]
pub struct Capacity {
    callbacks: Pool,
    pushes: Pool,
    in_use: BTreeMap<Destination, u16>,
    endpoints: BTreeMap<Destination, EndpointHealth>,
    hosts: BTreeMap<Receiver, HostCircuit>,
    served: Arc<Served>,
}

/// The permits of quick calls, and as many again of slow ones.
#[derive(Clone, Debug)]
struct Pool {
    quick: Permits,
    slow: Permits,
}

#[derive(Clone, Debug)]
struct Permits {
    max: u16,
    receiver_max: u16,
    tenant_max: u16,
    in_use: u16,
    receivers: BTreeMap<Receiver, u16>,
    tenants: BTreeMap<TenantName, u16>,
}

/// The state of an endpoint whose last call failed or was slow.
#[derive(Clone, Copy, Debug, Default)]
struct EndpointHealth {
    circuit: Circuit,
    is_slow: bool,
}

/// When destinations were served last, while not all that are due can be.
#[derive(Clone, Debug, Default)]
struct Served {
    count: u64,
    at: BTreeMap<Destination, u64>,
}

/// The health of an endpoint, as its last call shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// The endpoint was not called.
    Unknown,
    /// The endpoint is available.
    Well,
    /// The endpoint has an outage, and may have said for how long.
    Outage(Option<Duration>),
}

/// A circuit that a call opened or closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CircuitChange {
    /// The endpoint's circuit opened.
    EndpointOpened,
    /// The endpoint's circuit closed.
    EndpointClosed,
    /// The circuit of the whole receiver opened.
    HostOpened,
    /// The circuit of the whole receiver closed.
    HostClosed,
}

impl Permits {
    /// A capacity of `max` in all, `receiver_max` for one receiver, three quarters for one tenant.
    fn new(max: u16, receiver_max: u16) -> Self {
        let (receivers, tenants) = Default::default();
        Self { max, receiver_max, tenant_max: max - max / 4, in_use: 0, receivers, tenants }
    }

    fn free(&self) -> u16 {
        self.max.saturating_sub(self.in_use)
    }

    fn in_use(&self, receiver: &Receiver) -> u16 {
        self.receivers.get(receiver).copied().unwrap_or(0)
    }

    fn available(&self, receiver: &Receiver) -> u16 {
        let of_tenant = self.tenants.get(&receiver.tenant).copied().unwrap_or(0);
        let receiver_left = self.receiver_max.saturating_sub(self.in_use(receiver));
        self.free().min(receiver_left).min(self.tenant_max.saturating_sub(of_tenant))
    }

    fn acquire(&mut self, receiver: &Receiver) {
        self.in_use += 1;
        *self.receivers.entry(receiver.clone()).or_default() += 1;
        *self.tenants.entry(receiver.tenant.clone()).or_default() += 1;
    }

    fn release(&mut self, receiver: &Receiver) {
        self.in_use -= 1;
        less(&mut self.receivers, receiver);
        less(&mut self.tenants, &receiver.tenant);
    }
}

fn less<K: Ord>(in_use: &mut BTreeMap<K, u16>, key: &K) {
    let count = in_use.get_mut(key).expect("only an acquired permit is released");
    *count -= 1;
    if *count == 0 {
        in_use.remove(key);
    }
}

impl Pool {
    fn new(max: u16, receiver_max: u16) -> Self {
        let quick = Permits::new(max, receiver_max);
        Self { slow: quick.clone(), quick }
    }

    fn permits(&self, is_slow: bool) -> &Permits {
        if is_slow { &self.slow } else { &self.quick }
    }
}

impl Capacity {
    /// An unused capacity: `permits` in all, `receiver_max` for one receiver, three quarters for
    /// one tenant; and the same again for pushes.
    #[must_use]
    pub fn new(permits: u16, receiver_max: u16) -> Self {
        let callbacks = Pool::new(permits, receiver_max);
        let (in_use, endpoints, hosts, served) = Default::default();
        Self { pushes: callbacks.clone(), callbacks, in_use, endpoints, hosts, served }
    }

    /// Sets the capacity for pushes.
    #[must_use]
    pub fn for_pushes(self, permits: u16, receiver_max: u16) -> Self {
        Self { pushes: Pool::new(permits, receiver_max), ..self }
    }

    /// Whether there is a permit that is not in use.
    #[must_use]
    pub fn has_free(&self) -> bool {
        let pools = [&self.callbacks, &self.pushes];
        pools.into_iter().any(|pool| pool.quick.free() > 0 || pool.slow.free() > 0)
    }

    /// The number of permits that a destination uses.
    #[must_use]
    pub fn in_use(&self, destination: &Destination) -> u16 {
        self.in_use.get(destination).copied().unwrap_or(0)
    }

    /// The number of permits that a destination may still acquire.
    #[must_use]
    pub fn available(&self, destination: &Destination, now: Timestamp) -> u16 {
        let receiver = &destination.receiver;
        let health = self.endpoints.get(destination).copied().unwrap_or_default();
        let pool = if destination.is_push() { &self.pushes } else { &self.callbacks };
        let mut available = pool.permits(health.is_slow).available(receiver);
        // Some calls of an endpoint that has just become slow still use permits of quick ones.
        let of_one = pool.quick.receiver_max.saturating_sub(self.in_use(destination));
        available = available.min(of_one);
        if health.circuit.is_failing() {
            let lets = health.circuit.lets(u16::MAX, now);
            available = available.min(lets.saturating_sub(self.in_use(destination)));
        }
        match self.hosts.get(receiver).and_then(|circuit| circuit.probes(now)) {
            None => available,
            Some(probes) if health.circuit.is_failing() => {
                available.min(probes.saturating_sub(self.probing(receiver)))
            }
            Some(_) => {
                let in_use = pool.quick.in_use(receiver);
                available.min(CALLS_TO_OPEN_HOST_MAX.saturating_sub(in_use))
            }
        }
    }

    /// Whether a receiver may get no further permit, whichever endpoint is called.
    #[must_use]
    pub fn is_full(&self, receiver: &Receiver) -> bool {
        let is_push = matches!(receiver.host, super::Host::Push { .. });
        let pool = if is_push { &self.pushes } else { &self.callbacks };
        pool.quick.available(receiver) == 0 && pool.slow.available(receiver) == 0
    }

    /// The calls in progress to failing endpoints of a receiver.
    fn probing(&self, receiver: &Receiver) -> u16 {
        let of = |number| Destination {
            receiver: receiver.clone(),
            endpoint: EndpointId::from_number(number),
        };
        let failing = |(destination, _): &(&Destination, &u16)| {
            self.endpoints.get(destination).is_some_and(|health| health.circuit.is_failing())
        };
        self.in_use.range(of(0)..=of(u64::MAX)).filter(failing).map(|(_, count)| count).sum()
    }

    /// Acquires a permit for a destination. Answers whether it is one of a slow call.
    ///
    /// Only an available permit may be acquired; a claimed delivery takes one in any case, because
    /// it is leased already.
    pub fn acquire(&mut self, destination: &Destination) -> bool {
        let is_slow = self.endpoints.get(destination).is_some_and(|health| health.is_slow);
        self.permits(destination, is_slow).acquire(&destination.receiver);
        *self.in_use.entry(destination.clone()).or_default() += 1;
        is_slow
    }

    /// Releases a permit of a destination.
    pub fn release(&mut self, destination: &Destination, is_slow: bool) {
        self.permits(destination, is_slow).release(&destination.receiver);
        less(&mut self.in_use, destination);
    }

    fn permits(&mut self, destination: &Destination, is_slow: bool) -> &mut Permits {
        let pool = if destination.is_push() { &mut self.pushes } else { &mut self.callbacks };
        if is_slow { &mut pool.slow } else { &mut pool.quick }
    }

    /// Turns a permit into one of a slow call, because the call takes long. Answers whether it did:
    /// the number of slow calls is limited too.
    pub fn slow(&mut self, destination: &Destination) -> bool {
        let slow = self.permits(destination, true);
        if slow.in_use >= slow.max.saturating_mul(SLOW_CALLS_FACTOR) {
            return false;
        }
        slow.acquire(&destination.receiver);
        self.permits(destination, false).release(&destination.receiver);
        if let Some(health) = self.health(destination) {
            health.is_slow = true;
        }
        true
    }

    /// The state of an endpoint, to be changed. `None` if too many states are remembered.
    fn health(&mut self, destination: &Destination) -> Option<&mut EndpointHealth> {
        if !self.endpoints.contains_key(destination) {
            let tenant = destination.tenant();
            let is_full = self.endpoints.len() >= CIRCUITS_MAX
                || self.endpoints.len() >= CIRCUITS_PER_TENANT_MAX
                    && self.endpoints.keys().filter(|one| one.tenant() == tenant).count()
                        >= CIRCUITS_PER_TENANT_MAX;
            if is_full {
                return None;
            }
        }
        Some(self.endpoints.entry(destination.clone()).or_default())
    }

    /// Records what a call said about its endpoint. Answers the circuit that it opened or closed;
    /// the receiver's, if both.
    pub fn heard(
        &mut self,
        destination: &Destination,
        health: Health,
        is_slow: bool,
        now: Timestamp,
        retry: &RetryPolicy,
    ) -> Option<CircuitChange> {
        match health {
            Health::Unknown => None,
            Health::Well => {
                let was_open = self.hosts.remove(&destination.receiver);
                let was_failing = self.endpoints.remove(destination);
                if is_slow && let Some(health) = self.health(destination) {
                    health.is_slow = true;
                }
                if was_open.is_some_and(|circuit| circuit.is_open()) {
                    return Some(CircuitChange::HostClosed);
                }
                let was_open = was_failing.is_some_and(|health| health.circuit.is_open());
                was_open.then_some(CircuitChange::EndpointClosed)
            }
            Health::Outage(asked) => {
                let opened = self.health(destination).is_some_and(|health| {
                    health.is_slow = is_slow;
                    health.circuit.failed(now, retry, asked)
                });
                let is_known = self.hosts.contains_key(&destination.receiver);
                if is_known || self.hosts.len() < CIRCUITS_MAX {
                    let host = self.hosts.entry(destination.receiver.clone()).or_default();
                    if host.failed(destination.endpoint, now) {
                        return Some(CircuitChange::HostOpened);
                    }
                }
                opened.then_some(CircuitChange::EndpointOpened)
            }
        }
    }

    /// Forgets what is known of endpoints and receivers without recent calls.
    pub fn tidy(&mut self, now: Timestamp) {
        self.endpoints.retain(|_, health| !health.circuit.is_stale(now));
        self.hosts.retain(|_, circuit| !circuit.is_stale(now));
    }

    /// The destinations whose circuit is open.
    pub fn open(&self) -> impl Iterator<Item = &Destination> {
        let open = self.endpoints.iter().filter(|(_, health)| health.circuit.is_open());
        open.map(|(destination, _)| destination)
    }

    /// The number of circuits that are open: of endpoints, and of whole receivers.
    #[must_use]
    pub fn open_counts(&self) -> (usize, usize) {
        (self.open().count(), self.hosts.values().filter(|circuit| circuit.is_open()).count())
    }

    /// The position of a destination in the order of being served: the number that
    /// [`Capacity::note_served`] gave it, or 0.
    #[must_use]
    pub fn served(&self, destination: &Destination) -> u64 {
        self.served.at.get(destination).copied().unwrap_or(0)
    }

    /// Remembers that a destination was served while others had to wait.
    pub fn note_served(&mut self, destination: &Destination) {
        let served = Arc::make_mut(&mut self.served);
        served.count += 1;
        served.at.insert(destination.clone(), served.count);
        if served.at.len() > DESTINATIONS_SERVED_MAX {
            let oldest = served.count - DESTINATIONS_SERVED_MAX as u64 / 2;
            served.at.retain(|_, at| *at > oldest);
        }
    }

    /// Forgets who was served, because no destination waits.
    pub fn forget_served(&mut self) {
        if !self.served.at.is_empty() {
            self.served = Arc::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DELIVERY_BACKOFF_MAX, DELIVERY_FAILURES_MAX, HOST_PAUSE};

    const NOW: Timestamp = Timestamp(1_000);
    const RETRY: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(2),
        longest: DELIVERY_BACKOFF_MAX,
        give_up_after: Duration::from_hours(24),
    };

    fn destination(tenant: &str, host: &str, endpoint: u64) -> Destination {
        let (tenant, host) = (tenant.parse().expect("a name"), host.parse().expect("a host"));
        let receiver = Receiver { tenant, host };
        Destination { receiver, endpoint: EndpointId::from_number(endpoint) }
    }

    fn acquire(capacity: &mut Capacity, destination: &Destination, count: u16) {
        for _ in 0..count {
            assert!(!capacity.acquire(destination));
        }
    }

    fn fail(capacity: &mut Capacity, destination: &Destination) -> Option<CircuitChange> {
        capacity.heard(destination, Health::Outage(None), false, NOW, &RETRY)
    }

    #[test]
    fn no_receiver_and_no_tenant_gets_the_whole_capacity() {
        let mut capacity = Capacity::new(8, 3);
        for (host, available) in [("a", 3), ("b", 3), ("c", 0)] {
            let destination = destination("acme", host, 1);
            assert_eq!(capacity.available(&destination, NOW), available);
            acquire(&mut capacity, &destination, available);
        }
        assert_eq!(capacity.available(&destination("acme", "a", 2), NOW), 0, "the same receiver");
        assert_eq!(capacity.available(&destination("beta", "a", 1), NOW), 2, "the free permits");
        capacity.release(&destination("acme", "a", 1), false);
        assert_eq!(capacity.available(&destination("acme", "c", 1), NOW), 1);
        assert_eq!(Capacity::new(1, 1).available(&destination("acme", "a", 1), NOW), 1);
        let push = destination("acme", "push/apns/app", 1);
        let mut capacity = Capacity::new(8, 3).for_pushes(4, 2);
        acquire(&mut capacity, &push, 2);
        assert_eq!(
            (capacity.available(&push, NOW), capacity.available(&destination("acme", "a", 1), NOW)),
            (0, 3),
            "each has its own"
        );
    }

    #[test]
    fn a_call_that_takes_long_uses_no_permit_of_quick_ones() {
        let mut capacity = Capacity::new(4, 4);
        let (slow, quick) = (destination("acme", "a", 1), destination("acme", "a", 2));
        acquire(&mut capacity, &slow, 3);
        assert_eq!(capacity.available(&quick, NOW), 0);
        assert!((0..3).all(|_| capacity.slow(&slow)));
        assert_eq!((capacity.available(&quick, NOW), capacity.available(&slow, NOW)), (3, 0));
        capacity.release(&slow, true);
        assert!(capacity.acquire(&slow), "its next call has a slow call's permit at once");
        // Those of its calls that are not slow yet count too.
        let mut other = Capacity::new(8, 4);
        acquire(&mut other, &slow, 4);
        assert!(other.slow(&slow));
        assert_eq!(other.available(&slow, NOW), 0, "it has its share");
        capacity.heard(&slow, Health::Well, false, NOW, &RETRY);
        assert_eq!(capacity.available(&slow, NOW), 1, "it is quick again, with three in progress");
    }

    #[test]
    fn the_failures_of_an_endpoint_are_its_own_until_several_fail() {
        let mut capacity = Capacity::new(64, 32);
        let other = destination("acme", "a", 99);
        let failing = [1, 2, 3].map(|number| destination("acme", "a", number));
        for _ in 1..DELIVERY_FAILURES_MAX {
            assert_eq!(fail(&mut capacity, &failing[0]), None);
        }
        assert_eq!(fail(&mut capacity, &failing[0]), Some(CircuitChange::EndpointOpened));
        assert_eq!(capacity.available(&failing[0], NOW), 0);
        assert_eq!(capacity.available(&other, NOW), 32, "it did not fail");
        assert_eq!(fail(&mut capacity, &failing[1]), None);
        assert_eq!(fail(&mut capacity, &failing[2]), Some(CircuitChange::HostOpened));
        assert_eq!(capacity.available(&failing[1], NOW), 0, "failing endpoints wait");
        assert_eq!(capacity.available(&other, NOW), CALLS_TO_OPEN_HOST_MAX, "others do not");
        let later = NOW + HOST_PAUSE;
        assert_eq!(capacity.available(&failing[1], later), 4, "then they are probed");
        acquire(&mut capacity, &failing[2], 4);
        assert_eq!(capacity.available(&failing[1], later), 0, "in turns");
        assert_eq!(capacity.open_counts(), (1, 1));
        let closed = capacity.heard(&other, Health::Well, false, NOW, &RETRY);
        assert_eq!(closed, Some(CircuitChange::HostClosed));
        assert!(capacity.available(&failing[1], NOW) > 0, "the receiver is well");
        assert_eq!(capacity.available(&failing[0], NOW), 0, "this endpoint is not");
    }

    #[test]
    fn what_is_known_of_endpoints_is_limited_in_all_and_for_each_tenant() {
        let mut capacity = Capacity::new(64, 32);
        for number in 0..2 * CIRCUITS_PER_TENANT_MAX as u64 {
            fail(&mut capacity, &destination("acme", "a", number));
        }
        assert_eq!(capacity.endpoints.len(), CIRCUITS_PER_TENANT_MAX);
        fail(&mut capacity, &destination("beta", "a", 1));
        assert_eq!(capacity.endpoints.len(), CIRCUITS_PER_TENANT_MAX + 1);
        capacity.tidy(NOW + 2 * DELIVERY_BACKOFF_MAX);
        assert_eq!((capacity.endpoints.len(), capacity.hosts.len()), (0, 0));
        for number in 0..2 * DESTINATIONS_SERVED_MAX as u64 {
            capacity.note_served(&destination("acme", "a", number));
        }
        assert!(capacity.served.at.len() <= DESTINATIONS_SERVED_MAX);
    }
}
