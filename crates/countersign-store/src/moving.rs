//! Moving a ledger from a file into PostgreSQL.
//!
//! Tables are moved one by one, in batches in the order of their keys. Each batch is one SQL
//! transaction, which also notes the place that was reached; so a move that was interrupted goes on
//! there. At the end, all rows of both ledgers are read, and must have the same count and checksum;
//! only then nodes can open the new ledger. Sealed values stay as they are, under the same master
//! key. The source is only read.

use std::fmt;
use std::path::{Path, PathBuf};

use countersign_core::Fault;
use countersign_core::time::Timestamp;

use crate::postgres::target::{Reached, Target};
use crate::postgres::{PostgresError, PostgresLocation};
use crate::sql::error::StoreError;
use crate::sql::moved::TABLES;
use crate::sqlite::source::{PageMax, Source, SourceError};

/// The most rows of a batch, and the bytes at which it ends.
const BATCH_MAX: PageMax = PageMax { rows: 1_000, bytes: 4 << 20 };
/// After how many rows a check tells how far it is.
const TOLD_EVERY: u64 = 1_000;

/// A move that has begun.
pub struct Move {
    source: Source,
    target: Target,
    master_key_file: PathBuf,
    /// How far each table has been moved.
    reached: Vec<Reached>,
    /// The table that is moved now, as a position in [`TABLES`].
    at: usize,
    rows: u64,
    is_resumed: bool,
}

/// How far a move, or its check, is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MoveProgress {
    /// The table that was worked on last.
    pub table: &'static str,
    /// The rows that were moved, or compared, so far.
    pub done: u64,
    /// All rows of the ledger.
    pub rows: u64,
}

/// A table in one of the two ledgers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableSum {
    /// The rows.
    pub rows: u64,
    /// The SHA-256 of all its rows, in the order of their keys.
    pub sha256: [u8; 32],
}

/// A table in both ledgers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableCheck {
    /// Its name.
    pub table: &'static str,
    /// As it is in the ledger that was moved.
    pub source: TableSum,
    /// As it is in the new ledger.
    pub target: TableSum,
}

/// The reason why a ledger was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The directory has no ledger.
    #[error("there is no ledger in {0}: name the data directory of the server with --from")]
    NoLedger(PathBuf),
    /// The ledger cannot be moved now.
    #[error("{0}")]
    Source(String),
    /// The database cannot be used.
    #[error(transparent)]
    Target(#[from] PostgresError),
    /// Reading or writing failed on the way.
    #[error(transparent)]
    Interrupted(#[from] Fault),
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Move")
    }
}

impl TableCheck {
    /// Whether both ledgers have the same rows.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.source == self.target
    }
}

impl Move {
    /// Begins to move the ledger in the directory `from`, or goes on with a move that was
    /// interrupted. The ledger is locked until this is dropped.
    ///
    /// # Errors
    /// If a server has the ledger, the master key is not the ledger's, or the schema has a ledger
    /// or the move of another one. Nothing was changed then.
    pub async fn begin(
        from: &Path,
        master_key_file: &Path,
        to: &PostgresLocation,
        now: Timestamp,
    ) -> Result<Self, MoveError> {
        if !from.join("ledger.db").exists() {
            return Err(MoveError::NoLedger(from.into()));
        }
        let source = Source::open(from, master_key_file);
        let source = source.map_err(|error: SourceError| MoveError::Source(error.to_string()))?;
        let doing = "reading the ledger";
        let state = source.state().map_err(|error| error.while_doing(doing))?;
        let count = |table| source.count(table).map_err(|error| error.while_doing(doing));
        let rows = TABLES.iter().map(count).sum::<Result<u64, Fault>>()?;
        let (target, reached) = Target::open(to, state, now).await?;
        let is_resumed = reached.is_some();
        let reached = reached.unwrap_or_else(|| vec![Reached::default(); TABLES.len()]);
        let master_key_file = master_key_file.into();
        Ok(Self { source, target, master_key_file, reached, at: 0, rows, is_resumed })
    }

    /// Whether a move that was interrupted goes on.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// How far the move is.
    #[must_use]
    pub fn progress(&self) -> MoveProgress {
        let table = TABLES[self.at.min(TABLES.len() - 1)].name;
        let done = self.reached.iter().map(|reached| reached.rows).sum();
        MoveProgress { table, done, rows: self.rows }
    }

    /// Moves the next batch. Answers how far the move is; `None` if all rows have been moved.
    ///
    /// # Errors
    /// If a ledger fails. The move can go on later.
    pub async fn step(&mut self) -> Result<Option<MoveProgress>, MoveError> {
        while let (Some(table), Some(reached)) = (TABLES.get(self.at), self.reached.get(self.at)) {
            let failed = |error: StoreError| {
                Fault::new("moving a table", format!("table {}: {error}", table.name))
            };
            let page = self.source.page(table, reached.place.as_ref(), BATCH_MAX);
            let page = page.map_err(failed)?;
            let Some(last) = page.last() else {
                self.at += 1;
                continue;
            };
            self.target.write(table, &page, reached).await.map_err(failed)?;
            let rows = reached.rows + page.len() as u64;
            self.reached[self.at] = Reached { place: Some(table.key_of(last)), rows };
            return Ok(Some(self.progress()));
        }
        Ok(None)
    }

    /// Compares both ledgers. If they are the same, the new one is complete, and nodes can open it.
    /// `told` hears how far it is.
    ///
    /// # Errors
    /// If a ledger fails, or the master key is not the new ledger's. The move can go on later.
    pub async fn finish(
        self,
        mut told: impl FnMut(MoveProgress),
    ) -> Result<Vec<TableCheck>, MoveError> {
        let (mut checks, mut done) = (Vec::with_capacity(TABLES.len()), 0);
        for table in &TABLES {
            let failed = |error: StoreError| {
                Fault::new("comparing a table", format!("table {}: {error}", table.name))
            };
            let mut told = |rows: u64| {
                if rows.is_multiple_of(TOLD_EVERY) {
                    told(MoveProgress { table: table.name, done: done + rows, rows: self.rows });
                }
            };
            let source = self.source.checksum(table, &mut |_| ()).map_err(failed)?;
            let target = self.target.checksum(table, &mut told).await.map_err(failed)?;
            let [source, target] =
                [source, target].map(|sum| TableSum { rows: sum.rows, sha256: sum.sha256 });
            done += source.rows;
            checks.push(TableCheck { table: table.name, source, target });
        }
        told(MoveProgress { table: TABLES[TABLES.len() - 1].name, done, rows: self.rows });
        if checks.iter().all(TableCheck::is_same) {
            let numbered = TABLES.iter().filter(|table| table.is_numbered());
            let last = |table| Ok((table, self.source.last_seq(table)?));
            let last_seqs = numbered.map(last).collect::<Result<Vec<_>, StoreError>>();
            let last_seqs = last_seqs.map_err(|error| error.while_doing("reading the ledger"))?;
            self.target.complete(&self.master_key_file, &last_seqs).await?;
        }
        Ok(checks)
    }
}
