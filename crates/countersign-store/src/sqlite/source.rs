//! A ledger that is moved to another database. It is read as of one moment, and nothing is written
//! to it meanwhile: no server may serve it, and its write lock is held.

use std::ops::ControlFlow;
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::connection::for_each_row;
use super::open::{self, OpenError, OpenFor};
use super::server_lock::{NotLocked, ServerLock};
use crate::sql::checksum::{Checksum, Sum};
use crate::sql::error::StoreError;
use crate::sql::moved::Table;
use crate::sql::value::{Cell, Cells};

/// What makes a ledger this one, and this state of it: its tenants, and the newest event of each.
/// Every change of a ledger has an event.
const STATE: &str = "SELECT name, authority_certificate, token_public_key,
           (SELECT max(number) FROM events WHERE tenant = name)
      FROM tenants
     UNION ALL SELECT '', NULL, NULL, (SELECT max(number) FROM events WHERE tenant = '')
     ORDER BY 1";

/// The limits of what is read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageMax {
    pub(crate) rows: usize,
    /// The row with which a page reaches this many bytes is its last.
    pub(crate) bytes: usize,
}

/// The ledger, and the locks that keep it as it is.
#[derive(Debug)]
pub(crate) struct Source {
    sql: Mutex<Connection>,
    _lock: ServerLock,
}

/// The reason why a ledger cannot be moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Lock(#[from] NotLocked),
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Source {
    /// Opens an existing ledger, with its master key.
    pub(crate) fn open(directory: &Path, master_key: &Path) -> Result<Self, SourceError> {
        let lock = ServerLock::take(directory)?;
        // The same checks as for every other use: whose file it is, its schema, and its master key.
        drop(open::open(directory, Some(master_key), OpenFor::Administration)?);
        let path = directory.join("ledger.db");
        let failed = |error| open::sql_failed(&path, error);
        let sql = open::connect(&path).map_err(failed)?;
        sql.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        Ok(Self { sql: Mutex::new(sql), _lock: lock })
    }

    /// A digest of the ledger's identity and of its state.
    pub(crate) fn state(&self) -> Result<[u8; 32], StoreError> {
        Ok(self.sum(STATE, &mut |_| ())?.sha256)
    }

    /// The number of rows of a table.
    pub(crate) fn count(&self, table: &Table) -> Result<u64, StoreError> {
        let count = format!("SELECT count(*) FROM {}", table.name);
        Ok(self.sql.lock().query_row(&count, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// The largest number that the database has given to a row of a table; 0 if there is none.
    pub(crate) fn last_seq(&self, table: &Table) -> Result<i64, StoreError> {
        let last = format!("SELECT coalesce(max(seq), 0) FROM {}", table.name);
        Ok(self.sql.lock().query_row(&last, [], |row| row.get(0))?)
    }

    /// The rows after a key, or the first ones.
    pub(crate) fn page(
        &self,
        table: &Table,
        after: Option<&Cells>,
        max: PageMax,
    ) -> Result<Vec<Cells>, StoreError> {
        let statement = after.map_or_else(|| table.select(), |_| table.select_after());
        let values: Vec<_> = after.into_iter().flatten().map(Cell::as_value).collect();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for_each_row(&self.sql.lock(), &statement, &values, |row| {
            bytes += row.iter().map(size).sum::<usize>();
            rows.push(row);
            if rows.len() < max.rows && bytes < max.bytes {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(rows)
    }

    /// The checksum of a table. `told` hears how many rows were read.
    pub(crate) fn checksum(
        &self,
        table: &Table,
        told: &mut impl FnMut(u64),
    ) -> Result<Sum, StoreError> {
        self.sum(&table.select(), told)
    }

    fn sum(&self, statement: &str, told: &mut impl FnMut(u64)) -> Result<Sum, StoreError> {
        let mut checksum = Checksum::new();
        for_each_row(&self.sql.lock(), statement, &[], |row| {
            told(checksum.add(&row));
            ControlFlow::Continue(())
        })?;
        Ok(checksum.sum())
    }
}

/// The bytes of a column in memory, about.
fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Blob(bytes) => bytes.len(),
        Cell::Null | Cell::Integer(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::moved::TABLES;

    fn source() -> (tempfile::TempDir, Source) {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("master.key");
        drop(open::open(directory.path(), Some(&key), OpenFor::Init).unwrap());
        let source = Source::open(directory.path(), &key).unwrap();
        (directory, source)
    }

    /// Each page would sort the table, or read it from its beginning.
    #[test]
    fn every_page_is_found_by_an_index_in_its_order() {
        let (_directory, source) = source();
        let sql = source.sql.lock();
        for table in &TABLES {
            for statement in [table.select(), table.select_after()] {
                let mut plan = sql.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
                let values = vec![rusqlite::types::Null; plan.parameter_count()];
                let values = rusqlite::params_from_iter(values);
                let steps = plan.query_map(values, |row| row.get::<_, String>(3)).unwrap();
                let plan = steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ");
                assert!(!plan.contains("TEMP B-TREE"), "{statement}: {plan}");
                let is_first = !statement.contains("WHERE");
                assert!(is_first || plan.contains("SEARCH"), "{statement}: {plan}");
            }
        }
    }

    #[test]
    fn a_page_ends_with_the_row_that_reaches_its_limit() {
        let (_directory, source) = source();
        source
            .sql
            .lock()
            .execute_batch(
                "INSERT INTO used_signatures (tenant, mark)
                 VALUES ('acme', zeroblob(10)), ('acme', zeroblob(20)), ('beta', zeroblob(5))",
            )
            .unwrap();
        let table = TABLES.iter().find(|table| table.name == "used_signatures").unwrap();
        let lengths = |after: Option<&Cells>, rows, bytes| {
            let page = source.page(table, after, PageMax { rows, bytes }).unwrap();
            let length = |row: &Cells| size(&row[1]);
            (page.iter().map(length).collect::<Vec<_>>(), page.last().map(|row| table.key_of(row)))
        };
        assert_eq!(lengths(None, 9, 999).0, [10, 20, 5]);
        let (first, key) = lengths(None, 9, 14);
        assert_eq!(first, [10], "a page has one row at least");
        assert_eq!(lengths(key.as_ref(), 1, 999).0, [20]);
        assert_eq!(lengths(key.as_ref(), 9, 25).0, [20, 5]);
        assert_eq!(source.count(table).unwrap(), 3);
    }
}
