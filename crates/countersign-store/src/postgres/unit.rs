//! A batch of units of work in one SQL transaction. What all units count together is written once
//! for the batch, at its end: the bytes of transactions, and the numbers of events. So the rows
//! that many commits share are locked only while the batch becomes durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use countersign_core::id::TenantName;
use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;
use parking_lot::Mutex;

use super::connection::Connection;
use crate::sql::column::number;
use crate::sql::error::StoreError;
use crate::sql::value::{Cells, Value};
use crate::sql::{Sql, event, stored};

/// Adds events of a tenant with the next numbers. Answers a row if the tenant is locked.
const APPEND: &str = "WITH numbered AS (
        INSERT INTO event_numbers AS n (tenant, last, locked) VALUES ($1, $2, 0)
        ON CONFLICT (tenant) DO UPDATE SET last = n.last + $2
        RETURNING last, locked),
    added AS (
        INSERT INTO events (tenant, number, at, kind, actor, subject, details)
        SELECT $1, numbered.last - $2 + e.nth, e.at, e.kind, e.actor, e.subject, e.details
          FROM numbered, unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
               WITH ORDINALITY AS e (at, kind, actor, subject, details, nth))
    SELECT locked FROM numbered";

const ADD_STORED: &str = "INSERT INTO stored AS s (tenant, client, transactions, bytes)
    VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (tenant, client)
    DO UPDATE SET transactions = s.transactions + ?3, bytes = s.bytes + ?4";

/// A batch that is being written on a connection.
pub(super) struct Batch<C> {
    connection: C,
    ends: Mutex<Ends>,
}

/// What is written at the end of a batch.
#[derive(Default)]
struct Ends {
    /// The new transactions and their bytes, by tenant and client.
    stored: BTreeMap<(String, String), (i64, i64)>,
    /// The events, by tenant; empty for the server's own.
    events: BTreeMap<String, Vec<event::Row>>,
    /// The tenants that must not be locked.
    depends: BTreeSet<String>,
}

/// What became of the end of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// It is written, and not yet durable.
    Written,
    /// A tenant was locked meanwhile.
    TenantLocked,
}

impl<C: Deref<Target = Connection>> Batch<C> {
    pub(super) fn new(connection: C) -> Self {
        Self { connection, ends: Mutex::default() }
    }

    /// Notes that a unit depends on its tenant not being locked.
    pub(super) fn depends_on(&self, tenant: &TenantName) {
        self.ends.lock().depends.insert(tenant.to_string());
    }

    /// Writes what all units count together, and gives the connection back.
    pub(super) async fn end(self) -> Result<(Ended, C), StoreError> {
        let Ends { stored, events, depends } = self.ends.into_inner();
        for ((tenant, client), (count, bytes)) in stored {
            let row = [
                Value::Text(&tenant),
                Value::Text(&client),
                Value::Integer(count),
                Value::Integer(bytes),
            ];
            self.connection.execute(ADD_STORED, &row).await?;
        }
        for (tenant, events) in events {
            let is_locked = append(&self.connection, &tenant, &events).await?;
            if is_locked && depends.contains(&tenant) {
                return Ok((Ended::TenantLocked, self.connection));
            }
        }
        Ok((Ended::Written, self.connection))
    }
}

impl<C: Deref<Target = Connection>> Sql for Batch<C> {
    async fn execute(&self, statement: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.connection.execute(statement, values).await
    }

    async fn query(&self, statement: &str, values: &[Value<'_>]) -> Result<Vec<Cells>, StoreError> {
        self.connection.query(statement, values).await
    }

    async fn count_stored(
        &self,
        spec: &TransactionSpec,
        max: StoredMax,
    ) -> Result<Option<Committed>, StoreError> {
        let full = stored::full(self, spec, max).await?;
        if full.is_none() {
            let mut ends = self.ends.lock();
            let key = (spec.tenant.to_string(), spec.client.as_str().to_owned());
            let (count, bytes) = ends.stored.entry(key).or_default();
            *count += 1;
            *bytes += number(spec.stored_bytes());
        }
        Ok(full)
    }

    async fn record(&self, event: &event::Row) -> Result<(), StoreError> {
        let mut ends = self.ends.lock();
        ends.events.entry(event.tenant_key().to_owned()).or_default().push(event.clone());
        Ok(())
    }
}

/// Adds events, and answers whether the tenant is locked.
async fn append(
    connection: &Connection,
    tenant: &str,
    events: &[event::Row],
) -> Result<bool, StoreError> {
    let statement = connection.prepare(APPEND).await?;
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let (mut at, mut kinds, mut actors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut subjects, mut details) = (Vec::new(), Vec::new());
    for event in events {
        let columns = event.columns();
        at.push(columns.0);
        kinds.push(columns.1);
        actors.push(columns.2);
        subjects.push(columns.3);
        details.push(columns.4);
    }
    let row = connection
        .client()
        .query_one(&statement, &[&tenant, &count, &at, &kinds, &actors, &subjects, &details])
        .await?;
    Ok(row.try_get::<_, i64>(0)? != 0)
}
