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

pub(crate) mod backup;
mod checkpoint;
mod connection;
mod open;
mod readers;
mod server_lock;
pub(crate) mod source;
#[cfg(test)]
mod tests;
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
    DeliveryCursor, DeviceCursor, DeviceFilter, DomainFilter, Due, Ledger, Listed, OutboxEntry,
    Page, Presence, Purge, Query, Settle, Settled, SigningRole, Snapshot, StoredKey,
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
use crate::sql::change::PreparedCommit;
use crate::sql::{
    activation, client, delivery, domain, event, evidence, identity, key, private_key, read,
    sealed, snapshot, tenant, transaction, user,
};

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
        self.0.readers.read_at_once(doing, async |sql: &Connection| {
            event::by_operators(sql, since, limit).await
        })
    }

    pub(crate) fn has_devices(&self) -> Result<bool, Fault> {
        let any = async |sql: &Connection| crate::sql::device::any(sql).await;
        self.0.readers.read("looking for devices", any)
    }

    pub(crate) fn master_keys(&self) -> &MasterKeys {
        &self.0.keys
    }

    /// See [`crate::Store::reseal`].
    pub(crate) async fn reseal(&self, limit: u16) -> Result<u16, Fault> {
        let doing = "sealing values again";
        let resealed = self.0.readers.read_at_once(doing, async |sql: &Connection| {
            sealed::reseal(sql, &self.0.keys, limit).await
        })?;
        if resealed.is_empty() {
            return Ok(0);
        }
        let found = u16::try_from(resealed.len()).unwrap_or(limit);
        self.0
            .writer
            .write(doing, async move |sql: &Connection| sealed::write(sql, &resealed).await)
            .await?;
        Ok(found)
    }

    /// See [`crate::Store::back_up`].
    pub(crate) fn back_up(&self, target: &Path) -> Result<(), Fault> {
        self.0
            .readers
            .read("copying the ledger", async |sql: &Connection| backup::copy(sql, target))
    }

    /// How many values are sealed under a master key.
    pub(crate) fn sealed_under(&self, key: MasterKeyId) -> Result<u64, Fault> {
        let doing = "counting the values of a master key";
        self.0.readers.read_at_once(doing, async |sql: &Connection| sealed::count(sql, key).await)
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
        self.0
            .readers
            .read(doing, async |sql: &Connection| private_key::load(sql, tenant, role).await)
    }

    pub(crate) fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<Option<CallbackKeys>, Fault> {
        let doing = "reading a client's callback keys";
        self.0.readers.read(doing, async |sql: &Connection| {
            private_key::load_callback_keys(sql, tenant, client).await
        })
    }
}

