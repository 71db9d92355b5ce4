//! What the core needs of the world: all the traits there are.
//!
//! [`Ledger`] and [`Registry`] are the durable truth; [`Notifier`] wakes those who are on the line,
//! and may be deaf; [`Clock`] and [`Entropy`] are time and randomness. The contract of each is
//! written here and tested once, against every adapter.

mod registry;

use core::future::Future;
use std::sync::Arc;

pub use registry::Registry;

use crate::delivery::{Capacity, Delivery, Destination, NewDelivery, Settlement};
use crate::device::{Device, Identity};
use crate::enrolment::{Activation, Addition, Enrolment};
use crate::event::{NewEvent, RecordedEvent};
use crate::id::{
    ClientId, DeliveryId, DeviceId, IdentityId, RequestKey, TenantName, TransactionId, UserName,
};
use crate::push_policy::{Contact, PushSnapshot};
use crate::refusal::Fault;
use crate::secret::Key32;
use crate::spec::{Dialect, Recipients};
use crate::tenant::{ApiKey, Client, Tenant};
use crate::time::Timestamp;
use crate::transaction::{End, Event, Transaction};
use crate::user::{LockState, User};
pub use crate::versioned::Versioned;

/// One unit of work, as a value: it is written whole, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What changes, and the versions that the change was decided on.
    pub change: Change,
    /// What happened, written in the same commit. Of several, the first is numbered first.
    pub events: Vec<NewEvent>,
}

/// A change of the ledger. `expected` is the version that it was decided on: if the ledger has another,
/// the commit is stale.
#[derive(Clone, Debug)]
pub enum Change {
    /// A transaction's step.
    Transaction(Box<TransactionChange>),
    /// A device asked which transactions there are, and these were offered to it. The first time counts.
    Reached {
        /// The tenant.
        tenant: TenantName,
        /// The device.
        device: DeviceId,
        /// What it was offered.
        transactions: Vec<TransactionId>,
        /// When.
        at: Timestamp,
    },
    /// A new tenant.
    CreateTenant(Box<Tenant>),
    /// A tenant trusts one more root, if it has fewer than
    /// [`crate::limits::ROOTS_PER_TENANT_MAX`]. The tenant exists.
    TrustRoot {
        /// The tenant.
        tenant: TenantName,
        /// The root's certificate, DER.
        root: Vec<u8>,
    },
    /// A new client. Its id and its name are both unique in the tenant.
    CreateClient(Box<Client>),
    /// The keys of a client's callbacks. With `before`, it is stale if two keys sign already.
    SetCallbackKeys {
        /// The tenant.
        tenant: TenantName,
        /// The client.
        client: ClientId,
        /// The newest key.
        newest: Key32,
        /// The key that signs beside it, if one does.
        before: Option<Key32>,
    },
    /// A new API key. Its id and its digest are both unique.
    CreateApiKey(ApiKey),
    /// A new user, with a serial base that no other user of the tenant has or had, unlocked, all counts
    /// zero.
    CreateUser {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// See [`User::profile`](crate::user::User::profile).
        profile: Option<String>,
        /// When the user is created.
        at: Timestamp,
    },
    /// A user's lock state.
    SetLockState {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// The user's version.
        expected: u32,
        /// The new state.
        lock_state: LockState,
    },
    /// Removes a user, if none of their transactions is open. Their devices are retired and their
    /// activations removed; ended transactions stay.
    ///
    /// The name is free again. Its next user has another serial base and no device, and begins at
    /// version 1. A decision on the old user's version cannot be taken for one on the new user's: it
    /// stood on a device as well, which was retired; or it was a start, which names a user by name only.
    DeleteUser {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// The user's version.
        expected: u32,
    },
    /// A device's status, push address or identities. Everything else in `device` is as it was read, and
    /// no identity is added this way.
    ///
    /// An address is one device's in a tenant: another device that has it loses it in the same commit, as
    /// [`crate::push::Retirement::Moved`]. The same holds when a device enrols.
    ChangeDevice {
        /// The device as it will be.
        device: Box<Device>,
        /// The device's version.
        expected: u32,
    },
    /// A device's PIN, and the user's lock state if one is given.
    ChangePin {
        /// The device as it will be.
        device: Box<Device>,
        /// The device's version.
        expected: u32,
        /// The user's version.
        user_expected: u32,
        /// The user's new lock state.
        lock_state: Option<LockState>,
    },
    /// A new activation code, if as many as `expected` were created for its user before. It is stale as
    /// well if there is no such user, or if the activation's id is taken. The user's version stays:
    /// nothing else is decided on this count.
    CreateActivation {
        /// The activation.
        activation: Box<Activation>,
        /// The user's count of activations created before.
        expected: u32,
    },
    /// An activation is used, and its device created.
    ///
    /// A public key is one identity's in a tenant for good: the digest of each key, and the serial number
    /// of each certificate that the tenant's authority issued, are written in the same commit and never
    /// removed, whatever becomes of the identity, its device and its user.
    Enrol(Box<Enrolment>),
    /// A device has one more identity. Keys and serial numbers are held as for an enrolment.
    AddIdentity(Box<Addition>),
    /// Dead letters become due again, as if they had been queued now: one, or all of the tenant's, at most
    /// [`crate::limits::DELIVERIES_CHANGED_MAX`].
    Replay {
        /// The tenant.
        tenant: TenantName,
        /// One delivery; `None` for all.
        which: Option<DeliveryId>,
        /// When they are due.
        at: Timestamp,
    },
    /// Nothing: only events are written.
    Nothing,
}

