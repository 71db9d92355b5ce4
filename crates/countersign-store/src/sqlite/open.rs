//! Opening the ledger: the directory, the file, its schema and the master key. Each error states
//! what is wrong and how to correct it.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::Parts;
use super::checkpoint::Checkpoints;
use super::readers::{READERS_MAX, Readers};
use super::write_queue_lock::WriteQueueLock;
use super::writer::{Writer, pause_while_busy};
use crate::answered::answered;
use crate::draft;
use crate::master_key::{MasterKeyError, MasterKeys};
use crate::private::{self, Exposed};
use crate::sql::error::StoreError;
use crate::sql::{private_key, sealed, tenant};
use crate::sqlite_error::explained;

/// The migrations in order. The number of a migration is its position, from 1, and the file's
/// `user_version`.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_ledger.sql")];
/// The version of the schema that this program needs.
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;
/// The file's `application_id`: "CSLD", for Countersign ledger.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"CSLD");
/// The SQLite settings that have an effect only before the first page is written.
const LAYOUT: &str = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;";
/// The prepared statements that a connection caches; the program has fewer.
const STATEMENTS_MAX: usize = 64;

/// The purpose of opening a ledger. It decides what may be created and changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenFor {
    /// To create one, also beside an existing master key. An existing ledger is refused.
    Init,
    /// To serve. An empty directory gets a new ledger. An older one is migrated, after a copy.
    Serve,
    /// To read and to change rows. An empty directory gets a new ledger. An older ledger is
    /// refused.
    Administration,
}

/// The reason why the ledger did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory does not exist and cannot be created.
    #[error("the data directory {path} cannot be created: {source}; name another with --data")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path is not a directory.
    #[error("{path} is not a directory; name a data directory with --data")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory is not writable.
    #[error(
        "{path} cannot be written: {source}; give this user write access to the data directory \
         and its files, or name another with --data"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The error of SQLite or of the system.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
    /// Other users may change the directory, or use the ledger in it.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The disk is full.
    #[error("the disk of {path} is full; free some space and start again")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a ledger of Countersign.
    #[error("{path} is not a ledger of Countersign; move it away, or name another directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote the file.
    #[error(
        "{path} has schema {found}, but this program knows only up to {known}; run the newer \
         program, or restore the backup from before it ran"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that this program knows.
        known: u32,
    },
    /// An older program wrote the file, and the purpose is not to migrate it.
    #[error(
        "{path} has schema {found}, and this program needs {known}; `countersign migrate` and \
         `countersign serve` bring it up to date, and keep a copy"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The version that this program needs.
        known: u32,
    },
    /// There is no ledger where one is expected.
    #[error(
        "{path} is missing, but {beside} is there; restore the ledger from its backup, or make an \
         empty one with `countersign init`"
    )]
    Lost {
        /// The ledger.
        path: PathBuf,
        /// The file that shows that there was a ledger.
        beside: PathBuf,
    },
    /// The ledger's file has no content.
    #[error(
        "{path} has 0 bytes; restore the ledger from its backup, or make an empty one with \
         `countersign init`"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A ledger was to be created, and there is one.
    #[error("{path} exists already; it was not changed")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A row that is read when opening is corrupt.
    #[error("{path}: {why}; restore the ledger from its backup")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The row, and what is wrong with it.
        why: String,
    },
    /// Any other error.
    #[error("{path} cannot be opened: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of SQLite or of the system.
        why: String,
    },
}

pub(super) fn open(
    directory: &Path,
    master_key: Option<&Path>,
    purpose: OpenFor,
) -> Result<Parts, OpenError> {
    make_directory(directory)?;
    let path = directory.join("ledger.db");
    let key = master_key.map_or_else(|| directory.join("master.key"), Path::to_path_buf);
    make_file(&path, &key, purpose)?;
    let failed = |error| sql_failed(&path, error);

    let mut writer = connect(&path).map_err(failed)?;
    writer.busy_handler(Some(pause_while_busy)).map_err(failed)?;
    claim_file(&path, &writer)?;
    check_private(directory, &path)?;
    migrate(&path, &mut writer, MIGRATIONS, purpose)?;
    let keys = open_keys(&path, &key, &writer)?;

    let turn_path = directory.join("ledger.turn");
    let turn =
        WriteQueueLock::open(&turn_path).map_err(|source| not_writable(&turn_path, source))?;
    let copier = connect(&path).map_err(failed)?;
    let checkpoints = Checkpoints::start(&mut writer, copier).map_err(failed)?;
    let readers = thread::available_parallelism().map_or(2, |n| n.get().clamp(2, READERS_MAX));
    let readers: Result<_, _> = (0..readers).map(|_| connect_reader(&path)).collect();
    let readers = Readers::new(readers.map_err(failed)?);
    let writer = Writer::start(writer, turn, checkpoints)
        .map_err(|error| OpenError::Unusable { path: path.clone(), why: error.to_string() })?;
    Ok(Parts { keys, readers, writer })
}

