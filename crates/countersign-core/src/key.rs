//! Keys as values: public halves, and private keys in the form in which they are stored.

use core::fmt;

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
    fn a_stored_key_shows_no_byte_in_debug() {
        assert_eq!(format!("{:?}", StoredKey::new(vec![7; 32])), "StoredKey");
    }
}
