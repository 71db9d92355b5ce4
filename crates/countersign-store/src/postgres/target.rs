//! A schema into which a ledger is moved. Until the move is complete, the schema has a table
//! `moving_in`, with the place that was reached in each table of the ledger; nothing else opens it
//! meanwhile.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use countersign_core::time::Timestamp;
use futures_util::StreamExt as _;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use super::address::{Address, PostgresError, PostgresLocation};
use super::connection::Connection;
use super::presence::NOW;
use super::schema;
use crate::postgres_error::explained;
use crate::sql::Sql as _;
use crate::sql::checksum::{Checksum, Sum, decoded, encoded};
use crate::sql::column::number;
use crate::sql::error::{Corrupt, StoreError};
use crate::sql::moved::{TABLES, Table};
use crate::sql::value::{Cell, Cells, FromCell as _, Value, values};

/// A batch that the database loses in a crash is moved again, so only the end is synced.
const SETTINGS: &str = "SET statement_timeout TO 0; SET synchronous_commit TO off";

const MAKE_PLACES: &str = "CREATE TABLE moving_in (
        table_name TEXT COLLATE \"C\" NOT NULL PRIMARY KEY,
        source     BYTEA  NOT NULL, -- a digest of the ledger that is moved
        place      BYTEA,           -- the key of the last row that was moved
        moved      BIGINT NOT NULL  -- the rows that were moved
    )";

const PLACES: &str = "SELECT table_name, source, place, moved FROM moving_in";

const MOVE_ON: &str = "UPDATE moving_in SET place = ?2, moved = moved + ?3
      WHERE table_name = ?1 AND moved = ?4";

/// The numbers of events are continued. A tenant that is not active is locked.
const NUMBER_EVENTS: &str = "INSERT INTO event_numbers (tenant, last, locked)
    SELECT n.tenant, coalesce((SELECT max(number) FROM events WHERE tenant = n.tenant), 0),
           (SELECT count(*) FROM tenants WHERE name = n.tenant AND state <> 'active')
      FROM (SELECT name AS tenant FROM tenants UNION SELECT tenant FROM events) AS n";

/// How far a table has been moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    /// The key of the last row.
    pub(crate) place: Option<Cells>,
    pub(crate) rows: u64,
}

/// The schema, and a connection to it.
pub(crate) struct Target {
    connection: Connection,
    schema: String,
}

impl Target {
    /// Prepares an empty schema for the ledger with this digest, or goes on where a move of the
    /// same ledger was interrupted. Answers how far each table has been moved, in the order of
    /// [`TABLES`]; `None` if the move begins.
    pub(crate) async fn open(
        location: &PostgresLocation,
        source: [u8; 32],
        now: Timestamp,
    ) -> Result<(Self, Option<Vec<Reached>>), PostgresError> {
        let address = Arc::new(Address::of(location)?);
        let connection = address
            .connect(None)
            .await
            .map_err(|error| PostgresError::Unreachable(explained(&error).to_string()))?;
        let failed = |error: StoreError| PostgresError::Failed(error.to_string());
        connection.client().batch_execute(SETTINGS).await.map_err(|error| failed(error.into()))?;
        let target = Self { connection, schema: address.schema.clone() };
        if schema::is_moved_into(&target.connection, &target.schema).await? {
            if !schema::is_of_this_program(&target.connection).await? {
                return Err(PostgresError::OtherMove(target.schema));
            }
            let reached = target.reached(source).await?;
            return Ok((target, Some(reached)));
        }
        schema::prepare(&target.connection, &address, false, now).await?;
        if target.has_rows().await.map_err(failed)? {
            return Err(PostgresError::Exists(target.schema));
        }
        let nodes = format!("SELECT 1 FROM nodes WHERE until > {NOW} LIMIT 1");
        if target.connection.exists(&nodes, &[]).await.map_err(failed)? {
            return Err(PostgresError::Served(target.schema));
        }
        target.begin(source).await.map_err(failed)?;
        Ok((target, None))
    }

