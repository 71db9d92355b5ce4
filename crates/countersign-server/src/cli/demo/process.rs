//! A child process of the demo: this program in another role.
//!
//! It ends with the demo in every case: by SIGTERM, by a kill when it is dropped, and at the latest
//! when its standard input closes, which the system does even if the demo itself is killed.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use countersign_config::own_program;

/// How long a process may take to end by itself: longer than the server's drain.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Lines of a log that are printed after a failure.
const LOG_LINES: usize = 12;

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
    /// Kept open for as long as the process is to run.
    _alive: ChildStdin,
}

impl Process {
    /// Starts this program with other arguments. Its standard error goes to `log`.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub(super) fn start<S: AsRef<OsStr>>(
        name: &'static str,
        arguments: impl IntoIterator<Item = S>,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let mut options = OpenOptions::new();
        let stderr = options.create(true).append(true).open(&log);
        let stderr = stderr.with_context(|| format!("{} cannot be written", log.display()))?;
        let mut child = Command::new(own_program()?)
            .args(arguments)
            // The environment's configuration must not change the demo.
            .env_clear()
            .env("COUNTERSIGN__OBSERVE__LISTEN", "127.0.0.1:0")
            .env("COUNTERSIGN__SERVER__DRAIN_SECONDS", "3")
            // The archive of TrustedX's demo is on this machine.
            .env("COUNTERSIGN__DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8,::1/128")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // The demo handles Ctrl-C, and passes it on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let alive = child.stdin.take().expect("it is piped");
        let output = child.stdout.take().expect("it is piped");
        Ok(Self { name, child, lines: BufReader::new(output).lines(), log, _alive: alive })
    }

    /// The next line that it prints. Cancel safe.
    ///
    /// # Errors
    /// If it has ended; contains the end of its log.
    pub(super) async fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.next_line().await {
            Ok(Some(line)) => Ok(line),
            _ => bail!("{} ended: {}", self.name, self.last_words()),
        }
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// If it failed; contains the end of its log.
    pub(super) async fn succeed(&mut self, within: Duration) -> anyhow::Result<()> {
        let ended = timeout(within, self.child.wait()).await;
        let ended = ended.with_context(|| format!("{} took too long", self.name))?;
        if ended.is_ok_and(|status| status.success()) {
            return Ok(());
        }
        bail!("{} failed: {}", self.name, self.last_words())
    }

    /// Waits for its end, which is always too early. Cancel safe.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let _ = self.child.wait().await;
        anyhow::anyhow!("{} ended: {}", self.name, self.last_words())
    }

    /// Asks it to end, and kills it if it does not.
    pub(super) async fn stop(mut self) {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("sh");
            kill.args(["-c", "kill -TERM \"$1\"", "sh", &id.to_string()]);
            let _ = kill.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        }
        if timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn last_words(&self) -> String {
        let last = last_lines(&self.log, 1).pop();
        last.map_or_else(|| "it said nothing".to_owned(), |line| line.replacen("error: ", "", 1))
    }
}

/// The last lines of a log.
pub(super) fn log_tail(log: &Path) -> Vec<String> {
    last_lines(log, LOG_LINES)
}

fn last_lines(log: &Path, count: usize) -> Vec<String> {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(|line| countersign_device::display::line(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_in_its_last_lines_made_safe() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines: Vec<String> = (0..20).map(|at| format!("line {at}")).collect();
        std::fs::write(file.path(), lines.join("\n") + "\n\u{1b}[2Jlast\n\n").unwrap();
        let tail = log_tail(file.path());
        assert_eq!(tail.len(), LOG_LINES);
        assert_eq!(tail[LOG_LINES - 1], "⟨U+001B⟩[2Jlast");
        assert_eq!(log_tail(Path::new("there-is-no-such-log")), Vec::<String>::new());
    }
}
