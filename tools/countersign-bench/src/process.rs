//! The server under load: a separate process, observed through the system and its metrics.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::command::Tls;
use crate::connect::Target;

const START_WAIT: Duration = Duration::from_secs(30);
/// Longer than the server's drain.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// The unit of CPU time in `/proc`: `USER_HZ` is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// The public address with plain HTTP: devices sign the address of a proxy, although there is none.
const IN_FRONT: &str = "https://bench.example";

/// A running server.
pub(super) struct Server {
    child: Child,
    id: u32,
    pub(super) target: Target,
    metrics: SocketAddr,
    /// The server lives as long as this pipe is open.
    _alive: ChildStdin,
}

/// The server's use of resources until now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time of all its threads.
    pub(super) cpu: Duration,
    /// Commits that its ledger's writer answered.
    pub(super) commits: u64,
    /// The number of times that its writer waited for the disk.
    pub(super) syncs: u64,
}

impl Usage {
    /// The difference from `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            commits: self.commits - before.commits,
            syncs: self.syncs - before.syncs,
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.commits += other.commits;
        self.syncs += other.syncs;
    }
}

/// The processes whose use of resources is measured together: one server, or the nodes of a fleet.
pub(super) trait Measurable {
    /// The CPU time until now.
    fn cpu(&self) -> anyhow::Result<Duration>;

    /// The use of resources until now.
    async fn usage(&self) -> anyhow::Result<Usage>;
}

impl Measurable for Server {
    fn cpu(&self) -> anyhow::Result<Duration> {
        Self::cpu(self)
    }

    async fn usage(&self) -> anyhow::Result<Usage> {
        Self::usage(self).await
    }
}

impl Measurable for [Server] {
    fn cpu(&self) -> anyhow::Result<Duration> {
        self.iter().map(Server::cpu).sum()
    }

    async fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for server in self {
            sum += server.usage().await?;
        }
        Ok(sum)
    }
}

impl Server {
    /// Starts `program` as a server on the ledger in `data`. `config` overrides the default
    /// configuration.
    pub(super) async fn start(
        program: &Path,
        data: &Path,
        tls: Tls,
        config: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let log = data.join("server.log");
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&log)?;
        let mut command = Command::new(program);
        command
            .args(["serve", "--with-parent", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            // An empty environment, so that the default configuration applies. Exceptions are
            // addresses, the drain, and the limits for one phone and one client, since a few stand
            // for many here.
            .env_clear()
            .env("COUNTERSIGN__ONESPAN__FETCHES_PER_MINUTE", "1000000")
            .env("COUNTERSIGN__TRANSACTIONS__STARTS_PER_CLIENT_PER_SECOND", "0")
            .env("COUNTERSIGN__TRANSACTIONS__STARTS_PER_TENANT_PER_SECOND", "0")
            .env("COUNTERSIGN__TRANSACTIONS__WAITING_PER_CLIENT_MAX", "1000000")
            .env("COUNTERSIGN__OBSERVE__LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN__SERVER__CONNECTIONS_MAX", "1000000")
            .env("COUNTERSIGN__SERVER__CONNECTIONS_EXEMPT_NETWORKS", "127.0.0.0/8,::1/128")
            .env("COUNTERSIGN__SERVER__DRAIN_SECONDS", "1");
        if let Some(file) = config {
            command.arg("--config").arg(file);
        }
        if tls == Tls::Off {
            command
                .env("COUNTERSIGN__SERVER__TLS", "in_front")
                .env("COUNTERSIGN__SERVER__PUBLIC_ADDRESSES", IN_FRONT);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("the server cannot be started")?;
        let alive = child.stdin.take().expect("it is piped");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let line = timeout(START_WAIT, lines.next_line()).await;
        let line = line.context("the server took too long to start")??.unwrap_or_default();
        let Some(origin) = line.strip_prefix("ready ") else {
            bail!("the server did not start: {}", last_line(&log));
        };
        let listening = logged(&log, "Listening on ").context("the server's log has no address")?;
        let metrics = logged(&log, "metrics on http://")
            .context("the server's log has no address of metrics")?;
        let id = child.id().context("the server ended")?;
        let target = Target::new(listening, origin, data, tls)?;
        Ok(Self { child, id, target, metrics, _alive: alive })
    }

    /// The server's use of resources until now.
    pub(super) async fn usage(&self) -> anyhow::Result<Usage> {
        let text = self.metrics().await?;
        let count = |name: &str| anyhow::Ok(value(&text, name)?.parse()?);
        Ok(Usage {
            commits: count("countersign_ledger_commits_total")?,
            syncs: count("countersign_ledger_syncs_total")?,
            cpu: self.cpu()?,
        })
    }

    /// The CPU time of the server.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&fs::read_to_string(format!("/proc/{}/stat", self.id))?)
    }

    /// The resident memory of the server, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.context("/proc does not have the server's memory")? * 1024)
    }

    /// The callers that wait for an end.
    pub(super) async fn callers_held(&self) -> anyhow::Result<u64> {
        let text = self.metrics().await?;
        Ok(value(&text, "countersign_callers_held")?.parse()?)
    }

    /// Kills the server (SIGKILL) and waits for its end.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn metrics(&self) -> anyhow::Result<String> {
        Ok(reqwest::get(format!("http://{}/metrics", self.metrics)).await?.text().await?)
    }

    /// Stops the server and waits for its end.
    pub(super) async fn stop(mut self) {
        let mut kill = Command::new("kill");
        let _ = kill.args(["-TERM", &self.id.to_string()]).status().await;
        if timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// The value of a metric without labels.
fn value<'a>(metrics: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("the server's metrics have no {name}"))
}

/// Fields 14 and 15 of `/proc/PID/stat`, `utime` and `stime`: proc(5).
fn cpu_of(stat: &str) -> anyhow::Result<Duration> {
    // The second field is a name in parentheses, and may contain any character.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect());
    let fields: Vec<&str> = fields.context("/proc is not as it is documented")?;
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("/proc is not as it is documented")?;
    Ok(TICK * (ticks.0 + ticks.1))
}

/// The CPU time of this process.
pub(super) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(&fs::read_to_string("/proc/self/stat")?)
}

/// The address that follows these words in the log.
fn logged(log: &PathBuf, words: &str) -> Option<SocketAddr> {
    let text = fs::read_to_string(log).ok()?;
    let (_, rest) = text.split_once(words)?;
    rest.split([';', '\n', ' ']).next()?.parse().ok()
}

fn last_line(log: &PathBuf) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().next_back().unwrap_or("its log is empty").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_after_every_name_of_a_process() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1 2";
        assert_eq!(cpu_of(stat).unwrap(), Duration::from_secs(3));
        assert!(cpu_of("7 (a) S 1").is_err());
    }
}
