//! Ended transactions whose retention has passed, and rows of evidence, which stay of finished
//! ones.

use countersign_core::id::TenantName;
use countersign_core::port::{Committed, Versioned};
use countersign_core::spec::TransactionSpec;
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;

use super::column::moment;
use super::error::{Corrupt, StoreError};
use super::{spec, stored, transaction};
use crate::sql::Sql;
use crate::sql::value::{Cells, Value, values};

/// A row for [`transaction::read`]: finished, and without the content if the signature contains it.
const AS_TRANSACTION: &str = "tenant, id, version, 'finished', 0, NULL, takes, ended_at, ended_by,
    NULL, proof_content, proof_signer, evidence, raw, discarded, dialect, client, user_name, request_key,
    reference, device, started_at, body, content";

/// The transaction has no callback in the outbox, and no dead letter that could be replayed. This
/// is not `NOT EXISTS`, for which PostgreSQL would read all deliveries instead of those of each
/// transaction.
const NOTHING_OWED: &str = "(SELECT 1 FROM deliveries
    WHERE deliveries.tenant = transactions.tenant AND deliveries.transaction_id = transactions.id
      AND kind = 'callback' LIMIT 1) IS NULL";

/// Reads evidence as transactions.
pub(crate) async fn select(
    sql: &impl Sql,
    which: &'static str,
    given: &[Value<'_>],
) -> Result<Vec<Versioned<Transaction>>, StoreError> {
    let select = format!("SELECT {AS_TRANSACTION} FROM evidence WHERE {which}");
    let select = &select;
    let rows = sql.query(select, given).await?;
    let mut found = Vec::new();
    for row in rows {
        found.push(transaction::read(row, "evidence")?);
    }
    Ok(found)
}

/// Hides the evidence from the transaction's own caller, if the version is unchanged.
pub(crate) async fn discard(
    sql: &impl Sql,
    spec: &TransactionSpec,
    expected: u32,
) -> Result<Committed, StoreError> {
    let discard = "UPDATE evidence SET version = version + 1, discarded = 1
          WHERE tenant = ?1 AND id = ?2 AND version = ?3";
    let changed =
        sql.execute(discard, values![spec.tenant.as_str(), spec.id.bytes(), expected]).await?;
    Ok(if changed == 0 { Committed::Stale } else { Committed::Written })
}

/// Finds transactions that ended at `before` or earlier and have no callback in the outbox.
pub(crate) fn forgettable_statement() -> String {
    format!(
        "SELECT tenant, id FROM transactions WHERE ended_at <= ?1 AND {NOTHING_OWED}
          ORDER BY ended_at LIMIT ?2"
    )
}

pub(crate) async fn forgettable(
    sql: &impl Sql,
    before: Timestamp,
    limit: u16,
) -> Result<Vec<Cells>, StoreError> {
    sql.query(&forgettable_statement(), values![moment(before), limit]).await
}

/// Removes those of these transactions that may still be removed, and answers how many were.
pub(crate) async fn purge(
    sql: &impl Sql,
    keys: &[Cells],
    before: Timestamp,
) -> Result<u16, StoreError> {
    let may_go = format!(
        "SELECT 1 FROM transactions WHERE tenant = ?1 AND id = ?2 AND ended_at <= ?3
            AND {NOTHING_OWED} /* FOR UPDATE */"
    );
    let mut gone = 0;
    for key in keys {
        if sql.exists(&may_go, values![key[0], key[1], moment(before)]).await? {
            remove(sql, key).await?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// Removes at most `limit` transactions of a tenant, whatever their state and whatever is queued
/// for them, and answers how many. Open ones go without an end.
pub(crate) async fn remove_of_tenant(
    sql: &impl Sql,
    tenant: &TenantName,
    limit: usize,
) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).expect("a batch is small");
    let select = "SELECT tenant, id FROM transactions WHERE tenant = ?1 LIMIT ?2";
    let keys = sql.query(select, values![tenant.as_str(), limit]).await?;
    for key in &keys {
        remove(sql, key).await?;
    }
    Ok(keys.len())
}

const KEEP: &str = "INSERT INTO evidence (tenant, id, version, takes, ended_at, ended_by,
        proof_content, proof_signer, evidence, raw, discarded, dialect, client, user_name, request_key,
        reference, device, started_at, body, content)
    SELECT tenant, id, version, takes, ended_at, ended_by, proof_content, proof_signer, evidence,
           raw, discarded, dialect, client, user_name, request_key, reference, device, started_at, ?3,
           CASE WHEN raw IS NULL AND length(proof_signer) > 0 THEN NULL ELSE content END
      FROM transactions WHERE tenant = ?1 AND id = ?2";

/// Removes a transaction with what is queued for it, and keeps the evidence if it is finished.
async fn remove(sql: &impl Sql, key: &Cells) -> Result<(), StoreError> {
    let body = "SELECT body FROM transactions WHERE tenant = ?1 AND id = ?2 AND state = 'finished'";
    let (tenant, id) = (&key[0], &key[1]);
    if let Some(body) = sql.find::<String>(body, values![tenant, id]).await? {
        let body = spec::of_evidence(&body).map_err(|why| Corrupt {
            table: "transactions",
            column: "body",
            id: format!("{tenant:?}/{id:?}"),
            why,
        })?;
        sql.execute(KEEP, values![tenant, id, body]).await?;
    }
    for statement in [
        "DELETE FROM deliveries WHERE tenant = ?1 AND transaction_id = ?2",
        "DELETE FROM contacts WHERE tenant = ?1 AND transaction_id = ?2",
        stored::REMOVE,
        "DELETE FROM transactions WHERE tenant = ?1 AND id = ?2",
    ] {
        sql.execute(statement, values![tenant, id]).await?;
    }
    Ok(())
}
