//! Limits on open connections: in all, from one network, and from unknown networks.
//!
//! One address never uses up the limit, because each network has a share. A part of the limit is
//! reserved for networks from which a client or a device has authenticated recently, so that
//! unknown networks cannot use up the rest. Networks of proxies, behind which many clients are, are
//! exempt from both.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::tries::network;
use countersign_config::Shares;

/// The number of known networks that are remembered; the oldest half is forgotten first.
const KNOWN_NETWORKS_MAX: usize = 131_072;

/// The network by which a peer is counted: an IPv4 address, or an IPv6 address's /64, which one
/// customer has alone (RFC 6177).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PeerNetwork(IpAddr);

/// The networks from which a caller has authenticated recently. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct KnownNetworks(Arc<Mutex<Generations>>);

/// Two generations: the older one is dropped when the newer one is full.
#[derive(Debug, Default)]
struct Generations {
    new: HashSet<PeerNetwork>,
    old: HashSet<PeerNetwork>,
}

/// The limit on connections.
#[derive(Debug)]
pub struct ConnectionLimit {
    free: Arc<Semaphore>,
    shares: Shares,
    known: KnownNetworks,
    open: Mutex<HashMap<PeerNetwork, u32>>,
    /// Whether the log already says that the limit is reached.
    is_told: AtomicBool,
}

/// The permit of one connection, returned when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    network: Option<PeerNetwork>,
    _permit: OwnedSemaphorePermit,
}

/// The reason why a connection has no permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoPermit {
    /// Its network uses its whole share.
    Share,
    /// The remaining connections are reserved, and its network is not known.
    Reserved,
}

/// The network by which to count a peer; `None` if it is exempt.
pub(super) fn counted_network(shares: &Shares, address: IpAddr) -> Option<PeerNetwork> {
    let address = address.to_canonical();
    let is_exempt = shares.exempt.iter().any(|network| network.contains(&address));
    (!is_exempt).then(|| address.into())
}

impl From<IpAddr> for PeerNetwork {
    fn from(address: IpAddr) -> Self {
        Self(network(address))
    }
}

impl KnownNetworks {
    /// Remembers that a caller has authenticated from this address.
    pub fn remember(&self, address: IpAddr) {
        let network = address.into();
        let mut known = self.0.lock();
        if known.new.contains(&network) {
            return;
        }
        if known.new.len() >= KNOWN_NETWORKS_MAX / 2 {
            known.old = std::mem::take(&mut known.new);
        }
        known.new.insert(network);
    }

    fn contains(&self, network: PeerNetwork) -> bool {
        let known = self.0.lock();
        known.new.contains(&network) || known.old.contains(&network)
    }
}

impl ConnectionLimit {
    pub(super) fn new(shares: Shares, known: KnownNetworks) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(shares.connections_max as usize));
        let (open, is_told) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { free, shares, known, open, is_told })
    }

    /// The configured shares.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The limit on all connections.
    pub fn connections_max(&self) -> u32 {
        self.shares.connections_max
    }

    /// Whether a connection from an unknown network would be refused.
    pub fn is_full(&self) -> bool {
        self.free.available_permits() <= self.shares.reserved as usize
    }

    /// Waits until one more connection may be open.
    pub(super) async fn free(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.free).acquire_owned().await.expect("never closed")
    }

    /// Gives the permit to a connection from this address, if it may have it.
    pub(super) fn admit(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        address: IpAddr,
    ) -> Result<ConnectionPermit, NoPermit> {
        let place =
            |network| ConnectionPermit { limit: Arc::clone(self), network, _permit: permit };
        let Some(network) = counted_network(&self.shares, address) else { return Ok(place(None)) };
        let is_reserved = self.free.available_permits() < self.shares.reserved as usize;
        if is_reserved && !self.known.contains(network) {
            self.tell();
            return Err(NoPermit::Reserved);
        }
        let mut open = self.open.lock();
        let count = open.entry(network).or_default();
        if *count >= self.shares.per_network_max {
            return Err(NoPermit::Share);
        }
        *count += 1;
        drop(open);
        Ok(place(Some(network)))
    }

    /// Waits until no connection is open; returns the number that are open after `patience`.
    pub(super) async fn drained(&self, patience: Duration) -> usize {
        let all = self.free.acquire_many(self.shares.connections_max);
        match tokio::time::timeout(patience, all).await {
            Ok(_) => 0,
            Err(_) => self.shares.connections_max as usize - self.free.available_permits(),
        }
    }

    /// Logs that the limit is reached, once until it is no longer reached.
    fn tell(&self) {
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let max = self.shares.connections_max;
            warn!(
                "Connection limit reached (`server.connections_max` is {max}): the reserved \
                 connections are only for networks from which a caller has authenticated"
            );
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(network) = self.network {
            let mut open = self.limit.open.lock();
            if let Some(count) = open.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&network);
                }
            }
        }
        if !self.limit.is_full() {
            self.limit.is_told.store(false, Ordering::Relaxed);
        }
    }
}

