//! Measures the cost of a push and its delay: to a service with Apple's rules inside the bench,
//! over TLS and HTTP/2.
//!
//! There are two measurements. *Live*: an application starts a transaction, and a push arrives; in
//! turns with starts for devices without a push address, so that the difference is the push.
//! *Drained*: a service becomes available again and receives the queued pushes, while the server
//! has no other load.

mod drain;
mod report;
mod wake;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use countersign_push_services::{KEY_ID, Services, TEAM, TOPIC};

use self::drain::{Backlog, Drained};
use self::report::PushReport;
use self::wake::{Arrivals, Started};
use crate::bar::Bar;
use crate::command::Bench;
use crate::crowd::Crowd;
use crate::kobil::Kobil;
use crate::ledger::Ledger;
use crate::load::TURN;
use crate::process::Server;
use crate::tally::Measured;
use crate::task::Tasks;
use crate::text;
use crate::verification;
use crate::work_directory::{self, WorkDirectory};

/// The limit on open transactions of one user; transactions that are started here stay open.
const OPEN_PER_USER: u64 = 100;
/// The assumed maximum of starts in a second, if their rate is not given.
const STARTS_PER_SECOND: u64 = 3_000;

/// The measured figures.
struct PushFound {
    /// Starts, each until its push arrived.
    pushed: Measured,
    /// Starts for devices without a push address, each until its answer.
    bare: Measured,
    drained: Drained,
    /// The number of connections from the server to the service.
    connections: usize,
    server_memory: u64,
}

impl Bench {
    /// Measures pushes.
    pub(crate) async fn pushes(&self) -> anyhow::Result<()> {
        self.ensure_room()?;
        let program = self.server()?;
        work_directory::for_connections(4 * self.concurrency)?;
        let room = WorkDirectory::make(self.data.as_deref())?;
        let before = verification::cpu();
        let bar = Bar::new("making devices", 2 * u64::from(self.devices));
        let ledger = Ledger::sqlite(room.path());
        let crowd = Crowd::make(&program, &ledger, 2 * self.devices, self.devices, &bar).await?;
        bar.end();
        let found = self.push(&program, &room, crowd).await?;
        let verification = before.min(verification::cpu());
        let report = PushReport::new(self, room.file_system(), verification, &found);
        self.write_json(&report)?;
        text::print(&report.text())
    }

    /// Checks that no user exceeds the limit of open transactions, even if one worker does all
    /// starts.
    fn ensure_room(&self) -> anyhow::Result<()> {
        let rate = self.rate.map_or(STARTS_PER_SECOND, u64::from);
        let started = self.seconds * rate + u64::from(self.queued);
        let needed = (2 * started).div_ceil(OPEN_PER_USER).max(self.concurrency.into());
        ensure!(
            u64::from(self.devices) >= needed,
            "transactions stay open, and one user may have at most {OPEN_PER_USER}: --devices must be \
             {needed} at least"
        );
        Ok(())
    }

    async fn push(
        &self,
        program: &Path,
        room: &WorkDirectory,
        crowd: Crowd,
    ) -> anyhow::Result<PushFound> {
        let mut services = Services::start();
        let config = configure(room.path(), &services)?;
        let server = Server::start(program, room.path(), self.tls, Some(&config)).await?;
        let tasks = Tasks::default();
        let found = self.measure_pushes(&server, &mut services, crowd, room.path(), &tasks).await;
        drop(services);
        tasks.finish().await;
        server.stop().await;
        found
    }

    async fn measure_pushes(
        &self,
        server: &Server,
        services: &mut Services,
        mut crowd: Crowd,
        data: &Path,
        tasks: &Tasks,
    ) -> anyhow::Result<PushFound> {
        let kobil = Kobil::prepare(&server.target, &crowd, tasks).await?;
        let arrivals = Arrivals::of(services, tasks);
        let started = Started { kobil, arrivals };
        let bare = crowd.devices.extract_if(.., |keys| keys.push_token.is_none()).collect();
        let users = crowd.devices.iter().map(|keys| keys.user.clone()).collect();

        let (mut bare, _) = self.connect(server, started.clone(), bare, tasks).await?;
        let (mut live, _) = self.connect(server, started.clone(), crowd.devices, tasks).await?;
        let bar = Bar::seconds(2 * self.seconds);
        for turn in 0..self.seconds {
            // The order changes with each turn, so that slow changes of the machine affect both
            // equally.
            if turn % 2 == 0 {
                bare.measure(TURN, server, &bar).await?;
                live.measure(TURN, server, &bar).await?;
            } else {
                live.measure(TURN, server, &bar).await?;
                bare.measure(TURN, server, &bar).await?;
            }
        }
        bar.end();
        let backlog = Backlog {
            started: &started,
            tenant: crowd.tenant,
            users,
            data,
            queued: self.queued,
            concurrency: self.concurrency,
        };
        let drained = backlog.drain(server, services).await?;
        Ok(PushFound {
            pushed: live.measured,
            bare: bare.measured,
            drained,
            connections: services.connections(),
            server_memory: server.memory()?,
        })
    }
}

/// Writes the server's configuration with one sender, to this service. Returns its path.
fn configure(directory: &Path, services: &Services) -> anyhow::Result<PathBuf> {
    let write = |name: &str, text: &str| {
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        file.open(directory.join(name))?.write_all(text.as_bytes())
    };
    write("services.pem", services.authority())?;
    write("apns.p8", &services.apns_key())?;
    let url = services.url();
    let config = format!(
        r#"
        # Nobody calls there: nothing ends.
        [delivery]
        allowed_networks = ["127.0.0.0/8"]
        # Few users stand for many.
        [transactions]
        open_per_user_max = {OPEN_PER_USER}
        [push]
        extra_ca_file = "services.pem"
        [[push.sender]]
        provider = "apns"
        endpoint = "{url}"
        key_file = "apns.p8"
        key_id = "{KEY_ID}"
        team_id = "{TEAM}"
        topic = "{TOPIC}"
        "#
    );
    write("push.toml", &config)?;
    Ok(directory.join("push.toml"))
}
