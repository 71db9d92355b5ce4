//! What came of a transaction, for whoever asks again and again: little is read until something has.

use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{Awaited, Handle};
use countersign_core::terms::Surface;
use countersign_core::transaction::End;
use rusqlite::{Connection, params};

use super::column::Columns;
use super::trouble::Trouble;
use super::{device, transaction};
use crate::seal::MasterKeys;

pub(super) const STANDS: &str =
    "SELECT ended_at, surface, client FROM transactions WHERE tenant = ?1 AND id = ?2";

pub(super) fn load(
    sql: &Connection,
    tenant: &TenantName,
    id: TransactionId,
    keys: &MasterKeys,
) -> Result<Option<Awaited>, Trouble> {
    let mut select = sql.prepare_cached(STANDS)?;
    // Until this statement is done with, the others see the moment that it sees.
    let mut rows = select.query(params![tenant.as_str(), id.bytes()])?;
    if let Some(row) = rows.next()? {
        let mut columns = Columns::of("transactions", 0, row);
        if columns.moment_or_none("ended_at")?.is_none() {
            let surface = columns.one_of("surface", Surface::ALL, Surface::as_str)?;
            return Ok(Some(Awaited::Open { surface, client: columns.text("client")? }));
        }
    }
    let found = transaction::load(sql, tenant, &Handle::Id(id))?;
    let Some(transaction) = found.map(|found| found.value) else { return Ok(None) };
    let signer = match transaction.end() {
        Some(End::Finished { by, .. }) => device::load(sql, tenant, *by, keys)?,
        _ => None,
    };
    Ok(Some(Awaited::Ended { transaction, signer: signer.map(|device| device.value) }))
}