impl Ledger for Sqlite {
    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let doing = commit.change.doing();
        let prepared = PreparedCommit::of(commit, &self.0.keys);
        self.0.writer.write(doing, async move |sql: &Connection| prepared.write(sql).await).await
    }

    async fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        let doing = snapshot::doing(query);
        let load = async |sql: &Connection| snapshot::load(sql, tenant, query, &self.0.keys).await;
        if snapshot::is_one_statement(query) {
            self.0.readers.read(doing, load)
        } else {
            self.0.readers.read_at_once(doing, load)
        }
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        let doing = "reading what pushes stand on";
        self.0.readers.read_at_once(doing, async |sql: &Connection| {
            read::push_snapshots(sql, who, &self.0.keys).await
        })
    }

    async fn presence(&self, _: &TenantName, _: &UserName) -> Result<Vec<Presence>, Fault> {
        Ok(Vec::new())
    }

    async fn credential(&self, key: CredentialKey<'_>) -> Result<Option<Credential>, Fault> {
        let find = async |sql: &Connection| read::credential(sql, key).await;
        self.0.readers.read("reading a credential", find)
    }

    async fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault> {
        let list = async |sql: &Connection| transaction::list(sql, tenant, user, page).await;
        self.0.readers.read_at_once("listing transactions", list)
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        filter: DeviceFilter<'_>,
        page: Page<DeviceCursor>,
    ) -> Result<Listed<Versioned<Device>, DeviceCursor>, Fault> {
        let list =
            async |sql: &Connection| read::devices(sql, tenant, filter, &page, &self.0.keys).await;
        match filter {
            DeviceFilter::Labels(_) => self.0.readers.read_at_once("listing devices", list),
            _ => self.0.readers.read("listing devices", list),
        }
    }

    async fn tenants(
        &self,
        page: Page<TenantName>,
    ) -> Result<Listed<TenantName, TenantName>, Fault> {
        let names = self
            .0
            .readers
            .read("listing tenants", async |sql: &Connection| tenant::names(sql, &page).await)?;
        Ok(Listed::new(names, page.limit, TenantName::clone))
    }

    async fn domains(&self, filter: DomainFilter<'_>) -> Result<Vec<TenantDomain>, Fault> {
        self.0
            .readers
            .read("listing domains", async |sql: &Connection| domain::list(sql, filter).await)
    }

    async fn clients(
        &self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> Result<Listed<Client, ClientId>, Fault> {
        self.0.readers.read("listing clients", async |sql: &Connection| {
            client::list(sql, tenant, &page).await
        })
    }

    async fn users(
        &self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> Result<Listed<Versioned<User>, UserName>, Fault> {
        self.0
            .readers
            .read("listing users", async |sql: &Connection| user::list(sql, tenant, &page).await)
    }

    async fn api_keys(
        &self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> Result<Listed<ApiKey, ApiKeyCursor>, Fault> {
        self.0
            .readers
            .read("listing API keys", async |sql: &Connection| key::list(sql, tenant, page).await)
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Result<Listed<OutboxEntry, DeliveryCursor>, Fault> {
        let list = async |sql: &Connection| delivery::list(sql, tenant, dead_letters, page).await;
        self.0.readers.read_at_once("listing deliveries", list)
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> Result<Listed<RecordedEvent, u64>, Fault> {
        self.0
            .readers
            .read("listing events", async |sql: &Connection| event::list(sql, tenant, page).await)
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let doing = "finding transactions that are due";
        self.0.readers.read(doing, async |sql: &Connection| transaction::due(sql, now, limit).await)
    }

    async fn certificate_ends(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CertificateEnds, Fault> {
        let doing = "counting the ends of certificates";
        self.0.readers.read(doing, async |sql: &Connection| identity::ends(sql, now, until).await)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        let (doing, lease_end) = ("claiming deliveries", claim.lease_end);
        let find = async |sql: &Connection| delivery::candidates(sql, claim).await;
        let Selection { found, resume, is_partial } = self.0.readers.read(doing, find)?;
        if found.is_empty() {
            return Ok(Claimed { deliveries: Vec::new(), resume, is_partial });
        }
        let lease = async move |sql: &Connection| delivery::lease(sql, &found, lease_end).await;
        let deliveries = self.0.writer.write(doing, lease).await?;
        Ok(Claimed { deliveries, resume, is_partial })
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Fault> {
        let doing = match settle {
            Settle::Claimed(_) => "settling a delivery",
            Settle::Expired { .. } => "giving deliveries up",
        };
        self.0
            .writer
            .write(doing, async move |sql: &Connection| delivery::settle(sql, &settle).await)
            .await
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        let (readers, writer) = (&self.0.readers, &self.0.writer);
        // Find the candidates outside the writer thread, which then only checks each of them again.
        match what {
            Purge::Transactions(before) => {
                let doing = "removing ended transactions";
                let seqs = readers.read(doing, async |sql: &Connection| {
                    evidence::forgettable(sql, before, limit).await
                })?;
                if seqs.is_empty() {
                    return Ok(0);
                }
                writer
                    .write(doing, async move |sql: &Connection| {
                        evidence::purge(sql, &seqs, before).await
                    })
                    .await
            }
            Purge::Activations(before) => {
                let doing = "removing expired activations";
                let seqs = readers.read(doing, async |sql: &Connection| {
                    activation::expired(sql, before, limit).await
                })?;
                if seqs.is_empty() {
                    return Ok(0);
                }
                writer
                    .write(doing, async move |sql: &Connection| {
                        activation::purge(sql, &seqs, before).await
                    })
                    .await
            }
            Purge::Events(before) => {
                let doing = "removing events";
                writer
                    .write(doing, async move |sql: &Connection| {
                        event::purge(sql, before, limit).await
                    })
                    .await
            }
        }
    }
}