impl Change {
    /// What is being done, for a [`Fault`].
    #[must_use]
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Transaction(_) => "committing a transaction's step",
            Self::Reached { .. } => "recording which device was reached",
            Self::CreateTenant(_) => "creating a tenant",
            Self::TrustRoot { .. } => "trusting a root",
            Self::CreateClient(_) => "creating a client",
            Self::SetCallbackKeys { .. } => "changing a client's keys",
            Self::CreateApiKey(_) => "creating an API key",
            Self::CreateUser { .. } => "creating a user",
            Self::SetLockState { .. } => "changing a user's lock state",
            Self::DeleteUser { .. } => "deleting a user",
            Self::ChangeDevice { .. } => "changing a device",
            Self::ChangePin { .. } => "changing a PIN",
            Self::CreateActivation { .. } => "creating an activation",
            Self::Enrol(_) => "enrolling a device",
            Self::AddIdentity(_) => "adding an identity",
            Self::Replay { .. } => "replaying deliveries",
            Self::Nothing => "recording an event",
        }
    }
}

/// A transaction's step.
#[derive(Clone, Debug)]
pub struct TransactionChange {
    /// The transaction as it will be.
    pub transaction: Transaction,
    /// The version it was decided on; any other found in the ledger makes the commit stale. `None`
    /// for a new transaction.
    pub expected: Option<u32>,
    /// What happened.
    pub event: Event,
    /// What has to be delivered because of it, queued in the same commit. If the transaction ends, its
    /// pushes that were not sent are removed from the queue.
    pub deliveries: Vec<NewDelivery>,
    /// What else the decision stood on; found changed, the commit is stale.
    pub preconditions: Preconditions,
    /// The user's new lock state, if this event changed it. Needs `preconditions.user`.
    pub lock_state: Option<LockState>,
    /// The bound on open transactions of the user, checked if `expected` is `None`.
    pub open_max: u16,
    /// The bounds on what is stored, checked if `expected` is `None`.
    pub stored_max: StoredMax,
}

/// How many bytes stored transactions may occupy: their contents, their terms, and
/// [`STORED_ROW_BYTES`](crate::limits::STORED_ROW_BYTES) for each. What retention has removed
/// counts no more, nor does the evidence that stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredMax {
    /// Of one client.
    pub client: u64,
    /// Of all clients of one tenant together.
    pub tenant: u64,
}

impl StoredMax {
    /// No bound.
    pub const NONE: Self = Self { client: u64::MAX, tenant: u64::MAX };
}

