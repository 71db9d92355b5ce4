//! A commit, prepared to be written: the change, and its events.
//!
//! The slow steps, sealing and serialising JSON, are done before the commit queues for the writer.

use countersign_core::device::Device;
use countersign_core::id::{
    ApiKeyId, ClientId, DeliveryId, DeviceId, TenantName, TransactionId, UserId, UserName,
};
use countersign_core::port::{
    Change, ClientDeletion, Commit, Committed, StoredKey, TokenKeyChange,
};
use countersign_core::tenant::{ApiKey, Client, CredentialState, TenantDomain, TenantState};
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;

use super::error::StoreError;
use super::{
    activation, client, contact, delivery, device, domain, event, key, private_key, tenant,
    tenant_deletion, transaction, user,
};
use crate::master_key::MasterKeys;
use crate::sql::Sql;

/// A commit that is queued for the writer.
pub(crate) struct PreparedCommit {
    change: PreparedChange,
    events: Vec<event::Row>,
}

enum PreparedChange {
    Transaction(transaction::CommitWork),
    Reached(TenantName, DeviceId, Vec<TransactionId>, Timestamp),
    CreateTenant(tenant::Row),
    SetTenantState(TenantName, TenantState, TenantState),
    DeleteTenant(TenantName, bool),
    ReplaceAuthority(tenant::NewAuthority),
    TrustRoot(TenantName, Vec<u8>),
    DistrustRoot(TenantName, Vec<u8>),
    AddDomain(TenantDomain),
    RemoveDomain(TenantDomain),
    ReplaceTokenKey(Box<TokenKeyChange>),
    CreateClient(client::Row),
    ChangeClient(Box<Client>, u32),
    DeleteClient(ClientDeletion),
    RotateCallbackKey(TenantName, ClientId, StoredKey),
    RetireCallbackKey(TenantName, ClientId),
    CreateApiKey(ApiKey),
    SetApiKeyState(ApiKeyId, CredentialState),
    DeleteApiKey(ApiKeyId),
    CreateUser(TenantName, UserName, UserId, Option<String>, Timestamp, u64),
    SetLockState(TenantName, UserName, u32, LockState),
    DeleteUser(TenantName, UserName, u32),
    ChangeDevice(device::Row, u32),
    ChangePin(device::Row, u32, u32, Option<LockState>),
    CreateActivation(activation::Row, u32, u64),
    DeleteActivation(TenantName, u128),
    Enrol(activation::EnrolmentWork),
    AddIdentity(device::AdditionRow),
    RenewIdentity(device::RenewalRow),
    Replay(TenantName, Option<DeliveryId>, Timestamp),
    Nothing,
}

impl PreparedCommit {
    pub(crate) fn of(commit: Commit, keys: &MasterKeys) -> Self {
        let events = commit.events.iter().map(event::Row::of).collect();
        Self { change: PreparedChange::of(commit.change, keys), events }
    }

    /// Whether it changes transactions only, so that it may share a batch with others.
    pub(crate) fn is_of_transactions(&self) -> bool {
        matches!(self.change, PreparedChange::Transaction(_) | PreparedChange::Reached(..))
    }

    /// The user of the transaction that it changes.
    pub(crate) fn user(&self) -> Option<(&TenantName, &UserName)> {
        match &self.change {
            PreparedChange::Transaction(work) => Some(work.user()),
            _ => None,
        }
    }

    /// The tenant that must not be locked when it is committed.
    pub(crate) fn depends_on(&self) -> Option<&TenantName> {
        match &self.change {
            PreparedChange::Transaction(work) => work.depends_on(),
            _ => None,
        }
    }

    /// The tenant that it locks or unlocks, and whether it locks it.
    pub(crate) fn tenant_lock(&self) -> Option<(&TenantName, bool)> {
        match &self.change {
            PreparedChange::CreateTenant(row) => Some((row.name(), false)),
            PreparedChange::SetTenantState(tenant, _, state) => {
                Some((tenant, *state != TenantState::Active))
            }
            _ => None,
        }
    }

