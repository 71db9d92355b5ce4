//! Circuits: whether an endpoint, or a whole receiver, is called after failures.
//!
//! The guarantee: the failures of some endpoints never keep another endpoint from being called. An
//! endpoint that keeps failing is left alone for a while. If several endpoints of one receiver
//! fail, the receiver is called carefully: fewer calls at once, and the failing endpoints in turns.

use core::time::Duration;

use super::{EndpointId, RetryPolicy};
use crate::limits::{
    DELIVERY_BACKOFF_MAX, DELIVERY_FAILURES_MAX, DELIVERY_PAUSE_MAX, FAILING_ENDPOINTS_MIN,
    HOST_PAUSE, HOST_PROBES_MAX,
};
use crate::time::Timestamp;

/// Whether an endpoint is called at all. The circuit is closed until [`DELIVERY_FAILURES_MAX`]
/// failures in a row. Then it is open for a pause, after which one delivery probes the endpoint.
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

    /// Whether its last call failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.in_a_row > 0
    }

    /// Whether the last failure is too old to matter: every delivery that waited for a retry has
    /// had one since.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.failed_at + 2 * DELIVERY_BACKOFF_MAX
    }

    /// Whether the circuit is open: the endpoint is called only for probes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shut_until.is_some()
    }
}

/// Whether a receiver is called carefully. Its circuit opens after [`DELIVERY_FAILURES_MAX`]
/// failures in a row, if [`FAILING_ENDPOINTS_MIN`] endpoints were among them, and closes with the
/// first success.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostCircuit {
    in_a_row: u16,
    /// Some of the endpoints that failed, all different.
    endpoints: Vec<EndpointId>,
    shut_until: Option<Timestamp>,
    failed_at: Timestamp,
}

impl HostCircuit {
    /// Records the failure of an endpoint. Answers whether it opened the circuit.
    pub fn failed(&mut self, endpoint: EndpointId, now: Timestamp) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.failed_at = now;
        if self.endpoints.len() < FAILING_ENDPOINTS_MIN && !self.endpoints.contains(&endpoint) {
            self.endpoints.push(endpoint);
        }
        if self.in_a_row < DELIVERY_FAILURES_MAX || self.endpoints.len() < FAILING_ENDPOINTS_MIN {
            return false;
        }
        let first = self.shut_until.is_none();
        if self.shut_until.is_none_or(|until| now >= until) {
            self.shut_until = Some(now + HOST_PAUSE);
        }
        first
    }

    /// The number of calls that may be in progress at once to endpoints that are failing; `None` if
    /// the circuit is closed, so that it limits nothing.
    #[must_use]
    pub fn probes(&self, now: Timestamp) -> Option<u16> {
        self.shut_until.map(|until| if now < until { 0 } else { HOST_PROBES_MAX })
    }

    /// Whether the last failure is too old to matter.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.failed_at + 2 * DELIVERY_BACKOFF_MAX
    }

    /// Whether the circuit is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shut_until.is_some()
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
    fn a_hosts_circuit_opens_only_if_several_endpoints_fail() {
        let mut one = HostCircuit::default();
        for _ in 0..1_000 {
            assert!(!one.failed(EndpointId::from_number(1), Timestamp(0)));
        }
        assert_eq!(one.probes(Timestamp(0)), None);
        assert!(!one.failed(EndpointId::from_number(2), Timestamp(0)), "they are two");
        assert!(one.failed(EndpointId::from_number(3), Timestamp(0)), "they are three");
        assert_eq!(one.probes(Timestamp(0)), Some(0));
        assert!(!one.failed(EndpointId::from_number(4), Timestamp(1)), "it is open already");
        assert_eq!(one.probes(Timestamp(0) + HOST_PAUSE), Some(HOST_PROBES_MAX));
        let mut few = HostCircuit::default();
        for number in 1..u64::from(DELIVERY_FAILURES_MAX) {
            assert!(!few.failed(EndpointId::from_number(number), Timestamp(0)), "{number}");
        }
        assert!(few.failed(EndpointId::from_number(99), Timestamp(0)));
    }
}
