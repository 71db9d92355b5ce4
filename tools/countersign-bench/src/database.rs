//! The database of the nodes under load: a private PostgreSQL server.

use std::time::Duration;

use countersign_postgres::{Server, Statistics};
use tokio::task::block_in_place;

use crate::ledger::Ledger;

/// As on a machine of its own: memory for the pages, and room for the log between checkpoints.
const SETTINGS: &str = "shared_buffers = 512MB\nmax_wal_size = 2GB\ncheckpoint_timeout = 15min\n";

/// A running database.
pub(super) struct Database(Server);

impl Database {
    /// Starts a new database.
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(block_in_place(|| Server::start(SETTINGS))?))
    }

    pub(super) fn url(&self) -> String {
        self.0.url()
    }

    /// The version of the server.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        block_in_place(|| self.0.version())
    }

    /// The CPU time of all its processes until now.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        self.0.cpu()
    }

    /// The clients' connections.
    pub(super) fn connections(&self) -> anyhow::Result<i64> {
        block_in_place(|| self.0.connections())
    }

    /// Waits until the statistics are published, and reads what it did until now.
    pub(super) fn statistics(&self) -> anyhow::Result<Statistics> {
        block_in_place(|| self.0.statistics(Ledger::schema()))
    }
}
