//! Read connections. A read takes microseconds, so it runs on the caller's thread. There are as
//! many connections as threads that read, so that no thread waits for one.

use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_core::Fault;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use tracing::warn;

use crate::answered::answered;
use crate::sql::error::StoreError;
use crate::sqlite_error::explained;

/// The maximum of read connections that are kept.
pub(super) const READERS_MAX: usize = 16;

pub(super) struct Readers {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        assert!(!connections.is_empty() && connections.len() <= READERS_MAX);
        let connections = connections.into_iter().map(Mutex::new).collect();
        Self { connections, next: AtomicUsize::new(0) }
    }

    /// Reads with one statement. No lock is held after this returns.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        answered(work(&self.connection())).map_err(|trouble| trouble.while_doing(doing))
    }

    /// Reads with several statements on one snapshot. Each snapshot has a cost: SQLite locks the
    /// file for it, and drops its cached pages if another connection has written.
    pub(super) fn read_at_once<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        let sql = self.connection();
        let read = || {
            let _moment = Moment::begin(&sql)?;
            answered(work(&sql))
        };
        read().map_err(|trouble| trouble.while_doing(doing))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connections.iter().find_map(Mutex::try_lock).unwrap_or_else(|| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            self.connections[turn % self.connections.len()].lock()
        })
    }
}

/// A read snapshot of the ledger, which ends when this is dropped.
struct Moment<'a>(&'a Connection);

impl<'a> Moment<'a> {
    fn begin(sql: &'a Connection) -> Result<Self, StoreError> {
        sql.prepare_cached("BEGIN")?.execute([])?;
        Ok(Self(sql))
    }
}

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        let ended = self.0.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = ended {
            warn!(error = %explained(&error), "A read transaction of the ledger could not be ended");
        }
    }
}