/// The versions of what a decision stood on. Locks are held this way: a lock acknowledged before
/// the commit has changed the version, and the commit is stale.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preconditions {
    /// The transaction's user.
    pub user: Option<u32>,
    /// A device.
    pub device: Option<(DeviceId, u32)>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Committed {
    /// It is durable.
    Written,
    /// Something it was decided on has changed meanwhile, or is not there: decide again.
    Stale,
    /// Something of that name exists already; nothing changed.
    Exists,
    /// One of the public keys is, or was, another identity's of the tenant.
    KeyUsed,
    /// A certificate of the tenant's authority has one of the serial numbers: issue again.
    SerialUsed,
    /// So many dead letters are due again.
    Replayed(u16),
    /// The tenant's client has a transaction with that reference already.
    ReferenceTaken,
    /// An open transaction of the tenant has that request key: draw another.
    RequestKeyTaken,
    /// The user has as many open transactions as may be.
    TooManyOpen,
    /// The tenant has as many trusted roots as may be.
    TooMany,
    /// It ends with a signature whose [`countersign_proof::Proof::single_use_mark`] the tenant has
    /// already.
    SignatureUsed,
    /// The client's stored transactions occupy as many bytes as may be.
    ClientFull,
    /// The tenant's stored transactions occupy as many bytes as may be.
    TenantFull,
}

/// How a transaction is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handle {
    /// By its id.
    Id(TransactionId),
    /// By its request key: an open one, or else the one that had it last.
    Key(RequestKey),
    /// By what its client called it.
    Reference(ClientId, String),
}

/// Who acts on what, as of one moment.
#[derive(Clone, Debug)]
pub struct StepSnapshot {
    /// The device.
    pub device: Versioned<Device>,
    /// Its user, unless it was deleted.
    pub user: Option<Versioned<User>>,
    /// The transaction, where there is one.
    pub transaction: Option<Versioned<Transaction>>,
}

impl From<StepSnapshot> for PushSnapshot {
    fn from(StepSnapshot { device, user, transaction }: StepSnapshot) -> Self {
        Self { device: device.into(), user, transaction }
    }
}

/// A transaction, as of one moment, for somebody who waits for its end.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each call, and gone with its answer")]
pub enum EndSnapshot {
    /// It is open.
    Open {
        /// Where it was started.
        dialect: Dialect,
        /// Who asks.
        client: ClientId,
    },
    /// It has ended.
    Ended {
        /// The whole of it.
        transaction: Transaction,
        /// The device that finished it, if one did.
        signer: Option<Device>,
    },
}

/// A user and their devices, as of one moment.
#[derive(Clone, Debug)]
pub struct UserWithDevices {
    /// The user.
    pub user: Versioned<User>,
    /// Their devices, by sequence.
    pub devices: Vec<Versioned<Device>>,
}

impl UserWithDevices {
    /// An identity of theirs, and the device that holds it.
    #[must_use]
    pub fn identity(&self, id: IdentityId) -> Option<(&Device, &Identity)> {
        let mut devices = self.devices.iter().map(|device| &device.value);
        devices.find_map(|device| {
            let identity = device.identities.iter().find(|identity| identity.id == id)?;
            Some((device, identity))
        })
    }
}

/// Transactions whose clocks have run out, and when the next one's will.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Due {
    /// Run out by now.
    pub now: Vec<(TenantName, TransactionId)>,
    /// The earliest deadline still to come.
    pub next: Option<Timestamp>,
}

/// The durable truth: transactions, and the debts that they create.
///
/// What a call wrote before it was answered is there for every later read, on every node, after any
/// crash. Every read and write names its tenant, and reaches no other tenant's rows.
pub trait Ledger: Send + Sync {
    /// Reads one transaction.
    fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> impl Future<Output = Result<Option<Versioned<Transaction>>, Fault>> + Send;

    /// Reads a device, its user and a transaction of its tenant's, together where a store can.
    /// `None` where there is no such device.
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

    /// Reads what pushes stand on, each a device's for a transaction, in their order; as of one
    /// moment where a store can. `None` where there is no such device.
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

    /// Reads what came of a transaction, and who signed it, together where a store can. Of an open
    /// one next to nothing is read, so that asking for it again and again costs little.
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

    /// Reads a user's open transactions, oldest first; never more than the bound on them.
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

    /// Writes one unit of work, if everything that it was decided on still holds. The mark of a
    /// signature that may be used once is written with it and stays for good, whatever is removed
    /// later.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Fault>> + Send;

    /// Leases deliveries that are due, as far as there is room for them. No other node gets them
    /// before the lease ends; each lease has a number of its own.
    ///
    /// Lanes are visited in order, beginning after `claim.after` and going around, at most
    /// [`crate::limits::DESTINATIONS_PER_CLAIM_MAX`] of them; in each the earliest come first.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Claimed, Fault>> + Send;

