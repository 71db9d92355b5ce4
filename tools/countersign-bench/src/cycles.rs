//! Measures cycles and idle devices.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use crate::bar::Bar;
use crate::command::{Bench, Tls};
use crate::crowd::{Crowd, Keys};
use crate::dialect::{Dialect, Name};
use crate::idle;
use crate::kobil::Kobil;
use crate::ledger::Ledger;
use crate::load::{Load, TURN};
use crate::onespan::OneSpan;
use crate::process::Server;
use crate::report::{Asked, Found, Handshakes, Report};
use crate::restart;
use crate::tally::Measured;
use crate::task::Tasks;
use crate::text;
use crate::trustedx::TrustedX;
use crate::verification;
use crate::work_directory::{self, WorkDirectory};

impl Bench {
    /// Measures cycles and prints the report.
    pub(crate) async fn cycles(&self) -> anyhow::Result<()> {
        ensure!(
            self.devices >= self.concurrency,
            "a device signs one transaction at a time: --devices must be {} at least",
            self.concurrency
        );
        let devices = match self.dialect {
            Name::Kobil => self.devices,
            Name::Onespan | Name::Trustedx => 2 * self.devices,
        };
        let program = self.server()?;
        ensure!(self.held <= self.idle, "--held must be at most --idle, whose users are asked");
        let connections = (devices + 2 * self.concurrency).max(self.idle + self.held);
        work_directory::for_connections(connections)?;
        let room = WorkDirectory::make(self.data.as_deref())?;
        let before = verification::cpu();
        let bar = Bar::new("making devices", u64::from(devices.max(self.idle)));
        let ledger = Ledger::sqlite(room.path());
        let crowd = Crowd::make(&program, &ledger, devices.max(self.idle), 0, &bar).await?;
        bar.end();

        let idle = match self.idle {
            0 => None,
            count => Some(self.idle(&program, &room, &crowd, count).await?),
        };
        let found = self.load(&program, &room, crowd).await?;
        let verification = before.min(verification::cpu());
        let asked = Asked {
            dialect: self.dialect,
            seconds: self.seconds,
            concurrency: self.concurrency,
            devices: self.devices,
            tls: self.tls == Tls::On,
            rate: self.rate,
        };
        let report = Report::new(&asked, room.file_system(), verification, &found, idle);
        self.write_json(&report)?;
        text::print(&report.text())
    }

    /// Measures idle devices, in a server without any other load.
    async fn idle(
        &self,
        program: &Path,
        room: &WorkDirectory,
        crowd: &Crowd,
        count: u32,
    ) -> anyhow::Result<idle::Idle> {
        let server = Server::start(program, room.path(), self.tls, None).await?;
        let bar = Bar::new("connecting idle devices", u64::from(count));
        let devices = &crowd.devices[..count as usize];
        let (mut idle, mut phones) = idle::measure(&server, devices, &bar).await?;
        bar.end();
        let tasks = Tasks::default();
        if self.held > 0 {
            let bar = Bar::new("holding callers", u64::from(self.held));
            let held = restart::hold(&server, crowd, self.held, &mut phones, &tasks, &bar).await?;
            bar.end();
            idle.held = Some(held);
        }
        if !self.restart {
            server.stop().await;
            tasks.finish().await;
            return Ok(idle);
        }
        let killed = Instant::now();
        server.kill().await?;
        drop(phones);
        tasks.finish().await;
        let server = Server::start(program, room.path(), self.tls, None).await?;
        let bar = Bar::new("devices returning", u64::from(count));
        idle.restart = Some(restart::reconnect(&server, devices, killed.elapsed(), &bar).await?);
        bar.end();
        server.stop().await;
        Ok(idle)
    }

    /// Measures cycles.
    async fn load(
        &self,
        program: &Path,
        room: &WorkDirectory,
        mut crowd: Crowd,
    ) -> anyhow::Result<Found> {
        let server = Server::start(program, room.path(), self.tls, None).await?;
        let tasks = Tasks::default();
        let found = async {
            let target = &server.target;
            let own = crowd.devices.split_off(crowd.devices.len() - self.devices as usize);
            let kobil = Kobil::prepare(target, &crowd, &tasks).await?;
            match self.dialect {
                Name::Kobil => self.alone(&server, kobil, own, &tasks).await,
                Name::Onespan => {
                    let dialect = OneSpan::prepare(target, &crowd, room.path(), &tasks)?;
                    crowd.devices.truncate(self.devices as usize);
                    let (own, kobils) = ((dialect, own), (kobil, crowd.devices));
                    self.in_turns(&server, own, kobils, &tasks).await
                }
                Name::Trustedx => {
                    let dialect = TrustedX::prepare(target, &crowd, &tasks).await?;
                    crowd.devices.truncate(self.devices as usize);
                    let (own, kobils) = ((dialect, own), (kobil, crowd.devices));
                    self.in_turns(&server, own, kobils, &tasks).await
                }
            }
        };
        let found = found.await;
        tasks.finish().await;
        server.stop().await;
        found
    }

    /// Measures one dialect.
    async fn alone<S: Dialect>(
        &self,
        server: &Server,
        dialect: S,
        devices: Vec<Keys>,
        tasks: &Tasks,
    ) -> anyhow::Result<Found> {
        let (mut load, handshakes) = self.connect(server, dialect, devices, tasks).await?;
        let bar = Bar::seconds(self.seconds);
        load.measure(Duration::from_secs(self.seconds), server, &bar).await?;
        bar.end();
        let server_memory = server.memory()?;
        Ok(Found { measured: load.measured, kobil: None, handshakes, server_memory })
    }

    /// Measures a dialect and KOBIL's for the same time, in turns.
    async fn in_turns<S: Dialect>(
        &self,
        server: &Server,
        (dialect, own): (S, Vec<Keys>),
        (kobil, kobils): (Kobil, Vec<Keys>),
        tasks: &Tasks,
    ) -> anyhow::Result<Found> {
        let (mut kobil, _) = self.connect(server, kobil, kobils, tasks).await?;
        let (mut load, handshakes) = self.connect(server, dialect, own, tasks).await?;
        let bar = Bar::seconds(2 * self.seconds);
        for turn in 0..self.seconds {
            // The order changes with each turn, so that slow changes of the machine affect both
            // equally.
            if turn % 2 == 0 {
                kobil.measure(TURN, server, &bar).await?;
                load.measure(TURN, server, &bar).await?;
            } else {
                load.measure(TURN, server, &bar).await?;
                kobil.measure(TURN, server, &bar).await?;
            }
        }
        bar.end();
        let (server_memory, kobil): (_, Option<Measured>) =
            (server.memory()?, Some(kobil.measured));
        Ok(Found { measured: load.measured, kobil, handshakes, server_memory })
    }

    /// Connects a dialect's devices and application.
    pub(crate) async fn connect<S: Dialect>(
        &self,
        server: &Server,
        dialect: S,
        devices: Vec<Keys>,
        tasks: &Tasks,
    ) -> anyhow::Result<(Load<S>, Handshakes)> {
        let bar = Bar::new("connecting", devices.len() as u64);
        let (concurrency, rate) = (self.concurrency, self.rate);
        let load = Load::connect(dialect, server, devices, concurrency, rate, tasks, &bar).await;
        bar.end();
        load
    }
}
