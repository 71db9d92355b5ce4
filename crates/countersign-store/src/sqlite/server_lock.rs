//! A lock that lets one server serve a ledger.
//!
//! A server tells its devices and waiting callers about its own commits only. With two servers on
//! one ledger, a device that is connected to one would not be offered what the other starts. The
//! command line does not take this lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::open::{self, OpenError};

/// Held by the server while it runs. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct ServerLock(#[expect(dead_code, reason = "the lock is held as long as the file")] File);

/// The reason why a server may not serve a ledger.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Another server has the lock.
    #[error(
        "another server{} serves the ledger in {directory}; stop it first, or name another \
         directory with --data: one ledger is served by one server",
        process.as_ref().map(|process| format!(" (process {process})")).unwrap_or_default()
    )]
    Served {
        /// The data directory.
        directory: PathBuf,
        /// The id of its process, if the file tells.
        process: Option<u32>,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The lock's file cannot be used.
    #[error("{path} cannot be used: {source}; give this user write access to it")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl ServerLock {
    /// Takes the lock of the data directory, and creates the directory if it is missing.
    ///
    /// # Errors
    /// [`NotLocked`], if another process has it, or the directory cannot be used.
    pub fn take(directory: &Path) -> Result<Self, NotLocked> {
        open::make_directory(directory)?;
        let path = directory.join("ledger.server");
        let unusable = |source| NotLocked::Unusable { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = options.open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let read = file.take(16).read_to_string(&mut process);
                let process = read.ok().and_then(|_| process.trim().parse().ok());
                return Err(NotLocked::Served { directory: directory.into(), process });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let written = file.set_len(0).and_then(|()| {
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        });
        written.map_err(unusable)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_server_is_refused_and_told_which_process_has_the_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let first = ServerLock::take(directory.path()).unwrap();
        let error = ServerLock::take(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        ServerLock::take(directory.path()).unwrap();
    }
}
