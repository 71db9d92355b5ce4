//! The bytes of stored transactions, for the quotas of clients and tenants.
//!
//! Table `stored` is derived from `transactions`. Code that inserts or deletes a row of
//! `transactions` must update `stored` in the same SQL transaction. This is not a trigger, for
//! speed: a statement with a trigger is rolled back alone if it fails, so SQLite first copies each
//! page that the statement changes.

use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;

use super::column::{Columns, number};
use super::error::StoreError;
use crate::sql::Sql;
use crate::sql::value::values;

/// Counts a transaction, if its client has others and neither quota is exceeded.
pub(crate) const ADD: &str = "UPDATE stored
        SET transactions = transactions + 1, bytes = bytes + ?3
      WHERE tenant = ?1 AND client = ?2 AND bytes < ?4
        AND (SELECT sum(bytes) FROM stored WHERE tenant = ?1) < ?5";

/// Counts a client's first transaction.
const ADD_FIRST: &str =
    "INSERT INTO stored (tenant, client, transactions, bytes) VALUES (?1, ?2, 1, ?3)";

/// The bytes of a client and of its tenant.
pub(crate) const SUM: &str = "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT),
        CAST(coalesce(sum(bytes) FILTER (WHERE client = ?2), 0) AS BIGINT)
   FROM stored WHERE tenant = ?1";

/// Counts a new transaction. If it would exceed a quota, nothing is counted, and the answer is that
/// quota.
pub(crate) async fn add(
    sql: &impl Sql,
    spec: &TransactionSpec,
    max: StoredMax,
) -> Result<Option<Committed>, StoreError> {
    let (tenant, client) = (spec.tenant.as_str(), spec.client.as_str());
    let bytes = number(spec.stored_bytes());
    let (client_max, tenant_max) = (number(max.client), number(max.tenant));
    let within = values![tenant, client, bytes, client_max, tenant_max];
    if sql.execute(ADD, within).await? == 1 {
        return Ok(None);
    }
    let full = full(sql, spec, max).await?;
    if full.is_none() {
        sql.execute(ADD_FIRST, values![tenant, client, bytes]).await?;
    }
    Ok(full)
}

/// The quota, if any, that one more transaction of this client would exceed.
async fn full(
    sql: &impl Sql,
    spec: &TransactionSpec,
    max: StoredMax,
) -> Result<Option<Committed>, StoreError> {
    Ok(Sums::read(sql, spec).await?.full(max))
}

/// The stored bytes that count for a quota.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    of_tenant: u64,
    of_client: u64,
}

impl Sums {
    /// Reads the bytes of a transaction's client and tenant.
    pub(crate) async fn read(sql: &impl Sql, spec: &TransactionSpec) -> Result<Self, StoreError> {
        let row = sql.first(SUM, values![spec.tenant.as_str(), spec.client.as_str()]).await?;
        let mut columns = Columns::of("stored", 0, row.unwrap_or_default());
        let (of_tenant, of_client) = (columns.number("bytes")?, columns.number("bytes")?);
        Ok(Self { of_tenant, of_client })
    }

    /// The quota, if any, that one more transaction would exceed.
    pub(crate) fn full(self, max: StoredMax) -> Option<Committed> {
        if self.of_client >= max.client {
            Some(Committed::ClientFull)
        } else if self.of_tenant >= max.tenant {
            Some(Committed::TenantFull)
        } else {
            None
        }
    }
}

/// Subtracts a row of `transactions` before it is deleted.
pub(crate) const REMOVE: &str =
    "UPDATE stored SET transactions = stored.transactions - 1, bytes = bytes - stored_bytes
       FROM transactions
      WHERE stored.tenant = transactions.tenant AND stored.client = transactions.client
        AND transactions.tenant = ?1 AND transactions.id = ?2";
