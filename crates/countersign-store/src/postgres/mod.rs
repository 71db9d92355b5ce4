//! A ledger on PostgreSQL, which several nodes share.
//!
//! Every answered commit is durable. Commits of transactions and results of deliveries are written
//! in batches; changes of the registry are SQL transactions of their own, which are repeated if
//! others ran beside them. Rows on which a commit depends are locked until it is durable, so that
//! no other node changes them in between.
//!
//! ```text
//! transactions, deliveries ──▶ queue ──▶ 2 writers: BEGIN, all statements at once, COMMIT
//! registry ───────────────────▶ pool ──▶ BEGIN, statement by statement, COMMIT
//! reads ──────────────────────▶ pool ──▶ one statement, or several of one moment
//! ```

mod address;
mod alone;
mod connection;
mod fleet;
mod health;
mod joined;
mod lease;
mod pool;
mod presence;
mod schema;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod unit;
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

use crate::Stats;
use crate::keys::CallbackKeys;
use crate::master_key::{MasterKeyError, MasterKeys};
use crate::postgres_error::explained;
use crate::seal::MasterKeyId;
use crate::sql::change::PreparedCommit;
use crate::sql::error::StoreError;
use crate::sql::value::values;
use crate::sql::{
    Sql as _, activation, client, delivery, domain, event, evidence, identity, key, private_key,
    read, sealed, snapshot, tenant, transaction, user,
};

pub use address::{PostgresError, PostgresLocation};
pub use fleet::{Fleet, FleetMessages, FleetNode, MESSAGE_MAX};
pub use presence::UserPresence;

use address::Address;
use alone::{Alone, Done};
use connection::Connection;
use health::Health;
use pool::Pool;
use writer::{Answer, Work, Writers};

/// A ledger on PostgreSQL. Clones share the same connections.
#[derive(Clone)]
pub struct Postgres(Arc<PostgresParts>);

struct PostgresParts {
    /// Names this process in leases.
    holder: [u8; 16],
    keys: MasterKeys,
    fleet: Fleet,
    pool: Pool,
    writers: Writers,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    /// Opens the ledger in a database. Makes the schema, and the master key beside it, if they are
    /// missing. `must_be_new` refuses an existing ledger.
    pub(crate) async fn open(
        location: &PostgresLocation,
        master_key_file: &Path,
        must_be_new: bool,
        now: Timestamp,
    ) -> Result<Self, PostgresError> {
        let address = Arc::new(Address::of(location)?);
        let unreachable = |error: tokio_postgres::Error| {
            PostgresError::Unreachable(explained(&error).to_string())
        };
        let connection = address.connect(None).await.map_err(unreachable)?;
        schema::prepare(&connection, &address, must_be_new, now).await?;
        let keys = open_keys(&connection, master_key_file).await?;
        let health = Arc::new(Health::default());
        let pool = Pool::new(Arc::clone(&address), Arc::clone(&health), location.connections_max);
        let writers = Writers::start(&address, &health);
        let fleet = Fleet { address };
        let mut holder = [0; 16];
        aws_lc_rs::rand::fill(&mut holder)
            .map_err(|_| PostgresError::Failed("the system gives no random numbers".into()))?;
        Ok(Self(Arc::new(PostgresParts { holder, keys, fleet, pool, writers })))
    }

    pub(crate) async fn close(&self) {
        self.0.writers.close().await;
    }

    pub(crate) fn fleet(&self) -> Fleet {
        self.0.fleet.clone()
    }

    pub(crate) fn ready(&self) -> Result<(), Fault> {
        self.0.writers.check()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.0.writers.stats()
    }

    pub(crate) async fn backlog(&self) -> Result<crate::Backlog, Fault> {
        self.read("counting deliveries", async |sql: &Connection| {
            delivery::select::backlog(sql).await
        })
        .await
    }

    /// See [`crate::Store::events_of_operators`].
    pub(crate) async fn events_of_operators(
        &self,
        since: Timestamp,
        limit: u16,
    ) -> Result<Vec<crate::OperatorEvent>, Fault> {
        let doing = "reading what operators did";
        self.read(doing, async |sql: &Connection| event::by_operators(sql, since, limit).await)
            .await
    }

    pub(crate) async fn has_devices(&self) -> Result<bool, Fault> {
        self.read("looking for devices", async |sql: &Connection| {
            crate::sql::device::any(sql).await
        })
        .await
    }

    pub(crate) fn master_keys(&self) -> &MasterKeys {
        &self.0.keys
    }

    /// See [`crate::Store::reseal`].
    pub(crate) async fn reseal(&self, limit: u16) -> Result<u16, Fault> {
        let doing = "sealing values again";
        let keys = &self.0.keys;
        let resealed = self
            .read(doing, async |sql: &Connection| sealed::reseal(sql, keys, limit).await)
            .await?;
        if resealed.is_empty() {
            return Ok(0);
        }
        let found = u16::try_from(resealed.len()).unwrap_or(limit);
        self.alone(doing, Alone::Reseal(resealed)).await?;
        Ok(found)
    }

