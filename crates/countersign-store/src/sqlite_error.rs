//! Errors of SQLite, with advice for the operator.

use core::fmt;

use rusqlite::ErrorCode;

/// SQLite's message, with advice if there is any.
pub(crate) fn explained(error: &rusqlite::Error) -> impl fmt::Display + '_ {
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
pub(crate) fn is_of_one_unit(error: &rusqlite::Error) -> bool {
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
