//! The schema of a ledger on PostgreSQL: made, brought up to date, and checked.

use std::time::Duration;

use countersign_core::time::Timestamp;

use super::address::{Address, PostgresError};
use super::connection::Connection;
use crate::postgres_error::explained;
use crate::sql::column::number;

/// The migrations in order. The number of a migration is its position, from 1.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/postgres/0001_ledger.sql")];

/// How far the clocks of the database and of a node may be apart.
const CLOCK_APART_MAX: Duration = Duration::from_secs(5);

/// The lock that is held while a schema is made: any number, the same for all nodes.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"CSLedger");

/// Checks the database, and makes its schema or brings it up to date if it must.
pub(super) async fn prepare(
    connection: &Connection,
    address: &Address,
    must_be_new: bool,
    now: Timestamp,
) -> Result<(), PostgresError> {
    let failed =
        |error: tokio_postgres::Error| PostgresError::Failed(explained(&error).to_string());
    check_encoding(connection).await?;
    check_clock(connection, now).await?;
    let (client, schema) = (connection.client(), &address.schema);
    if is_moved_into(connection, schema).await? {
        return Err(PostgresError::Moving(schema.clone()));
    }
    // Several nodes may start at once.
    client
        .batch_execute(&format!("SELECT pg_advisory_lock({MIGRATION_LOCK})"))
        .await
        .map_err(failed)?;
    let migrated = migrate(connection, schema, must_be_new).await;
    client
        .batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        .await
        .map_err(failed)?;
    migrated
}

/// Whether a ledger is being moved into a schema.
pub(super) async fn is_moved_into(
    connection: &Connection,
    schema: &str,
) -> Result<bool, PostgresError> {
    let table = "SELECT 1 FROM information_schema.tables
        WHERE table_schema = $1 AND table_name = 'moving_in'";
    let found = connection.client().query_opt(table, &[&schema]).await;
    let failed =
        |error: tokio_postgres::Error| PostgresError::Failed(explained(&error).to_string());
    Ok(found.map_err(failed)?.is_some())
}

/// Whether a schema that is there was made by this version of the program.
pub(super) async fn is_of_this_program(connection: &Connection) -> Result<bool, PostgresError> {
    let version = "SELECT version FROM ledger WHERE application = 'countersign'";
    let found = connection.client().query_opt(version, &[]).await;
    let failed =
        |error: tokio_postgres::Error| PostgresError::Failed(explained(&error).to_string());
    Ok(found
        .map_err(failed)?
        .is_some_and(|row| row.get::<_, i64>(0) == number(MIGRATIONS.len() as u64)))
}

async fn migrate(
    connection: &Connection,
    schema: &str,
    must_be_new: bool,
) -> Result<(), PostgresError> {
    let failed =
        |error: tokio_postgres::Error| PostgresError::Failed(explained(&error).to_string());
    let client = connection.client();
    let tables = "SELECT count(*), count(*) FILTER (WHERE table_name = 'ledger')
        FROM information_schema.tables WHERE table_schema = $1";
    let row = client.query_one(tables, &[&schema]).await.map_err(failed)?;
    let (tables, is_ledger): (i64, i64) = (row.get(0), row.get(1));
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found = match (tables, is_ledger) {
        (0, _) => 0,
        (_, 0) => return Err(PostgresError::Foreign(schema.into())),
        _ => {
            let version = "SELECT version FROM ledger WHERE application = 'countersign'";
            let row = client.query_opt(version, &[]).await.map_err(failed)?;
            let row = row.ok_or_else(|| PostgresError::Foreign(schema.into()))?;
            row.get::<_, i64>(0)
        }
    };
    if found > known {
        return Err(PostgresError::Newer { schema: schema.into(), found, known });
    }
    if found > 0 && must_be_new {
        return Err(PostgresError::Exists(schema.into()));
    }
    if found == known {
        return Ok(());
    }
    let steps = MIGRATIONS[usize::try_from(found).unwrap_or_default()..].join("\n");
    let unit = format!(
        "BEGIN; CREATE SCHEMA IF NOT EXISTS {schema}; {steps}
         INSERT INTO ledger (the_only_one, application, version) VALUES (1, 'countersign', {known})
         ON CONFLICT (the_only_one) DO UPDATE SET version = {known}; COMMIT"
    );
    if let Err(error) = client.batch_execute(&unit).await {
        connection.send("ROLLBACK");
        return Err(failed(error));
    }
    Ok(())
}

async fn check_encoding(connection: &Connection) -> Result<(), PostgresError> {
    let row = connection.client().query_one("SHOW server_encoding", &[]).await;
    let row = row.map_err(|error| PostgresError::Failed(explained(&error).to_string()))?;
    match row.get(0) {
        "UTF8" => Ok(()),
        other => Err(PostgresError::Encoding(String::from(other))),
    }
}

/// Checks that times of several nodes can be compared.
async fn check_clock(connection: &Connection, now: Timestamp) -> Result<(), PostgresError> {
    let theirs = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";
    let row = connection.client().query_one(theirs, &[]).await;
    let row = row.map_err(|error| PostgresError::Failed(explained(&error).to_string()))?;
    let apart = Duration::from_millis(row.get::<_, i64>(0).abs_diff(number(now.0)));
    if apart > CLOCK_APART_MAX { Err(PostgresError::Clock(apart)) } else { Ok(()) }
}
