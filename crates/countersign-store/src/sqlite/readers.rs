//! Connections for reading. A read takes microseconds, so it runs where it is asked for; with as many
//! connections as there are threads to ask, nobody waits for one.

use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_core::Fault;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::trouble::Trouble;

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

    /// Reads. No lock is held when this returns.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Fault> {
        let sql = self.connections.iter().find_map(Mutex::try_lock).unwrap_or_else(|| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            self.connections[turn % self.connections.len()].lock()
        });
        work(&sql).map_err(|trouble| trouble.while_doing(doing))
    }
}
