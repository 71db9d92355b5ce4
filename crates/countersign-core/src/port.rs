//! The ports of the core: all traits through which it reaches the world.
//!
//! [`Ledger`] is the durable truth. [`Notifier`] wakes connected devices and waiting callers, and
//! may lose a notification. [`Keys`] signs with private keys. [`Clock`] and [`Entropy`] are time
//! and randomness. The contract of each trait is written here, and one test suite checks it against
//! every adapter.

mod commit;
mod keys;
mod ledger;
mod listing;
mod query;
mod reader;

use std::sync::Arc;

pub use commit::{
    Change, ClientDeletion, Commit, Committed, Preconditions, RowsMax, StoredMax, TokenKeyChange,
    TransactionChange,
};
pub use keys::{CallbackMacs, Keys, Signer};
pub use ledger::Ledger;
pub use listing::{
    ApiKeyCursor, BadCursor, DeliveryCursor, DeviceCursor, DeviceFilter, DomainFilter, Listed,
    Page, TransactionCursor, all_pages,
};
pub use query::{
    Credential, CredentialKey, EndSnapshot, Handle, Part, Query, QuerySubject, Snapshot,
    StepSnapshot, UserWithDevices,
};
pub use reader::Reader;

use crate::delivery::capacity::Capacity;
use crate::delivery::{Delivery, Destination, Settlement};
use crate::device::Device;
use crate::event::{FrequentEvent, NewEvent};
use crate::id::{DeviceId, TenantName, TransactionId, UserName};
pub use crate::key::{PublicKey, SigningRole, StoredKey, TokenKeys};
use crate::spec::Recipients;
use crate::time::Timestamp;
use crate::transaction::Transaction;
pub use crate::versioned::Versioned;

/// Transactions whose deadline has passed, and the next deadline.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// The transactions whose deadline has passed.
    pub now: Vec<(TenantName, TransactionId)>,
    /// The earliest deadline in the future.
    pub next: Option<Timestamp>,
}

/// The ends of certificates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CertificateEnds {
    /// How many have ended.
    pub ended: u64,
    /// How many will end until the time that was asked for.
    pub ending: u64,
    /// The earliest end of a certificate that has not ended.
    pub first: Option<Timestamp>,
}

/// Rows whose retention has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purge {
    /// Transactions that ended at this time or earlier, unless their callback is still in the
    /// outbox, dead letter or not. A push for such a transaction is useless by then, and is removed
    /// with it.
    ///
    /// The evidence of a finished transaction stays. It is everything but the callback, the notice
    /// and the dialect's copy of the request; the content goes as well if the signature is a CMS
    /// that contains it. The transaction is found as before, after those that were not removed. Its
    /// reference stays taken, and its client may still delete it. Any other transaction is removed
    /// completely, and its reference is free.
    Transactions(Timestamp),
    /// Activations that expired before this time, used ones included.
    Activations(Timestamp),
    /// Events that happened at this time or earlier; `limit` holds for each tenant. A tenant's
    /// newest event stays, so that no number is given twice.
    Events(Timestamp),
}

/// The deliveries that may be leased.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The present time: deliveries due at this time or earlier are leased.
    pub now: Timestamp,
    /// The time at which the lease ends.
    pub lease_end: Timestamp,
    /// The number of deliveries that may be in progress.
    pub capacity: Capacity,
    /// The destination after which to begin if many deliveries are due; `None` for the first.
    pub after: Option<Destination>,
}

/// The leased deliveries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// The destination after which the next claim should begin, if many deliveries are due.
    pub resume: Option<Destination>,
    /// Whether due deliveries were left for lack of a permit, or may have been.
    pub is_partial: bool,
}

/// The results of deliveries.
#[derive(Clone, Debug)]
pub enum Settle {
    /// The result of a claimed delivery. It counts only if its lease is the latest one. Completed
    /// deliveries are removed, and so are pushes that were given up; callbacks that were given up
    /// are kept. The result of a push is kept as its [`Contact`](crate::push_policy::Contact).
    Claimed(Settlement),
    /// Deliveries of one destination that are due and have waited too long are given up, at most
    /// [`crate::limits::DELIVERIES_CHANGED_MAX`].
    Expired {
        /// The destination.
        destination: Destination,
        /// The present time.
        now: Timestamp,
        /// Deliveries that were queued at this time or earlier are given up.
        queued_before: Timestamp,
        /// The outcome that is stored with them.
        outcome: String,
    },
}

