//! The stores: adapters of the ledger.
//!
//! [`Store`] is a closed enum of all adapters. The port [`Ledger`] defines their contract, and one
//! contract test checks it for every adapter.
//!
//! ```text
//! Store ─┬─ Memory   one mutex, plain maps; lost when the process ends
//!        ├─ Sqlite   one file; one writer thread, which shares each sync among all queued commits
//!        └─ Postgres one schema of a database, which several nodes share; writes in batches
//! ```

use std::path::Path;

use countersign_core::event::RecordedEvent;
use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{Ledger, SigningRole, StoredKey, TransactionChange};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event};
use countersign_core::{Fault, for_each_ledger_method};

mod answered;
mod attempts;
mod backup;
mod draft;
mod keys;
mod master_key;
mod memory;
mod moving;
mod postgres;
mod postgres_error;
pub mod private;
mod rotation;
mod seal;
mod sql;
mod sqlite;
mod sqlite_error;

pub use keys::{SealedKeys, SealedSigner};
pub use master_key::MasterKeyError;
pub use memory::Memory;
pub use moving::{Move, MoveError, MoveProgress, TableCheck, TableSum};
pub use postgres::{
    Fleet, FleetMessages, FleetNode, MESSAGE_MAX, Postgres, PostgresError, PostgresLocation,
    UserPresence,
};
pub use rotation::{MasterKeyUse, RotationError};
pub use seal::{BadMasterKeyId, MasterKeyId};
pub use sqlite::backup::{BadCopy, LedgerSummary};
pub use sqlite::{OpenError, OpenFor, SCHEMA, ServerLock, Sqlite};

pub use backup::CheckError;

use keys::CallbackKeys;
use master_key::MasterKeys;

/// An event that an operator's command wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OperatorEvent {
    /// The tenant; `None` if the event is the server's.
    pub tenant: Option<TenantName>,
    /// The event.
    pub event: RecordedEvent,
}

/// A ledger. Clones share the same store.
#[derive(Clone, Debug)]
pub enum Store {
    /// A store in memory, which is lost when the process ends.
    Memory(Memory),
    /// An SQLite file in the data directory.
    Sqlite(Sqlite),
    /// A schema in a PostgreSQL database.
    Postgres(Postgres),
}

/// The counts of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// The units of work that were answered, including stale ones.
    pub commits: u64,
    /// The syncs of the disk. With many callers at once, they are far fewer than `commits`.
    pub syncs: u64,
}

/// The deliveries that are counted as a backlog; a longer one says no more.
pub const BACKLOG_COUNTED_MAX: u32 = 100_000;

/// The deliveries that are not settled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// The callbacks that wait for an attempt or its result.
    pub callbacks: u32,
    /// The pushes that wait for an attempt or its result.
    pub pushes: u32,
    /// The callbacks that were given up.
    pub dead_letters: u32,
}

/// The mark of a single-use signature, if this commit ends a transaction with one.
fn single_use_mark(commit: &TransactionChange) -> Option<[u8; 32]> {
    match (commit.event, commit.transaction.end()) {
        (Event::Ended(_), Some(End::Finished { proof, .. })) => proof.single_use_mark(),
        _ => None,
    }
}

impl Store {
    /// Creates an empty store in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    /// Opens the ledger in the data directory `directory`. Creates both if they are missing. The
    /// master key is in `master_key_file`, or by default in `master.key` in the data directory.
    ///
    /// # Errors
    /// States what is wrong with the directory, the file or the master key, and how to correct it.
    pub fn sqlite(directory: &Path, master_key_file: Option<&Path>) -> Result<Self, OpenError> {
        Self::sqlite_for(directory, master_key_file, OpenFor::Serve)
    }

    /// Opens the ledger for a purpose, which decides what may be created and changed.
    ///
    /// # Errors
    /// As [`Store::sqlite`].
    pub fn sqlite_for(
        directory: &Path,
        master_key_file: Option<&Path>,
        purpose: OpenFor,
    ) -> Result<Self, OpenError> {
        Sqlite::open(directory, master_key_file, purpose).map(Self::Sqlite)
    }

    /// Opens the ledger in a PostgreSQL database. Makes the schema, and the master key in
    /// `master_key_file`, if they are missing; `must_be_new` refuses an existing ledger. `now` is
    /// the time of this machine, which must agree with the database's.
    ///
    /// # Errors
    /// States what is wrong with the address, the database or the master key.
    pub async fn postgres(
        location: &PostgresLocation,
        master_key_file: &Path,
        must_be_new: bool,
        now: Timestamp,
    ) -> Result<Self, PostgresError> {
        Box::pin(Postgres::open(location, master_key_file, must_be_new, now))
            .await
            .map(Self::Postgres)
    }

