//! Rows of events.

use countersign_core::event::{EventKind, NewEvent, RecordedEvent};
use countersign_core::id::TenantName;
use countersign_core::port::{Listed, Page};
use countersign_core::time::Timestamp;

use super::column::{Columns, json, moment, number};
use super::error::StoreError;
use crate::OperatorEvent;
use crate::sql::Sql;
use crate::sql::value::values;

/// An event's number is one more than its tenant's newest number.
pub(crate) const INSERT: &str = "INSERT INTO events
    (tenant, number, at, kind, actor, subject, details)
    VALUES (?1, 1 + coalesce((SELECT max(number) FROM events WHERE tenant = ?1), 0),
            ?2, ?3, ?4, ?5, ?6)";

pub(crate) const LIST: &str = "SELECT tenant, number, at, kind, actor, subject, details FROM events
      WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3";

pub(crate) const BY_OPERATORS: &str =
    "SELECT tenant, number, at, kind, actor, subject, details FROM events
      WHERE substr(actor, 1, 13) = 'command-line:' AND at >= ?1 ORDER BY at LIMIT ?2";

const TENANTS: &str = "SELECT name FROM tenants UNION ALL SELECT ''";

/// The oldest events of a tenant that are older than a time, without the newest event.
pub(crate) const PURGE: &str = "DELETE FROM events
      WHERE tenant = ?1 AND at <= ?2
        AND number < (SELECT max(number) FROM events WHERE tenant = ?1)
        AND number < ?3 + (SELECT min(number) FROM events WHERE tenant = ?1)";

/// An event, prepared to be written. The slow serialisation is done before it queues for the
/// writer.
#[derive(Clone)]
pub(crate) struct Row {
    tenant: Option<TenantName>,
    at: Timestamp,
    kind: EventKind,
    actor: String,
    subject: String,
    /// JSON, if there are any details.
    details: Option<String>,
}

impl Row {
    pub(crate) fn of(event: &NewEvent) -> Self {
        let members = || event.details.iter().map(|(name, value)| (*name, value.as_str()));
        Self {
            tenant: event.tenant.clone(),
            at: event.at,
            kind: event.kind,
            actor: event.actor.to_string(),
            subject: event.subject.to_string(),
            details: (!event.details.is_empty()).then(|| json(&members().collect::<Vec<_>>())),
        }
    }

    /// The tenant's name; empty for the server's own events.
    pub(crate) fn tenant_key(&self) -> &str {
        column(self.tenant.as_ref())
    }

    /// The columns behind the tenant and the number.
    pub(crate) fn columns(&self) -> (i64, &str, &str, &str, Option<&str>) {
        (
            moment(self.at),
            self.kind.as_str(),
            self.actor.as_str(),
            self.subject.as_str(),
            self.details.as_deref(),
        )
    }

    pub(crate) async fn insert(&self, sql: &impl Sql) -> Result<(), StoreError> {
        sql.execute(
            INSERT,
            values![
                column(self.tenant.as_ref()),
                moment(self.at),
                self.kind.as_str(),
                self.actor,
                self.subject,
                self.details,
            ],
        )
        .await?;
        Ok(())
    }
}

/// The tenant's name; empty for the server's own events.
fn column(tenant: Option<&TenantName>) -> &str {
    tenant.map_or("", TenantName::as_str)
}

pub(crate) async fn list(
    sql: &impl Sql,
    tenant: Option<&TenantName>,
    page: Page<u64>,
) -> Result<Listed<RecordedEvent, u64>, StoreError> {
    let select = LIST;
    let after = number(page.after.unwrap_or(0));
    let rows = sql.query(select, values![column(tenant), after, page.limit]).await?;
    let mut events = Vec::new();
    for row in rows {
        events.push(recorded(Columns::of("events", 2, row).after(1))?);
    }
    Ok(Listed::new(events, page.limit, |last| last.number))
}

/// What operators did at the command line since a time, of all tenants: at most `limit` events, the
/// oldest first.
pub(crate) async fn by_operators(
    sql: &impl Sql,
    since: Timestamp,
    limit: u16,
) -> Result<Vec<OperatorEvent>, StoreError> {
    let select = BY_OPERATORS;
    let rows = sql.query(select, values![moment(since), limit]).await?;
    let mut events = Vec::new();
    for row in rows {
        let mut columns = Columns::of("events", 2, row);
        let name: String = columns.next("tenant")?;
        let tenant = (!name.is_empty()).then(|| name.parse()).transpose();
        let tenant = tenant.map_err(|error| columns.corrupt("tenant", error))?;
        events.push(OperatorEvent { tenant, event: recorded(columns)? });
    }
    Ok(events)
}

fn recorded(mut columns: Columns) -> Result<RecordedEvent, StoreError> {
    Ok(RecordedEvent {
        number: columns.number("number")?,
        at: columns.moment("at")?,
        kind: columns.one_of_many("kind", EventKind::ALL, EventKind::as_str)?,
        actor: columns.text("actor")?,
        subject: columns.text("subject")?,
        details: columns.json_or_none("details")?.unwrap_or_default(),
    })
}

pub(crate) async fn purge(
    sql: &impl Sql,
    before: Timestamp,
    limit: u16,
) -> Result<u16, StoreError> {
    let mut gone = 0_u64;
    for tenant in sql.list::<String>(TENANTS, &[]).await? {
        gone += sql.execute(PURGE, values![tenant, moment(before), limit]).await?;
    }
    Ok(u16::try_from(gone).unwrap_or(u16::MAX))
}
