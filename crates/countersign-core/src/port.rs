//! What the core needs of the world: all the traits there are.
//!
//! [`Ledger`] and [`Registry`] are the durable truth; [`Doorbell`] wakes those who are on the line,
//! and may be deaf; [`Clock`] and [`Chance`] are time and randomness. The contract of each is written
//! here and tested once, against every adapter.

use core::future::Future;
use std::sync::Arc;

use crate::delivery::{Debt, Delivery, Lane, Room, Settlement};
use crate::device::Device;
use crate::enrolment::{Activation, Enrolment};
use crate::id::{
    ClientId, DeliveryId, DeviceId, IdentityId, RequestKey, SerialNumber, TenantName,
    TransactionId, UserName,
};
use crate::refusal::Fault;
use crate::secret::Key32;
use crate::tenant::{ApiKey, Client, Tenant};
use crate::terms::Addressed;
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};
use crate::user::{Standing, User};

/// Something read from the ledger, and the version that it was read at. Versions begin at 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned<T> {
    /// What was read.
    pub value: T,
    /// Grows by one with each write.
    pub version: u32,
}

/// One unit of work, as a value: it is written whole, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The transaction as it will be.
    pub transaction: Transaction,
    /// The version it was decided on; any other found in the ledger makes the commit stale. `None`
    /// for a new transaction.
    pub expected: Option<u32>,
    /// What happened.
    pub event: Event,
    /// What is owed for it, queued in the same commit and due at once.
    pub debts: Vec<(DeliveryId, Debt)>,
    /// What else the decision stood on; found changed, the commit is stale.
    pub grounds: Grounds,
    /// The user's new standing, where this event changed it. Needs `grounds.user`.
    pub standing: Option<Standing>,
    /// The bound on open transactions of the user, checked where `expected` is `None`.
    pub open_max: u16,
}

/// The versions of what a decision stood on. Locks are held this way: a lock acknowledged before the
/// commit has changed the version, and the commit is stale.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grounds {
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
    /// Something it was decided on has changed meanwhile: decide again.
    Stale,
    /// The tenant's client has a transaction with that reference already.
    ReferenceTaken,
    /// An open transaction of the tenant has that request key: draw another.
    KeyTaken,
    /// The user has as many open transactions as may be.
    Crowded,
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
pub struct Acting {
    /// The device.
    pub device: Versioned<Device>,
    /// Its user, unless it was deleted.
    pub user: Option<Versioned<User>>,
    /// The transaction, where there is one.
    pub transaction: Option<Versioned<Transaction>>,
}

/// A user and their devices, as of one moment.
#[derive(Clone, Debug)]
pub struct Household {
    /// The user.
    pub user: Versioned<User>,
    /// Their devices, by sequence.
    pub devices: Vec<Versioned<Device>>,
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

