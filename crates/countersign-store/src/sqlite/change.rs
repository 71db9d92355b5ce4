//! A commit, prepared to be written: the change, and its events.
//!
//! The slow steps, sealing and serialising JSON, are done before the commit queues for the writer.

use countersign_core::device::Device;
use countersign_core::id::{ClientId, DeliveryId, DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Change, Commit, Committed, StoredKey};
use countersign_core::tenant::ApiKey;
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;
use rusqlite::Connection;

use super::error::StoreError;
use super::{
    activation, contact, delivery, device, event, key, private_key, tenant, transaction, user,
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
    ReplaceAuthority(tenant::NewAuthority),
    RetireAuthority(TenantName, Vec<u8>),
    TrustRoot(TenantName, Vec<u8>),
    CreateClient(tenant::ClientRow),
    RotateCallbackKey(TenantName, ClientId, StoredKey),
    RetireCallbackKey(TenantName, ClientId),
    CreateApiKey(ApiKey),
    CreateUser(TenantName, UserName, Option<String>, Timestamp),
    SetLockState(TenantName, UserName, u32, LockState),
    DeleteUser(TenantName, UserName, u32),
    ChangeDevice(device::Row, u32),
    ChangePin(device::Row, u32, u32, Option<LockState>),
    CreateActivation(activation::Row, u32),
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
            Change::ReplaceAuthority { tenant, expected, certificate, key } => {
                let new = tenant::NewAuthority { tenant, expected, certificate, key };
                Self::ReplaceAuthority(new)
            }
            Change::RetireAuthority { tenant, root } => Self::RetireAuthority(tenant, root),
            Change::TrustRoot { tenant, root } => Self::TrustRoot(tenant, root),
            Change::CreateClient { client, callback_key } => {
                Self::CreateClient(tenant::ClientRow { client: *client, callback_key })
            }
            Change::RotateCallbackKey { tenant, client, key } => {
                Self::RotateCallbackKey(tenant, client, key)
            }
            Change::RetireCallbackKey { tenant, client } => Self::RetireCallbackKey(tenant, client),
            Change::CreateApiKey(key) => Self::CreateApiKey(key),
            Change::CreateUser { tenant, user, profile, at } => {
                Self::CreateUser(tenant, user, profile, at)
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
            Change::CreateActivation { activation, expected } => {
                Self::CreateActivation(activation::Row::of(*activation, keys), expected)
            }
            Change::Enrol(enrolment) => {
                Self::Enrol(activation::EnrolmentWork::of(*enrolment, keys))
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
            Self::ReplaceAuthority(new) => new.write(sql),
            Self::RetireAuthority(tenant, root) => tenant::retire_authority(sql, tenant, root),
            Self::TrustRoot(tenant, root) => tenant::trust(sql, tenant, root),
            Self::CreateClient(row) => row.insert(sql),
            Self::RotateCallbackKey(tenant, client, key) => {
                private_key::rotate_callback_key(sql, tenant, client, key)
            }
            Self::RetireCallbackKey(tenant, client) => {
                private_key::retire_callback_key(sql, tenant, client)
            }
            Self::CreateApiKey(key) => key::insert(sql, key),
            Self::CreateUser(tenant, user, profile, at) => {
                user::create(sql, tenant, user, profile.as_deref(), *at)
            }
            Self::SetLockState(tenant, user, expected, lock_state) => {
                user::set_lock_state(sql, tenant, user, *expected, *lock_state)
            }
            Self::DeleteUser(tenant, user, expected) => user::delete(sql, tenant, user, *expected),
            Self::ChangeDevice(row, expected) => row.update(sql, *expected),
            Self::ChangePin(row, expected, user_expected, lock_state) => {
                row.change_pin(sql, *expected, *user_expected, *lock_state)
            }
            Self::CreateActivation(row, expected) => row.insert(sql, *expected),
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
