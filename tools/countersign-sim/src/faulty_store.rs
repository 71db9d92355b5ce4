//! A store with interference: before and after each call, an [`Interference`] may make the call
//! fail, delay it, or change the store. The writes are recorded on a tape, in the order in which
//! the store accepted them.

use core::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::Fault;
use countersign_core::delivery::{Destination, Settlement};
use countersign_core::device::Device;
use countersign_core::enrolment::Activation;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{
    ClientId, DeviceId, IdentityId, SerialNumber, TenantName, TransactionId, UserName,
};
use countersign_core::port::{
    Change, Claim, Claimed, Commit, Committed, Due, Handle, Ledger, OutboxEntry, Purge, Registry,
    TransactionChange, Versioned,
};
use countersign_core::push_policy::Contact;
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_core::user::{LockState, User};

/// A store with its interference. Clones share the store and the interference if clones of these
/// two do.
#[derive(Clone, Debug)]
pub struct FaultyStore<S, I> {
    /// The store, without interference.
    pub inner: S,
    /// The interference around each call.
    pub interference: I,
    tape: Arc<Mutex<Vec<Written>>>,
    races_lost: Arc<AtomicUsize>,
}

/// The actions around each call. A fault before a call means that its work was not done. A fault
/// after it means that the work was done and the answer is lost.
pub trait Interference: Clone + Send + Sync {
    /// Called before the store is called.
    fn before(&self, call: Call) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Called after the store has answered.
    fn after(&self, call: Call) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// The kinds of calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// Reads transactions, their deadlines or events.
    Read,
    /// [`Ledger::commit`] of a transaction's step.
    Commit,
    /// [`Ledger::claim`], [`Ledger::settle`] and other calls on deliveries and contacts.
    Outbox,
    /// Reads from the registry.
    LookUp,
    /// Changes the registry.
    Register,
}

/// A durable write.
#[derive(Clone, Debug)]
pub enum Written {
    /// A transaction's step.
    Commit(Box<TransactionChange>),
    /// A user's lock state.
    LockState(TenantName, UserName, LockState),
    /// A device after a change.
    Device(Box<Device>),
    /// The settlement of a delivery, if its lease was the latest one.
    Settled(Settlement),
    /// Removal: transactions that had ended by this time may be gone.
    Purged(Timestamp),
}

impl<S, I: Interference> FaultyStore<S, I> {
    /// Wraps a store with an interference.
    pub fn new(inner: S, interference: I) -> Self {
        Self { inner, interference, tape: Arc::default(), races_lost: Arc::default() }
    }

    /// All writes so far.
    #[must_use]
    pub fn tape(&self) -> Vec<Written> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The writes after the first `count`.
    #[must_use]
    pub fn tape_since(&self, count: usize) -> Vec<Written> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)[count..].to_vec()
    }

    /// The number of stale commits so far.
    #[must_use]
    pub fn races_lost(&self) -> usize {
        self.races_lost.load(Ordering::Relaxed)
    }

    fn note(&self, written: Written) {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner).push(written);
    }

    fn note_change(&self, change: Change) {
        let lock_state = |of: &Device, lock_state| {
            Written::LockState(of.tenant.clone(), of.user.clone(), lock_state)
        };
        match change {
            Change::Transaction(change) => self.note(Written::Commit(change)),
            Change::SetLockState { tenant, user, lock_state, .. } => {
                self.note(Written::LockState(tenant, user, lock_state));
            }
            Change::ChangeDevice { device, .. } => self.note(Written::Device(device)),
            Change::ChangePin { device, lock_state: changed, .. } => {
                if let Some(changed) = changed {
                    self.note(lock_state(&device, changed));
                }
                self.note(Written::Device(device));
            }
            Change::AddIdentity(addition) => {
                self.note(Written::Device(Box::new(addition.device)));
            }
            _ => {}
        }
    }

    async fn act<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.interference.before(call).await?;
        let answer = work.await?;
        self.interference.after(call).await?;
        Ok(answer)
    }
}

impl<S: Ledger, I: Interference> Ledger for FaultyStore<S, I> {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        self.act(Call::Read, self.inner.load(tenant, handle)).await
    }

    async fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        self.act(Call::Read, self.inner.open(tenant, user)).await
    }

    async fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        self.act(Call::Read, self.inner.list(tenant, user, limit)).await
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        self.act(Call::Read, self.inner.due(now, limit)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let call = match &commit.change {
            Change::Transaction(_) => Call::Commit,
            Change::Reached { .. } | Change::Replay { .. } => Call::Outbox,
            _ => Call::Register,
        };
        let work = async {
            let change = commit.change.clone();
            let answer = self.inner.commit(commit).await?;
            match answer {
                Committed::Written => self.note_change(change),
                Committed::Stale => {
                    self.races_lost.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok(answer)
        };
        self.act(call, work).await
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        self.act(Call::Read, self.inner.events(tenant, after, limit)).await
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        let work = async {
            let answer = self.inner.purge(what, limit).await?;
            if let Purge::Transactions(before) = what {
                self.note(Written::Purged(before));
            }
            Ok(answer)
        };
        self.act(Call::Commit, work).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        self.act(Call::Outbox, self.inner.claim(claim)).await
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        let work = async {
            let noted = settlement.clone();
            self.inner.settle(settlement).await?;
            self.note(Written::Settled(noted));
            Ok(())
        };
        self.act(Call::Outbox, work).await
    }

    async fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        self.act(Call::Read, self.inner.contacts(tenant, id)).await
    }

    async fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        self.act(Call::Outbox, self.inner.give_up_expired(destination, now, queued_before, outcome))
            .await
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> Result<Vec<OutboxEntry>, Fault> {
        self.act(Call::Outbox, self.inner.deliveries(tenant, dead_letters, limit)).await
    }
}

impl<S: Registry, I: Interference> Registry for FaultyStore<S, I> {
    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        self.act(Call::LookUp, self.inner.tenant(name)).await
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        self.act(Call::LookUp, self.inner.tenants()).await
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        self.act(Call::LookUp, self.inner.client(tenant, id)).await
    }

    async fn client_by_id(&self, id: &ClientId) -> Result<Option<Client>, Fault> {
        self.act(Call::LookUp, self.inner.client_by_id(id)).await
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        self.act(Call::LookUp, self.inner.key(digest)).await
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        self.act(Call::LookUp, self.inner.keys(tenant)).await
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        self.act(Call::LookUp, self.inner.user(tenant, name)).await
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        self.act(Call::LookUp, self.inner.device(tenant, id)).await
    }

    async fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        self.act(Call::LookUp, self.inner.device_by_serial(tenant, serial)).await
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        self.act(Call::LookUp, self.inner.devices(tenant, user)).await
    }

    async fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        self.act(Call::LookUp, self.inner.device_by_identity(tenant, id)).await
    }

    async fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        self.act(Call::LookUp, self.inner.devices_by_labels(tenant, labels, limit)).await
    }

    async fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        self.act(Call::LookUp, self.inner.activations(tenant, user, now)).await
    }
}
