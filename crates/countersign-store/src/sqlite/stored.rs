//! The bytes of stored transactions, for the quotas of clients and tenants.
//!
//! Table `stored` is derived from `transactions`. Code that inserts or deletes a row of
//! `transactions` must update `stored` in the same SQL transaction. This is not a trigger, for
//! speed: a statement with a trigger is rolled back alone if it fails, so SQLite first copies each
//! page that the statement changes.

use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;
use rusqlite::{Connection, params};

use super::column::{Columns, number};
use super::error::StoreError;

/// Counts a transaction, if its client has others and neither quota is exceeded.
pub(super) const ADD: &str = "UPDATE stored
        SET transactions = transactions + 1, bytes = bytes + ?3
      WHERE tenant = ?1 AND client = ?2 AND bytes < ?4
        AND (SELECT sum(bytes) FROM stored WHERE tenant = ?1) < ?5";

/// Counts a client's first transaction.
const ADD_FIRST: &str =
    "INSERT INTO stored (tenant, client, transactions, bytes) VALUES (?1, ?2, 1, ?3)";

/// The bytes of a client and of its tenant.
pub(super) const SUM: &str = "SELECT coalesce(sum(bytes), 0),
        coalesce(sum(bytes) FILTER (WHERE client = ?2), 0)
   FROM stored WHERE tenant = ?1";

/// Counts a new transaction. If it would exceed a quota, nothing is counted, and the answer is that
/// quota.
pub(super) fn add(
    sql: &Connection,
    spec: &TransactionSpec,
    max: StoredMax,
) -> Result<Option<Committed>, StoreError> {
    let (tenant, client) = (spec.tenant.as_str(), spec.client.as_str());
    let bytes = number(spec.stored_bytes());
    let within = params![tenant, client, bytes, number(max.client), number(max.tenant)];
    if sql.prepare_cached(ADD)?.execute(within)? == 1 {
        return Ok(None);
    }
    let full = full(sql, spec, max)?;
    if full.is_none() {
        sql.prepare_cached(ADD_FIRST)?.execute(params![tenant, client, bytes])?;
    }
    Ok(full)
}

/// The quota, if any, that one more transaction of this client would exceed.
fn full(
    sql: &Connection,
    spec: &TransactionSpec,
    max: StoredMax,
) -> Result<Option<Committed>, StoreError> {
    let mut sum = sql.prepare_cached(SUM)?;
    let mut rows = sum.query([spec.tenant.as_str(), spec.client.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut columns = Columns::of("stored", 0, row);
    let (all, own): (u64, u64) = (columns.number("bytes")?, columns.number("bytes")?);
    Ok(if own >= max.client {
        Some(Committed::ClientFull)
    } else if all >= max.tenant {
        Some(Committed::TenantFull)
    } else {
        None
    })
}

/// The statement that subtracts a row of `transactions` before it is deleted. `which` selects one
/// row.
pub(super) fn remove_statement(which: &str) -> String {
    format!(
        "UPDATE stored SET transactions = stored.transactions - 1, bytes = bytes - stored_bytes
           FROM transactions
          WHERE stored.tenant = transactions.tenant AND stored.client = transactions.client
            AND {which}"
    )
}
