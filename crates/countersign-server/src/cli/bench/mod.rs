//! `countersign bench`: how fast this machine is, measured from outside, over TLS, on a real ledger.
//!
//! A *cycle* is the whole product once, as one surface speaks it: from the application's call to its answer,
//! with all that the device does between, verified and durable. The server is a process of its own; the load
//! comes from this one. What is measured is divided by what one verification costs here, so that machines
//! can be compared; and for other surfaces than KOBIL's by KOBIL's cycle, which is measured in turns with
//! theirs, so that both have the same server, ledger and neighbours.

mod connect;
mod crowd;
mod idle;
mod kobil;
mod line;
mod load;
mod onespan;
mod phone;
mod process;
mod push;
mod report;
mod room;
mod surface;
mod tally;
mod trustedx;
mod verification;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::crowd::{Crowd, Keys};
use self::kobil::Kobil;
use self::load::Load;
use self::onespan::OneSpan;
use self::process::Server;
use self::report::{Asked, Found, Handshakes, Report};
use self::room::Room;
use self::surface::{Name, Surface};
use self::tally::Measured;
use self::trustedx::TrustedX;
use super::answer;
use crate::task::Shutdown;

/// What the tasks of a load get to end.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Of one surface, before it is the other one's: long for a cycle, and short for what else this machine does.
const TURN: Duration = Duration::from_secs(1);

/// Measures cycles a second, their latency and their cost, on this machine.
///
/// Starts the server as a process of its own, on a ledger of its own, with its default configuration. A
/// cycle is a signature from the application's call to its answer: started, shown, signed, verified and
/// durable. With another surface than KOBIL's, KOBIL's cycle is measured too, in turns with it.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Whose calls make a cycle
    #[arg(long, value_enum, default_value_t)]
    surface: Name,
    /// How long to measure each surface
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Cycles in flight at once, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    concurrency: u32,
    /// Distinct devices of each surface, each of another user and with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Measure the memory that so many idle devices take, too, in a server of their own
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    idle: u32,
    /// Measure pushes instead of cycles: what one costs the server, and how soon it comes, to a service of
    /// Apple's rules that the bench runs
    #[arg(long, conflicts_with_all = ["surface", "idle"])]
    push: bool,
    /// With --push: how many pushes the service is owed when it comes back
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "push", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    owed: u32,
    /// With TLS, or with plain HTTP as behind a proxy that ends TLS
    #[arg(long, value_enum, default_value_t)]
    tls: Tls,
    /// Begin so many cycles a second, whatever becomes of them, and count each one's latency from when it
    /// was to begin [default: each cycle begins when another one ends]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Write the figures to a file, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to make the ledger, which goes afterwards: the disk counts [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Whether the server speaks TLS itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Tls {
    /// Under a certificate authority of its own, as it does by default
    #[default]
    On,
    /// Plain HTTP, which the server speaks behind a proxy only
    Off,
}

impl Bench {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.push {
            return self.pushes().await;
        }
        ensure!(
            self.devices >= self.concurrency,
            "a device signs one thing at a time: --devices must be {} at least",
            self.concurrency
        );
        let devices = match self.surface {
            Name::Kobil => self.devices,
            Name::Onespan | Name::Trustedx => 2 * self.devices,
        };
        room::for_connections((devices + 2 * self.concurrency).max(self.idle))?;
        let room = Room::make(self.data.as_deref())?;
        let before = verification::cpu();
        let bar = Bar::new("making devices", u64::from(devices.max(self.idle)));
        let crowd = Crowd::make(room.path(), devices.max(self.idle), 0, &bar).await?;
        bar.end();

