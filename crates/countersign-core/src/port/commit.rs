//! A commit, as a value: the change, its events, and the result.

use crate::delivery::NewDelivery;
use crate::device::Device;
use crate::enrolment::{Activation, Addition, Enrolment, Renewal};
use crate::event::NewEvent;
use crate::id::{
    ApiKeyId, ClientId, DeliveryId, DeviceId, TenantName, TransactionId, UserId, UserName,
};
use crate::key::{StoredKey, TokenKeys};
use crate::tenant::{ApiKey, Client, CredentialState, NewTenant, TenantDomain, TenantState};
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};
use crate::user::LockState;

/// One unit of work, as a value. It is written whole, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The change, with the versions on which it was decided.
    pub change: Change,
    /// The events, written in the same commit and numbered in this order.
    pub events: Vec<NewEvent>,
}

/// A change of the ledger. `expected` is the version on which it was decided. If the ledger has
/// another version, the commit is stale.
#[derive(Clone, Debug)]
pub enum Change {
    /// A transaction's step.
    Transaction(Box<TransactionChange>),
    /// A device asked for its open transactions and was offered these. Only the first time counts.
    Reached {
        /// The tenant.
        tenant: TenantName,
        /// The device.
        device: DeviceId,
        /// The transactions that it was offered.
        transactions: Vec<TransactionId>,
        /// The time of the offer.
        at: Timestamp,
    },
    /// A new tenant, with its private keys.
    CreateTenant(Box<NewTenant>),
    /// Locks or unlocks a tenant. It is stale if the tenant has another state than `expected`.
    SetTenantState {
        /// The tenant.
        tenant: TenantName,
        /// The present state.
        expected: TenantState,
        /// The new state.
        state: TenantState,
    },
    /// Removes a batch of the rows of a tenant that is not active, at most
    /// [`crate::limits::DELETED_ROWS_MAX`]. It is stale if the tenant is active or does not exist.
    /// It is committed again until it answers something else than [`Committed::More`]. Only that
    /// last commit writes its events.
    ///
    /// Evidence of finished transactions, as [`Purge::Transactions`](super::Purge::Transactions)
    /// keeps it, stays with the tenant's events, its name and its trusted roots, and the tenant's
    /// state is [`TenantState::Deleted`]; so do the marks of its public keys and signatures.
    /// With `with_evidence` nothing of the tenant stays, and its name is free.
    DeleteTenant {
        /// The tenant.
        tenant: TenantName,
        /// Whether evidence and events are removed too.
        with_evidence: bool,
    },
    /// Gives an existing tenant a new authority. Its certificate is one more trusted root, if the
    /// tenant has fewer than [`crate::limits::ROOTS_PER_TENANT_MAX`]. It is stale if the tenant has
    /// another authority than `expected` by now. The private key of that one is removed.
    ReplaceAuthority {
        /// The tenant.
        tenant: TenantName,
        /// The certificate of the present authority, DER.
        expected: Vec<u8>,
        /// The certificate of the new authority, DER.
        certificate: Vec<u8>,
        /// The private key of the new authority.
        key: StoredKey,
    },
    /// Adds a trusted root to an existing tenant, if the tenant has fewer than
    /// [`crate::limits::ROOTS_PER_TENANT_MAX`].
    TrustRoot {
        /// The tenant.
        tenant: TenantName,
        /// The root's certificate, DER.
        root: Vec<u8>,
    },
    /// Removes a trusted root from a tenant. It is stale if the tenant does not trust it, or if it
    /// is the certificate of the tenant's present authority.
    DistrustRoot {
        /// The tenant.
        tenant: TenantName,
        /// The root's certificate, DER.
        root: Vec<u8>,
    },
    /// Adds a domain to an existing tenant, if the tenant has fewer than
    /// [`crate::limits::DOMAINS_PER_TENANT_MAX`], and no tenant has it as its name or domain.
    AddDomain(TenantDomain),
    /// Removes a domain from a tenant. It is stale if the tenant does not have it.
    RemoveDomain(TenantDomain),
    /// Replaces the key that signs a tenant's access tokens. It is stale if another key than the
    /// expected one signs now.
    ReplaceTokenKey(Box<TokenKeyChange>),
    /// A new client. Its id and its name are both unique in the tenant.
    CreateClient {
        /// The client.
        client: Box<Client>,
        /// The key that signs its callbacks.
        callback_key: StoredKey,
    },
    /// Changes a client's roles, state, secrets or account. The rest of `client` is as it was read.
    ChangeClient {
        /// The client after the change.
        client: Box<Client>,
        /// The client's version.
        expected: u32,
    },
    /// Removes a client and its callback keys. Its transactions stay. The name is free again.
    DeleteClient(ClientDeletion),
    /// Begins to sign a client's callbacks with a new key as well as the present one. It is stale
    /// if two keys sign already.
    RotateCallbackKey {
        /// The tenant.
        tenant: TenantName,
        /// The client.
        client: ClientId,
        /// The new key.
        key: StoredKey,
    },
    /// Removes the older of a client's two callback keys, if there are two.
    RetireCallbackKey {
        /// The tenant.
        tenant: TenantName,
        /// The client.
        client: ClientId,
    },
    /// A new API key. Its id and its digest are both unique.
    CreateApiKey(ApiKey),
    /// Locks or unlocks an API key. It is stale if the key does not exist or has that state.
    SetApiKeyState {
        /// The key.
        id: ApiKeyId,
        /// The new state.
        state: CredentialState,
    },
    /// Removes an API key.
    DeleteApiKey {
        /// The key.
        id: ApiKeyId,
    },
    /// A new user, unlocked, with all counts zero. The user's serial base is one that no other user
    /// of the tenant has or had.
    CreateUser {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// The user's id, which no other user has or had.
        id: UserId,
        /// See [`User::profile`](crate::user::User::profile).
        profile: Option<String>,
        /// When the user is created.
        at: Timestamp,
        /// See [`RowsMax::users`]; beyond it, the answer is [`Committed::TenantFull`].
        users_max: u64,
    },
    /// Sets a user's lock state.
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
    /// Removes a user who has no open transaction. The user's devices are retired and the
    /// activations removed; ended transactions stay.
    ///
    /// The name is free again. The next user of this name has another serial base, no device, and
    /// version 1. A decision about the old user cannot be committed against the new user by a
    /// version that happens to be equal. Such a decision depends either on a device as well, which
    /// is now retired, or it is a start, which names its user by name only.
    DeleteUser {
        /// The tenant.
        tenant: TenantName,
        /// The user.
        user: UserName,
        /// The user's version.
        expected: u32,
    },
    /// Changes a device's status, push address or identities. The rest of `device` is as it was
    /// read. This change adds no identity.
    ///
    /// In a tenant, a push address belongs to one device. Another device that has it loses it in
    /// the same commit, as [`crate::push::Retirement::Moved`]. The same holds when a device enrols.
    ChangeDevice {
        /// The device after the change.
        device: Box<Device>,
        /// The device's version.
        expected: u32,
    },
    /// Changes a device's PIN, and the user's lock state if one is given.
    ChangePin {
        /// The device after the change.
        device: Box<Device>,
        /// The device's version.
        expected: u32,
        /// The user's version.
        user_expected: u32,
        /// The user's new lock state.
        lock_state: Option<LockState>,
    },
    /// A new activation code, if exactly `expected` codes were created for its user before. It is
    /// also stale if the user does not exist or the activation's id is taken. The user's version
    /// does not change, because no other decision depends on this count.
    CreateActivation {
        /// The activation.
        activation: Box<Activation>,
        /// The user's count of activations created before.
        expected: u32,
        /// See [`RowsMax::devices`]; beyond it, the answer is [`Committed::TenantFull`].
        devices_max: u64,
    },
    /// Removes an activation, used or not. It is stale if there is none of that id.
    DeleteActivation {
        /// The tenant.
        tenant: TenantName,
        /// The activation.
        id: u128,
    },
    /// Uses an activation, and creates its device.
    ///
    /// A public key belongs to one identity of a tenant for good. The digest of each key, and the
    /// serial number of each certificate that the tenant's authority issued, are written in the
    /// same commit. They are never removed, even if the identity, its device or its user is.
    Enrol {
        /// The device, and the rows on which its enrolment was decided.
        enrolment: Box<Enrolment>,
        /// See [`RowsMax::devices`]; beyond it, the answer is [`Committed::TenantFull`].
        devices_max: u64,
    },
    /// Adds an identity to a device. Keys and serial numbers are recorded as for an enrolment.
    AddIdentity(Box<Addition>),
    /// Renews the certificate of an identity. The key and the serial number are recorded as for an
    /// enrolment; a key that the identity has or had may be used again.
    RenewIdentity(Box<Renewal>),
    /// Makes dead letters due again, as if they had been queued now: one, or all of the tenant's,
    /// at most [`crate::limits::DELIVERIES_CHANGED_MAX`].
    Replay {
        /// The tenant.
        tenant: TenantName,
        /// One delivery; `None` for all.
        which: Option<DeliveryId>,
        /// The time at which they become due.
        at: Timestamp,
    },
    /// No change: only events are written.
    Nothing,
}

