//! `countersign bench`: how fast this machine is, measured from outside, over TLS, on a real ledger.
//!
//! A *cycle* is the whole product once: a start over KOBIL's call whose answer is held, an offer on the
//! device's WebSocket, a take, a finish with a CMS, its verification, and the answer. The server is a
//! process of its own with its default configuration; the load comes from this one. What is measured is
//! divided by what one verification costs here, so that machines can be compared.

mod application;
mod connect;
mod crowd;
mod idle;
mod load;
mod phone;
mod process;
mod report;
mod room;
mod verification;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use self::crowd::Crowd;
use self::load::{Load, Plan};
use self::process::Server;
use self::report::{Asked, Handshakes, Report};
use self::room::Room;
use super::answer;
use crate::task::Shutdown;

/// What the tasks of a load get to end.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Measures cycles a second, their latency and their cost, on this machine.
///
/// Starts the server as a process of its own, on a ledger of its own, with its default configuration. A
/// cycle is a signature from the application's call to its answer: start, offer, take, finish, verified
/// and durable.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Cycles in flight at once, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    concurrency: u32,
    /// Distinct devices, each of another user and with a channel of its own
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,
    /// Measure the memory that so many idle devices take, too, in a server of their own
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    idle: u32,
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
        ensure!(
            self.devices >= self.concurrency,
            "a device signs one thing at a time: --devices must be {} at least",
            self.concurrency
        );
        let connections = (self.devices + self.concurrency).max(self.idle);
        room::for_connections(connections)?;
        let room = Room::make(self.data.as_deref())?;
        let before = verification::cpu();
        let bar = Bar::new("making devices", u64::from(self.devices.max(self.idle)));
        let crowd = Crowd::make(room.path(), self.devices.max(self.idle), &bar).await?;
        bar.end();

        let idle = match self.idle {
            0 => None,
            count => Some(self.idle(&room, &crowd, count).await?),
        };
        let (handshakes, loaded) = self.load(&room, crowd).await?;
        let verification = before.min(verification::cpu());
        let asked = Asked {
            seconds: self.seconds,
            concurrency: self.concurrency,
            devices: self.devices,
            tls: self.tls == Tls::On,
            rate: self.rate,
        };
        let report =
            Report::new(&asked, room.file_system(), verification, &handshakes, &loaded, idle);
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report)?;
            std::fs::write(path, text + "\n")
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        answer::line(&report.text())
    }

    /// Measures idle devices, in a server that has done nothing else.
    async fn idle(&self, room: &Room, crowd: &Crowd, count: u32) -> anyhow::Result<idle::Idle> {
        let server = Server::start(room.path(), self.tls).await?;
        let bar = Bar::new("connecting idle devices", u64::from(count));
        let devices = &crowd.devices[..count as usize];
        let measured = idle::measure(&server, devices, &bar).await;
        bar.end();
        server.stop().await;
        measured
    }

    /// Measures cycles.
    async fn load(
        &self,
        room: &Room,
        crowd: Crowd,
    ) -> anyhow::Result<(Handshakes, load::Measured)> {
        let server = Server::start(room.path(), self.tls).await?;
        let tasks = Shutdown::default();
        let plan = Plan {
            seconds: self.seconds,
            concurrency: self.concurrency,
            devices: self.devices,
            rate: self.rate,
        };
        let measured = async {
            let bar = Bar::new("connecting", u64::from(self.devices));
            let (load, handshakes) = Load::connect(plan, &server, crowd, &tasks, &bar).await?;
            bar.end();
            Ok((handshakes, load.run(&server).await?))
        };
        let measured = measured.await;
        tasks.finish(LAST_WAIT).await;
        server.stop().await;
        measured
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
