//! Queries of the ledger: what is read at one moment, and the rows that were found.

use super::Versioned;
use crate::device::{Device, Identity};
use crate::enrolment::Activation;
use crate::id::{
    ApiKeyId, ClientId, DeviceId, IdentityId, RequestKey, SerialNumber, TenantName, TransactionId,
    UserName,
};
use crate::key::TokenKeys;
use crate::push_policy::{Contact, PushSnapshot};
use crate::spec::Dialect;
use crate::tenant::{ApiKey, Client, Tenant};
use crate::time::Timestamp;
use crate::transaction::{End, Transaction};
use crate::user::User;

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

/// A question to the ledger: the row with which it begins, and what else is read at the same
/// moment.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The row with which the query begins.
    pub subject: QuerySubject<'a>,
    /// The other parts of the snapshot, in the order in which they are read.
    pub parts: &'a [Part<'a>],
}

/// The row with which a query begins.
#[derive(Clone, Copy, Debug)]
pub enum QuerySubject<'a> {
    /// The tenant.
    Tenant,
    /// A user.
    User(&'a UserName),
    /// A device, even a retired one.
    Device(DeviceId),
    /// The device of a serial number, unless it is retired.
    Serial(SerialNumber),
    /// The device that holds an identity.
    Identity(IdentityId),
    /// A transaction.
    Transaction(&'a Handle),
    /// The end of a transaction, and the device that finished it. It has no parts. For an open
    /// transaction almost nothing is read, so that polling costs little.
    End(TransactionId),
}

/// A part of a snapshot. "The user" is the query's subject, or the user of its device or of its
/// transaction. If there is no such row, the parts that depend on it are empty.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The tenant.
    Tenant,
    /// The user.
    User,
    /// The user's devices without retired ones, by sequence, at most
    /// [`crate::limits::LISTED_MAX`].
    Devices,
    /// The user's open transactions, oldest first. Their maximum bounds the answer.
    Open,
    /// The open transactions that a client started, oldest first, at most
    /// [`crate::limits::LISTED_MAX`].
    OpenOfClient(&'a ClientId),
    /// The user's activations that have not expired at this time, used ones included, newest first,
    /// at most [`crate::limits::ACTIVATIONS_LISTED_MAX`].
    Activations(Timestamp),
    /// A transaction.
    Transaction(&'a Handle),
    /// The results of waking devices for the transaction, by device. Devices that were connected
    /// when it started, or took it, are in the transaction itself.
    Contacts,
}

/// The rows that a query found, all from one moment. What was not asked for is empty.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// The user.
    pub user: Option<Versioned<User>>,
    /// The device with which the query began.
    pub device: Option<Versioned<Device>>,
    /// The user's devices.
    pub devices: Vec<Versioned<Device>>,
    /// The transaction.
    pub transaction: Option<Versioned<Transaction>>,
    /// The open transactions of the user or of a client.
    pub open: Vec<Versioned<Transaction>>,
    /// The user's activations.
    pub activations: Vec<Versioned<Activation>>,
    /// The contacts with devices about the transaction.
    pub contacts: Vec<Contact>,
    /// The end for which [`QuerySubject::End`] asks.
    pub end: Option<EndSnapshot>,
}

impl Snapshot {
    /// The name of the user whom the parts are about, as soon as the subject is read.
    #[must_use]
    pub fn user_name<'a>(&'a self, subject: QuerySubject<'a>) -> Option<&'a UserName> {
        let of_device = || self.device.as_ref().map(|device| &device.value.user);
        let of_transaction = || self.transaction.as_ref().map(|found| &found.value.spec.user);
        match subject {
            QuerySubject::User(name) => Some(name),
            _ => of_device().or_else(of_transaction),
        }
    }

    /// The id of the transaction that the contacts are about, as soon as the subject is read.
    #[must_use]
    pub fn transaction_id(&self, subject: QuerySubject<'_>) -> Option<TransactionId> {
        let found = self.transaction.as_ref().map(|found| found.value.spec.id);
        match subject {
            QuerySubject::Transaction(Handle::Id(id)) => found.or(Some(*id)),
            _ => found,
        }
    }
}

/// The key by which a caller's credential is found.
#[derive(Clone, Copy, Debug)]
pub enum CredentialKey<'a> {
    /// A client of this tenant.
    Client(&'a TenantName, &'a ClientId),
    /// The client of that id, in any tenant. Ids are random, so that no two tenants share one.
    AnyClient(&'a ClientId),
    /// The client of this tenant that an access token names, with the tenant's token keys.
    TokenHolder(&'a TenantName, &'a ClientId),
    /// The digest of an API key, in any tenant.
    ApiKey(&'a [u8; 32]),
    /// The id of an API key, in any tenant.
    ApiKeyId(ApiKeyId),
}

/// The credential of a caller.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client.
    Client(Versioned<Client>),
    /// A client, and the keys that verify its tenant's access tokens.
    TokenHolder(Client, TokenKeys),
    /// An API key.
    ApiKey(ApiKey),
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

impl EndSnapshot {
    /// The part of a transaction that a waiting caller needs. `signer` is the device that finished
    /// it.
    #[must_use]
    pub fn new(transaction: Transaction, signer: Option<Device>) -> Self {
        if transaction.end().is_some() {
            return Self::Ended { transaction, signer };
        }
        let spec = &transaction.spec;
        Self::Open { dialect: spec.dialect, client: spec.client.clone() }
    }

    /// The device that finished a transaction.
    #[must_use]
    pub fn signer_of(transaction: &Transaction) -> Option<DeviceId> {
        match transaction.end() {
            Some(End::Finished { by, .. }) => Some(*by),
            _ => None,
        }
    }
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
