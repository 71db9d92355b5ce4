//! The ledger of the servers under load: a file, or a schema of a database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use countersign_core::time::Timestamp;
use countersign_store::{PostgresLocation, Store};

/// The schema of the ledger in the database.
const SCHEMA: &str = "bench";
/// The default of `store.statement_timeout_seconds`.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that write the crowd.
const CONNECTIONS_MAX: usize = 16;

/// The kinds of ledgers that can be measured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// A file, of one node
    #[default]
    Sqlite,
    /// A private PostgreSQL server, shared by all nodes
    Postgres,
}

/// A ledger.
pub(super) struct Ledger {
    /// The data directory of its first node.
    pub(super) directory: PathBuf,
    /// The configuration that names the database; `None` for a file in the directory.
    pub(super) config: Option<PathBuf>,
    location: Option<PostgresLocation>,
}

impl Ledger {
    /// A file in `directory`.
    pub(super) fn sqlite(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), config: None, location: None }
    }

    /// A schema in the database at `url`. Its master key and configuration are in `directory`.
    pub(super) fn postgres(directory: &Path, url: &str) -> anyhow::Result<Self> {
        let config = directory.join("countersign.toml");
        let key = directory.join("master.key");
        let text = format!(
            "[store]\nurl = \"{url}\"\nschema = \"{SCHEMA}\"\nmaster_key_file = \"{}\"\n",
            key.display()
        );
        std::fs::write(&config, text)
            .with_context(|| format!("{} cannot be written", config.display()))?;
        let location = PostgresLocation {
            url: url.to_owned(),
            password_file: None,
            ca_file: None,
            client_certificate: None,
            schema: SCHEMA.to_owned(),
            connections_max: CONNECTIONS_MAX,
            statement_timeout: STATEMENT_TIMEOUT,
        };
        let directory = directory.to_owned();
        Ok(Self { directory, config: Some(config), location: Some(location) })
    }

    /// Opens the ledger, and makes it if it is missing.
    pub(super) async fn open(&self, now: Timestamp) -> anyhow::Result<Store> {
        let Some(location) = &self.location else {
            return Ok(Store::sqlite(&self.directory, None)?);
        };
        Ok(Store::postgres(location, &self.directory.join("master.key"), false, now).await?)
    }

    /// The schema of its tables in the database.
    pub(super) fn schema() -> &'static str {
        SCHEMA
    }
}
