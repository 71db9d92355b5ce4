//! A batch of units of work in one SQL transaction. What all units count together is written once
//! for the batch, at its end: the bytes of transactions, and the numbers of events. So the rows
//! that many commits share are locked only while the batch becomes durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{Committed, StoredMax};
use countersign_core::spec::TransactionSpec;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, MaybeDone};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use crate::sql::column::number;
use crate::sql::error::StoreError;
use crate::sql::stored::Sums;
use crate::sql::value::{Cells, Value};
use crate::sql::{Sql, event};

/// Adds events of a tenant with the next numbers. If the batch depends on the tenant (`$8`), and
/// the tenant is locked, it fails with a division by zero: so a `COMMIT` that was sent behind it
/// commits nothing.
const APPEND: &str = "WITH numbered AS (
        INSERT INTO event_numbers AS n (tenant, last, locked) VALUES ($1, $2, 0)
        ON CONFLICT (tenant) DO UPDATE SET last = n.last + $2
        RETURNING last, locked),
    added AS (
        INSERT INTO events (tenant, number, at, kind, actor, subject, details)
        SELECT $1, numbered.last - $2 + e.nth, e.at, e.kind, e.actor, e.subject, e.details
          FROM numbered, unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
               WITH ORDINALITY AS e (at, kind, actor, subject, details, nth))
    SELECT CASE WHEN $8 AND locked <> 0 THEN 1 / (locked - locked) END FROM numbered";

/// Removes the queued pushes of transactions that have ended.
pub(super) const CALL_OFF: &str = "DELETE FROM deliveries
    WHERE tenant = $1 AND transaction_id = ANY($2::bytea[]) AND kind = 'push'";

const ADD_STORED: &str = "INSERT INTO stored AS s (tenant, client, transactions, bytes)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, client)
    DO UPDATE SET transactions = s.transactions + $3, bytes = s.bytes + $4";

/// A batch that is being written on a connection.
pub(super) struct Batch<C> {
    connection: C,
    ends: Mutex<Ends>,
    /// The stored bytes before the batch, by tenant and client.
    sums: Mutex<HashMap<ClientKey, Arc<OnceCell<Sums>>>>,
}

/// A tenant's name and a client's id.
type ClientKey = (String, String);

/// The writes at the end of a batch.
#[derive(Default)]
struct Ends {
    /// The new transactions and their bytes, by tenant and client.
    stored: BTreeMap<ClientKey, (i64, i64)>,
    /// The transactions that have ended, by tenant.
    ended: BTreeMap<String, Vec<[u8; 16]>>,
    /// The events, by tenant; empty for the server's own.
    events: BTreeMap<String, Vec<event::Row>>,
    /// The tenants that must not be locked.
    depends: BTreeSet<String>,
}

/// How far a batch came.
pub(super) enum Failed {
    /// Nothing is written.
    Unwritten(StoreError),
    /// The connection ended during the commit, so that it may be written or not.
    Unknown(StoreError),
}

impl<C: Deref<Target = Connection>> Batch<C> {
    pub(super) fn new(connection: C) -> Self {
        Self { connection, ends: Mutex::default(), sums: Mutex::default() }
    }

    /// Notes that a unit depends on its tenant not being locked.
    pub(super) fn depends_on(&self, tenant: &TenantName) {
        self.ends.lock().depends.insert(tenant.to_string());
    }

