//! The ports of the core: all traits through which it reaches the world.
//!
//! [`Ledger`] and [`Registry`] are the durable truth. [`Notifier`] wakes connected devices and
//! waiting callers, and may lose a notification. [`Keys`] signs with private keys. [`Clock`] and
//! [`Entropy`] are time and randomness.
//! The contract of each trait is written here, and one test suite checks it against every adapter.

mod commit;
mod keys;
mod registry;

use core::future::Future;
use std::sync::Arc;

pub use commit::{Change, Commit, Committed, Preconditions, StoredMax, TransactionChange};
pub use keys::{CallbackMacs, Keys, Signer};
pub use registry::Registry;

use crate::delivery::{Capacity, Delivery, Destination, Settlement};
use crate::device::{Device, Identity};
use crate::event::RecordedEvent;
use crate::id::{ClientId, DeviceId, IdentityId, RequestKey, TenantName, TransactionId, UserName};
pub use crate::key::{PublicKey, SigningRole, StoredKey};
use crate::push_policy::{Contact, PushSnapshot};
use crate::refusal::Fault;
use crate::spec::{Dialect, Recipients};
use crate::time::Timestamp;
use crate::transaction::{End, Transaction};
use crate::user::User;
pub use crate::versioned::Versioned;

/// A key by which a transaction is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handle {
    /// Its id.
    Id(TransactionId),
    /// Its request key. An open transaction is found first, otherwise the latest one with this key.
    Key(RequestKey),
    /// The client, and the client's reference.
    Reference(ClientId, String),
}

/// A device, its user and a transaction, read at one moment.
#[derive(Clone, Debug)]
pub struct StepSnapshot {
    /// The device.
    pub device: Versioned<Device>,
    /// The device's user, unless the user was deleted.
    pub user: Option<Versioned<User>>,
    /// The transaction, if there is one.
    pub transaction: Option<Versioned<Transaction>>,
}

impl From<StepSnapshot> for PushSnapshot {
    fn from(StepSnapshot { device, user, transaction }: StepSnapshot) -> Self {
        Self { device: device.into(), user, transaction }
    }
}

/// A transaction, read at one moment, for a caller that waits for its end.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each call, and gone with its answer")]
pub enum EndSnapshot {
    /// It is open.
    Open {
        /// The dialect through which it was started.
        dialect: Dialect,
        /// The client that started it.
        client: ClientId,
    },
    /// It has ended.
    Ended {
        /// The whole transaction.
        transaction: Transaction,
        /// The device that finished it, if one did.
        signer: Option<Device>,
    },
}

/// A user and the user's devices, read at one moment.
#[derive(Clone, Debug)]
pub struct UserWithDevices {
    /// The user.
    pub user: Versioned<User>,
    /// The user's devices, by sequence.
    pub devices: Vec<Versioned<Device>>,
}

impl UserWithDevices {
    /// The identity of that id, with the device that holds it.
    #[must_use]
    pub fn identity(&self, id: IdentityId) -> Option<(&Device, &Identity)> {
        let mut devices = self.devices.iter().map(|device| &device.value);
        devices.find_map(|device| {
            let identity = device.identities.iter().find(|identity| identity.id == id)?;
            Some((device, identity))
        })
    }
}

/// Transactions whose deadline has passed, and the next deadline.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// The transactions whose deadline has passed.
    pub now: Vec<(TenantName, TransactionId)>,
    /// The earliest deadline in the future.
    pub next: Option<Timestamp>,
}

/// The durable store of transactions, events and deliveries.
///
/// A call's writes are visible to every later read, on every node, after any crash, from the moment
/// the call is answered. Every read and write names its tenant, and reaches no other tenant's rows.
pub trait Ledger: Send + Sync {
    /// Reads one transaction.
    fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> impl Future<Output = Result<Option<Versioned<Transaction>>, Fault>> + Send;

