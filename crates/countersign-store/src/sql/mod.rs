//! The ledger in SQL, written once for all databases.
//!
//! Statements are in the subset that the databases share. Their parameters are `?1`, `?2`, … A row
//! lock is a comment such as `/* FOR SHARE */`: a database with one writer needs none and ignores
//! it, and the others take it as it is written. The values are integers of 64 bits, text and bytes;
//! a flag is 0 or 1.

pub(crate) mod activation;
pub(crate) mod change;
pub(crate) mod checksum;
pub(crate) mod client;
pub(crate) mod column;
pub(crate) mod contact;
pub(crate) mod delivery;
pub(crate) mod device;
pub(crate) mod domain;
pub(crate) mod end_snapshot;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod evidence;
#[cfg(test)]
pub(crate) mod hot_queries;
pub(crate) mod identity;
pub(crate) mod identity_key;
pub(crate) mod key;
pub(crate) mod moved;
pub(crate) mod private_key;
pub(crate) mod proof;
pub(crate) mod read;
pub(crate) mod sealed;
pub(crate) mod snapshot;
pub(crate) mod spec;
pub(crate) mod stored;
pub(crate) mod tenant;
pub(crate) mod tenant_deletion;
pub(crate) mod transaction;
pub(crate) mod user;
pub(crate) mod value;

use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;
use error::StoreError;
use value::{Cell, Cells, FromCell, Value};

/// A connection to a database, within a SQL transaction or with a statement of its own.
pub(crate) trait Sql {
    /// Executes a statement, and answers how many rows it changed.
    async fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Executes a statement, and answers its rows.
    async fn query(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Cells>, StoreError>;

    /// Counts a new transaction as stored. If it would exceed a quota, nothing is counted, and the
    /// answer is that quota.
    async fn count_stored(
        &self,
        spec: &TransactionSpec,
        max: StoredMax,
    ) -> Result<Option<Committed>, StoreError>
    where
        Self: Sized,
    {
        stored::add(self, spec, max).await
    }

    /// Removes the queued pushes of a transaction that has ended.
    async fn call_off(&self, tenant: &TenantName, id: TransactionId) -> Result<(), StoreError>
    where
        Self: Sized,
    {
        delivery::call_off(self, tenant, id).await
    }

    /// Writes an event, as its tenant's next.
    async fn record(&self, event: &event::Row) -> Result<(), StoreError>
    where
        Self: Sized,
    {
        event.insert(self).await
    }

    /// The first row of a statement.
    async fn first(
        &self,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Option<Cells>, StoreError> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// Whether a statement has a row.
    async fn exists(&self, statement: &str, values: &[Value<'_>]) -> Result<bool, StoreError> {
        Ok(self.first(statement, values).await?.is_some())
    }

    /// The first column of a statement's first row, if there is a row.
    async fn find<T: FromCell>(
        &self,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Option<T>, StoreError> {
        let Some(row) = self.first(statement, values).await? else { return Ok(None) };
        let cell = row.into_iter().next().unwrap_or(Cell::Null);
        T::from_cell(cell).map(Some).map_err(|error| error.of_statement(statement))
    }

    /// The first column of each row.
    async fn list<T: FromCell>(
        &self,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.query(statement, values).await?.into_iter();
        let cells = rows.map(|row| row.into_iter().next().unwrap_or(Cell::Null));
        cells
            .map(T::from_cell)
            .collect::<Result<_, _>>()
            .map_err(|error| error.of_statement(statement))
    }

    /// The first column of the only row that a statement has.
    async fn value<T: FromCell>(
        &self,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<T, StoreError> {
        self.find(statement, values).await?.ok_or(StoreError::Misused("the row does not exist"))
    }
}
