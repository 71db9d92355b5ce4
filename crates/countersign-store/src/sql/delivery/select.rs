//! Finds the deliveries that may be leased.

use countersign_core::delivery::selection::{self, DueDeliveries, Selection};
use countersign_core::delivery::{Destination, Receiver};
use countersign_core::id::DeliveryId;
use countersign_core::port::Claim;

use super::super::column::{Columns, moment, number};
use super::super::error::StoreError;
use super::Candidate;
use crate::sql::Sql;
use crate::sql::value::{Value, values};
use crate::{BACKLOG_COUNTED_MAX, Backlog};

/// The first due deliveries, which are counted without being read.
pub(crate) const COUNT_DUE: &str = "SELECT count(*) FROM
    (SELECT 1 FROM deliveries WHERE due_at IS NOT NULL AND due_at <= ?1 LIMIT ?2) AS due";
pub(crate) const DUE: &str = "SELECT tenant, host, endpoint, id, due_at FROM deliveries
      WHERE due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
// There are several statements because SQLite does not use
// `(tenant, host, endpoint) > (?1, ?2, ?3)` as a strict bound. It would begin at the first delivery
// of the destination to skip, and read each of its deliveries.
pub(crate) const NEXT_ENDPOINT: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant = ?1 AND host = ?2 AND endpoint > ?3
      ORDER BY endpoint LIMIT 1";
pub(crate) const NEXT_HOST: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant = ?1 AND host > ?2 ORDER BY host, endpoint LIMIT 1";
pub(crate) const NEXT_TENANT: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant > ?1 ORDER BY tenant, host, endpoint LIMIT 1";
pub(crate) const DUE_AT_DESTINATION: &str = "SELECT id, due_at FROM deliveries
      WHERE tenant = ?1 AND host = ?2 AND endpoint = ?3 AND due_at <= ?4
      ORDER BY due_at, seq LIMIT ?5";

/// Finds the deliveries that may be leased. Usually none is due, which one lookup in an index
/// shows.
pub(crate) async fn candidates(
    sql: &impl Sql,
    claim: Claim,
) -> Result<Selection<Candidate>, StoreError> {
    let Claim { now, capacity, after, .. } = claim;
    selection::select(&mut DueRows { sql, now: moment(now) }, capacity, after, now).await
}

/// Counts the deliveries that are not settled, as far as they are counted.
pub(crate) async fn backlog(sql: &impl Sql) -> Result<Backlog, StoreError> {
    let count = "SELECT count(*) FILTER (WHERE due_at IS NOT NULL AND device IS NULL),
                count(*) FILTER (WHERE due_at IS NOT NULL AND device IS NOT NULL),
                count(*) FILTER (WHERE due_at IS NULL)
           FROM (SELECT due_at, device FROM deliveries LIMIT ?1) AS counted";
    let row = sql.first(count, values![BACKLOG_COUNTED_MAX]).await?.unwrap_or_default();
    let mut columns = Columns::of("deliveries", 0, row);
    Ok(Backlog {
        callbacks: columns.next("count")?,
        pushes: columns.next("count")?,
        dead_letters: columns.next("count")?,
    })
}

struct DueRows<'a, S> {
    sql: &'a S,
    now: i64,
}

impl<S: Sql> DueDeliveries for DueRows<'_, S> {
    type Found = Candidate;
    type Error = StoreError;

    async fn all(
        &mut self,
        limit: u16,
    ) -> Result<Option<Vec<(Destination, Candidate)>>, StoreError> {
        let counted = u32::from(limit) + 1;
        let count: u32 = self.sql.value(COUNT_DUE, values![self.now, counted]).await?;
        if count == 0 || count > limit.into() {
            return Ok((count == 0).then(Vec::new));
        }
        let mut due = Vec::new();
        for row in self.sql.query(DUE, values![self.now, limit]).await? {
            let mut columns = Columns::of("deliveries", 2, row);
            let destination = read(&mut columns)?;
            let (id, due_at) = (DeliveryId(columns.id("id")?), columns.next("due_at")?);
            let tenant = destination.tenant().clone();
            due.push((destination, Candidate { tenant, id, due_at }));
        }
        Ok(Some(due))
    }

    async fn next(
        &mut self,
        after: Option<&Destination>,
        skips_receiver: bool,
    ) -> Result<Option<Destination>, StoreError> {
        let Some(Destination { receiver: Receiver { tenant, host }, endpoint }) = after else {
            return self.destination(NEXT_TENANT, values![""]).await;
        };
        let (tenant, host) = (tenant.as_str(), host.to_string());
        let endpoint = number(endpoint.number());
        if !skips_receiver {
            let given = values![tenant, host, endpoint];
            if let Some(found) = self.destination(NEXT_ENDPOINT, given).await? {
                return Ok(Some(found));
            }
        }
        if let Some(found) = self.destination(NEXT_HOST, values![tenant, host]).await? {
            return Ok(Some(found));
        }
        self.destination(NEXT_TENANT, values![tenant]).await
    }

    async fn of(
        &mut self,
        destination: &Destination,
        limit: u16,
    ) -> Result<Vec<Candidate>, StoreError> {
        let (tenant, host) = (destination.tenant().as_str(), destination.host().to_string());
        let endpoint = number(destination.endpoint.number());
        let given = values![tenant, host, endpoint, self.now, limit];
        let mut found = Vec::new();
        for row in self.sql.query(DUE_AT_DESTINATION, given).await? {
            let mut columns = Columns::of("deliveries", 0, row);
            let (tenant, id) = (destination.tenant().clone(), DeliveryId(columns.id("id")?));
            found.push(Candidate { tenant, id, due_at: columns.next("due_at")? });
        }
        Ok(found)
    }
}

impl<S: Sql> DueRows<'_, S> {
    async fn destination(
        &self,
        statement: &str,
        given: &[Value<'_>],
    ) -> Result<Option<Destination>, StoreError> {
        let found = self.sql.first(statement, given).await?;
        found.map(|row| read(&mut Columns::of("deliveries", 2, row))).transpose()
    }
}

fn read(columns: &mut Columns) -> Result<Destination, StoreError> {
    let receiver = Receiver { tenant: columns.text("tenant")?, host: columns.text("host")? };
    Ok(Destination { receiver, endpoint: super::endpoint(columns)? })
}
