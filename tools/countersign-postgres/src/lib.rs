//! A private PostgreSQL server, for tests and the bench: in a temporary directory, on a free port
//! of this machine, with Debian's programs.
//!
//! It ends with the process that started it, however that ends: a shell holds the server, and waits
//! for the end of a pipe.

mod statistics;

use std::fs::Permissions;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

pub use self::statistics::Statistics;

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// The settings of every server. Syncs are real.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
log_min_messages = warning
";

/// A server with its own data.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    port: u16,
    programs: PathBuf,
    account: Option<Account>,
    /// `None` while it is stopped.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shell: Child,
    /// The server is stopped when this is dropped.
    pipe: Option<ChildStdin>,
}

/// The account that runs the server, since PostgreSQL does not run as root.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

/// The server of this process, started when it is first asked for.
///
/// # Panics
/// If it cannot be started.
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its database fails")]
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(SETTINGS_OF_TESTS).expect("a PostgreSQL server starts"))
}

/// What tests change: they do not wait for the disk, because nothing crashes this server.
const SETTINGS_OF_TESTS: &str = "max_wal_size = 256MB\nfsync = off\nfull_page_writes = off\n";

/// A name for a schema that no other test of this process uses.
#[must_use]
pub fn new_schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Server {
    /// Starts a server with further settings, as lines of `postgresql.conf`.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start.
    pub fn start(settings: &str) -> anyhow::Result<Self> {
        let programs = programs()?;
        let account = account()?;
        let directory = tempfile::Builder::new().prefix("postgres-").tempdir()?.keep();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { directory, port, programs, account, running: None };
        server.give(&server.directory)?;
        std::fs::set_permissions(&server.directory, Permissions::from_mode(0o700))?;
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"])
            .arg("--no-sync")
            .arg("-D")
            .arg(server.data())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()
            .context("running initdb")?;
        ensure!(made.success(), "initdb failed");
        let mut file =
            std::fs::OpenOptions::new().append(true).open(server.data().join("postgresql.conf"))?;
        write!(
            file,
            "{SETTINGS}port = {port}\nunix_socket_directories = '{}'\n{settings}",
            server.directory.display()
        )?;
        server.resume()?;
        Ok(server)
    }

    /// Starts a server on a copy of a base backup, with further settings. With `recovers`, it first
    /// recovers as they say.
    ///
    /// # Errors
    /// If the backup cannot be copied, or the server does not start.
    pub fn of_backup(backup: &Path, settings: &str, recovers: bool) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("postgres-").tempdir()?.keep();
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (programs, account) = (programs()?, account()?);
        let mut server = Self { directory, port, programs, account, running: None };
        let copied = Command::new("cp").arg("-r").arg(backup).arg(server.data()).status()?;
        ensure!(copied.success(), "the backup cannot be copied");
        std::fs::set_permissions(&server.directory, Permissions::from_mode(0o700))?;
        std::fs::set_permissions(server.data(), Permissions::from_mode(0o700))?;
        let mut file =
            std::fs::OpenOptions::new().append(true).open(server.data().join("postgresql.conf"))?;
        let sockets = server.directory.display();
        write!(file, "port = {port}\nunix_socket_directories = '{sockets}'\n{settings}")?;
        if recovers {
            std::fs::write(server.data().join("recovery.signal"), "")?;
        }
        if let Some(Account { user, group }) = server.account {
            let owner = format!("{user}:{group}");
            let given = Command::new("chown").args(["-R", &owner]).arg(&server.directory).status();
            ensure!(given?.success(), "the backup cannot be given to the server's account");
        }
        server.resume()?;
        Ok(server)
    }

    /// Starts it again, after [`Server::stop`] or [`Server::crash`].
    ///
    /// # Errors
    /// If it does not start.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        // The shell outlives neither this process nor the server for long.
        const HOLD: &str = r#"trap '' INT TERM; directory=$1; shift; "$@" & server=$!
            said=$(cat); kill -QUIT $server 2> /dev/null; wait $server
            [ "$said" = keep ] || rm -rf "$directory""#;
        let mut command = Command::new("sh");
        command.arg("-c").arg(HOLD).arg("sh").arg(&self.directory);
        command.arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.data()).current_dir(&self.directory);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.as_account(&mut command);
        let mut shell = command.spawn().context("starting postgres")?;
        let pipe = shell.stdin.take();
        self.running = Some(Running { shell, pipe });
        let until = Instant::now() + PATIENCE;
        while !self.answers() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                bail!("postgres does not start:\n{log}");
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Stops it at once, as a crash would: nothing is finished or saved.
    ///
    /// # Errors
    /// If it does not stop.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if let Some(mut pipe) = running.pipe.take() {
            pipe.write_all(b"keep")?;
        }
        running.shell.wait().context("waiting for postgres")?;
        Ok(())
    }

    /// Runs SQL as the superuser, and answers what `psql` prints, without headings.
    ///
    /// # Errors
    /// If the SQL fails.
    pub fn sql(&self, sql: &str) -> anyhow::Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-XAtq"])
            .args(["-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string(), "-c", sql])
            .output()
            .context("running psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The address, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of PostgreSQL's programs, such as `pg_dump`.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The directory of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The CPU time that all its processes have used, those that have ended included.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        let pid: u32 = pid.lines().next().unwrap_or_default().parse()?;
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc")? {
            let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
            let Some((before, after)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = after.split_whitespace().collect();
            let id = before.split_whitespace().next().and_then(|id| id.parse::<u32>().ok());
            let parent = fields.get(1).and_then(|parent| parent.parse::<u32>().ok());
            // The postmaster also counts the children that have ended.
            let range = if id == Some(pid) { 11..15 } else { 11..13 };
            if id == Some(pid) || parent == Some(pid) {
                ticks += fields[range].iter().filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
            }
        }
        Ok(Duration::from_millis(ticks * 10))
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.directory);
        self.as_account(&mut command);
        command
    }

    fn as_account(&self, command: &mut Command) {
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
    }

    fn give(&self, path: &Path) -> anyhow::Result<()> {
        let Some(Account { user, group }) = self.account else { return Ok(()) };
        Ok(chown(path, Some(user), Some(group))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.crash();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The directory of PostgreSQL's programs: Debian's newest version, or what is in `PATH`.
fn programs() -> anyhow::Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, path)| path.join("bin/initdb").exists())
        .collect();
    versions.sort();
    if let Some((_, newest)) = versions.pop() {
        return Ok(newest.join("bin"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|directory| directory.join("initdb").exists())
        .context("PostgreSQL is not installed: `apt-get install postgresql` on Debian")
}

/// The account for the server if this process is root's.
fn account() -> anyhow::Result<Option<Account>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Account { user: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    };
    let account = find("postgres").or_else(|| find("nobody"));
    Ok(Some(account.context("there is no account postgres")?))
}
