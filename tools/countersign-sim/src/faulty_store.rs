//! A store with interference: before and after each call, an [`Interference`] may make the call
//! fail, delay it, or change the store. The writes are recorded on a tape, in the order in which
//! the store accepted them.

use core::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_core::delivery::Settlement;
use countersign_core::device::Device;
use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{
    Change, Commit, Committed, EndSnapshot, Handle, Ledger, Part, Purge, Query, QuerySubject,
    Settle, Settled, Snapshot, TransactionChange,
};
use countersign_core::push_policy::PushSnapshot;
use countersign_core::tenant::TenantState;
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;
use countersign_core::{Fault, for_each_ledger_method};

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
    /// A tenant's state.
    Tenant(TenantName, TenantState),
    /// A batch of the rows of a tenant is gone, or all rows that go.
    TenantRemoved {
        /// The tenant.
        tenant: TenantName,
        /// Whether its deletion is complete.
        is_complete: bool,
    },
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

    fn note_change(&self, change: Change, answer: Committed) {
        let lock_state = |of: &Device, lock_state| {
            Written::LockState(of.tenant.clone(), of.user.clone(), lock_state)
        };
        match change {
            Change::Transaction(change) => self.note(Written::Commit(change)),
            Change::SetLockState { tenant, user, lock_state, .. } => {
                self.note(Written::LockState(tenant, user, lock_state));
            }
            Change::SetTenantState { tenant, state, .. } => {
                self.note(Written::Tenant(tenant, state));
            }
            Change::DeleteTenant { tenant, .. } => {
                let is_complete = answer == Committed::Written;
                self.note(Written::TenantRemoved { tenant, is_complete });
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
            Change::RenewIdentity(renewal) => {
                self.note(Written::Device(Box::new(renewal.device)));
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

/// Forwards a method with the interference around it. Some methods are written by hand instead.
macro_rules! forward {
    (@method commit $($rest:tt)*) => {};
    (@method snapshot $($rest:tt)*) => {};
    (@method push_snapshots $($rest:tt)*) => {};
    (@method settle $($rest:tt)*) => {};
    (@method purge $($rest:tt)*) => {};
    (@method $name:ident ($($argument:ident: $type:ty),*) $answer:ty) => {
        async fn $name(&self, $($argument: $type),*) -> Result<$answer, Fault> {
            self.act(forward!(@call $name), self.inner.$name($($argument),*)).await
        }
    };
    (@call transactions) => { Call::Read };
    (@call due) => { Call::Read };
    (@call events) => { Call::Read };
    (@call claim) => { Call::Outbox };
    (@call deliveries) => { Call::Outbox };
    (@call $name:ident) => { Call::LookUp };
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(forward!(@method $name ($($argument: $type),*) $answer);)*
    };
}

impl<S: Ledger, I: Interference> FaultyStore<S, I> {
    /// Reads a row, as a call of its own.
    async fn row(&self, tenant: &TenantName, subject: QuerySubject<'_>) -> Result<Snapshot, Fault> {
        self.part(tenant, subject, &[]).await
    }

    /// Reads one part of a snapshot, as a call of its own.
    async fn part(
        &self,
        tenant: &TenantName,
        subject: QuerySubject<'_>,
        parts: &[Part<'_>],
    ) -> Result<Snapshot, Fault> {
        let call = match (subject, parts) {
            (_, [Part::Open | Part::Contacts])
            | (QuerySubject::Transaction(_) | QuerySubject::End(_), _) => Call::Read,
            _ => Call::LookUp,
        };
        self.act(call, self.inner.snapshot(tenant, Query { subject, parts })).await
    }

    /// Reads the end of a transaction with one call, and its signer with another.
    async fn end(&self, tenant: &TenantName, id: TransactionId) -> Result<Snapshot, Fault> {
        let handle = Handle::Id(id);
        let found = self.row(tenant, QuerySubject::Transaction(&handle)).await?.transaction;
        let Some(transaction) = found.map(|found| found.value) else {
            return Ok(Snapshot::default());
        };
        let signer = match EndSnapshot::signer_of(&transaction) {
            Some(by) => self.row(tenant, QuerySubject::Device(by)).await?.device,
            None => None,
        };
        let end = EndSnapshot::new(transaction, signer.map(|device| device.value));
        Ok(Snapshot { end: Some(end), ..Snapshot::default() })
    }
}

impl<S: Ledger, I: Interference> Ledger for FaultyStore<S, I> {
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
                Committed::Written | Committed::More => self.note_change(change, answer),
                Committed::Stale => {
                    self.races_lost.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok(answer)
        };
        self.act(call, work).await
    }

    /// Reads each part with a call of its own, so that each can fail, and other commits can come
    /// between them.
    async fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        let subject = query.subject;
        if let QuerySubject::End(id) = subject {
            return self.end(tenant, id).await;
        }
        let mut found = self.row(tenant, subject).await?;
        for part in query.parts {
            let user = found.user_name(subject).cloned();
            match (part, user) {
                (Part::Tenant, _) => {
                    found.tenant = self.row(tenant, QuerySubject::Tenant).await?.tenant;
                }
                (Part::Transaction(handle), _) => {
                    let read = self.row(tenant, QuerySubject::Transaction(handle)).await?;
                    found.transaction = read.transaction;
                }
                (Part::Contacts, _) => {
                    let Some(id) = found.transaction_id(subject) else { continue };
                    let handle = Handle::Id(id);
                    let subject = QuerySubject::Transaction(&handle);
                    found.contacts = self.part(tenant, subject, &[*part]).await?.contacts;
                }
                (Part::OpenOfClient(_), _) => {
                    found.open = self.part(tenant, subject, &[*part]).await?.open;
                }
                (Part::User, Some(user)) => {
                    found.user = self.row(tenant, QuerySubject::User(&user)).await?.user;
                }
                (Part::Devices | Part::Open | Part::Activations(_), Some(user)) => {
                    let read = self.part(tenant, QuerySubject::User(&user), &[*part]).await?;
                    match part {
                        Part::Devices => found.devices = read.devices,
                        Part::Open => found.open = read.open,
                        _ => found.activations = read.activations,
                    }
                }
                (Part::User | Part::Devices | Part::Open | Part::Activations(_), None) => {}
            }
        }
        Ok(found)
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        let mut each = Vec::with_capacity(who.len());
        for (tenant, device, id) in who {
            let read = self.read().step_snapshot(tenant, *device, *id).await?;
            each.push(read.map(PushSnapshot::from));
        }
        Ok(each)
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Fault> {
        let work = async {
            let noted = settle.clone();
            let settled = self.inner.settle(settle).await?;
            if let Settle::Claimed(settlement) = noted {
                self.note(Written::Settled(settlement));
            }
            Ok(settled)
        };
        self.act(Call::Outbox, work).await
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

    for_each_ledger_method!(forward);
}
