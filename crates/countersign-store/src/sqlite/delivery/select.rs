//! Finds the deliveries that may be leased.

use countersign_core::delivery::selection::{self, DueDeliveries, Selection};
use countersign_core::delivery::{Destination, Receiver};
use countersign_core::port::Claim;
use rusqlite::{CachedStatement, Connection, Rows, params};

use super::super::column::{Columns, moment, number};
use super::super::error::StoreError;
use super::Candidate;
use crate::{BACKLOG_COUNTED_MAX, Backlog};

/// The first due deliveries, which are counted without being read.
pub(in super::super) const COUNT_DUE: &str = "SELECT count(*) FROM
    (SELECT 1 FROM deliveries WHERE due_at IS NOT NULL AND due_at <= ?1 LIMIT ?2) AS due";
pub(in super::super) const DUE: &str = "SELECT tenant, host, endpoint, seq, due_at FROM deliveries
      WHERE due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
// There are several statements because SQLite does not use
// `(tenant, host, endpoint) > (?1, ?2, ?3)` as a strict bound. It would begin at the first delivery
// of the destination to skip, and read each of its deliveries.
pub(in super::super) const NEXT_ENDPOINT: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant = ?1 AND host = ?2 AND endpoint > ?3
      ORDER BY endpoint LIMIT 1";
pub(in super::super) const NEXT_HOST: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant = ?1 AND host > ?2 ORDER BY host, endpoint LIMIT 1";
pub(in super::super) const NEXT_TENANT: &str = "SELECT tenant, host, endpoint FROM deliveries
      WHERE due_at IS NOT NULL AND tenant > ?1 ORDER BY tenant, host, endpoint LIMIT 1";
pub(in super::super) const DUE_AT_DESTINATION: &str = "SELECT seq, due_at FROM deliveries
      WHERE tenant = ?1 AND host = ?2 AND endpoint = ?3 AND due_at <= ?4
      ORDER BY due_at, seq LIMIT ?5";

/// Finds the deliveries that may be leased. Usually none is due, which one lookup in an index
/// shows.
pub(in super::super) fn candidates(
    sql: &Connection,
    claim: Claim,
) -> Result<Selection<Candidate>, StoreError> {
    let Claim { now, capacity, after, .. } = claim;
    let mut due = DueRows {
        sql,
        now: moment(now),
        endpoint: sql.prepare_cached(NEXT_ENDPOINT)?,
        host: sql.prepare_cached(NEXT_HOST)?,
        tenant: sql.prepare_cached(NEXT_TENANT)?,
        due: sql.prepare_cached(DUE_AT_DESTINATION)?,
    };
    selection::select(&mut due, capacity, after, now)
}

/// Counts the deliveries that are not settled, as far as they are counted.
pub(in super::super) fn backlog(sql: &Connection) -> Result<Backlog, StoreError> {
    let mut count = sql.prepare_cached(
        "SELECT count(*) FILTER (WHERE due_at IS NOT NULL AND device IS NULL),
                count(*) FILTER (WHERE due_at IS NOT NULL AND device IS NOT NULL),
                count(*) FILTER (WHERE due_at IS NULL)
           FROM (SELECT due_at, device FROM deliveries LIMIT ?1)",
    )?;
    Ok(count.query_row([BACKLOG_COUNTED_MAX], |row| {
        Ok(Backlog { callbacks: row.get(0)?, pushes: row.get(1)?, dead_letters: row.get(2)? })
    })?)
}

struct DueRows<'a> {
    sql: &'a Connection,
    now: i64,
    endpoint: CachedStatement<'a>,
    host: CachedStatement<'a>,
    tenant: CachedStatement<'a>,
    due: CachedStatement<'a>,
}

impl DueDeliveries for DueRows<'_> {
    type Found = Candidate;
    type Error = StoreError;

    fn all(&mut self, limit: u16) -> Result<Option<Vec<(Destination, Candidate)>>, StoreError> {
        let mut count = self.sql.prepare_cached(COUNT_DUE)?;
        let count: u32 =
            count.query_row(params![self.now, u32::from(limit) + 1], |row| row.get(0))?;
        if count == 0 || count > limit.into() {
            return Ok((count == 0).then(Vec::new));
        }
        let mut select = self.sql.prepare_cached(DUE)?;
        let mut rows = select.query(params![self.now, limit])?;
        let mut due = Vec::new();
        while let Some(row) = rows.next()? {
            let mut columns = Columns::of("deliveries", 2, row);
            let destination = read(&mut columns)?;
            let (seq, due_at) = (columns.next("seq")?, columns.next("due_at")?);
            due.push((destination, Candidate { seq, due_at }));
        }
        Ok(Some(due))
    }

    fn next(
        &mut self,
        after: Option<&Destination>,
        skips_receiver: bool,
    ) -> Result<Option<Destination>, StoreError> {
        let Some(Destination { receiver: Receiver { tenant, host }, endpoint }) = after else {
            return read_one(self.tenant.query([""])?);
        };
        let (tenant, host) = (tenant.as_str(), host.to_string());
        if !skips_receiver {
            let given = params![tenant, host, number(endpoint.number())];
            if let Some(found) = read_one(self.endpoint.query(given)?)? {
                return Ok(Some(found));
            }
        }
        if let Some(found) = read_one(self.host.query([tenant, &host])?)? {
            return Ok(Some(found));
        }
        read_one(self.tenant.query([tenant])?)
    }

    fn of(&mut self, destination: &Destination, limit: u16) -> Result<Vec<Candidate>, StoreError> {
        let given = params![
            destination.tenant().as_str(),
            destination.host().to_string(),
            number(destination.endpoint.number()),
            self.now,
            limit
        ];
        let found = self
            .due
            .query_map(given, |row| Ok(Candidate { seq: row.get(0)?, due_at: row.get(1)? }))?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

fn read_one(mut rows: Rows<'_>) -> Result<Option<Destination>, StoreError> {
    let Some(row) = rows.next()? else { return Ok(None) };
    read(&mut Columns::of("deliveries", 2, row)).map(Some)
}

fn read(columns: &mut Columns<'_>) -> Result<Destination, StoreError> {
    let receiver = Receiver { tenant: columns.text("tenant")?, host: columns.text("host")? };
    Ok(Destination { receiver, endpoint: super::endpoint(columns)? })
}