    /// Whether it changes what is not one user's, so that such changes are made one at a time.
    pub(crate) fn takes_registry_turn(&self) -> bool {
        match &self.change {
            PreparedChange::CreateTenant(_)
            | PreparedChange::SetTenantState(..)
            | PreparedChange::DeleteTenant(..)
            | PreparedChange::ReplaceAuthority(_)
            | PreparedChange::TrustRoot(..)
            | PreparedChange::DistrustRoot(..)
            | PreparedChange::AddDomain(_)
            | PreparedChange::RemoveDomain(_)
            | PreparedChange::ReplaceTokenKey(_)
            | PreparedChange::CreateClient(_)
            | PreparedChange::ChangeClient(..)
            | PreparedChange::DeleteClient(..)
            | PreparedChange::RotateCallbackKey(..)
            | PreparedChange::RetireCallbackKey(..)
            | PreparedChange::CreateApiKey(_)
            | PreparedChange::SetApiKeyState(..)
            | PreparedChange::DeleteApiKey(_) => true,
            PreparedChange::Transaction(_)
            | PreparedChange::Reached(..)
            | PreparedChange::CreateUser(..)
            | PreparedChange::SetLockState(..)
            | PreparedChange::DeleteUser(..)
            | PreparedChange::ChangeDevice(..)
            | PreparedChange::ChangePin(..)
            | PreparedChange::CreateActivation(..)
            | PreparedChange::DeleteActivation(..)
            | PreparedChange::Enrol(_)
            | PreparedChange::AddIdentity(_)
            | PreparedChange::RenewIdentity(_)
            | PreparedChange::Replay(..)
            | PreparedChange::Nothing => false,
        }
    }

    /// Checks the change against the ledger. If it is not stale, writes it with its events.
    pub(crate) async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        let committed = self.change.write(sql).await?;
        if matches!(committed, Committed::Written | Committed::Replayed(1..)) {
            for event in &self.events {
                sql.record(event).await?;
            }
        }
        Ok(committed)
    }
}

impl PreparedChange {
    fn of(change: Change, keys: &MasterKeys) -> Self {
        let row = |device: Box<Device>| device::Row::of(*device, keys);
        match change {
            Change::Transaction(change) => Self::Transaction(transaction::CommitWork::of(*change)),
            Change::Reached { tenant, device, transactions, at } => {
                Self::Reached(tenant, device, transactions, at)
            }
            Change::CreateTenant(new) => Self::CreateTenant(tenant::Row::of(*new)),
            Change::SetTenantState { tenant, expected, state } => {
                Self::SetTenantState(tenant, expected, state)
            }
            Change::DeleteTenant { tenant, with_evidence } => {
                Self::DeleteTenant(tenant, with_evidence)
            }
            Change::ReplaceAuthority { tenant, expected, certificate, key } => {
                let new = tenant::NewAuthority { tenant, expected, certificate, key };
                Self::ReplaceAuthority(new)
            }
            Change::TrustRoot { tenant, root } => Self::TrustRoot(tenant, root),
            Change::DistrustRoot { tenant, root } => Self::DistrustRoot(tenant, root),
            Change::AddDomain(new) => Self::AddDomain(new),
            Change::RemoveDomain(old) => Self::RemoveDomain(old),
            Change::ReplaceTokenKey(change) => Self::ReplaceTokenKey(change),
            Change::CreateClient { client, callback_key } => {
                Self::CreateClient(client::Row { client: *client, callback_key })
            }
            Change::ChangeClient { client, expected } => Self::ChangeClient(client, expected),
            Change::DeleteClient(old) => Self::DeleteClient(old),
            Change::RotateCallbackKey { tenant, client, key } => {
                Self::RotateCallbackKey(tenant, client, key)
            }
            Change::RetireCallbackKey { tenant, client } => Self::RetireCallbackKey(tenant, client),
            Change::CreateApiKey(key) => Self::CreateApiKey(key),
            Change::SetApiKeyState { id, state } => Self::SetApiKeyState(id, state),
            Change::DeleteApiKey { id } => Self::DeleteApiKey(id),
            Change::CreateUser { tenant, user, id, profile, at, users_max } => {
                Self::CreateUser(tenant, user, id, profile, at, users_max)
            }
            Change::SetLockState { tenant, user, expected, lock_state } => {
                Self::SetLockState(tenant, user, expected, lock_state)
            }
            Change::DeleteUser { tenant, user, expected } => {
                Self::DeleteUser(tenant, user, expected)
            }
            Change::ChangeDevice { device, expected } => Self::ChangeDevice(row(device), expected),
            Change::ChangePin { device, expected, user_expected, lock_state } => {
                Self::ChangePin(row(device), expected, user_expected, lock_state)
            }
            Change::CreateActivation { activation, expected, devices_max } => {
                let row = activation::Row::of(*activation, keys);
                Self::CreateActivation(row, expected, devices_max)
            }
            Change::DeleteActivation { tenant, id } => Self::DeleteActivation(tenant, id),
            Change::Enrol { enrolment, devices_max } => {
                Self::Enrol(activation::EnrolmentWork::of(*enrolment, devices_max, keys))
            }
            Change::AddIdentity(addition) => {
                Self::AddIdentity(device::AdditionRow::of(*addition, keys))
            }
            Change::RenewIdentity(renewal) => {
                Self::RenewIdentity(device::RenewalRow::of(*renewal, keys))
            }
            Change::Replay { tenant, which, at } => Self::Replay(tenant, which, at),
            Change::Nothing => Self::Nothing,
        }
    }

