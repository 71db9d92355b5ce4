//! Connections for reading. A read takes microseconds, so it runs where it is asked for; with as
//! many connections as there are threads to ask, nobody waits for one.

use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_core::Fault;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use tracing::warn;

use super::error::{StoreError, explained};

/// The most connections that are kept for reading.
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

    /// Reads, with one statement; with others only while the first one is not done with, so that
    /// all of them see the same moment. No lock is held when this returns.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        work(&self.connection()).map_err(|trouble| trouble.while_doing(doing))
    }

    /// Reads, with several statements that all see the same moment. Each moment costs: the file's
    /// locks are taken for it, and pages that were remembered are forgotten where somebody has
    /// written.
    pub(super) fn read_at_once<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, Fault> {
        let sql = self.connection();
        let read = || {
            let _moment = Moment::begin(&sql)?;
            work(&sql)
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

/// A moment of the ledger, seen until this is dropped.
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
            warn!(error = %explained(&error), "A read of the ledger could not be ended");
        }
    }
}