    /// Writes what all units count together, and commits. All of it is sent at once, so that rows
    /// that many batches share are locked for as short as possible. Gives the connection back.
    pub(super) async fn commit(self) -> Result<C, Failed> {
        let (connection, ends) = (self.connection, self.ends.into_inner());
        let prepared = Prepared::of(&connection).await;
        let prepared = prepared.map_err(|error| Failed::Unwritten(error.into()))?;
        let mut sent = ends.send(&connection, &prepared);
        let mut commit = Connection::sent(connection.client().batch_execute("COMMIT"));
        let mut failed = None;
        for answer in &mut sent {
            answer.as_mut().await;
            if let Some(Err(error)) = answer.as_mut().take_output() {
                failed = failed.or(Some(error));
            }
        }
        commit.as_mut().await;
        // PostgreSQL answers a COMMIT of a failed transaction without an error.
        let failed = match (failed, commit.as_mut().take_output()) {
            (Some(error), _) => error,
            (None, Some(Err(error))) => return Err(Failed::Unknown(error.into())),
            (None, _) => {
                drop((sent, commit));
                return Ok(connection);
            }
        };
        Err(match failed.code() {
            Some(&SqlState::DIVISION_BY_ZERO) => Failed::Unwritten(StoreError::TenantLocked),
            Some(_) => Failed::Unwritten(failed.into()),
            // The connection ended, and the COMMIT may have arrived before.
            None => Failed::Unknown(failed.into()),
        })
    }
}

/// The statements of the end of a batch.
struct Prepared {
    add_stored: Statement,
    call_off: Statement,
    append: Statement,
}

impl Prepared {
    async fn of(connection: &Connection) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            add_stored: connection.prepare(ADD_STORED).await?,
            call_off: connection.prepare(CALL_OFF).await?,
            append: connection.prepare(APPEND).await?,
        })
    }
}

/// A statement that was sent, and its answer.
type Sent<'a> = Pin<Box<MaybeDone<BoxFuture<'a, Result<u64, tokio_postgres::Error>>>>>;

impl Ends {
    fn send<'a>(&'a self, connection: &'a Connection, prepared: &'a Prepared) -> Vec<Sent<'a>> {
        let mut sent = Vec::new();
        for ((tenant, client), (count, bytes)) in &self.stored {
            sent.push(Connection::sent(
                async move {
                    let row: [&(dyn ToSql + Sync); 4] = [tenant, client, count, bytes];
                    connection.client().execute(&prepared.add_stored, &row).await
                }
                .boxed(),
            ));
        }
        for (tenant, ended) in &self.ended {
            sent.push(Connection::sent(
                async move {
                    let ended: Vec<&[u8]> = ended.iter().map(<[u8; 16]>::as_slice).collect();
                    connection.client().execute(&prepared.call_off, &[tenant, &ended]).await
                }
                .boxed(),
            ));
        }
        for (tenant, events) in &self.events {
            let depends = self.depends.contains(tenant);
            let append = append(connection, &prepared.append, tenant, events, depends);
            sent.push(Connection::sent(append.boxed()));
        }
        sent
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
        let key = || (spec.tenant.to_string(), spec.client.as_str().to_owned());
        let sums = Arc::clone(self.sums.lock().entry(key()).or_default());
        let full = sums.get_or_try_init(|| Sums::read(self, spec)).await?.full(max);
        if full.is_none() {
            let mut ends = self.ends.lock();
            let (count, bytes) = ends.stored.entry(key()).or_default();
            *count += 1;
            *bytes += number(spec.stored_bytes());
        }
        Ok(full)
    }

    async fn call_off(&self, tenant: &TenantName, id: TransactionId) -> Result<(), StoreError> {
        self.ends.lock().ended.entry(tenant.to_string()).or_default().push(id.bytes());
        Ok(())
    }

    async fn record(&self, event: &event::Row) -> Result<(), StoreError> {
        let mut ends = self.ends.lock();
        ends.events.entry(event.tenant_key().to_owned()).or_default().push(event.clone());
        Ok(())
    }
}

/// Adds events.
async fn append(
    connection: &Connection,
    statement: &Statement,
    tenant: &String,
    events: &[event::Row],
    depends: bool,
) -> Result<u64, tokio_postgres::Error> {
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
    let row: [&(dyn ToSql + Sync); 8] =
        [tenant, &count, &at, &kinds, &actors, &subjects, &details, &depends];
    connection.client().execute(statement, &row).await
}
