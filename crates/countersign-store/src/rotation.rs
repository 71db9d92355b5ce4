//! Replacing the master key: adding one to the file, sealing all values under it, and removing the
//! older ones.
//!
//! It works beside running servers, which read the file again when it changes. Each step is safe to
//! repeat: a value is under its old key or under the new one, and the file has both.

use countersign_core::Fault;

use crate::Store;
use crate::master_key::MasterKeyError;
use crate::seal::MasterKeyId;

/// A master key, and how many values are sealed under it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MasterKeyUse {
    /// The key's id.
    pub key: MasterKeyId,
    /// How many values of the ledger need it.
    pub values: u64,
}

/// The reason why the master keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The file cannot be changed, or may not be.
    #[error(transparent)]
    File(#[from] MasterKeyError),
    /// The ledger failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Store {
    /// The keys of the file, newest first, with how many values need each.
    ///
    /// # Errors
    /// If the file or the ledger cannot be read.
    pub async fn master_key_uses(&self) -> Result<Vec<MasterKeyUse>, RotationError> {
        let keys = self.master_keys().ids_in_file()?;
        let mut uses = Vec::with_capacity(keys.len());
        for key in keys {
            uses.push(MasterKeyUse { key, values: self.sealed_under(key).await? });
        }
        Ok(uses)
    }

    /// Adds a random key to the file, as its newest. If values are sealed under other keys than the
    /// newest, a rotation is not complete; then no key is added. Answers the newest key, and
    /// whether it was added.
    ///
    /// # Errors
    /// If the file cannot be replaced, or the ledger cannot be read.
    pub async fn add_master_key(&self) -> Result<(MasterKeyId, bool), RotationError> {
        let newest = self.master_keys().current().newest();
        if self.named_master_keys().await?.iter().any(|key| *key != newest) {
            return Ok((newest, false));
        }
        self.master_keys().add(newest)?;
        Ok((self.master_keys().current().newest(), true))
    }

    /// Seals at most `limit` values again, under the newest key, in one commit. Answers how many it
    /// found; 0 says that all values are under the newest key.
    ///
    /// # Errors
    /// If a value does not open, or the ledger fails.
    pub async fn reseal(&self, limit: u16) -> Result<u16, Fault> {
        match self {
            Self::Memory(_) => Ok(0),
            Self::Sqlite(sqlite) => sqlite.reseal(limit).await,
            Self::Postgres(postgres) => Box::pin(postgres.reseal(limit)).await,
        }
    }

    /// Removes a key from the file, if no value needs it.
    ///
    /// # Errors
    /// Refuses the newest key, one that a value needs, and one that the file does not have.
    pub async fn remove_master_key(&self, key: MasterKeyId) -> Result<(), RotationError> {
        let values = self.sealed_under(key).await?;
        if values > 0 {
            return Err(MasterKeyError::Needed { key, values }.into());
        }
        Ok(self.master_keys().remove(key)?)
    }

    /// How many values are sealed under a key.
    async fn sealed_under(&self, key: MasterKeyId) -> Result<u64, Fault> {
        match self {
            Self::Memory(_) => Ok(0),
            Self::Sqlite(sqlite) => sqlite.sealed_under(key),
            Self::Postgres(postgres) => Box::pin(postgres.sealed_under(key)).await,
        }
    }

    /// The keys that values name.
    async fn named_master_keys(&self) -> Result<Vec<MasterKeyId>, Fault> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Sqlite(sqlite) => sqlite.named_master_keys(),
            Self::Postgres(postgres) => Box::pin(postgres.named_master_keys()).await,
        }
    }
}
