//! The stores: adapters of the ledger and the registry.
//!
//! [`Store`] is a closed enum of all adapters. The ports [`Ledger`] and [`Registry`] define their
//! contract, and one contract test checks it for every adapter.
//!
//! ```text
//! Store ─┬─ Memory   one mutex, plain maps; lost when the process ends
//!        └─ Sqlite   one file; one writer thread, which shares each sync among all queued commits
//! ```

use std::path::Path;

use countersign_core::Fault;
use countersign_core::delivery::{Destination, Settlement};
use countersign_core::device::Device;
use countersign_core::enrolment::Activation;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{
    ClientId, DeviceId, IdentityId, SerialNumber, TenantName, TransactionId, UserName,
};
use countersign_core::port::{
    Claim, Claimed, Commit, Committed, Due, EndSnapshot, Handle, Ledger, OutboxEntry, Purge,
    Registry, SigningRole, StepSnapshot, StoredKey, TransactionChange, UserWithDevices, Versioned,
};
use countersign_core::push_policy::{Contact, PushSnapshot};
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Transaction};
use countersign_core::user::User;

mod claim;
mod draft;
mod keys;
mod memory;
pub mod private;
mod seal;
mod sqlite;

pub use keys::{SealedKeys, SealedSigner};
pub use memory::Memory;
pub use seal::MasterKeyError;
pub use sqlite::{OpenError, OpenFor, SCHEMA, ServerLock, Sqlite};

use keys::CallbackKeys;
use seal::MasterKeys;

/// A ledger and its registry. Clones share the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// A store in memory, which is lost when the process ends.
    Memory(Memory),
    /// An SQLite file in the data directory.
    Sqlite(Sqlite),
}

/// The counts of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// The units of work that were answered, including stale ones.
    pub commits: u64,
    /// The syncs of the disk. With many callers at once, they are far fewer than `commits`.
    pub syncs: u64,
}

/// The mark of a single-use signature, if this commit ends a transaction with one.
fn single_use_mark(commit: &TransactionChange) -> Option<[u8; 32]> {
    match (commit.event, commit.transaction.end()) {
        (Event::Ended(_), Some(End::Finished { proof, .. })) => proof.single_use_mark(),
        _ => None,
    }
}

impl Store {
    /// Creates an empty store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Opens the ledger in the data directory `directory`. Creates both if they are missing. The
    /// master key is in `master_key_file`, or by default in `master.key` in the data directory.
    ///
    /// # Errors
    /// States what is wrong with the directory, the file or the master key, and how to correct it.
    pub fn sqlite(directory: &Path, master_key_file: Option<&Path>) -> Result<Self, OpenError> {
        Self::sqlite_for(directory, master_key_file, OpenFor::Serve)
    }

    /// Opens the ledger for a purpose, which decides what may be created and changed.
    ///
    /// # Errors
    /// As [`Store::sqlite`].
    pub fn sqlite_for(
        directory: &Path,
        master_key_file: Option<&Path>,
        purpose: OpenFor,
    ) -> Result<Self, OpenError> {
        Sqlite::open(directory, master_key_file, purpose).map(Self::Sqlite)
    }

    /// Completes the queued work, checkpoints the file and stops writing. Reads still work.
    ///
    /// # Errors
    /// Fails if the disk does. Acknowledged commits are safe even then.
    pub async fn close(&self) -> Result<(), Fault> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(sqlite) => sqlite.close().await,
        }
    }

    /// Checks that the store can be read and accepts writes.
    ///
    /// # Errors
    /// Fails if it does not, or has been closed.
    pub fn ready(&self) -> Result<(), Fault> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(sqlite) => sqlite.ready(),
        }
    }

    /// The counts since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Memory(memory) => memory.stats(),
            Self::Sqlite(sqlite) => sqlite.stats(),
        }
    }

    /// The private keys of the ledger's tenants and clients.
    #[must_use]
    pub fn private_keys(&self) -> SealedKeys {
        SealedKeys::of(self.clone())
    }

    fn master_keys(&self) -> &MasterKeys {
        match self {
            Self::Memory(memory) => memory.master_keys(),
            Self::Sqlite(sqlite) => sqlite.master_keys(),
        }
    }

    fn signing_key(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> Result<Option<StoredKey>, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.signing_key(tenant, role)),
            Self::Sqlite(sqlite) => sqlite.signing_key(tenant, role),
        }
    }

    fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<Option<CallbackKeys>, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.callback_keys(tenant, client)),
            Self::Sqlite(sqlite) => sqlite.callback_keys(tenant, client),
        }
    }
}

/// Calls the method of the store's variant.
macro_rules! ask {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::Memory($inner) => $call.await,
            Store::Sqlite($inner) => $call.await,
        }
    };
}

impl Ledger for Store {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        ask!(self, store => store.load(tenant, handle))
    }

    async fn step_snapshot(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Option<StepSnapshot>, Fault> {
        ask!(self, store => store.step_snapshot(tenant, device, id))
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        ask!(self, store => store.push_snapshots(who))
    }

    async fn end_snapshot(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Option<EndSnapshot>, Fault> {
        ask!(self, store => store.end_snapshot(tenant, id))
    }

    async fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        ask!(self, store => Ledger::open(store, tenant, user))
    }

    async fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        ask!(self, store => store.list(tenant, user, limit))
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        ask!(self, store => store.due(now, limit))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        ask!(self, store => store.commit(commit))
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        ask!(self, store => store.claim(claim))
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        ask!(self, store => store.settle(settlement))
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        ask!(self, store => store.events(tenant, after, limit))
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        ask!(self, store => store.purge(what, limit))
    }

    async fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        ask!(self, store => store.contacts(tenant, id))
    }

    async fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        ask!(self, store => store.give_up_expired(destination, now, queued_before, outcome))
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> Result<Vec<OutboxEntry>, Fault> {
        ask!(self, store => store.deliveries(tenant, dead_letters, limit))
    }
}

impl Registry for Store {
    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        ask!(self, store => store.tenant(name))
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        ask!(self, store => store.tenants())
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        ask!(self, store => store.client(tenant, id))
    }

    async fn client_by_id(&self, id: &ClientId) -> Result<Option<Client>, Fault> {
        ask!(self, store => store.client_by_id(id))
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        ask!(self, store => store.key(digest))
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        ask!(self, store => store.keys(tenant))
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        ask!(self, store => store.user(tenant, name))
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        ask!(self, store => store.device(tenant, id))
    }

    async fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        ask!(self, store => store.device_by_serial(tenant, serial))
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        ask!(self, store => store.devices(tenant, user))
    }

    async fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        ask!(self, store => store.device_by_identity(tenant, id))
    }

    async fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        ask!(self, store => store.devices_by_labels(tenant, labels, limit))
    }

    async fn user_with_devices(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<UserWithDevices>, Fault> {
        ask!(self, store => store.user_with_devices(tenant, name))
    }

    async fn holder(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<UserWithDevices>, Fault> {
        ask!(self, store => store.holder(tenant, id))
    }

    async fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        ask!(self, store => store.activations(tenant, user, now))
    }
}
