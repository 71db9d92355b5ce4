//! Rows of events.

use countersign_core::event::{EventKind, NewEvent, RecordedEvent};
use countersign_core::id::TenantName;
use countersign_core::port::{Listed, Page};
use countersign_core::time::Timestamp;
use rusqlite::{Connection, params};

use super::column::{Columns, json, moment, number};
use super::error::StoreError;
use crate::OperatorEvent;

/// An event's number is one more than its tenant's newest number.
pub(super) const INSERT: &str = "INSERT INTO events
    (tenant, number, at, kind, actor, subject, details)
    VALUES (?1, 1 + coalesce((SELECT max(number) FROM events WHERE tenant = ?1), 0),
            ?2, ?3, ?4, ?5, ?6)";

pub(super) const LIST: &str = "SELECT tenant, number, at, kind, actor, subject, details FROM events
      WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3";

pub(super) const BY_OPERATORS: &str =
    "SELECT tenant, number, at, kind, actor, subject, details FROM events
      WHERE substr(actor, 1, 13) = 'command-line:' AND at >= ?1 ORDER BY at LIMIT ?2";

const TENANTS: &str = "SELECT name FROM tenants UNION ALL SELECT ''";

/// The oldest events of a tenant that are older than a time, without the newest event.
pub(super) const PURGE: &str = "DELETE FROM events
      WHERE tenant = ?1 AND at <= ?2
        AND number < (SELECT max(number) FROM events WHERE tenant = ?1)
        AND number < ?3 + (SELECT min(number) FROM events WHERE tenant = ?1)";

/// An event, prepared to be written. The slow serialisation is done before it queues for the
/// writer.
pub(super) struct Row {
    tenant: Option<TenantName>,
    at: Timestamp,
    kind: EventKind,
    actor: String,
    subject: String,
    /// JSON, if there are any details.
    details: Option<String>,
}

impl Row {
    pub(super) fn of(event: &NewEvent) -> Self {
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

    pub(super) fn insert(&self, sql: &Connection) -> Result<(), StoreError> {
        sql.prepare_cached(INSERT)?.execute(params![
            column(self.tenant.as_ref()),
            moment(self.at),
            self.kind.as_str(),
            self.actor,
            self.subject,
            self.details,
        ])?;
        Ok(())
    }
}

/// The tenant's name; empty for the server's own events.
fn column(tenant: Option<&TenantName>) -> &str {
    tenant.map_or("", TenantName::as_str)
}

pub(super) fn list(
    sql: &Connection,
    tenant: Option<&TenantName>,
    page: Page<u64>,
) -> Result<Listed<RecordedEvent, u64>, StoreError> {
    let mut select = sql.prepare_cached(LIST)?;
    let after = number(page.after.unwrap_or(0));
    let mut rows = select.query(params![column(tenant), after, page.limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(recorded(row)?);
    }
    Ok(Listed::new(events, page.limit, |last| last.number))
}

/// What operators did at the command line since a time, of all tenants: at most `limit` events, the
/// oldest first.
pub(super) fn by_operators(
    sql: &Connection,
    since: Timestamp,
    limit: u16,
) -> Result<Vec<OperatorEvent>, StoreError> {
    let mut select = sql.prepare_cached(BY_OPERATORS)?;
    let mut rows = select.query(params![moment(since), limit])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let name: Option<String> = row.get("tenant")?;
        let name = name.filter(|name| !name.is_empty());
        let tenant = name.map(|_| Columns::of("events", 1, row).text("tenant")).transpose()?;
        events.push(OperatorEvent { tenant, event: recorded(row)? });
    }
    Ok(events)
}

fn recorded(row: &rusqlite::Row<'_>) -> Result<RecordedEvent, StoreError> {
    let mut columns = Columns::of("events", 2, row).after(1);
    Ok(RecordedEvent {
        number: columns.number("number")?,
        at: columns.moment("at")?,
        kind: columns.one_of_many("kind", EventKind::ALL, EventKind::as_str)?,
        actor: columns.text("actor")?,
        subject: columns.text("subject")?,
        details: columns.json_or_none("details")?.unwrap_or_default(),
    })
}

pub(super) fn purge(sql: &Connection, before: Timestamp, limit: u16) -> Result<u16, StoreError> {
    let mut tenants = sql.prepare_cached(TENANTS)?;
    let tenants = tenants.query_map([], |row| row.get::<_, String>(0))?;
    let mut delete = sql.prepare_cached(PURGE)?;
    let mut gone = 0_u16;
    for tenant in tenants {
        let deleted = delete.execute(params![tenant?, moment(before), limit])?;
        gone = gone.saturating_add(u16::try_from(deleted).unwrap_or(u16::MAX));
    }
    Ok(gone)
}