        let idle = match self.idle {
            0 => None,
            count => Some(self.idle(&room, &crowd, count).await?),
        };
        let found = self.load(&room, crowd).await?;
        let verification = before.min(verification::cpu());
        let asked = Asked {
            surface: self.surface,
            seconds: self.seconds,
            concurrency: self.concurrency,
            devices: self.devices,
            tls: self.tls == Tls::On,
            rate: self.rate,
        };
        let report = Report::new(&asked, room.file_system(), verification, &found, idle);
        self.write_json(&report)?;
        answer::line(&report.text())
    }

    fn write_json(&self, report: &impl Serialize) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Measures idle devices, in a server that has done nothing else.
    async fn idle(&self, room: &Room, crowd: &Crowd, count: u32) -> anyhow::Result<idle::Idle> {
        let server = Server::start(room.path(), self.tls, None).await?;
        let bar = Bar::new("connecting idle devices", u64::from(count));
        let devices = &crowd.devices[..count as usize];
        let measured = idle::measure(&server, devices, &bar).await;
        bar.end();
        server.stop().await;
        measured
    }

    /// Measures cycles.
    async fn load(&self, room: &Room, mut crowd: Crowd) -> anyhow::Result<Found> {
        let server = Server::start(room.path(), self.tls, None).await?;
        let tasks = Shutdown::default();
        let found = async {
            let target = &server.target;
            let own = crowd.devices.split_off(crowd.devices.len() - self.devices as usize);
            let kobil = Kobil::prepare(target, &crowd, &tasks).await?;
            match self.surface {
                Name::Kobil => self.alone(&server, kobil, own, &tasks).await,
                Name::Onespan => {
                    let surface = OneSpan::prepare(target, &crowd, room.path(), &tasks)?;
                    crowd.devices.truncate(self.devices as usize);
                    let (own, kobils) = ((surface, own), (kobil, crowd.devices));
                    self.in_turns(&server, own, kobils, &tasks).await
                }
                Name::Trustedx => {
                    let surface = TrustedX::prepare(target, &crowd, &tasks).await?;
                    crowd.devices.truncate(self.devices as usize);
                    let (own, kobils) = ((surface, own), (kobil, crowd.devices));
                    self.in_turns(&server, own, kobils, &tasks).await
                }
            }
        };
        let found = found.await;
        tasks.finish(LAST_WAIT).await;
        server.stop().await;
        found
    }

    /// Measures one surface.
    async fn alone<S: Surface>(
        &self,
        server: &Server,
        surface: S,
        devices: Vec<Keys>,
        tasks: &Shutdown,
    ) -> anyhow::Result<Found> {
        let (mut load, handshakes) = self.connect(server, surface, devices, tasks).await?;
        let bar = Bar::seconds(self.seconds);
        load.measure(Duration::from_secs(self.seconds), server, &bar).await?;
        bar.end();
        let server_memory = server.memory()?;
        Ok(Found { measured: load.measured, kobil: None, handshakes, server_memory })
    }

    /// Measures a surface and KOBIL's, each for as long, turn by turn.
    async fn in_turns<S: Surface>(
        &self,
        server: &Server,
        (surface, own): (S, Vec<Keys>),
        (kobil, kobils): (Kobil, Vec<Keys>),
        tasks: &Shutdown,
    ) -> anyhow::Result<Found> {
        let (mut kobil, _) = self.connect(server, kobil, kobils, tasks).await?;
        let (mut load, handshakes) = self.connect(server, surface, own, tasks).await?;
        let bar = Bar::seconds(2 * self.seconds);
        for turn in 0..self.seconds {
            // Who is first takes turns as well, so that what changes slowly changes nothing.
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

    async fn connect<S: Surface>(
        &self,
        server: &Server,
        surface: S,
        devices: Vec<Keys>,
        tasks: &Shutdown,
    ) -> anyhow::Result<(Load<S>, Handshakes)> {
        let bar = Bar::new("connecting", devices.len() as u64);
        let (concurrency, rate) = (self.concurrency, self.rate);
        let load = Load::connect(surface, server, devices, concurrency, rate, tasks, &bar).await;
        bar.end();
        load
    }
}

/// How far it is, on the terminal, if standard error is one.
pub(super) struct Bar(ProgressBar);

impl Bar {
    fn new(doing: &'static str, length: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:>24} {wide_bar} {pos}/{len} {elapsed}");
        let bar = ProgressBar::new(length).with_style(style.expect("the template is one"));
        Self(bar.with_message(doing))
    }

    fn seconds(seconds: u64) -> Self {
        let style = ProgressStyle::with_template("{msg:>24} {wide_bar} {pos}/{len} s");
        let bar = ProgressBar::new(seconds).with_style(style.expect("the template is one"));
        Self(bar.with_message("measuring"))
    }

    fn add(&self, count: u64) {
        self.0.inc(count);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