    /// Reads a device, its user and a transaction of its tenant, together if the store can. `None`
    /// if there is no such device.
    fn step_snapshot(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> impl Future<Output = Result<Option<StepSnapshot>, Fault>> + Send
    where
        Self: Registry + Sized,
    {
        async move {
            let Some(device) = self.device(tenant, device).await? else { return Ok(None) };
            let user = self.user(tenant, &device.value.user).await?;
            let transaction = self.load(tenant, &Handle::Id(id)).await?;
            Ok(Some(StepSnapshot { device, user, transaction }))
        }
    }

    /// Reads the snapshots on which pushes are decided, one for each pair of device and
    /// transaction, in the order of the pairs. All are from one moment if the store can. `None` if
    /// there is no such device.
    fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> impl Future<Output = Result<Vec<Option<PushSnapshot>>, Fault>> + Send
    where
        Self: Registry + Sized,
    {
        async move {
            let mut each = Vec::with_capacity(who.len());
            for (tenant, device, id) in who {
                each.push(self.step_snapshot(tenant, *device, *id).await?.map(PushSnapshot::from));
            }
            Ok(each)
        }
    }

    /// Reads the result of a transaction and its signer, together if the store can. For an open one
    /// it reads almost nothing, so that polling costs little.
    fn end_snapshot(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> impl Future<Output = Result<Option<EndSnapshot>, Fault>> + Send
    where
        Self: Registry + Sized,
    {
        async move {
            let Some(found) = self.load(tenant, &Handle::Id(id)).await? else { return Ok(None) };
            let transaction = found.value;
            let signer = match transaction.end() {
                None => {
                    let (dialect, client) =
                        (transaction.spec.dialect, transaction.spec.client.clone());
                    return Ok(Some(EndSnapshot::Open { dialect, client }));
                }
                Some(End::Finished { by, .. }) => self.device(tenant, *by).await?,
                Some(_) => None,
            };
            Ok(Some(EndSnapshot::Ended { transaction, signer: signer.map(|device| device.value) }))
        }
    }

    /// Reads a user's open transactions, oldest first. Their maximum bounds the answer.
    fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> impl Future<Output = Result<Vec<Versioned<Transaction>>, Fault>> + Send;

    /// Reads the newest transactions, of one user or of all, at most `limit`, newest first.
    fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Versioned<Transaction>>, Fault>> + Send;

    /// Finds at most `limit` open transactions whose deadline is `now` or earlier, earliest first.
    fn due(&self, now: Timestamp, limit: u16) -> impl Future<Output = Result<Due, Fault>> + Send;

    /// Writes one unit of work, if everything on which it was decided still holds. The mark of a
    /// single-use signature is written with it and stays for good, whatever is removed later.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Fault>> + Send;

    /// Leases due deliveries, within the capacity. No other node gets them before the lease ends.
    /// Each lease has its own number.
    ///
    /// Destinations are visited in order, beginning after `claim.after` and wrapping around, at
    /// most [`crate::limits::DESTINATIONS_PER_CLAIM_MAX`] of them. Within a destination the
    /// earliest come first.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Claimed, Fault>> + Send;

    /// Records the result of a claimed delivery, if its lease is the latest one. Completed
    /// deliveries are removed, and so are pushes that were given up; callbacks that were given up
    /// are kept. The result of a push is kept as its [`Contact`].
    fn settle(&self, settlement: Settlement) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Reads the results of waking devices for a transaction, by device. Devices that were
    /// connected when it started, and took it, are in the transaction itself.
    fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> impl Future<Output = Result<Vec<Contact>, Fault>> + Send;

    /// Gives up deliveries of one destination that are due and were queued at `queued_before` or
    /// earlier, at most [`crate::limits::DELIVERIES_CHANGED_MAX`]; answers how many. `outcome` is
    /// stored with them.
    fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;

    /// Reads the events of a tenant, or of the whole server, with a number greater than `after`, in
    /// order, at most `limit`.
    fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<RecordedEvent>, Fault>> + Send;

    /// Reads a tenant's unsettled deliveries, oldest first, at most `limit`; only those that were
    /// given up, if so asked.
    fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<OutboxEntry>, Fault>> + Send;

    /// Removes at most `limit` rows whose retention has passed, the oldest first, and answers how
    /// many.
    fn purge(&self, what: Purge, limit: u16) -> impl Future<Output = Result<u16, Fault>> + Send;
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
    /// The destination after which to begin; `None` for the first.
    pub after: Option<Destination>,
}

/// The leased deliveries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The deliveries, destination by destination.
    pub deliveries: Vec<Delivery>,
    /// The destination after which the next claim should begin, so that each destination comes
    /// first at some time. It is the first destination that got a lease. If none did, it is the
    /// last visited one if there were more destinations, and otherwise unchanged.
    pub resume: Option<Destination>,
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
}

/// Wakes connected devices and waiting callers, wherever they are connected.
pub trait Notifier: Send + Sync {
    /// Sends a notification. Does not wait, and does not report whether it arrived.
    fn notify(&self, bell: Notification);

    /// Whether one of the user's addressed devices is connected, as far as is known.
    fn online(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool;
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
