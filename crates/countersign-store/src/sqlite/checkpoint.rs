//! Checkpoints: copying committed pages from the write-ahead log into the file, outside the writer
//! thread.
//!
//! Each commit syncs the log. A separate thread copies the log's pages into the file and syncs the
//! file. Under steady load the copy would never be complete, so the log would never restart.
//! Therefore the writer copies the rest itself when the log exceeds a limit, because the writer
//! writes nothing meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tracing::warn;

use crate::sqlite_error::explained;

/// The growth of the log after which the thread is woken, in pages: 8 MiB.
const WAKE_PAGES: u32 = 1_024;
/// The size of the log at which the writer copies it itself, in pages: 64 MiB.
const TURN_PAGES: u32 = 8_192;

/// The writer's handle of the checkpoint thread.
pub(super) struct Checkpoints {
    /// The pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    woken_at: AtomicU32,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread on `sql`, and counts the log's pages on the writer's connection.
    pub(super) fn start(writer: &mut Connection, sql: Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_log: i32| {
            counted.store(in_log.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("ledger-checkpoint".into())
            .spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    thread::park();
                    copy(&sql);
                }
            })
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(Self { pages, woken_at: AtomicU32::new(0), stop, thread: Some(thread) })
    }

    /// Called after each batch: wakes the thread, copies the log, or does neither.
    pub(super) fn turn(&self, writer: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        let woken_at = self.woken_at.load(Ordering::Relaxed);
        if pages >= TURN_PAGES {
            copy(writer);
        } else if pages < woken_at {
            // The log has restarted.
            self.woken_at.store(0, Ordering::Relaxed);
        } else if pages - woken_at >= WAKE_PAGES {
            self.woken_at.store(pages, Ordering::Relaxed);
            self.thread.as_ref().expect("present until dropped").thread().unpark();
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has logged the panic.
            let _ = thread.join();
        }
    }
}

/// Copies the whole log, and truncates it.
pub(super) fn copy_all(sql: &Connection) -> rusqlite::Result<()> {
    sql.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Copies the pages that need no waiting. If copying fails, the pages are still in the log.
fn copy(sql: &Connection) {
    if let Err(error) = sql.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        warn!(error = %explained(&error), "The ledger's log could not be checkpointed");
    }
}
