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
pub(crate) mod backup;
mod change;
mod checkpoint;
mod client;
mod column;
mod contact;
mod delivery;
mod device;
mod domain;
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
mod sealed;
mod server_lock;
mod snapshot;
mod spec;
mod stored;
mod tenant;
mod tenant_deletion;
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
use countersign_core::delivery::selection::Selection;
use countersign_core::device::Device;
use countersign_core::event::RecordedEvent;
use countersign_core::id::{ClientId, DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{
    ApiKeyCursor, CertificateEnds, Claim, Claimed, Commit, Committed, Credential, CredentialKey,
    DeliveryCursor, DeviceCursor, DeviceFilter, DomainFilter, Due, Handle, Ledger, Listed,
    OutboxEntry, Page, Purge, Query, Settle, Settled, SigningRole, Snapshot, StoredKey,
    TransactionCursor, Versioned,
};
use countersign_core::push_policy::PushSnapshot;
use countersign_core::tenant::{ApiKey, Client, TenantDomain};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_core::user::User;
use rusqlite::Connection;

use crate::Stats;
use crate::keys::CallbackKeys;
use crate::master_key::MasterKeys;
use crate::seal::MasterKeyId;

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

    pub(crate) fn backlog(&self) -> Result<crate::Backlog, Fault> {
        self.0.readers.read_at_once("counting deliveries", delivery::select::backlog)
    }

    /// See [`crate::Store::events_of_operators`].
    pub(crate) fn events_of_operators(
        &self,
        since: Timestamp,
        limit: u16,
    ) -> Result<Vec<crate::OperatorEvent>, Fault> {
        let doing = "reading what operators did";
        self.0.readers.read_at_once(doing, |sql| event::by_operators(sql, since, limit))
    }

    pub(crate) fn master_keys(&self) -> &MasterKeys {
        &self.0.keys
    }

    /// See [`crate::Store::reseal`].
    pub(crate) async fn reseal(&self, limit: u16) -> Result<u16, Fault> {
        let doing = "sealing values again";
        let resealed =
            self.0.readers.read_at_once(doing, |sql| sealed::reseal(sql, &self.0.keys, limit))?;
        if resealed.is_empty() {
            return Ok(0);
        }
        let found = u16::try_from(resealed.len()).unwrap_or(limit);
        self.0.writer.write(doing, move |sql| sealed::write(sql, &resealed)).await?;
        Ok(found)
    }

    /// See [`crate::Store::back_up`].
    pub(crate) fn back_up(&self, target: &Path) -> Result<(), Fault> {
        self.0.readers.read("copying the ledger", |sql| backup::copy(sql, target))
    }

    /// How many values are sealed under a master key.
    pub(crate) fn sealed_under(&self, key: MasterKeyId) -> Result<u64, Fault> {
        let doing = "counting the values of a master key";
        self.0.readers.read_at_once(doing, |sql| sealed::count(sql, key))
    }

    /// The master keys that values name.
    pub(crate) fn named_master_keys(&self) -> Result<Vec<MasterKeyId>, Fault> {
        self.0.readers.read_at_once("finding master keys", sealed::keys)
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
    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let doing = commit.change.doing();
        let prepared = change::PreparedCommit::of(commit, &self.0.keys);
        self.0.writer.write(doing, move |sql| prepared.write(sql)).await
    }

    async fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        self.0.snapshot(tenant, query)
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

    async fn credential(&self, key: CredentialKey<'_>) -> Result<Option<Credential>, Fault> {
        let client = |tenant, id| {
            let client = |sql: &_| client::load(sql, tenant, id);
            Ok(self.0.readers.read("reading a client", client)?.map(Credential::Client))
        };
        match key {
            CredentialKey::Client(tenant, id) => client(Some(tenant), id),
            CredentialKey::AnyClient(id) => client(None, id),
            CredentialKey::TokenHolder(tenant, id) => {
                let holder = |sql: &_| client::load_holder(sql, tenant, id);
                let found = self.0.readers.read("reading a token's client", holder)?;
                Ok(found.map(|(client, keys)| Credential::TokenHolder(client, keys)))
            }
            CredentialKey::ApiKey(digest) => {
                let found = self.0.readers.read("reading an API key", |sql| key::load(sql, digest));
                Ok(found?.map(Credential::ApiKey))
            }
            CredentialKey::ApiKeyId(id) => {
                let found = |sql: &_| key::load_by_id(sql, id);
                Ok(self.0.readers.read("reading an API key", found)?.map(Credential::ApiKey))
            }
        }
    }

    async fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault> {
        let list = |sql: &_| transaction::list(sql, tenant, user, page);
        self.0.readers.read_at_once("listing transactions", list)
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        filter: DeviceFilter<'_>,
        page: Page<DeviceCursor>,
    ) -> Result<Listed<Versioned<Device>, DeviceCursor>, Fault> {
        let (readers, keys) = (&self.0.readers, &self.0.keys);
        let list = |user| {
            readers.read("listing devices", |sql| device::list(sql, tenant, user, &page, keys))
        };
        let rows = match filter {
            DeviceFilter::All => list(None)?,
            DeviceFilter::User(user) => list(Some(user))?,
            DeviceFilter::Labels(labels) => {
                let find = |sql: &_| identity::devices_with(sql, tenant, labels, &page, keys);
                readers.read_at_once("finding identities by labels", find)?
            }
        };
        Ok(Listed::new(rows, page.limit, DeviceCursor::of))
    }

    async fn tenants(
        &self,
        page: Page<TenantName>,
    ) -> Result<Listed<TenantName, TenantName>, Fault> {
        let names = self.0.readers.read("listing tenants", |sql| tenant::names(sql, &page))?;
        Ok(Listed::new(names, page.limit, TenantName::clone))
    }

    async fn domains(&self, filter: DomainFilter<'_>) -> Result<Vec<TenantDomain>, Fault> {
        self.0.readers.read("listing domains", |sql| domain::list(sql, filter))
    }

    async fn clients(
        &self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> Result<Listed<Client, ClientId>, Fault> {
        self.0.readers.read("listing clients", |sql| client::list(sql, tenant, &page))
    }

    async fn users(
        &self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> Result<Listed<Versioned<User>, UserName>, Fault> {
        self.0.readers.read("listing users", |sql| user::list(sql, tenant, &page))
    }

    async fn api_keys(
        &self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> Result<Listed<ApiKey, ApiKeyCursor>, Fault> {
        self.0.readers.read("listing API keys", |sql| key::list(sql, tenant, page))
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Result<Listed<OutboxEntry, DeliveryCursor>, Fault> {
        let list = |sql: &_| delivery::list(sql, tenant, dead_letters, page);
        self.0.readers.read_at_once("listing deliveries", list)
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> Result<Listed<RecordedEvent, u64>, Fault> {
        self.0.readers.read("listing events", |sql| event::list(sql, tenant, page))
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let doing = "finding transactions that are due";
        self.0.readers.read(doing, |sql| transaction::due(sql, now, limit))
    }

    async fn certificate_ends(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CertificateEnds, Fault> {
        let doing = "counting the ends of certificates";
        self.0.readers.read(doing, |sql| identity::ends(sql, now, until))
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        let (doing, lease_end) = ("claiming deliveries", claim.lease_end);
        let find = |sql: &_| delivery::candidates(sql, claim);
        let Selection { found, resume, is_partial } = self.0.readers.read(doing, find)?;
        if found.is_empty() {
            return Ok(Claimed { deliveries: Vec::new(), resume, is_partial });
        }
        let lease = move |sql: &_| delivery::lease(sql, &found, lease_end);
        let deliveries = self.0.writer.write(doing, lease).await?;
        Ok(Claimed { deliveries, resume, is_partial })
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Fault> {
        let doing = match settle {
            Settle::Claimed(_) => "settling a delivery",
            Settle::Expired { .. } => "giving deliveries up",
        };
        self.0.writer.write(doing, move |sql| delivery::settle(sql, &settle)).await
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
}
