//! Ended transactions whose retention has passed, and rows of evidence, which stay of finished
//! ones.

use countersign_core::id::TenantName;
use countersign_core::port::{Committed, Versioned};
use countersign_core::spec::TransactionSpec;
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use rusqlite::{Connection, ToSql, params};

use super::column::moment;
use super::error::StoreError;
use super::{stored, transaction};

/// A row for [`transaction::read`]: finished, and without the content if the signature contains it.
const AS_TRANSACTION: &str = "tenant, id, version, 'finished', 0, NULL, takes, ended_at, ended_by,
    NULL, proof_content, proof_signer, evidence, raw, discarded, dialect, client, user, request_key,
    reference, device, started_at, body, coalesce(content, x'')";

/// The transaction has no callback in the outbox, and no dead letter that could be replayed.
const NOTHING_OWED: &str = "NOT EXISTS (SELECT 1 FROM deliveries
    WHERE deliveries.tenant = transactions.tenant AND deliveries.transaction_id = transactions.id
      AND kind = 'callback')";

/// Reads evidence as transactions.
pub(super) fn select(
    sql: &Connection,
    which: &'static str,
    given: &[&dyn ToSql],
) -> Result<Vec<Versioned<Transaction>>, StoreError> {
    let select = format!("SELECT {AS_TRANSACTION} FROM evidence WHERE {which}");
    let mut select = sql.prepare_cached(&select)?;
    let mut rows = select.query(given)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(transaction::read(row, "evidence")?);
    }
    Ok(found)
}

/// Hides the evidence from the transaction's own caller, if the version is unchanged.
pub(super) fn discard(
    sql: &Connection,
    spec: &TransactionSpec,
    expected: u32,
) -> Result<Committed, StoreError> {
    let mut discard = sql.prepare_cached(
        "UPDATE evidence SET version = version + 1, discarded = 1
          WHERE tenant = ?1 AND id = ?2 AND version = ?3",
    )?;
    let changed = discard.execute(params![spec.tenant.as_str(), spec.id.bytes(), expected])?;
    Ok(if changed == 0 { Committed::Stale } else { Committed::Written })
}

/// Finds transactions that ended at `before` or earlier and have no callback in the outbox.
pub(super) fn forgettable_statement() -> String {
    format!(
        "SELECT seq FROM transactions WHERE ended_at <= ?1 AND {NOTHING_OWED}
          ORDER BY ended_at LIMIT ?2"
    )
}

pub(super) fn forgettable(
    sql: &Connection,
    before: Timestamp,
    limit: u16,
) -> Result<Vec<i64>, StoreError> {
    let mut select = sql.prepare_cached(&forgettable_statement())?;
    let rows = select.query_map(params![moment(before), limit], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes those of these transactions that may still be removed, and answers how many were.
pub(super) fn purge(sql: &Connection, seqs: &[i64], before: Timestamp) -> Result<u16, StoreError> {
    let may_go = format!("seq = ?1 AND ended_at <= ?2 AND {NOTHING_OWED}");
    Ok(remove(sql, seqs, &may_go, moment(before))? as u16)
}

/// Removes at most `limit` transactions of a tenant, whatever their state and whatever is queued
/// for them, and answers how many. Open ones go without an end.
pub(super) fn remove_of_tenant(
    sql: &Connection,
    tenant: &TenantName,
    limit: usize,
) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).expect("a batch is small");
    let mut select =
        sql.prepare_cached("SELECT seq FROM transactions WHERE tenant = ?1 LIMIT ?2")?;
    let seqs = select.query_map(params![tenant.as_str(), limit], |row| row.get(0))?;
    let seqs: Vec<i64> = seqs.collect::<Result<_, _>>()?;
    remove(sql, &seqs, "seq = ?1 AND ?2 IS NOT NULL", 0)
}

/// Removes those of these transactions that `may_go` selects, each with what is queued for it, and
/// keeps the evidence of finished ones. `?1` of the condition is a transaction's `seq`.
fn remove(sql: &Connection, seqs: &[i64], may_go: &str, second: i64) -> Result<usize, StoreError> {
    let mut keep = sql.prepare_cached(&format!(
        "INSERT INTO evidence (tenant, id, version, takes, ended_at, ended_by, proof_content,
                proof_signer, evidence, raw, discarded, dialect, client, user, request_key,
                reference, device, started_at, body, content)
         SELECT tenant, id, version, takes, ended_at, ended_by, proof_content, proof_signer,
                evidence, raw, discarded, dialect, client, user, request_key, reference, device,
                started_at, json_remove(body, '$.callback', '$.notice', '$.dialect_request'),
                CASE WHEN raw IS NULL AND proof_signer <> x'' THEN NULL ELSE content END
           FROM transactions WHERE {may_go} AND state = 'finished'"
    ))?;
    let mut drop_pushes = sql.prepare_cached(&format!(
        "DELETE FROM deliveries
          WHERE (tenant, transaction_id) = (SELECT tenant, id FROM transactions WHERE {may_go})"
    ))?;
    let mut drop_contacts = sql.prepare_cached(&format!(
        "DELETE FROM contacts
          WHERE (tenant, transaction_id) = (SELECT tenant, id FROM transactions WHERE {may_go})"
    ))?;
    let mut uncount = sql.prepare_cached(&stored::remove_statement(may_go))?;
    let mut delete = sql.prepare_cached(&format!("DELETE FROM transactions WHERE {may_go}"))?;
    let mut gone = 0;
    for seq in seqs {
        let which = params![seq, second];
        keep.execute(which)?;
        drop_pushes.execute(which)?;
        drop_contacts.execute(which)?;
        uncount.execute(which)?;
        gone += delete.execute(which)?;
    }
    Ok(gone)
}