    /// How many values are sealed under a master key.
    pub(crate) async fn sealed_under(&self, key: MasterKeyId) -> Result<u64, Fault> {
        let doing = "counting the values of a master key";
        self.read_at_once(doing, async |sql: &Connection| sealed::count(sql, key).await).await
    }

    /// The master keys that values name.
    pub(crate) async fn named_master_keys(&self) -> Result<Vec<MasterKeyId>, Fault> {
        self.read_at_once("finding master keys", async |sql: &Connection| sealed::keys(sql).await)
            .await
    }

    pub(crate) async fn signing_key(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> Result<Option<StoredKey>, Fault> {
        let doing = "reading a signing key";
        self.read(doing, async |sql: &Connection| private_key::load(sql, tenant, role).await).await
    }

    pub(crate) async fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<Option<CallbackKeys>, Fault> {
        let doing = "reading a client's callback keys";
        self.read(doing, async |sql: &Connection| {
            private_key::load_callback_keys(sql, tenant, client).await
        })
        .await
    }

    /// Reads with one statement, or with several that need not be of one moment.
    async fn read<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        let read = async {
            let lent = self.0.pool.lend().await?;
            work(&*lent).await
        };
        read.await.map_err(|error| error.while_doing(doing))
    }

    /// Reads a few rows by their keys, on a connection that others use at the same time.
    async fn read_beside<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        let read = async {
            let shared = self.0.pool.share().await?;
            work(&shared).await
        };
        read.await.map_err(|error| error.while_doing(doing))
    }

    /// Reads with several statements of one moment.
    async fn read_at_once<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        let read = async {
            let lent = self.0.pool.lend_moment().await?;
            work(&*lent).await
        };
        read.await.map_err(|error| error.while_doing(doing))
    }

    /// Writes a unit of work as a SQL transaction of its own.
    async fn alone(&self, doing: &'static str, work: Alone) -> Result<Done, Fault> {
        let done = work.run(&self.0.pool).await.map_err(|error| error.while_doing(doing))?;
        self.0.writers.count_alone();
        Ok(done)
    }
}

/// Reads the master key, or creates it if nothing is sealed yet. Then checks that each key that
/// values name is in the file.
async fn open_keys(sql: &Connection, path: &Path) -> Result<MasterKeys, PostgresError> {
    let failed = |error: StoreError| PostgresError::Failed(error.to_string());
    let is_sealed = tenant::any(sql).await.map_err(failed)?;
    let keys = MasterKeys::from_file(path, !is_sealed)?;
    let ring = keys.current();
    for key in sealed::keys(sql).await.map_err(failed)? {
        if !ring.ids().any(|id| id == key) {
            let values = sealed::count(sql, key).await.map_err(failed)?;
            return Err(MasterKeyError::Lacking { path: path.into(), key, values }.into());
        }
    }
    if let Some(tenant) = private_key::shut(sql, &keys).await.map_err(failed)? {
        return Err(MasterKeyError::Other { path: path.into(), tenant }.into());
    }
    if !is_sealed {
        // Nothing is sealed yet that could show that two nodes have different keys.
        const MARK: &str = "UPDATE ledger SET master_key = ?1 WHERE master_key IS NULL";
        const MARKED: &str = "SELECT master_key FROM ledger";
        sql.execute(MARK, values![ring.newest().0]).await.map_err(failed)?;
        let first: Vec<u8> = sql.value(MARKED, &[]).await.map_err(failed)?;
        if !ring.ids().any(|id| id.0[..] == first[..]) {
            return Err(PostgresError::OtherMasterKey(path.into()));
        }
    }
    Ok(keys)
}

impl Ledger for Postgres {
    async fn commit(&self, commit: Commit) -> Result<Committed, Fault> {
        let doing = commit.change.doing();
        let commit = PreparedCommit::of(commit, &self.0.keys);
        if !commit.is_of_transactions() {
            return Ok(self.alone(doing, Alone::Commit(Box::new(commit))).await?.committed());
        }
        match self.0.writers.write(doing, Work::Commit(Box::new(commit))).await? {
            Answer::Committed(committed) => Ok(committed),
            Answer::Settled(_) => unreachable!("each kind of work has its kind of answer"),
        }
    }

