//! The master keys of a ledger, and the file that has them.
//!
//! A process reads the file when it opens the ledger, and again when it has changed: before it
//! seals, and before it says that no key opens a value. So keys are added beside running servers.
//! The file is only ever replaced as a whole.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;
use parking_lot::RwLock;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::draft;
use crate::private::{self, Exposed};
use crate::seal::{KeyRing, MasterKeyId, SealContext, Unopened, id_in_line};

/// The largest master key file: 64 keys and comments. A larger file is not a master key file.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// The most keys that the file may have when another one is added.
const KEYS_MAX: usize = 64;

/// The keys that seal the secrets of the ledger, as the file has them now.
pub(crate) struct MasterKeys {
    /// `None` if the keys end with the process.
    file: Option<PathBuf>,
    held: RwLock<HeldKeys>,
}

struct HeldKeys {
    ring: Arc<KeyRing>,
    stamp: Option<FileStamp>,
}

/// The file as it was last read: its number in the file system, when its content and its metadata
/// were changed, in seconds and nanoseconds, and its length.
type FileStamp = (u64, (i64, i64), (i64, i64), u64);

/// The reason why the master key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file is missing, and there are secrets that need it.
    #[error(
        "the master key file {path} is missing, and the ledger holds secrets sealed under it; \
         restore the file from its backup, or set its path in the configuration"
    )]
    Missing {
        /// The expected path.
        path: PathBuf,
    },
    /// Other users may read or change the file.
    #[error("the master key file {0}")]
    Exposed(Exposed),
    /// The file does not contain keys.
    #[error(
        "the master key file {path} is invalid: line {line} is neither 64 hex digits nor a \
         comment; restore the file from its backup"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The first invalid line, from 1; 0 if the file contains no key at all.
        line: usize,
    },
    /// The file contains other keys than the ledger needs.
    #[error(
        "the master key file {path} belongs to another ledger, or is older than it: it does not \
         open the secrets of tenant {tenant}; restore the right file from its backup, or set its \
         path in the configuration"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// A tenant whose secrets do not open.
        tenant: String,
    },
    /// The system could not read or create the file.
    #[error("the master key file {path} cannot be read or created: {source}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file lacks a key that the ledger needs.
    #[error(
        "the master key file {path} lacks the key {key}, under which {values} secrets of the \
         ledger are sealed: it is older than the ledger, or was edited; restore its newest copy, \
         or add the line of that key"
    )]
    Lacking {
        /// The file.
        path: PathBuf,
        /// The missing key.
        key: MasterKeyId,
        /// How many secrets need it.
        values: u64,
    },
    /// The file has too many keys for another one.
    #[error(
        "the master key file {path} has {KEYS_MAX} keys; first remove those that are not needed: \
         `countersign master-key list`"
    )]
    ManyKeys {
        /// The file.
        path: PathBuf,
    },
    /// Another process is changing the file.
    #[error("another process is changing the master key file {path}; try again when it has ended")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file does not have this key.
    #[error("the master key file {path} has no key {key}: `countersign master-key list`")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key's id.
        key: MasterKeyId,
    },
    /// The key is needed, so it is not removed.
    #[error(
        "the key {key} is needed: {values} secrets are sealed under it; `countersign master-key \
         rotate` seals them under the newest key"
    )]
    Needed {
        /// The key's id.
        key: MasterKeyId,
        /// How many secrets need it.
        values: u64,
    },
    /// The key seals, so it is not removed.
    #[error(
        "the key {key} is the newest, which seals; `countersign master-key rotate` adds another"
    )]
    Newest {
        /// The key's id.
        key: MasterKeyId,
    },
    /// The store is in memory.
    #[error("the store is in memory, and has no master key file")]
    NoFile,
}

impl MasterKeys {
    /// Reads the file at `path`. If it does not exist and `make` allows it, creates it with one
    /// random key.
    pub(crate) fn from_file(path: &Path, make: bool) -> Result<Self, MasterKeyError> {
        if make && !path.exists() {
            make_file(path).map_err(|source| unusable(path, source))?;
        }
        let (ring, stamp) = read(path)?;
        let held = RwLock::new(HeldKeys { ring: Arc::new(ring), stamp });
        Ok(Self { file: Some(path.into()), held })
    }

    /// One random key, for secrets that end with the process.
    pub(crate) fn random() -> Self {
        let ring = Arc::new(KeyRing::random());
        Self { file: None, held: RwLock::new(HeldKeys { ring, stamp: None }) }
    }

    /// Seals `secret` for the context `place`, with the newest key of the file.
    pub(crate) fn seal(&self, place: SealContext<'_>, secret: &[u8]) -> Vec<u8> {
        self.current().seal(place, secret)
    }

