//! Changes of a ledger for tests, one method each, without the use cases of the engine.
//!
//! Each change is committed with one event, so that tests of stores cover events as well.

use core::future::Future;

use countersign_core::Fault;
use countersign_core::device::Device;
use countersign_core::enrolment::{Activation, Addition, Enrolment, Renewal};
use countersign_core::event::{Actor, EventKind, NewEvent, Subject};
use countersign_core::id::{
    ClientId, DeliveryId, DeviceId, TenantName, TransactionId, UserId, UserName,
};
use countersign_core::port::{
    Change, Commit, Committed, Ledger, Purge, StoredKey, TransactionChange,
};
use countersign_core::tenant::{ApiKey, Client, NewTenant};
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;

/// The result of a change.
type Answer = Result<Committed, Fault>;

/// Changes of a ledger.
#[allow(unreachable_pub, reason = "the tests of the store include this file as a module")]
pub trait Changes: Ledger {
    /// Commits a change, with one event of the server.
    fn change(&self, tenant: &TenantName, change: Change) -> impl Future<Output = Answer> + Send {
        let event = NewEvent {
            tenant: Some(tenant.clone()),
            at: Timestamp(1),
            kind: EventKind::UserCreated,
            actor: Actor::Server,
            subject: Subject::Tenant,
            details: vec![("doing", change.doing().to_owned())],
        };
        self.commit(Commit { change, events: vec![event] })
    }

    /// See [`Change::Transaction`].
    fn step(&self, change: TransactionChange) -> impl Future<Output = Answer> + Send {
        let spec = change.transaction.spec.clone();
        let change = Change::Transaction(Box::new(change));
        async move { self.change(&spec.tenant, change).await }
    }

    /// See [`Change::Reached`].
    fn note_reached(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        transactions: Vec<TransactionId>,
        at: Timestamp,
    ) -> impl Future<Output = Answer> + Send {
        self.change(tenant, Change::Reached { tenant: tenant.clone(), device, transactions, at })
    }

    /// See [`Change::Replay`]. Answers how many are due again.
    fn replay(
        &self,
        tenant: &TenantName,
        which: Option<DeliveryId>,
        at: Timestamp,
    ) -> impl Future<Output = Result<u16, Fault>> + Send {
        let change = Change::Replay { tenant: tenant.clone(), which, at };
        async move {
            match self.change(tenant, change).await? {
                Committed::Replayed(count) => Ok(count),
                other => panic!("{other:?}"),
            }
        }
    }

    /// See [`Change::CreateTenant`].
    fn create_tenant(&self, new: NewTenant) -> impl Future<Output = Answer> + Send {
        let name = new.tenant.name.clone();
        async move { self.change(&name, Change::CreateTenant(Box::new(new))).await }
    }

    /// See [`Change::TrustRoot`].
    fn trust(&self, tenant: &TenantName, root: &[u8]) -> impl Future<Output = Answer> + Send {
        self.change(tenant, Change::TrustRoot { tenant: tenant.clone(), root: root.to_vec() })
    }

    /// See [`Change::CreateClient`].
    fn create_client(
        &self,
        client: Client,
        callback_key: StoredKey,
    ) -> impl Future<Output = Answer> + Send {
        let tenant = client.tenant.clone();
        let change = Change::CreateClient { client: Box::new(client), callback_key };
        async move { self.change(&tenant, change).await }
    }

    /// See [`Change::RotateCallbackKey`].
    fn rotate_callback_key(
        &self,
        tenant: &TenantName,
        client: &ClientId,
        key: StoredKey,
    ) -> impl Future<Output = Answer> + Send {
        let (of, client) = (tenant.clone(), client.clone());
        self.change(tenant, Change::RotateCallbackKey { tenant: of, client, key })
    }

