//! Copies of the ledger: making one beside a running server, and checking one.

use std::path::{Path, PathBuf};

use countersign_core::time::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::open::{APPLICATION_ID, SCHEMA};
use crate::answered::answered;
use crate::seal::{KeyRing, MasterKeyId};
use crate::sql::error::StoreError;
use crate::sql::sealed;
use crate::sqlite_error::explained;

/// What a copy of a ledger contains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LedgerSummary {
    /// The version of its schema.
    pub schema: u32,
    /// The tenants.
    pub tenants: u64,
    /// The devices, retired ones included.
    pub devices: u64,
    /// The transactions that retention has not removed.
    pub transactions: u64,
    /// The time of the newest event, if there is any.
    pub newest_event: Option<Timestamp>,
    /// The master keys that its secrets need.
    pub master_keys: Vec<MasterKeyId>,
    /// The sealed secrets; `None` if they were not opened.
    pub secrets_opened: Option<u64>,
}

/// The reason why a copy of a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCopy {
    /// It is not a ledger.
    #[error("{path} is not a ledger of Countersign")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program made it.
    #[error("{path} has schema {found}, but this program knows only up to {SCHEMA}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: u32,
    },
    /// It is damaged.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first finding.
        why: String,
    },
    /// A secret does not open, or a row cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason, with the row.
        why: String,
    },
}

/// Copies the ledger as of one moment into the empty file `target`. Others may write meanwhile; the
/// log grows until the copy is complete.
pub(super) fn copy(sql: &Connection, target: &Path) -> Result<(), StoreError> {
    let mut copy = Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let step = Backup::new(sql, &mut copy)?.step(-1)?;
    if step != StepResult::Done {
        return Err(StoreError::Misused("the ledger is locked by another connection"));
    }
    // A single file, which can be opened where nothing may be written.
    let single = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
    single?;
    copy.close().map_err(|(_, error)| error.into())
}

/// Checks a copy: its structure, and, with `ring`, that every secret opens.
///
/// # Errors
/// [`BadCopy`], with the first finding.
pub(crate) fn check(path: &Path, ring: Option<&KeyRing>) -> Result<LedgerSummary, BadCopy> {
    let unreadable = |error: StoreError| BadCopy::Unreadable {
        path: path.into(),
        why: match error {
            StoreError::Sqlite(error) => explained(&error).to_string(),
            other => other.to_string(),
        },
    };
    let failed = |error: rusqlite::Error| unreadable(error.into());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(path, flags).map_err(failed)?;
    let number = |query: &str| {
        let number = sql.query_row(query, [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(number.map(i64::unsigned_abs))
    };
    match number("PRAGMA application_id") {
        Ok(Some(id)) if i32::try_from(id) == Ok(APPLICATION_ID) => {}
        _ => return Err(BadCopy::Foreign { path: path.into() }),
    }
    let found = sql.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > SCHEMA {
        return Err(BadCopy::Newer { path: path.into(), found });
    }
    check_structure(path, &sql)?;
    let count = |table: &str| {
        let rows = number(&format!("SELECT count(*) FROM {table}")).map_err(failed)?;
        Ok(rows.unwrap_or_default())
    };
    let newest = number("SELECT max(at) FROM events").map_err(failed)?;
    // An older schema may have other sealed columns, which its own program knows.
    let ring = ring.filter(|_| found == SCHEMA);
    let opened =
        ring.map(|ring| answered(sealed::open_all(&sql, ring))).transpose().map_err(unreadable)?;
    let known = found == SCHEMA;
    let master_keys =
        if known { answered(sealed::keys(&sql)).map_err(unreadable)? } else { Vec::new() };
    Ok(LedgerSummary {
        schema: found,
        tenants: count("tenants")?,
        devices: count("devices")?,
        transactions: count("transactions")?,
        newest_event: newest.map(Timestamp),
        master_keys,
        secrets_opened: opened,
    })
}

/// SQLite's own checks: pages, indexes, constraints and references.
fn check_structure(path: &Path, sql: &Connection) -> Result<(), BadCopy> {
    let damaged = |why: String| BadCopy::Damaged { path: path.into(), why };
    let failed = |error: rusqlite::Error| damaged(explained(&error).to_string());
    let check = sql.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    let finding = check.map_err(failed)?;
    if finding != "ok" {
        return Err(damaged(finding));
    }
    let mut check = sql.prepare("PRAGMA foreign_key_check").map_err(failed)?;
    let mut rows = check.query([]).map_err(failed)?;
    match rows.next().map_err(failed)? {
        None => Ok(()),
        Some(row) => {
            let table: String = row.get(0).map_err(failed)?;
            Err(damaged(format!("a row of table {table} refers to one that is missing")))
        }
    }
}
