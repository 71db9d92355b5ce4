//! A store in one SQLite file, `ledger.db` in the data directory.
//!
//! Every answered commit is on disk. One thread does all writes: it writes all queued units of work
//! as one SQL transaction, and answers after the sync. Reads run on the caller's thread, in
//! microseconds, on separate connections. Several processes may have the file open at once.
//!
//! ```text
//! commit ─┐                        ┌─ check, write ─┐
//! commit ─┼─▶ queue ─▶ writer ─────┼─ check, write ─┼─▶ one COMMIT ─▶ answers
//! commit ─┘           (one thread) └─ check: stale ─┘        │
//!                                                    checkpoint thread
//! load ──▶ readers ──▶ answer
//! ```

mod activation;
mod change;
mod checkpoint;
mod column;
mod contact;
mod delivery;
mod device;
mod end_snapshot;
mod error;
mod event;
mod evidence;
mod identity;
mod identity_key;
mod key;
mod open;
mod private_key;
mod proof;
mod readers;
mod server_lock;
mod spec;
mod stored;
mod tenant;
#[cfg(test)]
mod tests;
mod transaction;
mod user;
mod write_queue_lock;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

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
    Registry, SigningRole, StepSnapshot, StoredKey, UserWithDevices, Versioned,
};
use countersign_core::push_policy::{Contact, PushSnapshot};
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_core::user::User;
use rusqlite::Connection;

use crate::Stats;
use crate::keys::CallbackKeys;
use crate::seal::MasterKeys;

pub use open::{OpenError, OpenFor, SCHEMA};
pub use server_lock::ServerLock;

use readers::Readers;
use writer::Writer;

/// A store in a file. Clones share the same store; the last one that is dropped closes the file.
#[derive(Clone)]
pub struct Sqlite(Arc<Parts>);

struct Parts {
    keys: MasterKeys,
    readers: Readers,
    writer: Writer,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sqlite")
    }
}

impl Sqlite {
    pub(crate) fn open(
        directory: &Path,
        master_key: Option<&Path>,
        purpose: OpenFor,
    ) -> Result<Self, OpenError> {
        open::open(directory, master_key, purpose).map(|parts| Self(Arc::new(parts)))
    }

    pub(crate) async fn close(&self) -> Result<(), Fault> {
        self.0.writer.close().await
    }

    pub(crate) fn ready(&self) -> Result<(), Fault> {
        self.0.writer.check()?;
        self.0.readers.read("reading the ledger", tenant::any).map(|_| ())
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.writer.stats()
    }

    pub(crate) fn master_keys(&self) -> &MasterKeys {
        &self.0.keys
    }

    pub(crate) fn signing_key(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> Result<Option<StoredKey>, Fault> {
        let doing = "reading a signing key";
        self.0.readers.read(doing, |sql| private_key::load(sql, tenant, role))
    }

    pub(crate) fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<Option<CallbackKeys>, Fault> {
        let doing = "reading a client's callback keys";
        self.0.readers.read(doing, |sql| private_key::load_callback_keys(sql, tenant, client))
    }
}

impl Ledger for Sqlite {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        self.0.readers.read("loading a transaction", |sql| transaction::load(sql, tenant, handle))
    }

    async fn step_snapshot(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        transaction: TransactionId,
    ) -> Result<Option<StepSnapshot>, Fault> {
        let doing = "reading who acts on what";
        self.0.readers.read_at_once(doing, |sql| {
            let Some(device) = device::load(sql, tenant, id, &self.0.keys)? else {
                return Ok(None);
            };
            let user = user::load(sql, tenant, &device.value.user)?;
            let transaction = transaction::load(sql, tenant, &Handle::Id(transaction))?;
            Ok(Some(StepSnapshot { device, user, transaction }))
        })
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        let read = |sql: &Connection, tenant, id, on| {
            let Some(device) = device::load_sleeper(sql, tenant, id, &self.0.keys)? else {
                return Ok(None);
            };
            let user = user::load(sql, tenant, &device.user)?;
            let transaction = transaction::load(sql, tenant, &Handle::Id(on))?;
            Ok(Some(PushSnapshot { device, user, transaction }))
        };
        self.0.readers.read_at_once("reading what pushes stand on", |sql| {
            who.iter().map(|(tenant, id, on)| read(sql, tenant, *id, *on)).collect()
        })
    }

