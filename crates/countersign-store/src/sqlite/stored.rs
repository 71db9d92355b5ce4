//! What stored transactions occupy, against the quotas of their client and their tenant.

use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{Committed, StoredMax};
use rusqlite::Connection;

use super::column::Columns;
use super::error::StoreError;

/// Reads a tenant's rows, one for each of its clients.
pub(super) const SUM: &str = "SELECT coalesce(sum(bytes), 0),
        coalesce(sum(bytes) FILTER (WHERE client = ?2), 0)
   FROM stored WHERE tenant = ?1";

/// The quota that leaves no room for one more transaction of this client, if one does.
pub(super) fn full(
    sql: &Connection,
    tenant: &TenantName,
    client: &ClientId,
    max: StoredMax,
) -> Result<Option<Committed>, StoreError> {
    if max == StoredMax::NONE {
        return Ok(None);
    }
    let mut sum = sql.prepare_cached(SUM)?;
    let mut rows = sum.query([tenant.as_str(), client.as_str()])?;
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