    async fn has_rows(&self) -> Result<bool, StoreError> {
        for Table { name, .. } in &TABLES {
            if self.connection.exists(&format!("SELECT 1 FROM {name} LIMIT 1"), &[]).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn begin(&self, source: [u8; 32]) -> Result<(), StoreError> {
        const PLACE: &str = "INSERT INTO moving_in (table_name, source, moved) VALUES (?1, ?2, 0)";
        self.unit(async {
            self.connection.client().batch_execute(MAKE_PLACES).await?;
            for Table { name, .. } in &TABLES {
                self.connection.execute(PLACE, values![*name, source]).await?;
            }
            Ok(())
        })
        .await
    }

    /// Reads how far a move was, and checks that it is of this ledger and of this program.
    async fn reached(&self, source: [u8; 32]) -> Result<Vec<Reached>, PostgresError> {
        let other = || PostgresError::OtherMove(self.schema.clone());
        let rows = self.connection.query(PLACES, &[]).await;
        let rows = rows.map_err(|error| PostgresError::Failed(error.to_string()))?;
        let mut reached = vec![None; TABLES.len()];
        for row in rows {
            let [name, of, place, moved] = <[Cell; 4]>::try_from(row).map_err(|_| other())?;
            let at = TABLES.iter().position(|table| name == Cell::Text(table.name.into()));
            let at = at.filter(|_| of == Cell::Blob(source.into())).ok_or_else(other)?;
            let place = match place {
                Cell::Blob(bytes) => Some(decoded(&bytes).ok_or_else(other)?),
                _ => None,
            };
            let rows = i64::from_cell(moved).map_err(|_| other())?.unsigned_abs();
            reached[at] = Some(Reached { place, rows });
        }
        reached.into_iter().collect::<Option<_>>().ok_or_else(other)
    }

    /// Writes the next rows of a table in one SQL transaction, and notes the place.
    pub(crate) async fn write(
        &self,
        table: &Table,
        rows: &[Cells],
        reached: &Reached,
    ) -> Result<(), StoreError> {
        let Some(last) = rows.last() else { return Ok(()) };
        check_text(table, rows)?;
        let place = encoded(&table.key_of(last));
        self.unit(async {
            self.copy(table, rows).await?;
            let (moved, before) = (number(rows.len() as u64), number(reached.rows));
            let place = values![table.name, place, moved, before];
            match self.connection.execute(MOVE_ON, place).await? {
                1 => Ok(()),
                _ => Err(StoreError::Misused("another process moves into the same schema")),
            }
        })
        .await
    }

    /// COPY keeps the numbers of the rows, as no INSERT does.
    async fn copy(&self, table: &Table, rows: &[Cells]) -> Result<(), StoreError> {
        let types = self.connection.prepare(&table.select()).await?;
        let types: Vec<Type> = types.columns().iter().map(|c| c.type_().clone()).collect();
        let copy = format!("COPY {} ({}) FROM STDIN BINARY", table.name, table.columns());
        let sink = self.connection.client().copy_in(&copy).await?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let values: Vec<Value<'_>> = row.iter().map(Cell::as_value).collect();
            writer.as_mut().write_raw(values.iter().map(|v| v as &(dyn ToSql + Sync))).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Does something within one SQL transaction.
    async fn unit(
        &self,
        work: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        self.connection.send("BEGIN");
        match work.await {
            Ok(()) => Ok(self.connection.client().batch_execute("COMMIT").await?),
            Err(error) => {
                self.connection.send("ROLLBACK");
                Err(error)
            }
        }
    }

    /// The checksum of a table. `told` hears how many rows were read.
    pub(crate) async fn checksum(
        &self,
        table: &Table,
        told: &mut impl FnMut(u64),
    ) -> Result<Sum, StoreError> {
        let select = self.connection.prepare(&table.select()).await?;
        let nothing = std::iter::empty::<&(dyn ToSql + Sync)>();
        let mut rows = pin!(self.connection.client().query_raw(&select, nothing).await?);
        let mut checksum = Checksum::new();
        while let Some(row) = rows.next().await {
            let row = row?;
            let cells: Result<Cells, _> = (0..row.len()).map(|at| row.try_get(at)).collect();
            told(checksum.add(&cells?));
        }
        Ok(checksum.sum())
    }

    /// Makes the schema a ledger that nodes may open: with the file of the master keys, which must
    /// have each key that values name, and with the next number of each table.
    pub(crate) async fn complete(
        &self,
        master_key_file: &Path,
        last_seqs: &[(&Table, i64)],
    ) -> Result<(), PostgresError> {
        super::open_keys(&self.connection, master_key_file).await?;
        let completed = self.unit(async {
            let client = self.connection.client();
            client.batch_execute("SET LOCAL synchronous_commit TO on").await?;
            self.connection.execute(NUMBER_EVENTS, &[]).await?;
            for (Table { name, .. }, last) in last_seqs {
                let next = last + 1;
                let restart = format!("ALTER TABLE {name} ALTER COLUMN seq RESTART WITH {next}");
                client.batch_execute(&restart).await?;
            }
            client.batch_execute("DROP TABLE moving_in").await?;
            Ok(())
        });
        let failed = |error: StoreError| PostgresError::Failed(error.to_string());
        completed.await.map_err(failed)?;
        // Without it, the database would plan for empty tables until its autovacuum comes by.
        let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        let analyze = format!("ANALYZE {}", names.join(", "));
        if let Err(error) = self.connection.client().batch_execute(&analyze).await {
            warn!(error = %explained(&error), "The moved tables were not analyzed");
        }
        Ok(())
    }
}

/// PostgreSQL has no text with the character of the number 0.
fn check_text(table: &Table, rows: &[Cells]) -> Result<(), StoreError> {
    for row in rows {
        let is_bad = |cell: &Cell| matches!(cell, Cell::Text(text) if text.contains('\0'));
        if let Some(at) = row.iter().position(is_bad) {
            let key = table.key_of(row).iter().map(Cell::shown).collect::<Vec<_>>();
            return Err(Corrupt {
                table: table.name,
                column: table.column(at),
                id: key.join("/"),
                why: "it has the character U+0000, which PostgreSQL does not store".into(),
            }
            .into());
        }
    }
    Ok(())
}