    async fn write(&self, sql: &impl Sql) -> Result<Committed, StoreError> {
        match self {
            Self::Transaction(work) => work.write(sql).await,
            Self::Reached(tenant, device, transactions, at) => {
                contact::note_reached(sql, tenant, transactions, *device, *at).await?;
                Ok(Committed::Written)
            }
            Self::CreateTenant(row) => row.insert(sql).await,
            Self::SetTenantState(tenant, expected, state) => {
                tenant::set_state(sql, tenant, *expected, *state).await
            }
            Self::DeleteTenant(tenant, with_evidence) => {
                tenant_deletion::remove(sql, tenant, *with_evidence).await
            }
            Self::ReplaceAuthority(new) => new.write(sql).await,
            Self::TrustRoot(tenant, root) => tenant::trust(sql, tenant, root).await,
            Self::DistrustRoot(tenant, root) => tenant::distrust(sql, tenant, root).await,
            Self::AddDomain(new) => domain::add(sql, new).await,
            Self::RemoveDomain(old) => domain::remove(sql, old).await,
            Self::ReplaceTokenKey(change) => tenant::replace_token_key(sql, change).await,
            Self::CreateClient(row) => row.insert(sql).await,
            Self::ChangeClient(client, expected) => client::change(sql, client, *expected).await,
            Self::DeleteClient(old) => client::delete(sql, old).await,
            Self::RotateCallbackKey(tenant, client, key) => {
                private_key::rotate_callback_key(sql, tenant, client, key).await
            }
            Self::RetireCallbackKey(tenant, client) => {
                private_key::retire_callback_key(sql, tenant, client).await
            }
            Self::CreateApiKey(key) => key::insert(sql, key).await,
            Self::SetApiKeyState(id, state) => key::set_state(sql, *id, *state).await,
            Self::DeleteApiKey(id) => key::delete(sql, *id).await,
            Self::CreateUser(tenant, user, id, profile, at, max) => {
                user::create(sql, tenant, user, *id, profile.as_deref(), *at, *max).await
            }
            Self::SetLockState(tenant, user, expected, lock_state) => {
                user::set_lock_state(sql, tenant, user, *expected, *lock_state).await
            }
            Self::DeleteUser(tenant, user, expected) => {
                user::delete(sql, tenant, user, *expected).await
            }
            Self::ChangeDevice(row, expected) => row.update(sql, *expected).await,
            Self::ChangePin(row, expected, user_expected, lock_state) => {
                row.change_pin(sql, *expected, *user_expected, *lock_state).await
            }
            Self::CreateActivation(row, expected, max) => row.insert(sql, *expected, *max).await,
            Self::DeleteActivation(tenant, id) => activation::delete(sql, tenant, *id).await,
            Self::Enrol(work) => work.write(sql).await,
            Self::AddIdentity(row) => row.write(sql).await,
            Self::RenewIdentity(row) => row.write(sql).await,
            Self::Replay(tenant, which, at) => {
                Ok(Committed::Replayed(delivery::replay(sql, tenant, *which, *at).await?))
            }
            Self::Nothing => Ok(Committed::Written),
        }
    }
}