    async fn end_snapshot(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Option<EndSnapshot>, Fault> {
        let doing = "reading what came of a transaction";
        self.0.readers.read(doing, |sql| end_snapshot::load(sql, tenant, id, &self.0.keys))
    }

    async fn open(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let doing = "reading open transactions";
        self.0.readers.read(doing, |sql| transaction::open(sql, tenant, user))
    }

    async fn list(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let doing = "listing transactions";
        self.0.readers.read(doing, |sql| transaction::list(sql, tenant, user, limit))
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let doing = "finding transactions that are due";
        self.0.readers.read(doing, |sql| transaction::due(sql, now, limit))
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let doing = commit.change.doing();
        let prepared = change::PreparedCommit::of(commit, &self.0.keys);
        self.0.writer.write(doing, move |sql| prepared.write(sql)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        let (doing, lease_end) = ("claiming deliveries", claim.lease_end);
        let find = |sql: &_| delivery::candidates(sql, claim);
        let (candidates, resume) = self.0.readers.read(doing, find)?;
        if candidates.is_empty() {
            return Ok(Claimed { deliveries: Vec::new(), resume });
        }
        let lease = move |sql: &_| delivery::lease(sql, &candidates, lease_end);
        let deliveries = self.0.writer.write(doing, lease).await?;
        Ok(Claimed { deliveries, resume })
    }

    async fn settle(&self, settlement: Settlement) -> Result<(), Fault> {
        let settle = move |sql: &_| delivery::settle(sql, &settlement);
        self.0.writer.write("settling a delivery", settle).await
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        self.0.readers.read("listing events", |sql| event::list(sql, tenant, after, limit))
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        let (readers, writer) = (&self.0.readers, &self.0.writer);
        // Find the candidates outside the writer thread, which then only checks each of them again.
        match what {
            Purge::Transactions(before) => {
                let doing = "removing ended transactions";
                let seqs = readers.read(doing, |sql| evidence::forgettable(sql, before, limit))?;
                if seqs.is_empty() {
                    return Ok(0);
                }
                writer.write(doing, move |sql| evidence::purge(sql, &seqs, before)).await
            }
            Purge::Activations(before) => {
                let doing = "removing expired activations";
                let seqs = readers.read(doing, |sql| activation::expired(sql, before, limit))?;
                if seqs.is_empty() {
                    return Ok(0);
                }
                writer.write(doing, move |sql| activation::purge(sql, &seqs, before)).await
            }
            Purge::Events(before) => {
                let doing = "removing events";
                writer.write(doing, move |sql| event::purge(sql, before, limit)).await
            }
        }
    }

    async fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        self.0.readers.read("reading contacts", |sql| contact::list(sql, tenant, id))
    }

    async fn give_up_expired(
        &self,
        destination: &Destination,
        now: Timestamp,
        queued_before: Timestamp,
        outcome: &str,
    ) -> Result<u16, Fault> {
        let (destination, outcome) = (destination.clone(), outcome.to_owned());
        let give_up_expired = move |sql: &_| {
            delivery::give_up_expired(sql, &destination, now, queued_before, &outcome)
        };
        self.0.writer.write("giving deliveries up", give_up_expired).await
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        limit: u16,
    ) -> Result<Vec<OutboxEntry>, Fault> {
        let doing = "listing deliveries";
        self.0.readers.read(doing, |sql| delivery::list(sql, tenant, dead_letters, limit))
    }
}

impl Registry for Sqlite {
    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        self.0.readers.read("reading a tenant", |sql| tenant::load(sql, name))
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        self.0.readers.read("listing tenants", tenant::names)
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        let doing = "reading a client";
        self.0.readers.read(doing, |sql| tenant::load_client(sql, Some(tenant), id))
    }

    async fn client_by_id(&self, id: &ClientId) -> Result<Option<Client>, Fault> {
        let doing = "finding a client";
        self.0.readers.read(doing, |sql| tenant::load_client(sql, None, id))
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        self.0.readers.read("reading an API key", |sql| key::load(sql, digest))
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        self.0.readers.read("listing API keys", |sql| key::list(sql, tenant))
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        self.0.readers.read("reading a user", |sql| user::load(sql, tenant, name))
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let doing = "reading a device";
        self.0.readers.read(doing, |sql| device::load(sql, tenant, id, &self.0.keys))
    }

    async fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let doing = "finding a device";
        let keys = &self.0.keys;
        self.0.readers.read(doing, |sql| device::load_by_serial(sql, tenant, serial, keys))
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let doing = "listing devices";
        self.0.readers.read(doing, |sql| device::list(sql, tenant, user, &self.0.keys))
    }

    async fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let keys = &self.0.keys;
        let find = |sql: &_| identity::load_device(sql, tenant, id, keys);
        self.0.readers.read_at_once("finding an identity", find)
    }

    async fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let keys = &self.0.keys;
        let find = |sql: &_| identity::devices_with(sql, tenant, labels, limit, keys);
        self.0.readers.read_at_once("finding identities by labels", find)
    }

    async fn user_with_devices(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<UserWithDevices>, Fault> {
        self.0.readers.read("reading a user and their devices", |sql| {
            let devices = || device::list(sql, tenant, Some(name), &self.0.keys);
            let found = user::load_and(sql, tenant, name, devices)?;
            Ok(found.map(|(user, devices)| UserWithDevices { user, devices }))
        })
    }

    async fn holder(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<UserWithDevices>, Fault> {
        let keys = &self.0.keys;
        let find = |sql: &_| identity::load_holder(sql, tenant, id, keys);
        self.0.readers.read("finding who holds an identity", find)
    }

    async fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        let doing = "reading activations";
        self.0.readers.read(doing, |sql| activation::list(sql, tenant, user, now, &self.0.keys))
    }
}
