//! The report of a fleet, for people and for programs. The JSON's names contain their units.

use std::time::Duration;

use countersign_postgres::Statistics;
use serde::Serialize;

use crate::command::{Bench, Tls};
use crate::report::{Figures, micros, processor, round};
use crate::tally::Measured;
use crate::text;

/// The measured figures.
pub(super) struct FleetFound {
    pub(super) postgres: Measured,
    pub(super) database_cpu: Duration,
    pub(super) database: Statistics,
    pub(super) database_connections: i64,
    pub(super) database_version: String,
    /// The memory of all nodes.
    pub(super) nodes_memory: u64,
    pub(super) sqlite: Measured,
    /// The growth of SQLite's files.
    pub(super) sqlite_bytes: u64,
    pub(super) sqlite_memory: u64,
}

/// The figures.
#[derive(Debug, Serialize)]
pub(super) struct FleetReport {
    version: &'static str,
    processor: String,
    processors: usize,
    ledger: &'static str,
    ledger_file_system: String,
    database_version: String,
    nodes: u32,
    seconds: u64,
    concurrency: u32,
    devices: u32,
    tls: bool,
    /// Only for an open loop.
    rate_cycles_per_second: Option<u32>,
    verification_cpu_microseconds: f64,
    /// The nodes' figures. Their commits and syncs are the nodes' own counts.
    #[serde(flatten)]
    figures: Figures,
    database_cpu_microseconds_per_cycle: f64,
    /// Of the nodes and the database.
    cpu_microseconds_per_cycle: f64,
    database_commits_per_cycle: f64,
    wal_syncs_per_cycle: f64,
    wal_writes_per_cycle: f64,
    wal_records_per_cycle: f64,
    wal_full_pages_per_cycle: f64,
    wal_bytes_per_cycle: f64,
    rows_inserted_per_cycle: f64,
    rows_updated_per_cycle: f64,
    rows_updated_hot_per_cycle: f64,
    rows_deleted_per_cycle: f64,
    /// Tables and indexes, with what updates left behind.
    stored_bytes_per_transaction: f64,
    database_connections: i64,
    nodes_rss_bytes: u64,
    /// One node on SQLite in the same run.
    sqlite: SqliteFigures,
    ratio_cycles_per_second_to_sqlite: f64,
    ratio_cpu_per_cycle_to_sqlite: f64,
}

#[derive(Debug, Serialize)]
struct SqliteFigures {
    #[serde(flatten)]
    figures: Figures,
    stored_bytes_per_transaction: f64,
    server_rss_bytes: u64,
}

impl FleetReport {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench, far below 2^52")]
    pub(super) fn new(
        bench: &Bench,
        ledger_file_system: String,
        verification: Duration,
        found: &FleetFound,
    ) -> Self {
        let (figures, sqlite) = (Figures::of(&found.postgres), Figures::of(&found.sqlite));
        let cycles = figures.cycles.max(1) as f64;
        let of_a_cycle = |count: i64| round(count as f64 / cycles);
        let database_cpu = micros(found.database_cpu) / cycles;
        let cpu = figures.server_cpu_microseconds_per_cycle + database_cpu;
        let (work, sqlite_cycles) = (&found.database, sqlite.cycles.max(1) as f64);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            ledger: "postgres",
            ledger_file_system,
            database_version: found.database_version.clone(),
            nodes: bench.nodes,
            seconds: bench.seconds,
            concurrency: bench.concurrency,
            devices: bench.devices,
            tls: bench.tls == Tls::On,
            rate_cycles_per_second: bench.rate,
            verification_cpu_microseconds: round(micros(verification)),
            database_cpu_microseconds_per_cycle: round(database_cpu),
            cpu_microseconds_per_cycle: round(cpu),
            database_commits_per_cycle: of_a_cycle(work.commits),
            wal_syncs_per_cycle: of_a_cycle(work.wal_syncs),
            wal_writes_per_cycle: of_a_cycle(work.wal_writes),
            wal_records_per_cycle: of_a_cycle(work.wal_records),
            wal_full_pages_per_cycle: of_a_cycle(work.wal_full_pages),
            wal_bytes_per_cycle: of_a_cycle(work.wal_bytes),
            rows_inserted_per_cycle: of_a_cycle(work.rows_inserted),
            rows_updated_per_cycle: of_a_cycle(work.rows_updated),
            rows_updated_hot_per_cycle: of_a_cycle(work.rows_updated_hot),
            rows_deleted_per_cycle: of_a_cycle(work.rows_deleted),
            stored_bytes_per_transaction: of_a_cycle(work.bytes),
            database_connections: found.database_connections,
            nodes_rss_bytes: found.nodes_memory,
            ratio_cycles_per_second_to_sqlite: round(
                figures.cycles_per_second / sqlite.cycles_per_second,
            ),
            ratio_cpu_per_cycle_to_sqlite: round(cpu / sqlite.server_cpu_microseconds_per_cycle),
            figures,
            sqlite: SqliteFigures {
                stored_bytes_per_transaction: round(found.sqlite_bytes as f64 / sqlite_cycles),
                server_rss_bytes: found.sqlite_memory,
                figures: sqlite,
            },
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut entries = self.figures.entries();
        entries.extend([
            (
                "CPU of a cycle",
                format!(
                    "nodes {:.0} µs, database {:.0} µs, both {:.0} µs; one P-256 verification is {} µs",
                    self.figures.server_cpu_microseconds_per_cycle,
                    self.database_cpu_microseconds_per_cycle,
                    self.cpu_microseconds_per_cycle,
                    self.verification_cpu_microseconds
                ),
            ),
            (
                "log of a cycle",
                format!(
                    "{} syncs, {:.0} bytes, {} records, {} full pages",
                    self.wal_syncs_per_cycle,
                    self.wal_bytes_per_cycle,
                    self.wal_records_per_cycle,
                    self.wal_full_pages_per_cycle
                ),
            ),
            (
                "rows of a cycle",
                format!(
                    "{} inserted, {} updated ({} of them HOT), {} deleted, in {} SQL transactions",
                    self.rows_inserted_per_cycle,
                    self.rows_updated_per_cycle,
                    self.rows_updated_hot_per_cycle,
                    self.rows_deleted_per_cycle,
                    self.database_commits_per_cycle
                ),
            ),
            (
                "stored",
                format!(
                    "{:.0} bytes a transaction; on SQLite {:.0}",
                    self.stored_bytes_per_transaction, self.sqlite.stored_bytes_per_transaction
                ),
            ),
            (
                "fleet",
                format!(
                    "{} nodes with {} MiB, {} connections to PostgreSQL {}, devices at the last node",
                    self.nodes,
                    self.nodes_rss_bytes / 1024 / 1024,
                    self.database_connections,
                    self.database_version
                ),
            ),
            (
                "compared with SQLite",
                format!(
                    "{} × its cycles a second, {} × its CPU a cycle",
                    self.ratio_cycles_per_second_to_sqlite, self.ratio_cpu_per_cycle_to_sqlite
                ),
            ),
        ]);
        let sqlite = text::list(&self.sqlite.figures.entries());
        format!("{}\n\nOne node on SQLite in the same run:\n\n{sqlite}", text::list(&entries))
    }
}
