//! A store in one SQLite file, `ledger.db` in the data directory.
//!
//! Its promise: what was answered is on disk. All writes go to one thread, which writes everything
//! that waits as one SQL transaction and answers after its sync; reads run where they are asked for,
//! in microseconds, on connections of their own. Several processes may have the file open at once.
//!
//! ```text
//! commit ─┐                        ┌─ judge, write ─┐
//! commit ─┼─▶ queue ─▶ writer ─────┼─ judge, write ─┼─▶ one COMMIT ─▶ answers
//! commit ─┘           (one thread) └─ judge: stale ─┘        │
//!                                                    checkpoint thread
//! load ──▶ readers ──▶ answer
//! ```

mod activation;
mod checkpoint;
mod column;
mod delivery;
mod device;
mod open;
mod readers;
mod tenant;
mod terms;
#[cfg(test)]
mod tests;
mod transaction;
mod trouble;
mod turn;
mod user;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use countersign_core::Fault;
use countersign_core::delivery::{Delivery, Verdict};
use countersign_core::device::Device;
use countersign_core::enrolment::{Activation, Enrolment};
use countersign_core::id::{ClientId, DeliveryId, DeviceId, TenantName, UserName};
use countersign_core::port::{
    Changed, Commit, Committed, Created, Due, Handle, Ledger, Registry, Versioned,
};
use countersign_core::tenant::{Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_core::user::{Standing, User};

use crate::Stats;
use crate::seal::MasterKeys;

pub use open::OpenError;

use readers::Readers;
use writer::Writer;

/// A store in a file. Clones are the same store; the last one to go lets the file go.
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
    pub(crate) fn open(directory: &Path, master_key: Option<&Path>) -> Result<Self, OpenError> {
        open::open(directory, master_key).map(|parts| Self(Arc::new(parts)))
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
}

impl Ledger for Sqlite {
    async fn load(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        self.0.readers.read("loading a transaction", |sql| transaction::load(sql, tenant, handle))
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
        assert!(
            commit.standing.is_none() || commit.grounds.user.is_some(),
            "a standing is changed on the version that it was read at"
        );
        let unit = transaction::Unit::of(commit);
        self.0.writer.write("committing", move |sql| unit.write(sql)).await
    }

    async fn claim(
        &self,
        now: Timestamp,
        lease_end: Timestamp,
        limit: u16,
    ) -> Result<Vec<Delivery>, Fault> {
        let doing = "claiming deliveries";
        // Mostly nothing is due, and finding that out should cost no turn of the writer's.
        if !self.0.readers.read(doing, |sql| delivery::any_due(sql, now))? {
            return Ok(Vec::new());
        }
        self.0.writer.write(doing, move |sql| delivery::claim(sql, now, lease_end, limit)).await
    }

    async fn settle(
        &self,
        tenant: &TenantName,
        id: DeliveryId,
        verdict: Verdict,
    ) -> Result<(), Fault> {
        let tenant = tenant.clone();
        let settle = move |sql: &_| delivery::settle(sql, &tenant, id, verdict);
        self.0.writer.write("settling a delivery", settle).await
    }
}

impl Registry for Sqlite {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Created, Fault> {
        let row = tenant::Row::of(&tenant, &self.0.keys);
        self.0.writer.write("making a tenant", move |sql| row.insert(sql)).await
    }

    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        self.0.readers.read("reading a tenant", |sql| tenant::load(sql, name, &self.0.keys))
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        self.0.readers.read("listing tenants", tenant::names)
    }

    async fn create_client(&self, client: Client) -> Result<Created, Fault> {
        let row = tenant::ClientRow::of(client, &self.0.keys);
        self.0.writer.write("making a client", move |sql| row.insert(sql)).await
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        let doing = "reading a client";
        self.0.readers.read(doing, |sql| tenant::load_client(sql, tenant, id, &self.0.keys))
    }

    async fn create_user(
        &self,
        tenant: &TenantName,
        name: &UserName,
        now: Timestamp,
    ) -> Result<Created, Fault> {
        let (tenant, name) = (tenant.clone(), name.clone());
        let create = move |sql: &_| user::create(sql, &tenant, &name, now);
        self.0.writer.write("making a user", create).await
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        self.0.readers.read("reading a user", |sql| user::load(sql, tenant, name))
    }

    async fn set_standing(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        standing: Standing,
    ) -> Result<Changed, Fault> {
        let (tenant, user) = (tenant.clone(), user.clone());
        let set = move |sql: &_| user::set_standing(sql, &tenant, &user, expected, standing);
        self.0.writer.write("changing a user's standing", set).await
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let doing = "reading a device";
        self.0.readers.read(doing, |sql| device::load(sql, tenant, id, &self.0.keys))
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let doing = "listing devices";
        self.0.readers.read(doing, |sql| device::list(sql, tenant, user, &self.0.keys))
    }

    async fn change_device(&self, device: Device, expected: u32) -> Result<Changed, Fault> {
        let row = device::Row::of(device, &self.0.keys);
        self.0.writer.write("changing a device", move |sql| row.update(sql, expected)).await
    }

    async fn create_activation(&self, activation: Activation) -> Result<Created, Fault> {
        let row = activation::Row::of(activation, &self.0.keys);
        self.0.writer.write("making an activation", move |sql| row.insert(sql)).await
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

    async fn enrol(&self, enrolment: Enrolment) -> Result<Changed, Fault> {
        let unit = activation::Unit::of(enrolment, &self.0.keys);
        self.0.writer.write("enrolling a device", move |sql| unit.write(sql)).await
    }
}