    /// Completes the queued work, checkpoints the file and stops writing. Reads still work.
    ///
    /// # Errors
    /// Fails if the disk does. Acknowledged commits are safe even then.
    pub async fn close(&self) -> Result<(), Fault> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => {
                postgres.close().await;
                Ok(())
            }
        }
    }

    /// Checks that the store can be read and accepts writes.
    ///
    /// # Errors
    /// Fails if it does not, or has been closed.
    pub fn ready(&self) -> Result<(), Fault> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sqlite(sqlite) => sqlite.ready(),
            Self::Postgres(postgres) => postgres.ready(),
        }
    }

    /// The fleet of nodes that share the ledger; `None` if one node has it alone.
    #[must_use]
    pub fn fleet(&self) -> Option<Fleet> {
        match self {
            Self::Memory(_) | Self::Sqlite(_) => None,
            Self::Postgres(postgres) => Some(postgres.fleet()),
        }
    }

    /// The counts since the store was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self {
            Self::Memory(memory) => memory.stats(),
            Self::Sqlite(sqlite) => sqlite.stats(),
            Self::Postgres(postgres) => postgres.stats(),
        }
    }

    /// Counts the deliveries that are not settled, at most [`BACKLOG_COUNTED_MAX`] of them.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn backlog(&self) -> Result<Backlog, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.backlog()),
            Self::Sqlite(sqlite) => sqlite.backlog(),
            Self::Postgres(postgres) => Box::pin(postgres.backlog()).await,
        }
    }

    /// What operators did at the command line at `since` or later, of all tenants: at most `limit`
    /// events, the oldest first. A store in memory has no command line.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn events_of_operators(
        &self,
        since: Timestamp,
        limit: u16,
    ) -> Result<Vec<OperatorEvent>, Fault> {
        match self {
            Self::Memory(_) => Ok(Vec::new()),
            Self::Sqlite(sqlite) => sqlite.events_of_operators(since, limit),
            Self::Postgres(postgres) => Box::pin(postgres.events_of_operators(since, limit)).await,
        }
    }

    /// Whether any device is or was enrolled in a tenant that is left.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn has_devices(&self) -> Result<bool, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.has_devices()),
            Self::Sqlite(sqlite) => sqlite.has_devices(),
            Self::Postgres(postgres) => Box::pin(postgres.has_devices()).await,
        }
    }

    /// The private keys of the ledger's tenants and clients.
    #[must_use]
    pub fn private_keys(&self) -> SealedKeys {
        SealedKeys::of(self.clone())
    }

    fn master_keys(&self) -> &MasterKeys {
        match self {
            Self::Memory(memory) => memory.master_keys(),
            Self::Sqlite(sqlite) => sqlite.master_keys(),
            Self::Postgres(postgres) => postgres.master_keys(),
        }
    }

    async fn signing_key(
        &self,
        tenant: &TenantName,
        role: SigningRole,
    ) -> Result<Option<StoredKey>, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.signing_key(tenant, role)),
            Self::Sqlite(sqlite) => sqlite.signing_key(tenant, role),
            Self::Postgres(postgres) => Box::pin(postgres.signing_key(tenant, role)).await,
        }
    }

    async fn callback_keys(
        &self,
        tenant: &TenantName,
        client: &ClientId,
    ) -> Result<Option<CallbackKeys>, Fault> {
        match self {
            Self::Memory(memory) => Ok(memory.callback_keys(tenant, client)),
            Self::Sqlite(sqlite) => sqlite.callback_keys(tenant, client),
            Self::Postgres(postgres) => Box::pin(postgres.callback_keys(tenant, client)).await,
        }
    }
}

/// Forwards each method of a ledger to the store's variant.
macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        impl Ledger for Store {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, Fault> {
                match self {
                    Self::Memory(store) => store.$name($($argument),*).await,
                    Self::Sqlite(store) => store.$name($($argument),*).await,
                    // Boxed, so that callers of the other stores do not carry its size.
                    Self::Postgres(store) => Box::pin(store.$name($($argument),*)).await,
                }
            })*
        }
    };
}

for_each_ledger_method!(forward);
