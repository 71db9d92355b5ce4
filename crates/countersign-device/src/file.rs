//! `phone.json`, and the stored finishes beside it that have no answer yet.
//!
//! The guarantee: a file is written whole or not at all, is on disk before the device relies on it,
//! and is readable by its owner only.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use countersign_wire::body::Finish;
use countersign_wire::id::TransactionId;
use countersign_wire::limits::FRAME_BYTES_MAX;
use countersign_wire::phone::Phone;
use zeroize::Zeroizing;

use crate::error::Error;

/// The largest `phone.json` in bytes: enough for eight identities with their chains.
const PHONE_BYTES_MAX: usize = 1024 * 1024;

/// The file in which a device is stored.
#[derive(Clone, Debug)]
pub struct PhoneFile {
    path: PathBuf,
    overwrite: bool,
}

impl PhoneFile {
    /// The file at `path`. It need not exist.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), overwrite: false }
    }

    /// Whether an enrolment may replace an existing device.
    #[must_use]
    pub fn overwrite(self, overwrite: bool) -> Self {
        Self { overwrite, ..self }
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the device.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::BadFile`] if the file is not a `phone.json`.
    pub fn read(&self) -> Result<Phone, Error> {
        let bytes = read_bounded(&self.path, PHONE_BYTES_MAX)
            .map_err(|source| failed(&self.path, "read", source))?;
        let bad = |why| Error::BadFile { path: self.path.clone(), why };
        let bytes = bytes.ok_or_else(|| bad("it is far too large"))?;
        // The parser's message could contain a secret.
        let phone: Phone = serde_json::from_slice(&bytes)
            .map_err(|_| bad("a member is missing, or has a wrong form"))?;
        phone.device_name().map_err(|_| bad("its tenant is not a valid name"))?;
        Ok(phone)
    }

    /// Writes a new device.
    ///
    /// # Errors
    /// [`Error::Exists`] if the path exists, unless it may be overwritten.
    pub fn create(&self, phone: &Phone) -> Result<(), Error> {
        if self.overwrite {
            return self.replace(phone);
        }
        let written = write_new(&self.path, &to_json(phone))?;
        // Unlike a rename, a link never replaces an existing file.
        let linked = fs::hard_link(&written, &self.path);
        fs::remove_file(&written).map_err(|source| failed(&written, "removed", source))?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Exists(self.path.clone()))
            }
            Err(source) => Err(failed(&self.path, "written", source)),
            Ok(()) => sync_parent(&self.path),
        }
    }

    /// Replaces the stored device.
    pub(crate) fn replace(&self, phone: &Phone) -> Result<(), Error> {
        write_whole(&self.path, &to_json(phone))
    }

    /// Removes the stored device, with its pending signatures. Nothing can bring its keys back.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        let pending = self.pending();
        match fs::remove_dir_all(&pending) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&pending, "removed", error));
            }
            _ => {}
        }
        fs::remove_file(&self.path).map_err(|source| failed(&self.path, "removed", source))
    }

    /// Fails early if [`Self::create`] would fail later, after the activation code is used up.
    pub(crate) fn check_free(&self) -> Result<(), Error> {
        if !self.overwrite && self.path.symlink_metadata().is_ok() {
            return Err(Error::Exists(self.path.clone()));
        }
        let probe = write_new(&self.path, &[])?;
        fs::remove_file(&probe).map_err(|source| failed(&probe, "removed", source))
    }

    /// Stores a finish before it is sent.
    pub(crate) fn keep(&self, finish: &Finish) -> Result<(), Error> {
        let directory = self.pending();
        match fs::create_dir(&directory) {
            Ok(()) => {
                #[cfg(unix)]
                {
                    use std::os::unix::fs::PermissionsExt as _;
                    let private = fs::Permissions::from_mode(0o700);
                    fs::set_permissions(&directory, private)
                        .map_err(|source| failed(&directory, "made private", source))?;
                }
                sync_parent(&directory)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed(&directory, "made", source)),
        }
        let json = serde_json::to_vec(finish).expect("a finish is plain JSON");
        write_whole(&self.pending_path(finish.id), &json)
    }

    /// The stored finish of a transaction, if there is one.
    pub(crate) fn kept(&self, id: TransactionId) -> Result<Option<Finish>, Error> {
        let path = self.pending_path(id);
        let bytes = match read_bounded(&path, FRAME_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path, "read", source)),
        };
        let finish = bytes.and_then(|bytes| serde_json::from_slice::<Finish>(&bytes).ok());
        let finish = finish.filter(|finish| finish.id == id);
        finish
            .map(Some)
            .ok_or(Error::BadFile { path, why: "it is not a finish of its transaction" })
    }

    /// The transactions with a stored finish.
    pub(crate) fn all_kept(&self) -> Result<Vec<TransactionId>, Error> {
        let directory = self.pending();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(&directory, "read", source)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(|source| failed(&directory, "read", source))?.file_name();
            // A file that was not completely written has another name. Its finish was never sent.
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<TransactionId>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes a finish after its answer.
    pub(crate) fn let_go(&self, id: TransactionId) -> Result<(), Error> {
        let path = self.pending_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed(&path, "removed", error))
            }
            _ => Ok(()),
        }
    }

    fn pending(&self) -> PathBuf {
        with_suffix(&self.path, ".pending")
    }

    fn pending_path(&self, id: TransactionId) -> PathBuf {
        self.pending().join(format!("{id}.json"))
    }
}

fn to_json(phone: &Phone) -> Zeroizing<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(phone).expect("a phone is plain JSON");
    json.push(b'\n');
    Zeroizing::new(json)
}

/// The content, or `None` if it has more than `bytes_max` bytes.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

fn write_whole(path: &Path, content: &[u8]) -> Result<(), Error> {
    let written = write_new(path, content)?;
    fs::rename(&written, path).map_err(|source| {
        let _ = fs::remove_file(&written);
        failed(path, "written", source)
    })?;
    sync_parent(path)
}

/// Writes a temporary file beside `path`, to be renamed, and returns its path.
fn write_new(path: &Path, content: &[u8]) -> Result<PathBuf, Error> {
    let mut chance = [0; 8];
    aws_lc_rs::rand::fill(&mut chance).expect("the system's random generator does not fail");
    let new = with_suffix(path, &format!(".{:016x}.new", u64::from_be_bytes(chance)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(&new)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&new);
        failed(path, "written", source)
    })?;
    Ok(new)
}

/// A file's name is on disk only after its directory is synced.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if cfg!(unix) {
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|source| failed(parent, "written", source))?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), doing, source }
}

#[cfg(test)]
mod tests {
    use countersign_wire::body::Signature;
    use countersign_wire::id::DeviceId;
    use countersign_wire::jwk::PrivateJwk;
    use countersign_wire::secret::{CodeKey, PayloadKey};

    use super::*;

    fn phone(user: &str) -> Phone {
        Phone {
            server: "https://sign.example.com".to_owned(),
            reached_at: None,
            server_ca: None,
            tenant: "bank".to_owned(),
            user: user.to_owned(),
            device_id: DeviceId::new(7).unwrap(),
            serial_number: "CSN0000007-1".to_owned(),
            auth_key: PrivateJwk::generate(),
            payload_key: PayloadKey::generate(),
            code_key: CodeKey::generate(),
            identities: Vec::new(),
            pin: None,
            pin_next: None,
            known_devices: Vec::new(),
        }
    }

    fn finish(id: u8, value: &[u8]) -> Finish {
        let signature =
            Signature::Cms { identity: "i".to_owned(), algorithm: None, value: value.to_vec() };
        Finish { id: TransactionId([id; 16]), signature, match_code: None }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_existing_device_is_replaced_only_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let file = PhoneFile::at(directory.path().join("phone.json"));
        file.check_free().unwrap();
        file.create(&phone("ann")).unwrap();
        assert!(matches!(file.check_free(), Err(Error::Exists(_))));
        assert!(matches!(file.create(&phone("bob")), Err(Error::Exists(_))));
        assert_eq!(file.read().unwrap().user, "ann");
        file.clone().overwrite(true).create(&phone("bob")).unwrap();
        assert_eq!(file.read().unwrap().user, "bob");
        assert_eq!(names(directory.path()), ["phone.json"], "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = PhoneFile::at(directory.path().join("phone.json"));
        file.create(&phone("ann")).unwrap();
        file.keep(&finish(1, b"x")).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(&file.pending()), 0o700);
        assert_eq!(mode(&file.pending_path(TransactionId([1; 16]))), 0o600);
    }

    #[test]
    fn a_stored_finish_is_found_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let file = PhoneFile::at(directory.path().join("phone.json"));
        assert_eq!(file.all_kept().unwrap(), []);
        let (first, second) = (finish(1, b"one"), finish(2, b"two"));
        file.keep(&second).unwrap();
        file.keep(&first).unwrap();
        fs::write(file.pending().join("half.json.0.new"), "{").unwrap();

        let again = PhoneFile::at(file.path());
        assert_eq!(again.all_kept().unwrap(), [first.id, second.id]);
        assert_eq!(again.kept(first.id).unwrap(), Some(first.clone()));
        again.let_go(first.id).unwrap();
        again.let_go(first.id).unwrap();
        assert_eq!(again.kept(first.id).unwrap(), None);
        assert_eq!(again.all_kept().unwrap(), [second.id]);
    }

    #[test]
    fn errors_for_a_bad_phone_json_do_not_show_its_values() {
        let directory = tempfile::tempdir().unwrap();
        let file = PhoneFile::at(directory.path().join("phone.json"));
        assert!(matches!(file.read(), Err(Error::File { .. })));
        fs::write(file.path(), r#"{"server":"s","payload_key":"SECRET"}"#).unwrap();
        let error = file.read().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
        let nowhere = PhoneFile::at(directory.path().join("none").join("phone.json"));
        assert!(matches!(nowhere.check_free(), Err(Error::File { .. })));
    }
}