impl Change {
    /// A description of the change, for a [`Fault`](crate::Fault).
    #[must_use]
    pub fn doing(&self) -> &'static str {
        match self {
            Self::Transaction(_) => "committing a transaction's step",
            Self::Reached { .. } => "recording which device was reached",
            Self::CreateTenant(_) => "creating a tenant",
            Self::SetTenantState { .. } => "locking or unlocking a tenant",
            Self::DeleteTenant { .. } => "deleting a tenant",
            Self::ReplaceAuthority { .. } => "replacing a tenant's authority",
            Self::TrustRoot { .. } => "trusting a root",
            Self::DistrustRoot { .. } => "taking a root back",
            Self::AddDomain(_) => "adding a domain to a tenant",
            Self::RemoveDomain(_) => "removing a domain from a tenant",
            Self::ReplaceTokenKey(_) => "replacing a tenant's token key",
            Self::CreateClient { .. } => "creating a client",
            Self::ChangeClient { .. } => "changing a client",
            Self::DeleteClient(_) => "deleting a client",
            Self::RotateCallbackKey { .. } => "rotating a client's callback key",
            Self::RetireCallbackKey { .. } => "retiring a client's callback key",
            Self::CreateApiKey(_) => "creating an API key",
            Self::SetApiKeyState { .. } => "changing an API key",
            Self::DeleteApiKey { .. } => "deleting an API key",
            Self::CreateUser { .. } => "creating a user",
            Self::SetLockState { .. } => "changing a user's lock state",
            Self::DeleteUser { .. } => "deleting a user",
            Self::ChangeDevice { .. } => "changing a device",
            Self::ChangePin { .. } => "changing a PIN",
            Self::CreateActivation { .. } => "creating an activation",
            Self::DeleteActivation { .. } => "deleting an activation",
            Self::Enrol { .. } => "enrolling a device",
            Self::AddIdentity(_) => "adding an identity",
            Self::RenewIdentity(_) => "renewing a certificate",
            Self::Replay { .. } => "replaying deliveries",
            Self::Nothing => "recording an event",
        }
    }
}

