//! The deletion of a tenant, batch by batch: each batch is one short commit, so that others write
//! in between, and a deletion that was interrupted goes on where it ended.

use countersign_core::id::TenantName;
use countersign_core::limits::DELETED_ROWS_MAX;
use countersign_core::port::Committed;
use countersign_core::tenant::TenantState;

use super::error::StoreError;
use super::{evidence, tenant};
use crate::sql::Sql;
use crate::sql::value::values;

/// The statements that each delete at most `?2` rows of the tenant `?1`, in the order in which the
/// rows go. Devices go before what is derived from them; the triggers of devices write nothing when
/// a row is deleted.
pub(crate) const REGISTRY: [&str; 9] = [
    "DELETE FROM api_keys WHERE tenant = ?1 AND seq IN (SELECT seq FROM api_keys WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM clients WHERE tenant = ?1
        AND id IN (SELECT id FROM clients WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM activations
      WHERE tenant = ?1 AND seq IN (SELECT seq FROM activations WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM devices WHERE tenant = ?1 AND seq IN (SELECT seq FROM devices WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM identities WHERE tenant = ?1
        AND id IN (SELECT id FROM identities WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM identity_labels WHERE (tenant, label, user_name, sequence, identity) IN
        (SELECT tenant, label, user_name, sequence, identity FROM identity_labels
          WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM users WHERE tenant = ?1
        AND name IN (SELECT name FROM users WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM deliveries WHERE tenant = ?1 AND seq IN (SELECT seq FROM deliveries WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM contacts WHERE (tenant, transaction_id, device) IN
        (SELECT tenant, transaction_id, device FROM contacts WHERE tenant = ?1 LIMIT ?2)",
];

/// The statements for what is kept unless the evidence is removed too.
pub(crate) const EVIDENCE: [&str; 4] = [
    "DELETE FROM evidence WHERE tenant = ?1 AND seq IN (SELECT seq FROM evidence WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM used_signatures WHERE tenant = ?1
        AND mark IN (SELECT mark FROM used_signatures WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM identity_keys WHERE tenant = ?1
        AND key_digest IN (SELECT key_digest FROM identity_keys WHERE tenant = ?1 LIMIT ?2)",
    "DELETE FROM events WHERE tenant = ?1
        AND number IN (SELECT number FROM events WHERE tenant = ?1 LIMIT ?2)",
];

/// Removes a batch of the rows of a tenant, or ends its deletion if none are left.
pub(crate) async fn remove(
    sql: &impl Sql,
    name: &TenantName,
    with_evidence: bool,
) -> Result<Committed, StoreError> {
    let Some(found) = tenant::load(sql, name).await? else { return Ok(Committed::Stale) };
    if found.state == TenantState::Active {
        return Ok(Committed::Stale);
    }
    let mut left = usize::from(DELETED_ROWS_MAX);
    let evidence = if with_evidence { &EVIDENCE[..] } else { &[] };
    left -= evidence::remove_of_tenant(sql, name, left).await?;
    for statement in REGISTRY.iter().chain(evidence) {
        if left == 0 {
            return Ok(Committed::More);
        }
        let limit = i64::try_from(left).expect("a batch is small");
        left -= sql.execute(statement, values![name.as_str(), limit]).await? as usize;
    }
    if left == 0 {
        return Ok(Committed::More);
    }
    let last: &[_] = if with_evidence {
        &[
            "DELETE FROM stored WHERE tenant = ?1",
            "DELETE FROM tenant_domains WHERE tenant = ?1",
            "DELETE FROM tenants WHERE name = ?1",
        ]
    } else {
        &[
            "DELETE FROM stored WHERE tenant = ?1",
            "DELETE FROM tenant_domains WHERE tenant = ?1",
            "DELETE FROM signing_keys WHERE tenant = ?1",
            "UPDATE tenants SET state = 'deleted', users = 0, devices = 0 WHERE name = ?1",
        ]
    };
    for statement in last {
        sql.execute(statement, values![name.as_str()]).await?;
    }
    Ok(Committed::Written)
}
