//! Whose turn it is to write, among the processes that have the ledger open.
//!
//! SQLite gives its write lock to whoever asks at the right moment. A busy server asks again within
//! microseconds of letting go, so that a command line beside it would ask for seconds in vain. Here
//! they queue: whoever wants to write takes the turn first, keeps it until it has the write lock,
//! and lets it go. A courtesy and no lock: whoever does not get it in time goes on without.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;

use super::writer::{BUSY_PAUSE, BUSY_TRIES_MAX};

pub(super) struct WriteQueueLock(File);

/// Held while one waits for the write lock.
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
            // What fails to unlock is unlocked when the file is closed.
            let _ = file.unlock();
        }
    }
}