pub(super) fn make_directory(path: &Path) -> Result<(), OpenError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { path: path.into() }),
        Err(_) => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| OpenError::NoDirectory { path: path.into(), source }),
    }
}

/// Creates the ledger if it is missing and if the purpose allows it.
///
/// A new ledger gets its name when it is complete, so that no crash leaves a half of one. An
/// existing file is not opened here: closing it would drop the locks that this process holds on it
/// (SQLite, "How To Corrupt", 2.2).
fn make_file(path: &Path, key: &Path, purpose: OpenFor) -> Result<(), OpenError> {
    let length = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.len());
    let log = with_suffix(path, "-wal");
    let is_logged = length(&log).is_some_and(|length| length > 0);
    match length(path) {
        Some(length) if length > 0 || is_logged => match purpose {
            OpenFor::Init => return Err(OpenError::Exists { path: path.into() }),
            OpenFor::Serve | OpenFor::Administration => return Ok(()),
        },
        _ if is_logged => return Err(OpenError::Lost { path: path.into(), beside: log }),
        _ if purpose == OpenFor::Init => {}
        Some(_) => return Err(OpenError::Empty { path: path.into() }),
        // Another process makes the ledger before the key.
        None if key.exists() && length(path).is_none() => {
            return Err(OpenError::Lost { path: path.into(), beside: key.into() });
        }
        None => {}
    }
    if length(path) == Some(0) {
        std::fs::remove_file(path).map_err(|source| not_writable(path, source))?;
    }
    let new = draft::of(path);
    make_ledger(&new).inspect_err(|_| draft::discard(&new))?;
    draft::publish(&new, path).map_err(|source| not_writable(path, source))
}

/// Creates a ledger. SQLite gives its log the same mode.
fn make_ledger(path: &Path) -> Result<(), OpenError> {
    let failed = |error| sql_failed(path, error);
    create(path)?;
    let mut sql = Connection::open(path).map_err(failed)?;
    sql.execute_batch(LAYOUT).map_err(failed)?;
    migrate(path, &mut sql, MIGRATIONS, OpenFor::Init)?;
    // Closing the only connection moves the log into the file.
    sql.close().map_err(|(_, error)| failed(error))
}

/// Creates a file with access for its owner only.
fn create(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(path);
    created.map(drop).map_err(|source| not_writable(path, source))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Checks that no other user may change the directory, or use the ledger and its log. The files are
/// checked by name and not opened; see [`make_file`].
fn check_private(directory: &Path, ledger: &Path) -> Result<(), OpenError> {
    let [log, index] = ["-wal", "-shm"].map(|suffix| with_suffix(ledger, suffix));
    for path in [directory, ledger, log.as_path(), index.as_path()] {
        // A log that does not exist yet will be created with the ledger's mode.
        if let Ok(metadata) = std::fs::metadata(path) {
            private::check(path, &metadata)?;
        }
    }
    Ok(())
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut sql = Connection::open_with_flags(path, flags)?;
    sql.busy_handler(Some(pause_while_busy))?;
    // Otherwise SQLite checks if a bound value allows it to use a partial index, and prepares the
    // statement again whenever the value changes.
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    sql.execute_batch(
        "PRAGMA wal_autocheckpoint = 0;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    Ok(sql)
}

fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let sql = connect(path)?;
    // There are several of these connections, and the system caches the file's pages as well.
    sql.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;")?;
    Ok(sql)
}

/// Checks that the file is a ledger, or empty.
fn claim_file(path: &Path, sql: &Connection) -> Result<(), OpenError> {
    let failed = |error| sql_failed(path, error);
    let number = |query| sql.query_row(query, [], |row| row.get::<_, i32>(0)).map_err(failed);
    if number("PRAGMA application_id")? == APPLICATION_ID {
        return Ok(());
    }
    if number("SELECT count(*) FROM sqlite_schema")? != 0 {
        return Err(OpenError::Foreign { path: path.into() });
    }
    Ok(())
}

/// Applies the missing migrations, if the purpose allows it. A ledger that has rows is copied
/// first. Two processes may try at once.
fn migrate(
    path: &Path,
    sql: &mut Connection,
    migrations: &[&str],
    purpose: OpenFor,
) -> Result<(), OpenError> {
    let failed = |error| sql_failed(path, error);
    let known = u32::try_from(migrations.len()).expect("there are few migrations");
    let mode: String =
        sql.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let why = "its file system has no shared memory for the write-ahead log; use a local disk";
        return Err(OpenError::Unusable { path: path.into(), why: why.into() });
    }
    let found = version(sql).map_err(failed)?;
    if found == i64::from(known) {
        // The write lock is not needed, which another process may hold.
        return Ok(());
    }
    if (1..i64::from(known)).contains(&found) {
        if purpose == OpenFor::Administration {
            return Err(OpenError::Older { path: path.into(), found, known });
        }
        copy(path, sql, found)?;
    }
    let unit = sql.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found = version(&unit).map_err(failed)?;
    let steps = usize::try_from(found).ok().and_then(|found| migrations.get(found..));
    let Some(steps) = steps else {
        return Err(OpenError::Newer { path: path.into(), found, known });
    };
    if !steps.is_empty() {
        for step in steps {
            unit.execute_batch(step).map_err(failed)?;
        }
        unit.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        unit.pragma_update(None, "user_version", known).map_err(failed)?;
    }
    unit.commit().map_err(failed)
}