/// A client to delete.
#[derive(Clone, Debug)]
pub struct ClientDeletion {
    /// The tenant.
    pub tenant: TenantName,
    /// The client.
    pub client: ClientId,
    /// Whether the deletion is stale unless the tenant is locked.
    pub only_of_locked: bool,
}

/// Another key for a tenant's access tokens.
#[derive(Clone, Debug)]
pub struct TokenKeyChange {
    /// The tenant.
    pub tenant: TenantName,
    /// The public halves on which it was decided.
    pub expected: TokenKeys,
    /// The public halves afterwards.
    pub keys: TokenKeys,
    /// The new private key.
    pub key: StoredKey,
}

/// A step of a transaction.
#[derive(Clone, Debug)]
pub struct TransactionChange {
    /// The transaction after the step.
    pub transaction: Transaction,
    /// The version on which the step was decided; with any other version in the ledger, the commit
    /// is stale. `None` for a new transaction.
    pub expected: Option<u32>,
    /// The event of the step.
    pub event: Event,
    /// The deliveries that the event requires, queued in the same commit. If the transaction ends,
    /// its unsent pushes are removed from the queue.
    pub deliveries: Vec<NewDelivery>,
    /// The versions of the other rows on which the decision depends. If one has changed, the commit
    /// is stale.
    pub preconditions: Preconditions,
    /// The user's new lock state, if this event changed it. Requires `preconditions.user`.
    pub lock_state: Option<LockState>,
    /// The maximum of the user's open transactions. It is checked if `expected` is `None`.
    pub open_max: u16,
    /// The maxima of stored bytes. They are checked if `expected` is `None`.
    pub stored_max: StoredMax,
}