    /// Opens a value that was sealed for the context `place`.
    pub(crate) fn open(
        &self,
        place: SealContext<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let ring = self.held.read().ring.clone();
        match ring.open(place, sealed) {
            Err(Unopened::OtherKey) => {
                let current = self.current();
                if Arc::ptr_eq(&ring, &current) {
                    return Err(Unopened::OtherKey);
                }
                current.open(place, sealed)
            }
            opened => opened,
        }
    }

    /// The keys, read again if the file has changed. If it cannot be used, the keys from before
    /// stay in use. A key that the file has no longer still opens values, until this process ends.
    pub(crate) fn current(&self) -> Arc<KeyRing> {
        let Some(path) = &self.file else { return self.held.read().ring.clone() };
        let found = std::fs::metadata(path).ok().map(|metadata| stamp(&metadata));
        {
            let held = self.held.read();
            if held.stamp == found {
                return held.ring.clone();
            }
        }
        let mut held = self.held.write();
        if held.stamp == found {
            return held.ring.clone();
        }
        match read(path) {
            Ok((ring, stamp)) => {
                held.ring = Arc::new(ring.with_keys_of(&held.ring));
                held.stamp = stamp;
                let newest = held.ring.newest();
                info!("The master key file {} was read again; key {newest} seals", path.display());
            }
            Err(error) => {
                held.stamp = found;
                warn!("The master keys from before stay in use: {error}");
            }
        }
        held.ring.clone()
    }

    /// The ids of the keys that the file has now, newest first.
    pub(crate) fn ids_in_file(&self) -> Result<Vec<MasterKeyId>, MasterKeyError> {
        Ok(read(self.path()?)?.0.ids().collect())
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> Result<&Path, MasterKeyError> {
        self.file.as_deref().ok_or(MasterKeyError::NoFile)
    }

    /// Adds a random key to the file, as its newest, if `newest` still is the newest.
    pub(crate) fn add(&self, newest: MasterKeyId) -> Result<(), MasterKeyError> {
        let path = self.path()?;
        self.edit(|lines| {
            let ids: Vec<_> = lines.iter().filter_map(|line| id_in_line(line)).collect();
            if ids.len() >= KEYS_MAX {
                return Err(MasterKeyError::ManyKeys { path: path.into() });
            }
            if ids.first() == Some(&newest) {
                let first = lines.iter().position(|line| id_in_line(line).is_some());
                lines.insert(first.expect("it has a key"), new_line());
            }
            Ok(())
        })
    }

    /// Removes a key from the file. The newest one stays.
    pub(crate) fn remove(&self, key: MasterKeyId) -> Result<(), MasterKeyError> {
        let path = self.path()?;
        self.edit(|lines| {
            let mut ids = lines.iter().filter_map(|line| id_in_line(line));
            if ids.next() == Some(key) {
                return Err(MasterKeyError::Newest { key });
            }
            if !ids.any(|id| id == key) {
                return Err(MasterKeyError::Unknown { path: path.into(), key });
            }
            lines.retain(|line| id_in_line(line) != Some(key));
            Ok(())
        })
    }

    /// Replaces the file with its edited lines. Its mode and its owner stay.
    fn edit(
        &self,
        edit: impl FnOnce(&mut Vec<Zeroizing<String>>) -> Result<(), MasterKeyError>,
    ) -> Result<(), MasterKeyError> {
        let path = self.path()?;
        let failed = |source| unusable(path, source);
        // The path may be a link to a file elsewhere.
        let real = std::fs::canonicalize(path).map_err(failed)?;
        let mut file = File::open(&real).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(MasterKeyError::Busy { path: path.into() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let metadata = file.metadata().map_err(failed)?;
        if std::fs::metadata(&real).map_err(failed)?.ino() != metadata.ino() {
            // Another process has replaced it since it was opened.
            return Err(MasterKeyError::Busy { path: path.into() });
        }
        let text = text_of(path, &mut file)?;
        let mut lines = text.lines().map(|line| Zeroizing::new(line.to_owned())).collect();
        edit(&mut lines)?;
        let mut text = Zeroizing::new(String::new());
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        let draft = draft::of(&real);
        let replaced = write_draft(&draft, metadata.mode() & 0o777, &text)
            .and_then(|()| chown(&draft, Some(metadata.uid()), Some(metadata.gid())))
            .and_then(|()| draft::replace(&draft, &real));
        replaced.map_err(|source| {
            draft::discard(&draft);
            failed(source)
        })
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeys")
    }
}

fn unusable(path: &Path, source: io::Error) -> MasterKeyError {
    MasterKeyError::Unusable { path: path.into(), source }
}

fn stamp(metadata: &std::fs::Metadata) -> FileStamp {
    let content = (metadata.mtime(), metadata.mtime_nsec());
    (metadata.ino(), content, (metadata.ctime(), metadata.ctime_nsec()), metadata.len())
}

/// Reads the keys, and the file's stamp.
fn read(path: &Path) -> Result<(KeyRing, Option<FileStamp>), MasterKeyError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(MasterKeyError::Missing { path: path.into() });
        }
        opened => opened.map_err(|source| unusable(path, source))?,
    };
    let metadata = file.metadata().map_err(|source| unusable(path, source))?;
    private::check(path, &metadata).map_err(MasterKeyError::Exposed)?;
    let text = text_of(path, &mut file)?;
    let ring = KeyRing::parse(&text);
    let ring = ring.map_err(|line| MasterKeyError::Malformed { path: path.into(), line })?;
    Ok((ring, Some(stamp(&metadata))))
}