/// The number of the last migration that was applied.
fn version(sql: &Connection) -> rusqlite::Result<i64> {
    sql.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Copies the ledger before its schema changes, to `ledger.db.schema-N`. A copy that an
/// interrupted migration has left is replaced.
fn copy(path: &Path, sql: &Connection, schema: i64) -> Result<(), OpenError> {
    let target = with_suffix(path, &format!(".schema-{schema}"));
    match std::fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(not_writable(&target, error));
        }
        _ => create(&target)?,
    }
    // SQLite writes into an empty file, and keeps its mode.
    let name = target.to_string_lossy();
    let copied = sql.execute("VACUUM INTO ?1", [&name]);
    copied.map_err(|error| sql_failed(&target, error))?;
    Ok(())
}

/// Reads the master key, or creates it if nothing is sealed yet. Then checks that each key that
/// values name is in the file, and that every tenant's key opens.
fn open_keys(ledger: &Path, path: &Path, sql: &Connection) -> Result<MasterKeys, OpenError> {
    let failed = |trouble| match trouble {
        StoreError::Sqlite(error) => sql_failed(ledger, error),
        other => OpenError::Corrupt { path: ledger.into(), why: other.to_string() },
    };
    let is_sealed = answered(tenant::any(sql)).map_err(failed)?;
    let keys = MasterKeys::from_file(path, !is_sealed)?;
    let named = answered(sealed::keys(sql)).map_err(failed)?;
    // Read again, if another process has just added a key.
    let ring = keys.current();
    let has = |key| ring.ids().any(|id| id == key);
    if named.iter().any(|key| has(*key))
        && let Some(&key) = named.iter().find(|key| !has(**key))
    {
        let values = answered(sealed::count(sql, key)).map_err(failed)?;
        return Err(MasterKeyError::Lacking { path: path.into(), key, values }.into());
    }
    if let Some(tenant) = answered(private_key::shut(sql, &keys)).map_err(failed)? {
        return Err(MasterKeyError::Other { path: path.into(), tenant }.into());
    }
    Ok(keys)
}

fn not_writable(path: &Path, source: io::Error) -> OpenError {
    if source.kind() == io::ErrorKind::StorageFull {
        return OpenError::DiskFull { path: path.into() };
    }
    OpenError::NotWritable { path: path.into(), source: source.into() }
}

pub(super) fn sql_failed(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign { path },
        Some(ErrorCode::DiskFull) => OpenError::DiskFull { path },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            OpenError::NotWritable { path, source: error.into() }
        }
        _ => OpenError::Unusable { path, why: explained(&error).to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [&str; 2] = ["CREATE TABLE a (x INTEGER)", "ALTER TABLE a ADD COLUMN y INTEGER"];

    fn read(path: &Path) -> rusqlite::Result<(i64, i64)> {
        let sql = Connection::open(path)?;
        Ok((version(&sql)?, sql.query_row("SELECT x FROM a", [], |row| row.get(0))?))
    }

    #[test]
    fn an_older_ledger_is_migrated_by_a_server_after_a_copy_and_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let mut sql = Connection::open(&path).unwrap();
        migrate(&path, &mut sql, &STEPS[..1], OpenFor::Init).unwrap();
        sql.execute("INSERT INTO a VALUES (7)", []).unwrap();

        let error = migrate(&path, &mut sql, &STEPS, OpenFor::Administration).unwrap_err();
        assert!(matches!(error, OpenError::Older { found: 1, known: 2, .. }), "{error}");
        assert!(error.to_string().contains("countersign migrate"), "{error}");
        assert_eq!(version(&sql).unwrap(), 1);

        let target = with_suffix(&path, ".schema-1");
        std::fs::write(&target, "left by an interrupted migration").unwrap();
        migrate(&path, &mut sql, &STEPS, OpenFor::Serve).unwrap();
        assert_eq!(read(&path).unwrap(), (2, 7));
        assert_eq!(read(&target).unwrap(), (1, 7), "the copy is as the ledger was");
        assert!(private::check(&target, &std::fs::metadata(&target).unwrap()).is_ok());
        migrate(&path, &mut sql, &STEPS, OpenFor::Administration).unwrap();
    }
}
