//! Errors of rows and statements, with advice for the operator.

use core::error::Error;
use core::fmt;

use countersign_core::Fault;
use rusqlite::ErrorCode;

/// The reason why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// An error of SQLite, or of the disk.
    #[error("{}", explained(.0))]
    Sql(#[from] rusqlite::Error),
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
pub(super) struct Corrupt {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    pub(super) id: String,
    pub(super) why: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    pub(super) fn while_doing(self, doing: &'static str) -> Fault {
        Fault::new(doing, self)
    }
}

/// SQLite's message, with advice if there is any.
pub(super) fn explained(error: &rusqlite::Error) -> impl fmt::Display + '_ {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "; the disk is full: free some space for the data directory; nothing was written"
        }
        Some(ErrorCode::SystemIoFailure) => "; the disk failed: nothing was written",
        Some(ErrorCode::DatabaseBusy) => "; another process holds the ledger's write lock",
        Some(ErrorCode::ReadOnly) => "; this user has no write access to the ledger",
        Some(ErrorCode::DatabaseCorrupt) => "; the file is damaged: restore it from its backup",
        _ => "",
    };
    fmt::from_fn(move |f| write!(f, "{error}{advice}"))
}

/// Whether the error is caused by one unit of work, and not by the ledger.
pub(super) fn is_of_one_unit(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    !matches!(
        code,
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::OutOfMemory
                | ErrorCode::CannotOpen
                | ErrorCode::NotADatabase
        )
    )
}
