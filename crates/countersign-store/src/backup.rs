//! Backups of a ledger: a copy beside a running server, and its check.

use std::path::Path;

use countersign_core::Fault;

use crate::Store;
use crate::master_key::{MasterKeyError, MasterKeys};
use crate::sqlite::backup::{self, BadCopy, LedgerSummary};

/// The reason why a copy was not checked, or is not good.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The copy cannot be used.
    #[error(transparent)]
    Copy(#[from] BadCopy),
    /// The master key file cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
}

impl Store {
    /// Copies the ledger as of one moment into `target`, an empty file that exists. Others may
    /// write meanwhile.
    ///
    /// # Errors
    /// If the ledger cannot be read, or the file cannot be written. A store in memory has no file.
    pub fn back_up(&self, target: &Path) -> Result<(), Fault> {
        match self {
            Self::Memory(_) => Err(Fault::new("copying the ledger", "the store is in memory")),
            Self::Sqlite(sqlite) => sqlite.back_up(target),
            Self::Postgres(_) => Err(Fault::new(
                "copying the ledger",
                "it is in PostgreSQL: back it up as docs/postgresql.md says",
            )),
        }
    }

    /// Checks a copy of a ledger, which no server uses: its structure, and, with a master key file,
    /// that every secret opens. It changes nothing.
    ///
    /// # Errors
    /// The first finding.
    pub fn check_copy(
        ledger: &Path,
        master_key_file: Option<&Path>,
    ) -> Result<LedgerSummary, CheckError> {
        let keys = master_key_file.map(|path| MasterKeys::from_file(path, false)).transpose()?;
        let ring = keys.map(|keys| keys.current());
        let summary = backup::check(ledger, ring.as_deref())?;
        let path = master_key_file.unwrap_or(Path::new(""));
        let lacks = |key| ring.as_ref().is_some_and(|ring| !ring.ids().any(|id| id == key));
        if let Some(&key) = summary.master_keys.iter().find(|key| lacks(**key)) {
            let values = summary.secrets_opened.unwrap_or_default();
            return Err(MasterKeyError::Lacking { path: path.into(), key, values }.into());
        }
        Ok(summary)
    }
}