    /// Records what became of a claimed delivery, if its lease is the last one. Paid ones are
    /// removed, and so are pushes that were given up; callbacks that were given up are kept. What
    /// came of a push stays as its [`Contact`].
    fn settle(&self, settlement: Settlement) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Reads what came of waking devices for a transaction, by device. Those that were on the line
    /// when it began, and took it, are in the transaction itself.
    fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> impl Future<Output = Result<Vec<Contact>, Fault>> + Send;

    /// Gives up deliveries of one lane that are due and were owed at `queued_before` or earlier, at
    /// most [`crate::limits::DELIVERIES_CHANGED_MAX`]; answers how many. `outcome` is kept with
    /// them.
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

    /// Reads a tenant's deliveries that are not paid, oldest first, at most `limit`; those only
    /// that were given up, where that is asked.
    fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<OutboxEntry>, Fault>> + Send;

    /// Removes at most `limit` rows of what is kept no longer, the oldest first, and answers how many.
    fn purge(&self, what: Purge, limit: u16) -> impl Future<Output = Result<u16, Fault>> + Send;
}

/// What is kept no longer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purge {
    /// Transactions that ended at this time or earlier, unless their callback is still in the outbox,
    /// dead letter or not. A push for it has no use by then, and is removed with it.
    ///
    /// Of a finished one the evidence stays: everything but its callback, its notice, what its dialect
    /// keeps of the request, and its content if the signature is a CMS and holds it. It is found as
    /// before, after those that were not removed; its reference stays taken, and its client may still
    /// delete it. Any other is gone, and its reference is free.
    Transactions(Timestamp),
    /// Activations that expired before this time, used ones included.
    Activations(Timestamp),
    /// Events that happened at this time or earlier; `limit` holds for each tenant. A tenant's newest
    /// event stays, so that no number is given twice.
    Events(Timestamp),
}

/// What may be leased.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is due by now.
    pub now: Timestamp,
    /// When the lease ends.
    pub lease_end: Timestamp,
    /// How much of it.
    pub capacity: Capacity,
    /// The lane after which to begin; the first, where there is none.
    pub after: Option<Destination>,
}

/// What was leased.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The deliveries, lane by lane.
    pub deliveries: Vec<Delivery>,
    /// Where the next claim should begin, so that each lane is first at some time: after the first
    /// lane that got something. Where none did, after the last one visited if there were more; else
    /// as before.
    pub resume: Option<Destination>,
}

/// A delivery that is not paid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboxEntry {
    /// As it stands.
    pub delivery: Delivery,
    /// When it is tried, or its lease ends; none where it was given up.
    pub due_at: Option<Timestamp>,
    /// What came of its last attempt, if one was settled.
    pub outcome: Option<String>,
}

/// News for those who are on the line. Never a row, and free to be lost.
#[derive(Clone, Debug)]
pub enum Notification {
    /// There is something for the user's addressed devices.
    Offer(Arc<Transaction>),
    /// It has ended: devices that hold it withdraw it, and its caller is answered.
    Ended(Arc<Transaction>),
    /// Something is owed to somebody who is not on the line.
    NewDelivery,
    /// The user, or some of their devices, were locked, logged out or deleted: their channels are
    /// closed.
    Disconnect {
        /// Whose user it is.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// Which of the user's devices.
        recipients: Recipients,
    },
}

/// Wakes connected devices and waiting callers, wherever they are connected.
pub trait Notifier: Send + Sync {
    /// Rings. Does not wait, and does not tell whether anybody heard.
    fn notify(&self, bell: Notification);

    /// Whether one of the user's addressed devices is connected, as far as is known.
    fn online(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool;
}

/// The only source of time.
pub trait Clock: Send + Sync {
    /// The time now; never earlier than what it said before.
    fn now(&self) -> Timestamp;
}

/// The only source of randomness.
pub trait Entropy: Send + Sync {
    /// 128 bits that nobody can guess.
    fn random_u128(&self) -> u128;

    /// A name for what begins now: the time, and 80 bits that nobody can guess; as a UUID of
    /// version 7 is made (RFC 9562, section 5.7), so that what is made together stands together in
    /// every index.
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