fn text_of(path: &Path, file: &mut File) -> Result<Zeroizing<String>, MasterKeyError> {
    let mut text = Zeroizing::new(String::new());
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|source| unusable(path, source))?;
    Ok(text)
}

/// Creates the file with a new key, unless it exists.
fn make_file(path: &Path) -> io::Result<()> {
    let text = Zeroizing::new(format!(
        "# The master key of the ledger beside it: 64 hex digits a line, newest first.\n\
         # Back it up apart from the ledger; without it the ledger's secrets are lost.\n{}\n",
        *new_line()
    ));
    let draft = draft::of(path);
    write_draft(&draft, 0o600, &text).inspect_err(|_| draft::discard(&draft))?;
    draft::publish(&draft, path)
}

/// A random key, as a line of the file.
fn new_line() -> Zeroizing<String> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(key.as_mut()).expect("the system has randomness");
    Zeroizing::new(hex::encode(key.as_slice()))
}

fn write_draft(draft: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use countersign_core::id::TenantName;

    use super::*;
    use crate::seal::Owner;

    const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
    const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000002";

    fn place(tenant: &TenantName) -> SealContext<'_> {
        SealContext { tenant, owner: Owner::TokenKey }
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_file_that_has_changed_is_read_again_to_seal_and_to_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let acme = "acme".parse().unwrap();
        write(&path, OLD);
        let [server, other] = [(), ()].map(|()| MasterKeys::from_file(&path, false).unwrap());
        let before = server.seal(place(&acme), b"before");
        other.add(other.current().newest()).unwrap();
        let after = other.seal(place(&acme), b"after");
        assert_ne!(before[1..9], after[1..9], "the new key seals");
        assert_eq!(server.open(place(&acme), &after).unwrap().as_slice(), b"after");
        assert_eq!(server.seal(place(&acme), b"now")[1..9], after[1..9]);
        assert_eq!(server.open(place(&acme), &before).unwrap().as_slice(), b"before");
    }

    #[test]
    fn a_file_that_becomes_unusable_leaves_the_keys_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let acme = "acme".parse().unwrap();
        write(&path, OLD);
        let keys = MasterKeys::from_file(&path, false).unwrap();
        let sealed = keys.seal(place(&acme), b"secret");
        for spoil in
            [|| None, || Some("no key\n".to_owned()), || Some(format!("{NEW}\n{}", "x".repeat(64)))]
        {
            match spoil() {
                Some(text) => write(&path, &text),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert_eq!(keys.open(place(&acme), &sealed).unwrap().as_slice(), b"secret");
            assert_eq!(keys.seal(place(&acme), b"secret")[1..9], sealed[1..9]);
        }
        // A file that is repaired is read again.
        write(&path, NEW);
        assert_ne!(keys.seal(place(&acme), b"secret")[1..9], sealed[1..9]);
        assert_eq!(keys.open(place(&acme), &sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn an_edit_keeps_comments_mode_and_the_link_to_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real"), directory.path().join("link"));
        write(&path, &format!("# the bank's\n{OLD}\n# older\n{NEW}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let keys = MasterKeys::from_file(&link, false).unwrap();
        let [first, second] = [OLD, NEW].map(|line| id_in_line(line).unwrap());

        keys.add(first).unwrap();
        keys.add(first).unwrap(); // It is not the newest any more, so nothing is added.
        let ids = keys.ids_in_file().unwrap();
        assert_eq!((ids.len(), ids[1], ids[2]), (3, first, second));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# the bank's\n") && text.contains("# older\n"), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());

        assert!(matches!(keys.remove(ids[0]), Err(MasterKeyError::Newest { .. })));
        keys.remove(second).unwrap();
        assert!(matches!(keys.remove(second), Err(MasterKeyError::Unknown { .. })));
        assert_eq!(keys.ids_in_file().unwrap(), ids[..2]);
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2, "no draft is left");
    }

    #[test]
    fn two_processes_do_not_change_the_file_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        write(&path, OLD);
        let keys = MasterKeys::from_file(&path, false).unwrap();
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        let error = keys.add(keys.current().newest()).unwrap_err();
        assert!(matches!(error, MasterKeyError::Busy { .. }), "{error}");
        drop(other);
        keys.add(keys.current().newest()).unwrap();
    }
}
