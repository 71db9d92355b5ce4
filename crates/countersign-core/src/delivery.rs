//! Deliveries: the callbacks and pushes that an event requires, their destinations, and their
//! retries.
//!
//! A delivery is written in the commit of the event that requires it, and completed afterwards by
//! any node, with as many attempts as needed. Waking a connected device or a waiting caller is a
//! notification, not a delivery.
//!
//! Each delivery has a [`Destination`]: one endpoint of a receiver. A failure belongs to its
//! endpoint first. Only if several endpoints of a receiver fail is it the receiver's:
//! see [`circuit`]. [`capacity`] limits the calls in progress, [`selection`] chooses the next ones
//! fairly, and [`calls`] is both for one node.

pub mod calls;
pub mod capacity;
pub mod circuit;
pub mod selection;

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash as _, Hasher as _};
use core::str::FromStr;
use core::time::Duration;
use std::hash::DefaultHasher;

use crate::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use crate::limits::DELIVERY_ATTEMPTS_MAX;
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

/// Where the deliveries of one queue go: an endpoint of a receiver.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Destination {
    /// The server that receives the deliveries.
    pub receiver: Receiver,
    /// The part of the server that accepts or refuses them.
    pub endpoint: EndpointId,
}

/// The server that receives a tenant's deliveries.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Receiver {
    /// The tenant that sends the deliveries.
    pub tenant: TenantName,
    /// The server.
    pub host: Host,
}

/// The endpoint of a delivery: the client and the path of a callback, or the address of a push. It
/// is a digest, because a path or an address may be a secret.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointId(u64);

/// The server that receives deliveries.
///
/// The ledger stores a host as the text that [`fmt::Display`] writes, and hosts are ordered by that
/// text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Host {
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

/// A text that names no host of deliveries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the text names no push service")]
pub struct BadHost;

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
        let url = spec.callback.as_ref()?.url.as_str();
        let host = Host::Callback { authority: push::host(url).to_owned() };
        let receiver = Receiver { tenant: spec.tenant.clone(), host };
        let endpoint = EndpointId::of_callback(spec.client.as_str(), url);
        let destination = Destination { receiver, endpoint };
        Some(Self { id, kind: DeliveryKind::Callback, destination, due_at: transaction.moment() })
    }
}

impl Destination {
    /// Where pushes to a device of this tenant go. `app` is the application that the device
    /// reports.
    #[must_use]
    pub fn of_push(tenant: &TenantName, address: &PushAddress, app: &str) -> Self {
        let receiver = Receiver { tenant: tenant.clone(), host: Host::of_push(address, app) };
        Self { receiver, endpoint: EndpointId::of(&[address.provider.as_str(), &address.token]) }
    }

    /// The tenant that sends the deliveries.
    #[must_use]
    pub fn tenant(&self) -> &TenantName {
        &self.receiver.tenant
    }

    /// The server that receives the deliveries.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.receiver.host
    }

    /// Whether it is a push service's.
    #[must_use]
    pub fn is_push(&self) -> bool {
        matches!(self.receiver.host, Host::Push { .. })
    }
}

impl EndpointId {
    /// The endpoint with this number, as the ledger stores it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number & (u64::MAX >> 1))
    }

    /// Its number, of 63 bits.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The endpoint of a client's callbacks to this URL. The query does not count, because it often
    /// differs with each transaction.
    fn of_callback(client: &str, url: &str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        Self::of(&[client, path])
    }

    fn of(parts: &[&str]) -> Self {
        let mut digest = DefaultHasher::new();
        parts.hash(&mut digest);
        Self::from_number(digest.finish())
    }
}

impl Host {
    /// The host of pushes to a device. `app` is the application that the device reports.
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

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let Some(push) = text.strip_prefix(PUSH_PREFIX) else {
            return Ok(Self::Callback { authority: text.to_owned() });
        };
        let (provider, part) = push.split_once('/').ok_or(BadHost)?;
        let provider = Provider::ALL.into_iter().find(|one| one.as_str() == provider);
        Ok(Self::Push { provider: provider.ok_or(BadHost)?, part: part.to_owned() })
    }
}

/// By the text, which is the order of the rows in the ledger.
impl Ord for Host {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Callback { authority }, Self::Callback { authority: other }) => {
                authority.cmp(other)
            }
            (Self::Push { provider, part }, Self::Push { provider: other, part: other_part })
                if provider == other =>
            {
                part.cmp(other_part)
            }
            _ => {
                let bytes = |host| Self::parts(host).into_iter().flat_map(str::bytes);
                bytes(self).cmp(bytes(other))
            }
        }
    }
}

impl PartialOrd for Host {
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
    #[must_use]
    pub fn doubled(&self, times: u16, max: Duration) -> Duration {
        self.first.saturating_mul(1 << u32::from(times).min(20)).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DELIVERY_BACKOFF_MAX;

    const RETRY: RetryPolicy = RetryPolicy {
        first: Duration::from_secs(2),
        longest: DELIVERY_BACKOFF_MAX,
        give_up_after: Duration::from_hours(24),
    };
    const LATER: Attempt = Attempt::Deferred(None);

    #[test]
    fn a_host_is_read_back_from_its_text_and_ordered_by_it() {
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
        let hosts = texts.map(|text| text.parse::<Host>().unwrap());
        for (host, text) in hosts.iter().zip(texts) {
            assert_eq!(host.to_string(), text);
            assert_eq!(matches!(host, Host::Push { .. }), text.starts_with("push/"));
            for (other, other_text) in hosts.iter().zip(texts) {
                assert_eq!(host.cmp(other), text.cmp(other_text), "{text} {other_text}");
            }
        }
        for neither in ["push/", "push/apns", "push/pigeon/app"] {
            assert_eq!(neither.parse::<Host>(), Err(BadHost), "{neither}");
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
    fn an_endpoint_is_a_clients_path_whatever_its_query_is() {
        let of = EndpointId::of_callback;
        let shop = of("shop", "https://a.example/done?for=1");
        assert_eq!(shop, of("shop", "https://a.example/done?for=2"));
        assert_ne!(shop, of("shop", "https://a.example/other"));
        assert_ne!(shop, of("bank", "https://a.example/done"));
        assert_eq!(EndpointId::from_number(u64::MAX).number(), u64::MAX >> 1);
    }
}
