//! A credential for a service, in a file that may change while the process runs.
//!
//! The guarantee: a changed file is read again within seconds; if it has become unreadable, its
//! former content stays in use; a problem is logged once and reported to each caller.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use countersign_core::time::Timestamp;
use countersign_store::private;
use parking_lot::Mutex;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// The interval between two checks of a file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The largest file; far larger than any credential.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A credential of type `T`, and the file that contains it.
pub(super) struct Credential<T> {
    path: PathBuf,
    read: fn(&[u8]) -> anyhow::Result<T>,
    held: Mutex<CachedCredential<T>>,
}

struct CachedCredential<T> {
    looked_at: Option<Timestamp>,
    /// The file as it was last read: its modification time, length and permissions.
    stamp: Option<(SystemTime, u64, u32)>,
    value: Option<Arc<T>>,
    trouble: Option<String>,
}

impl<T> Credential<T> {
    /// A credential in the file at `path`, which `read` parses. Not read yet.
    pub(super) fn at(path: &Path, read: fn(&[u8]) -> anyhow::Result<T>) -> Self {
        let held = CachedCredential { looked_at: None, stamp: None, value: None, trouble: None };
        Self { path: path.to_owned(), read, held: Mutex::new(held) }
    }

    /// The file's content, or its latest content that was valid.
    ///
    /// # Errors
    /// Names the problem with the file, without any of its content.
    pub(super) fn get(&self, now: Timestamp) -> Result<Arc<T>, String> {
        let mut held = self.held.lock();
        if held.looked_at.is_none_or(|at| now >= at + LOOK_EVERY) {
            held.looked_at = Some(now);
            self.look(&mut held);
        }
        held.value.clone().ok_or_else(|| held.trouble.clone().unwrap_or_default())
    }

    fn look(&self, held: &mut CachedCredential<T>) {
        let path = self.path.display();
        let stamp = std::fs::metadata(&self.path).ok();
        let stamp = stamp.and_then(|file| Some((file.modified().ok()?, file.len(), file.mode())));
        if held.stamp == stamp && (stamp.is_some() || held.trouble.is_some()) {
            return;
        }
        let is_first = held.stamp.is_none() && held.trouble.is_none();
        held.stamp = stamp;
        match self.load() {
            Ok(value) => {
                held.value = Some(Arc::new(value));
                held.trouble = None;
                if !is_first {
                    info!("Credential reloaded from {path}");
                }
            }
            Err(error) => {
                let trouble = format!("{path}: {error:#}");
                warn!("A push credential is invalid: {trouble}");
                held.trouble = Some(trouble);
            }
        }
    }

    fn load(&self) -> anyhow::Result<T> {
        let metadata = std::fs::metadata(&self.path).context("it cannot be read")?;
        private::check(&self.path, &metadata)?;
        anyhow::ensure!(
            metadata.len() <= FILE_BYTES_MAX,
            "it is longer than {FILE_BYTES_MAX} bytes"
        );
        let bytes = Zeroizing::new(std::fs::read(&self.path).context("it cannot be read")?);
        (self.read)(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn number(bytes: &[u8]) -> anyhow::Result<u32> {
        Ok(str::from_utf8(bytes)?.trim().parse()?)
    }

    fn second(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    #[test]
    fn a_file_is_read_again_when_it_changes_and_what_it_held_stays_when_it_breaks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        let held = Credential::at(&path, number);
        let told = held.get(second(0)).unwrap_err();
        assert!(told.contains("number") && told.contains("cannot be read"), "{told}");
        write(&path, "7", 0o600);
        assert!(held.get(second(1)).is_err(), "not looked at again yet");
        assert_eq!(*held.get(second(2)).unwrap(), 7);
        write(&path, "not a number", 0o600);
        assert_eq!(*held.get(second(5)).unwrap(), 7);
        write(&path, "4711", 0o600);
        assert_eq!(*held.get(second(8)).unwrap(), 4711);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*held.get(second(12)).unwrap(), 4711);
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        write(&path, "7", 0o640);
        let held = Credential::at(&path, number);
        assert!(held.get(second(0)).unwrap_err().contains("chmod 600"));
        // A change of the permissions is visible only in the stamp; the file is read again all the
        // same.
        write(&path, "7", 0o600);
        assert_eq!(*held.get(second(2)).unwrap(), 7);
    }

    #[test]
    fn a_file_that_is_far_too_long_is_not_taken_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("long");
        write(&path, &"1".repeat(FILE_BYTES_MAX as usize + 1), 0o600);
        assert!(Credential::at(&path, number).get(second(0)).unwrap_err().contains("longer"));
    }
}