    /// See [`Change::RetireCallbackKey`].
    fn retire_callback_key(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> impl Future<Output = Answer> + Send {
        let (of, client) = (tenant.clone(), client.clone());
        self.change(tenant, Change::RetireCallbackKey { tenant: of, client })
    }

    /// See [`Change::CreateApiKey`].
    fn create_key(&self, key: ApiKey) -> impl Future<Output = Answer> + Send {
        self.commit(Commit { change: Change::CreateApiKey(key), events: Vec::new() })
    }

    /// See [`Change::CreateUser`]. The user's id is the time, so tests create a user of one name at
    /// another time than the one before.
    fn create_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        profile: Option<&str>,
        at: Timestamp,
    ) -> impl Future<Output = Answer> + Send {
        let profile = profile.map(str::to_owned);
        let (of, user, id) = (tenant.clone(), user.clone(), UserId::drawn(u128::from(at.0)));
        let users_max = u64::MAX;
        self.change(tenant, Change::CreateUser { tenant: of, user, id, profile, at, users_max })
    }

    /// See [`Change::SetLockState`].
    fn set_lock_state(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        lock_state: LockState,
    ) -> impl Future<Output = Answer> + Send {
        let (of, user) = (tenant.clone(), user.clone());
        self.change(tenant, Change::SetLockState { tenant: of, user, expected, lock_state })
    }

    /// See [`Change::DeleteUser`].
    fn delete_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> impl Future<Output = Answer> + Send {
        let (of, user) = (tenant.clone(), user.clone());
        self.change(tenant, Change::DeleteUser { tenant: of, user, expected })
    }

    /// See [`Change::ChangeDevice`].
    fn change_device(&self, device: Device, expected: u32) -> impl Future<Output = Answer> + Send {
        let tenant = device.tenant.clone();
        let change = Change::ChangeDevice { device: Box::new(device), expected };
        async move { self.change(&tenant, change).await }
    }

    /// See [`Change::ChangePin`].
    fn change_pin(
        &self,
        device: Device,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> impl Future<Output = Answer> + Send {
        let (tenant, device) = (device.tenant.clone(), Box::new(device));
        let change = Change::ChangePin { device, expected, user_expected, lock_state };
        async move { self.change(&tenant, change).await }
    }

    /// See [`Change::CreateActivation`].
    fn create_activation(
        &self,
        activation: Activation,
        expected: u32,
    ) -> impl Future<Output = Answer> + Send {
        let tenant = activation.tenant.clone();
        let (activation, devices_max) = (Box::new(activation), u64::MAX);
        let change = Change::CreateActivation { activation, expected, devices_max };
        async move { self.change(&tenant, change).await }
    }

    /// See [`Change::Enrol`].
    fn enrol(&self, enrolment: Enrolment) -> impl Future<Output = Answer> + Send {
        let tenant = enrolment.device.tenant.clone();
        let (enrolment, devices_max) = (Box::new(enrolment), u64::MAX);
        async move { self.change(&tenant, Change::Enrol { enrolment, devices_max }).await }
    }

    /// See [`Change::AddIdentity`].
    fn add_identity(&self, addition: Addition) -> impl Future<Output = Answer> + Send {
        let tenant = addition.device.tenant.clone();
        async move { self.change(&tenant, Change::AddIdentity(Box::new(addition))).await }
    }

    /// See [`Change::RenewIdentity`].
    fn renew_identity(&self, renewal: Renewal) -> impl Future<Output = Answer> + Send {
        let tenant = renewal.device.tenant.clone();
        async move { self.change(&tenant, Change::RenewIdentity(Box::new(renewal))).await }
    }

    /// See [`Purge::Transactions`].
    fn purge_ended(
        &self,
        before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<u16, Fault>> + Send {
        self.purge(Purge::Transactions(before), limit)
    }

    /// See [`Purge::Activations`].
    fn purge_activations(
        &self,
        before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<u16, Fault>> + Send {
        self.purge(Purge::Activations(before), limit)
    }
}

impl<S: Ledger> Changes for S {}
