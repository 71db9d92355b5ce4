//! Encryption of secrets at rest, under a master key in a separate file.
//!
//! A copy of the ledger without that file discloses no key, PIN or code. Each sealed value is bound
//! to its context, so that it does not open in another row or column. It also names its master key,
//! so that the file may hold several keys while older ones are replaced.
//!
//! ```text
//! sealed = 01 ‖ key id (8) ‖ nonce (12, random) ‖ AES-256-GCM ciphertext and tag (16)
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use countersign_core::id::{ClientId, DeviceId, TenantName};
use zeroize::Zeroizing;

use crate::draft;
use crate::private::{self, Exposed};

/// The version of the format, in the first byte. It is the only one yet.
const FORM: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;
/// The largest master key file: 64 keys and comments. A larger file is not a master key file.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The keys that seal the secrets of the ledger, newest first. The first one seals; each of them
/// may open.
pub(crate) struct MasterKeys {
    keys: Vec<MasterKey>,
}

struct MasterKey {
    id: [u8; KEY_ID_BYTES],
    key: LessSafeKey,
}

/// The context of a sealed value. The value opens in this context only.
#[derive(Clone, Copy)]
pub(crate) struct SealContext<'a> {
    pub(crate) tenant: &'a TenantName,
    pub(crate) owner: Owner<'a>,
}

/// The owner of the secret.
#[derive(Clone, Copy)]
pub(crate) enum Owner<'a> {
    AuthorityKey,
    TokenKey,
    WebhookKey(&'a ClientId),
    PayloadKey(DeviceId),
    CodeKey(DeviceId),
    Pin(DeviceId),
    Push(DeviceId),
    ActivationCode(u128),
}

/// The reason why a sealed value did not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unopened {
    #[error("it is not a sealed value")]
    Malformed,
    #[error("no key in the master key file opens it")]
    OtherKey,
    #[error("it was sealed for another context, or altered")]
    Altered,
}

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
        "the master key file {path} belongs to another ledger: it does not open the secrets of \
         tenant {tenant}; restore the right file from its backup, or set its path in the \
         configuration"
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
}

impl MasterKeys {
    /// Reads the file at `path`. If it does not exist and `make` allows it, creates it with one
    /// random key.
    pub(crate) fn from_file(path: &Path, make: bool) -> Result<Self, MasterKeyError> {
        let unusable = |source| MasterKeyError::Unusable { path: path.into(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && make => {
                make_file(path).map_err(unusable)?;
                File::open(path).map_err(unusable)?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(MasterKeyError::Missing { path: path.into() });
            }
            opened => opened.map_err(unusable)?,
        };
        let metadata = file.metadata().map_err(unusable)?;
        private::check(path, &metadata).map_err(MasterKeyError::Exposed)?;
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unusable)?;
        Self::parse(&text).map_err(|line| MasterKeyError::Malformed { path: path.into(), line })
    }

    /// One random key, for secrets that end with the process.
    pub(crate) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut()).expect("the system has randomness");
        Self { keys: vec![MasterKey::new(&key)] }
    }

    /// Parses the keys in a file's text. The error is the number of the first invalid line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut bytes = Zeroizing::new([0; 32]);
            hex::decode_to_slice(line, bytes.as_mut()).map_err(|_| at + 1)?;
            keys.push(MasterKey::new(&bytes));
        }
        if keys.is_empty() { Err(0) } else { Ok(Self { keys }) }
    }

    /// Seals `secret` for the context `place`.
    pub(crate) fn seal(&self, place: SealContext<'_>, secret: &[u8]) -> Vec<u8> {
        let newest = self.keys.first().expect("a file without keys is refused");
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system has randomness");
        let mut body = Zeroizing::new(secret.to_vec());
        let tag = newest
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.bytes()),
                &mut body,
            )
            .expect("a secret is far shorter than 64 GiB");
        [&[FORM][..], &newest.id, &nonce, &body, tag.as_ref()].concat()
    }

    /// Opens a value that was sealed for the context `place`.
    pub(crate) fn open(
        &self,
        place: SealContext<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        if sealed.len() < HEAD_BYTES + AES_256_GCM.tag_len() || sealed[0] != FORM {
            return Err(Unopened::Malformed);
        }
        let (head, body) = sealed.split_at(HEAD_BYTES);
        let (id, nonce) = head[1..].split_at(KEY_ID_BYTES);
        let master = self.keys.iter().find(|key| key.id == id).ok_or(Unopened::OtherKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened::Malformed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = master
            .key
            .open_in_place(nonce, Aad::from(place.bytes()), &mut body)
            .map_err(|_| Unopened::Altered)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeys")
    }
}