impl NoPermit {
    /// The reason's name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Share => "address_share",
            Self::Reserved => "reserved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(connections_max: u32, per_network_max: u32, reserved: u32) -> Arc<ConnectionLimit> {
        let exempt = vec!["192.0.2.0/24".parse().unwrap()];
        let shares = Shares { connections_max, per_network_max, reserved, exempt };
        ConnectionLimit::new(shares, KnownNetworks::default())
    }

    fn admit(limit: &Arc<ConnectionLimit>, address: &str) -> Result<ConnectionPermit, NoPermit> {
        let permit = Arc::clone(&limit.free).try_acquire_owned().unwrap();
        limit.admit(permit, address.parse().unwrap())
    }

    #[test]
    fn one_address_takes_its_share_and_no_more() {
        let limit = limit(10, 2, 0);
        let first = admit(&limit, "198.51.100.1").unwrap();
        let _second = admit(&limit, "::ffff:198.51.100.1").unwrap();
        assert_eq!(admit(&limit, "198.51.100.1").unwrap_err(), NoPermit::Share);
        let _other = admit(&limit, "198.51.100.2").unwrap();
        drop(first);
        assert!(admit(&limit, "198.51.100.1").is_ok(), "a place that was given back is lost");
        assert_eq!(limit.free.available_permits(), 8);
    }

    #[test]
    fn all_addresses_of_an_ipv6_64_have_one_share() {
        let limit = limit(10, 1, 0);
        let _first = admit(&limit, "2001:db8::1").unwrap();
        assert_eq!(admit(&limit, "2001:db8::ffff:1").unwrap_err(), NoPermit::Share);
        assert!(admit(&limit, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn strangers_leave_the_reserve_to_networks_that_are_known() {
        let limit = limit(3, 3, 1);
        let known = "198.51.100.9";
        limit.known.remember(known.parse().unwrap());
        let strangers = ["198.51.100.1", "198.51.100.2"].map(|from| admit(&limit, from).unwrap());
        assert!(limit.is_full());
        assert_eq!(admit(&limit, "198.51.100.3").unwrap_err(), NoPermit::Reserved);
        let _known = admit(&limit, known).unwrap();
        drop(strangers);
        assert!(!limit.is_full() && admit(&limit, "198.51.100.3").is_ok());
    }

    #[test]
    fn a_proxys_network_has_no_share_and_needs_not_be_known() {
        let limit = limit(3, 1, 1);
        let all = [1, 2, 3].map(|_| admit(&limit, "192.0.2.7").unwrap());
        assert!(limit.free.try_acquire().is_err() && limit.open.lock().is_empty());
        drop(all);
    }

    #[test]
    fn networks_that_are_known_are_remembered_within_a_bound() {
        let known = KnownNetworks::default();
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        for number in 0..=KNOWN_NETWORKS_MAX as u32 {
            known.remember(address(number));
            let held = known.0.lock();
            assert!(held.new.len() + held.old.len() <= KNOWN_NETWORKS_MAX);
        }
        assert!(known.contains(address(KNOWN_NETWORKS_MAX as u32).into()));
        assert!(!known.contains(address(0).into()));
    }
}
