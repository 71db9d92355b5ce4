//! What stored transactions occupy, against the quotas of their client and their tenant.
//!
//! Table `stored` follows from `transactions`: whoever inserts or deletes a row there does what is
//! here in the same SQL transaction. No trigger does it, since a statement that fires one is undone
//! alone if it fails, and for that SQLite first copies each page that the statement changes.

use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;
use rusqlite::{Connection, params};

use super::column::{Columns, number};
use super::error::StoreError;

/// Counts a transaction, if its client has others and both quotas have room.
pub(super) const ADD: &str = "UPDATE stored
        SET transactions = transactions + 1, bytes = bytes + ?3
      WHERE tenant = ?1 AND client = ?2 AND bytes < ?4
        AND (SELECT sum(bytes) FROM stored WHERE tenant = ?1) < ?5";

/// Counts a client's first transaction.
const ADD_FIRST: &str =
    "INSERT INTO stored (tenant, client, transactions, bytes) VALUES (?1, ?2, 1, ?3)";

/// What a client and its tenant occupy.
pub(super) const SUM: &str = "SELECT coalesce(sum(bytes), 0),
        coalesce(sum(bytes) FILTER (WHERE client = ?2), 0)
   FROM stored WHERE tenant = ?1";

/// Counts a new transaction. If a quota leaves no room for it, nothing is counted, and the answer
/// is that quota.
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

/// The quota that leaves no room for one more transaction of this client, if one does.
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

/// The statement that counts a row of `transactions` no more, before it is deleted. `which` names
/// one row.
pub(super) fn remove_statement(which: &str) -> String {
    format!(
        "UPDATE stored SET transactions = stored.transactions - 1, bytes = bytes - stored_bytes
           FROM transactions
          WHERE stored.tenant = transactions.tenant AND stored.client = transactions.client
            AND {which}"
    )
}