    async fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        let doing = snapshot::doing(query);
        let keys = &self.0.keys;
        let joined = async |sql: &Connection| joined::load(sql, tenant, query, keys).await;
        if joined::fits(query)
            && let Some(found) = self.read_beside(doing, joined).await?
        {
            return Ok(found);
        }
        let load = async |sql: &Connection| snapshot::load(sql, tenant, query, keys).await;
        if snapshot::is_one_statement(query) {
            self.read_beside(doing, load).await
        } else {
            self.read_at_once(doing, load).await
        }
    }

    async fn push_snapshots(
        &self,
        who: &[(TenantName, DeviceId, TransactionId)],
    ) -> Result<Vec<Option<PushSnapshot>>, Fault> {
        let doing = "reading what pushes stand on";
        self.read_at_once(doing, async |sql: &Connection| {
            read::push_snapshots(sql, who, &self.0.keys).await
        })
        .await
    }

    async fn presence(&self, tenant: &TenantName, user: &UserName) -> Result<Vec<Presence>, Fault> {
        let load = async |sql: &Connection| presence::load(sql, tenant, user).await;
        self.read_beside("reading where devices are connected", load).await
    }

    async fn credential(&self, key: CredentialKey<'_>) -> Result<Option<Credential>, Fault> {
        let find = async |sql: &Connection| read::credential(sql, key).await;
        self.read_beside("reading a credential", find).await
    }

    async fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault> {
        let list = async |sql: &Connection| transaction::list(sql, tenant, user, page).await;
        self.read_at_once("listing transactions", list).await
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
            DeviceFilter::Labels(_) => self.read_at_once("listing devices", list).await,
            _ => self.read("listing devices", list).await,
        }
    }

    async fn tenants(
        &self,
        page: Page<TenantName>,
    ) -> Result<Listed<TenantName, TenantName>, Fault> {
        let names = self
            .read("listing tenants", async |sql: &Connection| tenant::names(sql, &page).await)
            .await?;
        Ok(Listed::new(names, page.limit, TenantName::clone))
    }

    async fn domains(&self, filter: DomainFilter<'_>) -> Result<Vec<TenantDomain>, Fault> {
        self.read("listing domains", async |sql: &Connection| domain::list(sql, filter).await).await
    }

    async fn clients(
        &self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> Result<Listed<Client, ClientId>, Fault> {
        self.read("listing clients", async |sql: &Connection| {
            client::list(sql, tenant, &page).await
        })
        .await
    }

    async fn users(
        &self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> Result<Listed<Versioned<User>, UserName>, Fault> {
        self.read("listing users", async |sql: &Connection| user::list(sql, tenant, &page).await)
            .await
    }

    async fn api_keys(
        &self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> Result<Listed<ApiKey, ApiKeyCursor>, Fault> {
        self.read("listing API keys", async |sql: &Connection| key::list(sql, tenant, page).await)
            .await
    }

    async fn deliveries(
        &self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Result<Listed<OutboxEntry, DeliveryCursor>, Fault> {
        let list = async |sql: &Connection| delivery::list(sql, tenant, dead_letters, page).await;
        self.read_at_once("listing deliveries", list).await
    }

    async fn events(
        &self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> Result<Listed<RecordedEvent, u64>, Fault> {
        self.read("listing events", async |sql: &Connection| event::list(sql, tenant, page).await)
            .await
    }

    async fn due(&self, now: Timestamp, limit: u16) -> Result<Due, Fault> {
        let doing = "finding transactions that are due";
        let find = async |sql: &Connection| {
            // One node ends them for all. The others look again at their next turn.
            if lease::take(sql, "ending transactions", &self.0.holder).await? {
                transaction::due(sql, now, limit).await
            } else {
                Ok(Due::default())
            }
        };
        self.read(doing, find).await
    }

    async fn certificate_ends(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CertificateEnds, Fault> {
        let doing = "counting the ends of certificates";
        self.read(doing, async |sql: &Connection| identity::ends(sql, now, until).await).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        let (doing, lease_end) = ("claiming deliveries", claim.lease_end);
        let find = async |sql: &Connection| delivery::candidates(sql, claim).await;
        let Selection { found, resume, is_partial } = self.read(doing, find).await?;
        if found.is_empty() {
            return Ok(Claimed { deliveries: Vec::new(), resume, is_partial });
        }
        let deliveries = self.alone(doing, Alone::Lease(found, lease_end)).await?.leased();
        Ok(Claimed { deliveries, resume, is_partial })
    }

    async fn settle(&self, settle: Settle) -> Result<Settled, Fault> {
        let doing = match settle {
            Settle::Claimed(_) => "settling a delivery",
            Settle::Expired { .. } => "giving deliveries up",
        };
        match self.0.writers.write(doing, Work::Settle(Box::new(settle))).await? {
            Answer::Settled(settled) => Ok(settled),
            Answer::Committed(_) => unreachable!("each kind of work has its kind of answer"),
        }
    }

    async fn purge(&self, what: Purge, limit: u16) -> Result<u16, Fault> {
        match what {
            Purge::Transactions(before) => {
                let doing = "removing ended transactions";
                let find = async |sql: &Connection| evidence::forgettable(sql, before, limit).await;
                let keys = self.read(doing, find).await?;
                if keys.is_empty() {
                    return Ok(0);
                }
                Ok(self.alone(doing, Alone::PurgeTransactions(keys, before)).await?.counted())
            }
            Purge::Activations(before) => {
                let doing = "removing expired activations";
                let find = async |sql: &Connection| activation::expired(sql, before, limit).await;
                let keys = self.read(doing, find).await?;
                if keys.is_empty() {
                    return Ok(0);
                }
                Ok(self.alone(doing, Alone::PurgeActivations(keys, before)).await?.counted())
            }
            Purge::Events(before) => {
                let purge = Alone::PurgeEvents(before, limit);
                Ok(self.alone("removing events", purge).await?.counted())
            }
        }
    }
}
