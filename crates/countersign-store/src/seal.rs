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
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use countersign_core::id::{ClientId, DeviceId, TenantName};
use zeroize::Zeroizing;

/// The version of the format, in the first byte. It is the only one yet.
const FORM: u8 = 1;
pub(crate) const KEY_ID_BYTES: usize = 8;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;

/// Master keys, newest first. The first one seals; each of them may open.
pub(crate) struct KeyRing {
    keys: Vec<Arc<MasterKey>>,
}

struct MasterKey {
    id: MasterKeyId,
    key: LessSafeKey,
}

/// The id of a master key, which each value that it has sealed names: a part of the key's digest.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MasterKeyId(pub(crate) [u8; KEY_ID_BYTES]);

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

impl KeyRing {
    /// One random key, for secrets that end with the process.
    pub(crate) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut()).expect("the system has randomness");
        Self { keys: vec![Arc::new(MasterKey::new(&key))] }
    }

    /// Parses the keys in a file's text. The error is the number of the first invalid line.
    pub(crate) fn parse(text: &str) -> Result<Self, usize> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if let Some(key) = MasterKey::in_line(line).map_err(|()| at + 1)? {
                keys.push(Arc::new(key));
            }
        }
        if keys.is_empty() { Err(0) } else { Ok(Self { keys }) }
    }

    /// The ids of the keys, newest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = MasterKeyId> + '_ {
        self.keys.iter().map(|key| key.id)
    }

    /// The id of the key that seals.
    pub(crate) fn newest(&self) -> MasterKeyId {
        self.keys.first().expect("a file without keys is refused").id
    }

    /// Adds the keys of `older` that are missing, behind its own keys.
    pub(crate) fn with_keys_of(mut self, older: &Self) -> Self {
        let missing = older.keys.iter().filter(|key| !self.ids().any(|id| id == key.id));
        let missing: Vec<_> = missing.cloned().collect();
        self.keys.extend(missing);
        self
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
        [&[FORM][..], &newest.id.0, &nonce, &body, tag.as_ref()].concat()
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
        let master = self.keys.iter().find(|key| key.id.0 == id).ok_or(Unopened::OtherKey)?;
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

/// The id of a line's key; `None` if the line has no key.
pub(crate) fn id_in_line(line: &str) -> Option<MasterKeyId> {
    MasterKey::in_line(line).ok().flatten().map(|key| key.id)
}

impl MasterKey {
    /// The key in a line of the file; `None` for a comment or an empty line.
    fn in_line(line: &str) -> Result<Option<Self>, ()> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(line, bytes.as_mut()).map_err(|_| ())?;
        Ok(Some(Self::new(&bytes)))
    }

    fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has 32 bytes");
        let mut label = digest::Context::new(&digest::SHA256);
        label.update(b"countersign master key id");
        label.update(bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&label.finish().as_ref()[..KEY_ID_BYTES]);
        Self { id: MasterKeyId(id), key: LessSafeKey::new(key) }
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The error for a text that is not the id of a master key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the id of a master key is 16 hex digits, as `countersign master-key list` prints it")]
pub struct BadMasterKeyId;

impl FromStr for MasterKeyId {
    type Err = BadMasterKeyId;

    fn from_str(text: &str) -> Result<Self, BadMasterKeyId> {
        let mut id = [0; KEY_ID_BYTES];
        hex::decode_to_slice(text, &mut id).map_err(|_| BadMasterKeyId)?;
        Ok(Self(id))
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0000000000000000000000000000000000000000000000000000000000000001";
    const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000002";

    fn keys(text: &str) -> KeyRing {
        KeyRing::parse(text).ok().unwrap()
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
        assert_eq!(KeyRing::parse("").err(), Some(0));
        assert_eq!(KeyRing::parse("# nothing").err(), Some(0));
        assert_eq!(KeyRing::parse(&format!("{OLD}\nabc")).err(), Some(2));
        assert_eq!(KeyRing::parse(&format!("{OLD}00")).err(), Some(1));
    }
}