/// The result of settling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// How many deliveries were changed.
    pub changed: u16,
    /// The event that was written with the settlement, if it retired a push address.
    pub event: Option<NewEvent>,
}

/// A delivery that is not settled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboxEntry {
    /// The delivery in its present state.
    pub delivery: Delivery,
    /// The time of its next attempt or of the end of its lease; `None` if it was given up.
    pub due_at: Option<Timestamp>,
    /// The result of its last attempt, if one was settled.
    pub outcome: Option<String>,
}

/// A notification for connected devices and waiting callers. It is not stored, and may be lost.
#[derive(Clone, Debug)]
pub enum Notification {
    /// A transaction for the user's addressed devices.
    Offer(Arc<Transaction>),
    /// A transaction that has ended: devices that hold it withdraw it, and its caller is answered.
    Ended(Arc<Transaction>),
    /// A delivery was queued.
    NewDelivery,
    /// A device was enrolled: the user's other devices tell their user.
    DeviceAdded(Arc<Device>),
    /// The user, or some of the user's devices, were locked, logged out or deleted. Their channels
    /// are closed.
    Disconnect {
        /// The user's tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// The user's devices to disconnect.
        recipients: Recipients,
    },
    /// A tenant was locked or deleted. The channels of all its devices are closed.
    DisconnectTenant(TenantName),
}

/// Where a device is or was, as a node noted it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// The number of the node.
    pub node: u32,
    /// When the device last connected there.
    pub since: Timestamp,
    /// Whether it still is there.
    pub state: PresenceState,
}

/// Whether a device is at a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceState {
    /// It is connected.
    Connected,
    /// It polls, and its next poll is not overdue.
    Polling,
    /// It has left, or its node has ended.
    Gone,
}

impl Presence {
    /// Whether the device is online.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.state != PresenceState::Gone
    }

    /// Whether the device is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state == PresenceState::Connected
    }
}

/// Wakes connected devices and waiting callers, wherever they are connected.
pub trait Notifier: Send + Sync {
    /// Sends a notification. Does not wait, and does not report whether it arrived.
    fn notify(&self, notification: Notification);

    /// Tells of the events of a commit that was written: the frequent one, and all others. Does not
    /// wait.
    fn recorded(&self, frequent: FrequentEvent, others: &[NewEvent]) {
        let _ = (frequent, others);
    }

    /// Whether one of the user's addressed devices is connected, as far as is known.
    fn connected(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool;

    /// Whether one of the user's addressed devices is online: it is connected, or it polls and its
    /// next poll is not overdue.
    fn online(
        &self,
        tenant: &TenantName,
        user: &UserName,
        recipients: &Recipients,
        now: Timestamp,
    ) -> bool;
}

/// The only source of time.
pub trait Clock: Send + Sync {
    /// The present time, never earlier than an earlier answer.
    fn now(&self) -> Timestamp;
}

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// 128 random bits, unpredictable.
    fn random_u128(&self) -> u128;

    /// A new id: `now`, then 80 unpredictable bits, in the form of a UUID of version 7 (RFC 9562,
    /// section 5.7). Rows that are created together are therefore neighbours in every index.
    fn new_id(&self, now: Timestamp) -> u128 {
        u128::from(now.0) << 80 | self.random_u128() >> 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Drawn(u128);

    impl Entropy for Drawn {
        fn random_u128(&self) -> u128 {
            self.0
        }
    }

    #[test]
    fn a_minted_name_is_the_time_and_eighty_bits_of_chance() {
        let (early, late) = (Timestamp(0x0102_0304_0506), Timestamp(0x0102_0304_0507));
        let chance = 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100;
        assert_eq!(Drawn(chance).new_id(early), 0x0102_0304_0506_ffee_ddcc_bbaa_9988_7766);
        assert!(Drawn(u128::MAX).new_id(early) < Drawn(0).new_id(late));
    }
}
