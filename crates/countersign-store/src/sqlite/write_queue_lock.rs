//! A queue for the write lock, among the processes that have the ledger open.
//!
//! SQLite's write lock is not fair. A busy server takes it again within microseconds of releasing
//! it, so that another process, such as the command line, could wait for seconds without getting
//! it. With this queue, a writer first takes the queue lock, keeps it until it has the write lock,
//! and then releases it. The queue lock is only advisory: a writer that does not get it in time
//! continues without it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;

use super::writer::{BUSY_PAUSE, BUSY_TRIES_MAX};

pub(super) struct WriteQueueLock(File);

/// Held while a writer waits for the write lock.
pub(super) struct QueueGuard<'a>(Option<&'a File>);

impl WriteQueueLock {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600).open(path).map(Self)
    }

    pub(super) fn take(&self) -> QueueGuard<'_> {
        for _ in 0..BUSY_TRIES_MAX {
            match self.0.try_lock() {
                Ok(()) => return QueueGuard(Some(&self.0)),
                Err(std::fs::TryLockError::WouldBlock) => thread::sleep(BUSY_PAUSE),
                Err(std::fs::TryLockError::Error(_)) => break,
            }
        }
        QueueGuard(None)
    }
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // If unlocking fails, closing the file unlocks it.
            let _ = file.unlock();
        }
    }
}
