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
use rusqlite::Connection;

use super::error::StoreError;
use super::{
    activation, client, contact, delivery, device, domain, event, key, private_key, tenant,
    tenant_deletion, transaction, user,
};
use crate::master_key::MasterKeys;

/// A commit that is queued for the writer.
pub(super) struct PreparedCommit {
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
    pub(super) fn of(commit: Commit, keys: &MasterKeys) -> Self {
        let events = commit.events.iter().map(event::Row::of).collect();
        Self { change: PreparedChange::of(commit.change, keys), events }
    }

    /// Checks the change against the ledger. If it is not stale, writes it with its events.
    pub(super) fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        let committed = self.change.write(sql)?;
        if matches!(committed, Committed::Written | Committed::Replayed(1..)) {
            self.events.iter().try_for_each(|event| event.insert(sql))?;
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

    fn write(&self, sql: &Connection) -> Result<Committed, StoreError> {
        match self {
            Self::Transaction(work) => work.write(sql),
            Self::Reached(tenant, device, transactions, at) => {
                contact::note_reached(sql, tenant, transactions, *device, *at)?;
                Ok(Committed::Written)
            }
            Self::CreateTenant(row) => row.insert(sql),
            Self::SetTenantState(tenant, expected, state) => {
                tenant::set_state(sql, tenant, *expected, *state)
            }
            Self::DeleteTenant(tenant, with_evidence) => {
                tenant_deletion::remove(sql, tenant, *with_evidence)
            }
            Self::ReplaceAuthority(new) => new.write(sql),
            Self::TrustRoot(tenant, root) => tenant::trust(sql, tenant, root),
            Self::DistrustRoot(tenant, root) => tenant::distrust(sql, tenant, root),
            Self::AddDomain(new) => domain::add(sql, new),
            Self::RemoveDomain(old) => domain::remove(sql, old),
            Self::ReplaceTokenKey(change) => tenant::replace_token_key(sql, change),
            Self::CreateClient(row) => row.insert(sql),
            Self::ChangeClient(client, expected) => client::change(sql, client, *expected),
            Self::DeleteClient(old) => client::delete(sql, old),
            Self::RotateCallbackKey(tenant, client, key) => {
                private_key::rotate_callback_key(sql, tenant, client, key)
            }
            Self::RetireCallbackKey(tenant, client) => {
                private_key::retire_callback_key(sql, tenant, client)
            }
            Self::CreateApiKey(key) => key::insert(sql, key),
            Self::SetApiKeyState(id, state) => key::set_state(sql, *id, *state),
            Self::DeleteApiKey(id) => key::delete(sql, *id),
            Self::CreateUser(tenant, user, id, profile, at, max) => {
                user::create(sql, tenant, user, *id, profile.as_deref(), *at, *max)
            }
            Self::SetLockState(tenant, user, expected, lock_state) => {
                user::set_lock_state(sql, tenant, user, *expected, *lock_state)
            }
            Self::DeleteUser(tenant, user, expected) => user::delete(sql, tenant, user, *expected),
            Self::ChangeDevice(row, expected) => row.update(sql, *expected),
            Self::ChangePin(row, expected, user_expected, lock_state) => {
                row.change_pin(sql, *expected, *user_expected, *lock_state)
            }
            Self::CreateActivation(row, expected, max) => row.insert(sql, *expected, *max),
            Self::DeleteActivation(tenant, id) => activation::delete(sql, tenant, *id),
            Self::Enrol(work) => work.write(sql),
            Self::AddIdentity(row) => row.write(sql),
            Self::RenewIdentity(row) => row.write(sql),
            Self::Replay(tenant, which, at) => {
                Ok(Committed::Replayed(delivery::replay(sql, tenant, *which, *at)?))
            }
            Self::Nothing => Ok(Committed::Written),
        }
    }
}
