//! Leases of work that one node does for all. The clock is the database's, so that nodes whose
//! clocks differ agree.

use std::time::Duration;

use super::connection::Connection;
use super::presence::NOW;
use crate::sql::Sql as _;
use crate::sql::error::StoreError;
use crate::sql::value::values;

/// How long the holder of a lease keeps it without renewing it. When a node dies, another one takes
/// its work over after this time.
const LEASE: Duration = Duration::from_millis(1_500);

/// Takes or renews a lease. Answers whether this process has it now.
pub(super) async fn take(
    sql: &Connection,
    work: &str,
    holder: &[u8; 16],
) -> Result<bool, StoreError> {
    let take = format!(
        "INSERT INTO leases AS l (work, holder, until) VALUES (?1, ?2, {NOW} + ?3)
         ON CONFLICT (work) DO UPDATE SET holder = excluded.holder, until = excluded.until
          WHERE l.holder = excluded.holder OR l.until < {NOW}"
    );
    let span = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    Ok(sql.execute(&take, values![work, holder, span]).await? == 1)
}