    /// Reads a device, its user and a transaction of its tenant's, together where a store can. `None` where
    /// there is no such device.
    fn acting(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> impl Future<Output = Result<Option<Acting>, Fault>> + Send
    where
        Self: Registry + Sized,
    {
        async move {
            let Some(device) = self.device(tenant, device).await? else { return Ok(None) };
            let user = self.user(tenant, &device.value.user).await?;
            let transaction = self.load(tenant, &Handle::Id(id)).await?;
            Ok(Some(Acting { device, user, transaction }))
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

    /// Writes one unit of work, if everything that it was decided on still holds.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Committed, Fault>> + Send;

    /// Leases deliveries that are due, as far as there is room for them. No other node gets them before
    /// the lease ends; each lease has a number of its own.
    ///
    /// Lanes are visited in order, beginning after `claim.after` and going around, at most
    /// [`crate::limits::LANES_PER_CLAIM_MAX`] of them; in each the earliest come first.
    fn claim(&self, claim: Claim) -> impl Future<Output = Result<Claimed, Fault>> + Send;

    /// Records what became of a claimed delivery, if its lease is the last one. Paid ones are removed;
    /// those given up are kept.
    fn settle(&self, settlement: Settlement) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Gives up deliveries of one lane that are due and were owed at `owed_before` or earlier, at most
    /// [`crate::limits::DELIVERIES_CHANGED_MAX`]; answers how many. `outcome` is kept with them.
    fn forsake(
        &self,
        lane: &Lane,
        now: Timestamp,
        owed_before: Timestamp,
        outcome: &str,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;

    /// Reads a tenant's deliveries that are not paid, oldest first, at most `limit`; those only that
    /// were given up, where that is asked.
    fn deliveries(
        &self,
        tenant: &TenantName,
        given_up: bool,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Unpaid>, Fault>> + Send;

    /// Makes what was given up due again, as if it were owed only now: one delivery, or all of the
    /// tenant's, at most [`crate::limits::DELIVERIES_CHANGED_MAX`]. Answers how many.
    fn replay(
        &self,
        tenant: &TenantName,
        which: Option<DeliveryId>,
        now: Timestamp,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;

    /// Removes at most `limit` transactions that ended at `before` or earlier, the earliest first, and
    /// answers how many. None goes whose callback is in the ledger, given up or not; a push for it,
    /// which has no use by then, goes with it.
    ///
    /// Of a finished one the evidence stays: everything but its content, where the signature is a CMS and
    /// holds it, its callback, its notice, and what its surface kept of the request. It is found as before, after those that were not removed; its
    /// reference stays taken. Any other is gone, and its reference is free.
    fn forget(
        &self,
        before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;
}

/// What may be leased.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is due by now.
    pub now: Timestamp,
    /// When the lease ends.
    pub lease_end: Timestamp,
    /// How much of it.
    pub room: Room,
    /// The lane after which to begin; the first, where there is none.
    pub after: Option<Lane>,
}

/// What was leased.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claimed {
    /// The deliveries, lane by lane.
    pub deliveries: Vec<Delivery>,
    /// Where the next claim should begin, so that each lane is first at some time: after the first lane
    /// that got something. Where none did, after the last one visited if there were more; else as before.
    pub resume: Option<Lane>,
}

/// A delivery that is not paid.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unpaid {
    /// As it stands.
    pub delivery: Delivery,
    /// When it is tried, or its lease ends; none where it was given up.
    pub due_at: Option<Timestamp>,
    /// What came of its last attempt, if one was settled.
    pub outcome: Option<String>,
}

/// Whether something was made, or stood there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created {
    /// It was made, and is durable.
    Made,
    /// Its name is taken; nothing changed.
    Exists,
}

/// Whether a change was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Changed {
    /// It is durable.
    Written,
    /// The version did not hold, or there is no such thing: read again.
    Stale,
}

/// Who there is: tenants, clients, users, devices, activation codes. Secrets are sealed at rest by
/// the adapter; in memory they are `Secret`s.
pub trait Registry: Send + Sync {
    /// Makes a tenant.
    fn create_tenant(&self, tenant: Tenant) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a tenant.
    fn tenant(
        &self,
        name: &TenantName,
    ) -> impl Future<Output = Result<Option<Tenant>, Fault>> + Send;

    /// Has a tenant trust one more root, DER. The tenant is there.
    fn trust(
        &self,
        tenant: &TenantName,
        root: &[u8],
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Names all tenants, in order.
    fn tenants(&self) -> impl Future<Output = Result<Vec<TenantName>, Fault>> + Send;

    /// Makes a client; its id and its name are both unique in the tenant.
    fn create_client(&self, client: Client) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a client.
    fn client(
        &self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Finds the client of that id, whichever tenant's it is: ids are drawn, so one is another's nowhere.
    fn client_by_id(
        &self,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Changes the keys of a client's callbacks: the newest, and the one that signs beside it.
    fn set_webhook_keys(
        &self,
        tenant: &TenantName,
        id: &ClientId,
        newest: Key32,
        before: Option<Key32>,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Makes an API key; its id and its digest are both unique.
    fn create_key(&self, key: ApiKey) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Finds the API key of that digest, whichever tenant's it is.
    fn key(&self, digest: &[u8; 32]) -> impl Future<Output = Result<Option<ApiKey>, Fault>> + Send;

    /// Reads the API keys that are good for `tenant`, or all there are, oldest first, at most
    /// [`crate::limits::LISTED_MAX`].
    fn keys(
        &self,
        tenant: Option<&TenantName>,
    ) -> impl Future<Output = Result<Vec<ApiKey>, Fault>> + Send;

    /// Makes a user, with a serial base that no other user of the tenant has or had, and standing
    /// and counts fresh. `profile` is [`User::profile`].
    fn create_user(
        &self,
        tenant: &TenantName,
        name: &UserName,
        profile: Option<&str>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a user.
    fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> impl Future<Output = Result<Option<Versioned<User>>, Fault>> + Send;

    /// Changes a user's standing, if the version still holds.
    fn set_standing(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        standing: Standing,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Removes a user, if the version still holds and none of their transactions is open. In the same
    /// commit their devices are retired and their activations removed; ended transactions stay.
    ///
    /// The name is free again. Its next user has another serial base and no device, and begins at
    /// version 1: a decision on the old one's version cannot be taken for one on theirs, because it
    /// stood on a device as well, and that was retired; or it was a start, which names a person by
    /// nothing but the name.
    fn delete_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Reads a device, retired ones included.
    fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Finds a device by its serial number, retired ones aside.
    fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Reads the devices of one user, or of all, retired ones aside, by user and sequence, at most
    /// [`crate::limits::LISTED_MAX`].
    fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> impl Future<Output = Result<Vec<Versioned<Device>>, Fault>> + Send;

    /// Finds the device that holds an identity, retired ones aside.
    fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Reads the devices, retired ones aside, that hold an identity with all of these labels, by user and
    /// sequence, at most `limit`. No label at all finds nothing.
    fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Versioned<Device>>, Fault>> + Send;

    /// Reads a user and their devices, retired ones aside, together where a store can. `None` where there
    /// is no such user.
    fn household(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> impl Future<Output = Result<Option<Household>, Fault>> + Send {
        async move {
            let Some(user) = self.user(tenant, name).await? else { return Ok(None) };
            let devices = self.devices(tenant, Some(name)).await?;
            Ok(Some(Household { user, devices }))
        }
    }

    /// Changes a device's status, PIN, push address or identities, if the version still holds.
    /// Everything else in `device` is as it was read.
    fn change_device(
        &self,
        device: Device,
        expected: u32,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// The same for a device's PIN, if its user's version still holds as well; in the same commit the user
    /// comes to have that standing, where one is given.
    fn change_pin(
        &self,
        device: Device,
        expected: u32,
        user_expected: u32,
        standing: Option<Standing>,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Makes an activation code.
    fn create_activation(
        &self,
        activation: Activation,
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a user's activations that have not expired at `now`, newest first, used ones included,
    /// at most twice [`crate::limits::ACTIVATIONS_PER_USER_MAX`].
    fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Versioned<Activation>>, Fault>> + Send;

    /// Uses an activation and makes its device, if both versions still hold.
    fn enrol(&self, enrolment: Enrolment) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Removes at most `limit` activations that had expired by `before`, used ones included, and
    /// answers how many.
    fn forget_activations(
        &self,
        before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;
}

/// News for those who are on the line. Never a row, and free to be lost.
#[derive(Clone, Debug)]
pub enum Bell {
    /// There is something for the user's addressed devices.
    Offer(Arc<Transaction>),
    /// It has ended: devices that hold it withdraw it, and its caller is answered.
    Ended(Arc<Transaction>),
    /// The user, or some of their devices, were locked, logged out or deleted: their channels are
    /// closed.
    HungUp {
        /// Whose user it is.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// Which of the user's devices.
        addressed: Addressed,
    },
}

/// Wakes connected devices and waiting callers, wherever they are connected.
pub trait Doorbell: Send + Sync {
    /// Rings. Does not wait, and does not tell whether anybody heard.
    fn ring(&self, bell: Bell);

    /// Whether one of the user's addressed devices is connected, as far as is known.
    fn online(&self, tenant: &TenantName, user: &UserName, addressed: &Addressed) -> bool;
}

/// The only source of time.
pub trait Clock: Send + Sync {
    /// The time now; never earlier than what it said before.
    fn now(&self) -> Timestamp;
}

/// The only source of randomness.
pub trait Chance: Send + Sync {
    /// 128 bits that nobody can guess.
    fn draw(&self) -> u128;
}
