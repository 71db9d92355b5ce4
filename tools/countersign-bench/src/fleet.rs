//! Measures nodes that share a ledger on PostgreSQL, in turns with one node on SQLite.
//!
//! Applications call the first node, and all devices are connected to the last one. So with two
//! nodes each offer and each answer goes from one node to the other, which is the worst case.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use crate::bar::Bar;
use crate::command::Bench;
use crate::crowd::Crowd;
use crate::database::Database;
use crate::dialect::Name;
use crate::fleet_report::{FleetFound, FleetReport};
use crate::kobil::Kobil;
use crate::ledger::{Kind, Ledger};
use crate::load::{Load, TURN};
use crate::process::Server;
use crate::tally::Measured;
use crate::task::Tasks;
use crate::text;
use crate::verification;
use crate::work_directory::{self, WorkDirectory};

/// Servers under load, and the load.
struct Side {
    servers: Vec<Server>,
    load: Load<Kobil>,
}

impl Bench {
    /// Measures what the flags say.
    pub(crate) async fn measure(&self) -> anyhow::Result<()> {
        self.check_ledger()?;
        match self.ledger {
            Kind::Postgres => self.fleet().await,
            Kind::Sqlite if self.push => self.pushes().await,
            Kind::Sqlite => self.cycles().await,
        }
    }

    /// Checks that the flags fit the ledger.
    fn check_ledger(&self) -> anyhow::Result<()> {
        match self.ledger {
            Kind::Sqlite => ensure!(self.nodes == 1, "--nodes needs --ledger postgres"),
            Kind::Postgres => ensure!(
                self.dialect == Name::Kobil && !self.push && self.idle == 0,
                "--ledger postgres measures KOBIL's cycle: --dialect, --push and --idle need \
                 --ledger sqlite"
            ),
        }
        Ok(())
    }

    /// Measures nodes on PostgreSQL and one node on SQLite, and prints the report.
    async fn fleet(&self) -> anyhow::Result<()> {
        ensure!(
            self.devices >= self.concurrency,
            "a device signs one transaction at a time: --devices must be {} at least",
            self.concurrency
        );
        let program = self.server()?;
        work_directory::for_connections(2 * (self.devices + 2 * self.concurrency))?;
        let room = WorkDirectory::make(self.data.as_deref())?;
        let before = verification::cpu();
        let tasks = Tasks::default();
        let database = Database::start()?;
        let url = database.url();
        let shared = room.path().join("node-1");
        let file = room.path().join("sqlite");
        for directory in [&shared, &file] {
            std::fs::create_dir(directory)?;
        }
        let (shared, file) = (Ledger::postgres(&shared, &url)?, Ledger::sqlite(&file));
        let bar = Bar::new("making devices", 2 * u64::from(self.devices));
        let (on_postgres, on_sqlite) = (
            Crowd::make(&program, &shared, self.devices, 0, &bar).await?,
            Crowd::make(&program, &file, self.devices, 0, &bar).await?,
        );
        bar.end();
        let mut postgres = self.side(&program, &shared, on_postgres, self.nodes, &tasks).await?;
        let mut sqlite = self.side(&program, &file, on_sqlite, 1, &tasks).await?;
        let found = self.in_turns_on(&database, &mut postgres, &mut sqlite, &file.directory).await;
        for server in postgres.servers.into_iter().chain(sqlite.servers) {
            server.stop().await;
        }
        tasks.finish().await;
        let verification = before.min(verification::cpu());
        let report = FleetReport::new(self, room.file_system(), verification, &found?);
        self.write_json(&report)?;
        text::print(&report.text())
    }

    /// Starts the nodes of a ledger, and connects the load.
    async fn side(
        &self,
        program: &Path,
        ledger: &Ledger,
        crowd: Crowd,
        nodes: u32,
        tasks: &Tasks,
    ) -> anyhow::Result<Side> {
        let mut servers = Vec::new();
        for number in 1..=nodes {
            let directory = node_directory(&ledger.directory, number)?;
            let config = ledger.config.as_deref();
            servers.push(Server::start(program, &directory, self.tls, config).await?);
        }
        let (first, last) = (&servers[0].target, &servers[servers.len() - 1].target);
        let kobil = Kobil::prepare(first, &crowd, tasks).await?.with_devices_at(last);
        let bar = Bar::new("connecting", u64::from(self.devices));
        let (concurrency, rate) = (self.concurrency, self.rate);
        let load =
            Load::connect(kobil, &servers[..], crowd.devices, concurrency, rate, tasks, &bar).await;
        bar.end();
        Ok(Side { servers, load: load?.0 })
    }

    /// Measures both for the same time, in turns.
    async fn in_turns_on(
        &self,
        database: &Database,
        postgres: &mut Side,
        sqlite: &mut Side,
        file: &Path,
    ) -> anyhow::Result<FleetFound> {
        let (before, bytes_before) = (database.statistics()?, size_of(file)?);
        let mut database_cpu = Duration::ZERO;
        let bar = Bar::seconds(2 * self.seconds);
        for turn in 0..2 * self.seconds {
            // The order changes with each pair of turns, so that slow changes of the machine affect
            // both equally.
            if matches!(turn % 4, 0 | 3) {
                let cpu = database.cpu()?;
                postgres.measure(&bar).await?;
                database_cpu += database.cpu()?.saturating_sub(cpu);
            } else {
                sqlite.measure(&bar).await?;
            }
        }
        bar.end();
        Ok(FleetFound {
            database_connections: database.connections()?,
            database: database.statistics()? - before,
            database_cpu,
            database_version: database.version()?,
            nodes_memory: postgres.memory()?,
            postgres: std::mem::replace(&mut postgres.load.measured, Measured::nothing()),
            sqlite_memory: sqlite.memory()?,
            sqlite_bytes: size_of(file)?.saturating_sub(bytes_before),
            sqlite: std::mem::replace(&mut sqlite.load.measured, Measured::nothing()),
        })
    }
}

impl Side {
    async fn measure(&mut self, bar: &Bar) -> anyhow::Result<()> {
        let servers: &[Server] = &self.servers;
        self.load.measure(TURN, servers, bar).await
    }

    fn memory(&self) -> anyhow::Result<u64> {
        self.servers.iter().map(Server::memory).sum()
    }
}

/// The data directory of a node, beside the first one's.
fn node_directory(first: &Path, number: u32) -> anyhow::Result<PathBuf> {
    if number == 1 {
        return Ok(first.to_owned());
    }
    let directory = first.with_file_name(format!("node-{number}"));
    std::fs::create_dir(&directory)?;
    Ok(directory)
}

/// The size of the ledger in `directory`, without the log that is copied into it.
fn size_of(directory: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(directory.join("ledger.db"))?.len())
}
