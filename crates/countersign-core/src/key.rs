//! Keys as values: public halves, and private keys in the form in which they are stored.

use core::fmt;

use crate::time::Timestamp;

/// A point on P-256, uncompressed (SEC 1, section 2.3.3).
pub type PublicKey = [u8; 65];

/// The use of a tenant's signing key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SigningRole {
    /// Issues the certificates of the tenant's devices.
    Authority,
    /// Signs the tenant's access tokens.
    Tokens,
}

impl SigningRole {
    /// The role's name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Tokens => "tokens",
        }
    }
}

/// The public halves of the keys that verify a tenant's access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenKeys {
    /// The key that signs.
    pub newest: PublicKey,
    /// The key that signed before. Its tokens are accepted before this time.
    pub before: Option<(PublicKey, Timestamp)>,
}

impl TokenKeys {
    /// One key.
    #[must_use]
    pub fn one(newest: PublicKey) -> Self {
        Self { newest, before: None }
    }

    /// Returns the keys after `new` has replaced the newest one, whose tokens are accepted before
    /// `keep_until`, or no longer if it is `None`.
    #[must_use]
    pub fn replaced_by(self, new: PublicKey, keep_until: Option<Timestamp>) -> Self {
        Self { newest: new, before: keep_until.map(|end| (self.newest, end)) }
    }

    /// The keys that verify tokens at `now`, the newest first.
    pub fn valid(&self, now: Timestamp) -> impl Iterator<Item = &PublicKey> {
        let before = self.before.iter().filter(move |(_, end)| now < *end).map(|(key, _)| key);
        core::iter::once(&self.newest).chain(before)
    }
}

/// A private key in the form in which the ledger stores it: sealed, or a reference to a key in a
/// hardware security module. Only the adapter that made it can use it.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct StoredKey(Vec<u8>);

impl StoredKey {
    /// Wraps the stored bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The stored bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_replaced_key_are_accepted_as_long_as_it_was_kept() {
        let valid = |keys: TokenKeys, now| keys.valid(Timestamp(now)).map(|key| key[0]).collect();
        let none: Vec<u8> = valid(TokenKeys::one([1; 65]).replaced_by([2; 65], None), 0);
        assert_eq!(none, [2]);
        let kept = TokenKeys::one([1; 65]).replaced_by([2; 65], Some(Timestamp(9)));
        let (early, late): (Vec<u8>, Vec<u8>) = (valid(kept, 8), valid(kept, 9));
        assert_eq!((early, late), (vec![2, 1], vec![2]));
        let twice: Vec<u8> = valid(kept.replaced_by([3; 65], Some(Timestamp(9))), 8);
        assert_eq!(twice, [3, 2]);
    }

    #[test]
    fn a_stored_key_shows_no_byte_in_debug() {
        assert_eq!(format!("{:?}", StoredKey::new(vec![7; 32])), "StoredKey");
    }
}
