//! The end of a transaction, for callers that poll. Little is read until the transaction has ended.

use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{EndSnapshot, Handle};
use countersign_core::spec::Dialect;
use countersign_core::transaction::End;

use super::column::Columns;
use super::error::StoreError;
use super::{device, transaction};
use crate::master_key::MasterKeys;
use crate::sql::Sql;
use crate::sql::value::{Cell, values};

/// A row for [`transaction::read`]. For an open transaction, the columns that may be large are left
/// out.
pub(crate) const STANDS: &str = "SELECT tenant, id, version, state, reached, due_at, takes, ended_at,
        ended_by, end_reason, proof_content, proof_signer, evidence, raw, discarded, dialect, client,
        user_name, request_key, reference, device, started_at,
        CASE WHEN ended_at IS NOT NULL THEN body END, CASE WHEN ended_at IS NOT NULL THEN content END
   FROM transactions WHERE tenant = ?1 AND id = ?2";
/// The column `ended_at`.
const ENDED_AT: usize = 7;
/// The columns before `dialect` and `client`.
const BEFORE_SURFACE: usize = 15;

pub(crate) async fn load(
    sql: &impl Sql,
    tenant: &TenantName,
    id: TransactionId,
    keys: &MasterKeys,
) -> Result<Option<EndSnapshot>, StoreError> {
    let found = sql.first(STANDS, values![tenant.as_str(), id.bytes()]).await?;
    let transaction = match found {
        Some(row) if row.get(ENDED_AT) == Some(&Cell::Null) => {
            let mut columns = Columns::of("transactions", 2, row).after(BEFORE_SURFACE);
            let dialect = columns.one_of("dialect", Dialect::ALL, Dialect::as_str)?;
            return Ok(Some(EndSnapshot::Open { dialect, client: columns.text("client")? }));
        }
        Some(row) => transaction::read(row, "transactions")?.value,
        // The evidence may remain after the transaction was removed.
        None => match transaction::load(sql, tenant, &Handle::Id(id)).await? {
            Some(found) => found.value,
            None => return Ok(None),
        },
    };
    let signer = match transaction.end() {
        Some(End::Finished { by, .. }) => device::load(sql, tenant, *by, keys).await?,
        _ => None,
    };
    Ok(Some(EndSnapshot::Ended { transaction, signer: signer.map(|device| device.value) }))
}