/// The maximum of bytes that stored transactions may occupy. A transaction occupies its content,
/// its terms and [`STORED_ROW_BYTES`](crate::limits::STORED_ROW_BYTES). Transactions that retention
/// has removed do not count, and neither does the evidence that stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoredMax {
    /// The maximum for one client.
    pub client: u64,
    /// The maximum for all clients of one tenant together.
    pub tenant: u64,
}

impl StoredMax {
    /// No maximum.
    pub const NONE: Self = Self { client: u64::MAX, tenant: u64::MAX };
}

/// The maximum of rows of a tenant that no retention removes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowsMax {
    /// The maximum of users.
    pub users: u64,
    /// The maximum of devices, retired ones included: they stay for the evidence of what they
    /// signed.
    pub devices: u64,
}

impl RowsMax {
    /// No maximum.
    pub const NONE: Self = Self { users: u64::MAX, devices: u64::MAX };
}

/// The versions of the rows on which a decision depends. They enforce locks: a lock that was
/// acknowledged before the commit has changed a version, so that the commit is stale. A commit that
/// depends on any of them is stale too if the tenant is not active.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preconditions {
    /// The transaction's user.
    pub user: Option<u32>,
    /// The device.
    pub device: Option<(DeviceId, u32)>,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Committed {
    /// The commit is durable.
    Written,
    /// A row on which it was decided has changed or is missing: decide again.
    Stale,
    /// Something of that name exists already. Nothing was changed.
    Exists,
    /// One of the public keys belongs, or belonged, to another identity of the tenant.
    KeyUsed,
    /// A certificate of the tenant's authority already has one of the serial numbers: issue again.
    SerialUsed,
    /// A batch was removed, and more rows may remain: commit again.
    More,
    /// The number of dead letters that are due again.
    Replayed(u16),
    /// The client already has a transaction with that reference.
    ReferenceTaken,
    /// An open transaction of the tenant already has that request key: draw another.
    RequestKeyTaken,
    /// The user has the maximum of open transactions.
    TooManyOpen,
    /// The tenant has the maximum of trusted roots.
    TooMany,
    /// The transaction ends with a signature whose [`countersign_proof::Proof::single_use_mark`]
    /// the tenant has already.
    SignatureUsed,
    /// The client's stored transactions occupy the maximum of bytes.
    ClientFull,
    /// The tenant's stored transactions occupy the maximum of bytes, or the tenant has the maximum
    /// of rows of the kind that the change adds.
    TenantFull,
}
