//! Errors of rows and statements.

use core::error::Error;

use countersign_core::Fault;

use crate::sqlite_error::explained;

/// The reason why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// An error of SQLite, or of the disk.
    #[error("{}", explained(.0))]
    Sqlite(#[from] rusqlite::Error),
    /// An error of PostgreSQL, or of the connection to it.
    #[error("{}", crate::postgres_error::explained(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// A tenant on which a commit depends was locked while it was written.
    #[error("the tenant was locked meanwhile")]
    TenantLocked,
    /// A corrupt row.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A call that the port does not offer.
    #[error("{0}")]
    Misused(&'static str),
}

/// A row with a value that this program cannot have written.
#[derive(Debug, thiserror::Error)]
#[error("row {id} of table {table} is corrupt: column {column}: {why}")]
pub(crate) struct Corrupt {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) id: String,
    pub(crate) why: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    pub(crate) fn while_doing(self, doing: &'static str) -> Fault {
        Fault::new(doing, self)
    }
}
