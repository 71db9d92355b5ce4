//! The memory that requests' bodies may use: in all, and of unauthenticated callers.
//!
//! An authenticated caller may use any of it. Unauthenticated callers, whose credential is in the
//! body, share half of it, and each of their networks has a small part. So they block neither
//! authenticated callers nor each other.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::connection_limit::PeerNetwork;

/// The memory for unauthenticated callers' bodies of one network together, in bytes.
const STRANGER_NETWORK_BYTES_MAX: usize = 1024 * 1024;

/// The bytes of bodies that are held now.
#[derive(Debug)]
pub(super) struct BodyMemory {
    bytes_max: usize,
    held: Mutex<BytesInUse>,
}

#[derive(Debug, Default)]
struct BytesInUse {
    all: usize,
    strangers: usize,
    networks: HashMap<PeerNetwork, usize>,
}

/// One request's access to the memory for its body, in the request's extensions.
#[derive(Clone, Debug)]
pub struct BodyAccount {
    memory: Arc<BodyMemory>,
    network: Option<PeerNetwork>,
}

/// The kind of sender of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodySender {
    /// An authenticated caller.
    Known,
    /// An unauthenticated caller.
    Stranger,
}

/// Memory that is held until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    account: BodyAccount,
    sender: BodySender,
    bytes: usize,
}

/// A body and the memory that it holds.
struct HeldBody {
    bytes: Bytes,
    _memory: Reservation,
}

impl BodyMemory {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: Mutex::default() })
    }

    /// The account of a request from this network; `None` for one without a share of its own.
    pub(super) fn account(self: &Arc<Self>, network: Option<PeerNetwork>) -> BodyAccount {
        BodyAccount { memory: Arc::clone(self), network }
    }
}

impl BodyAccount {
    /// Starts a reservation for a body.
    pub fn reservation(&self, sender: BodySender) -> Reservation {
        Reservation { account: self.clone(), sender, bytes: 0 }
    }
}

impl Reservation {
    /// Reserves so many bytes more, if they are available.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let BodyAccount { memory, network } = &self.account;
        let mut held = memory.held.lock();
        let fits = |held: usize, max: usize| held + bytes <= max;
        if !fits(held.all, memory.bytes_max) {
            return Err(Exhausted);
        }
        if self.sender == BodySender::Stranger {
            if !fits(held.strangers, memory.bytes_max / 2) {
                return Err(Exhausted);
            }
            if let Some(network) = network {
                let own = held.networks.entry(*network).or_default();
                if !fits(*own, STRANGER_NETWORK_BYTES_MAX) {
                    return Err(Exhausted);
                }
                *own += bytes;
            }
            held.strangers += bytes;
        }
        held.all += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// The body, which holds the memory as long as a part of it lives.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(HeldBody { bytes, _memory: self })
    }
}

/// There is no memory for more of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exhausted;

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let BodyAccount { memory, network } = &self.account;
        let mut held = memory.held.lock();
        held.all -= self.bytes;
        if self.sender == BodySender::Known {
            return;
        }
        held.strangers -= self.bytes;
        if let Some(network) = network
            && let Some(own) = held.networks.get_mut(network)
        {
            *own -= self.bytes;
            if *own == 0 {
                held.networks.remove(network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 * STRANGER_NETWORK_BYTES_MAX;

    fn account(memory: &Arc<BodyMemory>, address: &str) -> BodyAccount {
        memory.account(Some(address.parse::<std::net::IpAddr>().unwrap().into()))
    }

    #[test]
    fn bodies_take_no_more_memory_than_they_may_and_give_it_back() {
        let memory = BodyMemory::new(MAX);
        let account = account(&memory, "192.0.2.1");
        let mut one = account.reservation(BodySender::Known);
        one.grow(MAX).unwrap();
        assert_eq!(account.reservation(BodySender::Known).grow(1), Err(Exhausted));
        let body = one.hold(Bytes::from_static(b"body"));
        let part = body.slice(1..3);
        drop(body);
        assert_eq!((&*part, memory.held.lock().all), (&b"od"[..], MAX));
        drop(part);
        assert_eq!(memory.held.lock().all, 0);
    }

    #[test]
    fn a_network_of_strangers_keeps_out_neither_others_nor_who_is_known() {
        let memory = BodyMemory::new(MAX);
        let stranger = |host: &str| account(&memory, host).reservation(BodySender::Stranger);
        let mut first = stranger("192.0.2.1");
        first.grow(STRANGER_NETWORK_BYTES_MAX).unwrap();
        assert_eq!(stranger("192.0.2.1").grow(1), Err(Exhausted));
        let others = ["192.0.2.2", "192.0.2.3", "192.0.2.4"].map(|host| {
            let mut other = stranger(host);
            other.grow(STRANGER_NETWORK_BYTES_MAX).unwrap();
            other
        });
        assert_eq!(stranger("192.0.2.5").grow(1), Err(Exhausted), "strangers have half");
        account(&memory, "192.0.2.1").reservation(BodySender::Known).grow(MAX / 2).unwrap();
        drop((first, others));
        let held = memory.held.lock();
        assert!((held.all, held.strangers) == (0, 0) && held.networks.is_empty());
    }
}