impl MasterKey {
    fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has 32 bytes");
        let mut label = digest::Context::new(&digest::SHA256);
        label.update(b"countersign master key id");
        label.update(bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&label.finish().as_ref()[..KEY_ID_BYTES]);
        Self { id, key: LessSafeKey::new(key) }
    }
}

impl SealContext<'_> {
    /// The associated data: each part with its length before it, so that two contexts never give
    /// the same bytes.
    fn bytes(self) -> Vec<u8> {
        let (usage, owner) = match self.owner {
            Owner::AuthorityKey => ("authority key", Vec::new()),
            Owner::TokenKey => ("token key", Vec::new()),
            Owner::WebhookKey(client) => ("webhook key", client.as_str().into()),
            Owner::PayloadKey(device) => ("payload key", device.number().to_be_bytes().into()),
            Owner::CodeKey(device) => ("code key", device.number().to_be_bytes().into()),
            Owner::Pin(device) => ("pin", device.number().to_be_bytes().into()),
            Owner::Push(device) => ("push address", device.number().to_be_bytes().into()),
            Owner::ActivationCode(id) => ("activation code", id.to_be_bytes().to_vec()),
        };
        let mut bytes = Vec::new();
        for part in [self.tenant.as_str().as_bytes(), usage.as_bytes(), &owner] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

/// Creates the file with a new key, unless it exists.
fn make_file(path: &Path) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    rand::fill(key.as_mut()).expect("the system has randomness");
    let digits = Zeroizing::new(hex::encode(key.as_slice()));

    let draft = draft::of(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = write!(
        file,
        "# The master key of the ledger beside it: 64 hex digits a line, newest first.\n\
         # Back it up apart from the ledger; without it the ledger's secrets are lost.\n{}\n",
        *digits
    );
    let written = written.and_then(|()| file.sync_all());
    written.inspect_err(|_| draft::discard(&draft))?;
    draft::publish(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
    const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000002";

    fn keys(text: &str) -> MasterKeys {
        MasterKeys::parse(text).ok().unwrap()
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_own_context() {
        let (acme, other): (TenantName, TenantName) =
            ("acme".parse().unwrap(), "other".parse().unwrap());
        let (one, two) = (DeviceId::drawn(2), DeviceId::drawn(4));
        let place = |tenant, owner| SealContext { tenant, owner };
        let here = place(&acme, Owner::PayloadKey(one));
        let keys = keys(OLD);
        let sealed = keys.seal(here, b"secret");
        assert_eq!(keys.open(here, &sealed).unwrap().as_slice(), b"secret");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        for elsewhere in [
            place(&other, Owner::PayloadKey(one)),
            place(&acme, Owner::PayloadKey(two)),
            place(&acme, Owner::CodeKey(one)),
        ] {
            assert_eq!(keys.open(elsewhere, &sealed), Err(Unopened::Altered));
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_to_the_same_bytes() {
        let acme = "acme".parse().unwrap();
        let place = SealContext { tenant: &acme, owner: Owner::TokenKey };
        let keys = keys(OLD);
        assert_ne!(keys.seal(place, b"secret"), keys.seal(place, b"secret"));
    }

    #[test]
    fn a_value_with_a_changed_or_missing_byte_does_not_open() {
        let acme = "acme".parse().unwrap();
        let place = SealContext { tenant: &acme, owner: Owner::TokenKey };
        let keys = keys(OLD);
        let sealed = keys.seal(place, b"secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open(place, &changed).is_err(), "byte {at}");
            assert!(keys.open(place, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_key_seals_and_the_older_one_still_opens() {
        let acme = "acme".parse().unwrap();
        let place = SealContext { tenant: &acme, owner: Owner::TokenKey };
        let before = keys(OLD).seal(place, b"secret");
        let both = keys(&format!("# newest first\n{NEW}\n\n{OLD}\n"));
        assert_eq!(both.open(place, &before).unwrap().as_slice(), b"secret");
        let after = both.seal(place, b"secret");
        assert_eq!(keys(OLD).open(place, &after), Err(Unopened::OtherKey));
        assert_eq!(keys(NEW).open(place, &after).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn a_file_with_an_invalid_line_is_refused_with_its_number() {
        assert_eq!(MasterKeys::parse("").err(), Some(0));
        assert_eq!(MasterKeys::parse("# nothing").err(), Some(0));
        assert_eq!(MasterKeys::parse(&format!("{OLD}\nabc")).err(), Some(2));
        assert_eq!(MasterKeys::parse(&format!("{OLD}00")).err(), Some(1));
    }
}
