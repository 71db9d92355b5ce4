//! The demo's run: its processes, and their steps.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use countersign_core::id::{TenantName, UserName};
use countersign_core::role::Roles;
use countersign_core::tenant::Tenant;
use countersign_device::PhoneFile;
use tokio::time::{interval, timeout};

use super::Dialect;
use super::application::Application;
use super::home::Home;
use super::process::{Process, log_tail};
use super::stage::{self, Terminal};
use crate::cli::admin::{Admin, LedgerArgs};
use crate::cli::client::{Credentials, NewClient};
use crate::cli::device::said::DeviceEvent;
use crate::cli::{activation, answer, client, tenant, user};
use countersign_http::tls::own_ca;

/// The signature's file.
pub(super) const SIGNATURE: &str = "payment.p7m";
/// The file of the tenant's root certificate.
pub(super) const CA: &str = "acme-ca.pem";

pub(super) const TENANT: &str = "acme";
pub(super) const CLIENT: &str = "Acme Shop";
pub(super) const USER: &str = "jane";
pub(super) const PIN: &str = "2468";
pub(super) const PHONE: &str = "phone.json";
const CREDENTIALS: &str = "client.json";
const TOKEN: &str = "token";
const SERVER_LOG: &str = "server.log";
const PHONE_LOG: &str = "phone.log";

/// The server makes keys and certificates at its first start, and a debug build is slow.
const START_WAIT: Duration = Duration::from_mins(1);
pub(super) const PHONE_WAIT: Duration = Duration::from_secs(30);
const CODE_VALID: Duration = Duration::from_mins(5);
/// Access tokens are valid for five minutes.
const TOKEN_EVERY: Duration = Duration::from_mins(2);

/// The demo's run, and its processes.
pub(super) struct DemoRun<'a> {
    pub(super) home: &'a Home,
    pub(super) stage: Terminal,
    server: Option<Process>,
    pub(super) phone: Option<Process>,
    /// Whether the signature arrived and was verified.
    pub(super) verified: bool,
}

/// The results of the first steps, for the later ones.
pub(super) struct Set {
    pub(super) admin: Admin,
    pub(super) server: String,
    pub(super) tenant: Tenant,
    user: UserName,
    pub(super) application: Application,
}

impl<'a> DemoRun<'a> {
    pub(super) fn new(home: &'a Home, stage: Terminal) -> Self {
        Self { home, stage, server: None, phone: None, verified: false }
    }

    /// Runs the demo of one dialect, and keeps running until it is stopped, unless it is for
    /// `once`.
    pub(super) async fn run(&mut self, dialect: Dialect, once: bool) -> anyhow::Result<()> {
        let set = self.set_up().await?;
        self.enrol(&set).await?;
        let invitation = match dialect {
            Dialect::Kobil => self.kobil(&set).await?,
            Dialect::Onespan => self.onespan(&set).await?,
            Dialect::Trustedx => self.trustedx(&set).await?,
        };
        if once {
            return set.admin.close().await;
        }
        if self.phone.is_none() {
            self.connect().await?;
        }
        stage::lines(&invitation)?;
        stage::lines(&[self.stage.paint.dim("Ctrl-C ends it all."), String::new()])?;
        self.stay(&set).await
    }

    /// Starts the server, and registers tenant, client and user.
    async fn set_up(&mut self) -> anyhow::Result<Set> {
        let start = start_server(&mut self.server, self.home);
        let server = self.stage.step("The server starts", start, String::clone).await?;

        let place =
            LedgerArgs { data: Some(self.home.path().to_owned()), config: None, json: false };
        let admin = Admin::at(&place).await?;
        let name: TenantName = TENANT.parse()?;
        let found = async {
            tenant::create(&admin, &name).await?;
            admin.tenant(&name).await
        };
        let tenant =
            self.stage.step("A tenant, with its own CA", found, |_| TENANT.to_owned()).await?;
        let register = credentials(&admin, &name, self.home);
        let credentials = self
            .stage
            .step("An application", register, |made| format!("{CLIENT}, {}", made.client_id))
            .await?;
        let user: UserName = USER.parse()?;
        let create = user::create(&admin, &name, &user);
        self.stage.step("A person", create, |_| USER.to_owned()).await?;
        let ca = std::fs::read(own_ca(self.home.path()))
            .context("the server's CA is not where it should be")?;
        let application = Application::new(&server, &ca, credentials)?;
        Ok(Set { admin, server, tenant, user, application })
    }

    /// Enrols the phone, in a separate process.
    async fn enrol(&mut self, set: &Set) -> anyhow::Result<()> {
        let file = PhoneFile::at(self.home.file(PHONE));
        if file.path().exists() {
            let again = async {
                let mut phone = file.read()?;
                // This time the server listens on another port.
                (phone.server, phone.reached_at) = (set.server.clone(), None);
                file.clone().overwrite(true).create(&phone)?;
                Ok(phone)
            };
            let detail = "was enrolled before".to_owned();
            self.stage.step("Her phone", again, |_| detail).await?;
            return Ok(());
        }
        let enrol = async {
            let made =
                activation::create(&set.admin, &set.tenant.name, &set.user, CODE_VALID, Vec::new())
                    .await?;
            let (out, ca) = (self.home.file(PHONE), own_ca(self.home.path()));
            let (out, ca) = (out.to_string_lossy(), ca.to_string_lossy());
            let code = made.code.as_str();
            let arguments = [
                "device",
                "enrol",
                "--server",
                &set.server,
                "--ca",
                &ca,
                "--tenant",
                TENANT,
                "--user",
                USER,
                "--code",
                code,
                "--pin",
                PIN,
                "--name",
                "Jane's phone",
                "--out",
                &out,
                "--json",
            ];
            let mut process =
                Process::start("the phone's enrolment", arguments, self.home.file(PHONE_LOG))?;
            process.succeed(PHONE_WAIT).await?;
            Ok(file.read()?.serial_number)
        };
        let detail = |serial: &String| format!("{serial}, its keys made on it");
        self.stage.step("Her phone enrols", enrol, detail).await?;
        Ok(())
    }

    /// Starts the phone in another process, which waits for transactions.
    pub(super) async fn connect(&mut self) -> anyhow::Result<()> {
        let (home, place) = (self.home, &mut self.phone);
        let connect = async {
            let file = home.file(PHONE);
            let file = file.to_string_lossy();
            let arguments = [
                "device",
                "run",
                &file,
                "--answer",
                "approve",
                "--pin",
                PIN,
                "--json",
                "--with-parent",
                // The archive of TrustedX's demo is on this machine.
                "--allow-fetch",
                "localhost",
            ];
            let phone = place.insert(Process::start("the phone", arguments, home.file(PHONE_LOG))?);
            timeout(PHONE_WAIT, connected(phone)).await.context("the phone took too long")?
        };
        let detail = "WebSocket over TLS".to_owned();
        self.stage.step("The phone is online", connect, |()| detail).await
    }

    /// Keeps running.
    async fn stay(&mut self, set: &Set) -> anyhow::Result<()> {
        let mut tokens = interval(TOKEN_EVERY);
        let server = self.server.as_mut().expect("the server runs");
        loop {
            tokio::select! {
                error = server.ended() => return Err(error),
                _ = tokens.tick() => {
                    self.home.write(TOKEN, set.application.token().await?.as_bytes())?;
                }
                line = next_line(&mut self.phone) => if let Ok(line) = line {
                    self.stage.phone(&said(&line)?)?;
                } else {
                    self.phone = None;
                    let note = "The demo's phone has stopped: it runs elsewhere, or is locked.";
                    stage::lines(&[self.stage.paint.dim(note)])?;
                },
            }
        }
    }

    /// Prints the reason of a failure, with the end of the server's log; returns it as the
    /// process's error.
    pub(super) fn failed(&self, error: &anyhow::Error) -> anyhow::Result<()> {
        let tail = |log: &str| log_tail(&self.home.file(log));
        let server = tail(SERVER_LOG);
        if !error.is::<super::Stopped>() && !server.is_empty() {
            stage::lines(&[String::new(), "The server's log ends:".to_owned(), String::new()])?;
            let lines: Vec<String> = server.iter().map(|line| self.stage.paint.dim(line)).collect();
            stage::lines(&lines)?;
        }
        answer::line("")?;
        bail!("the demo failed: {}", answer::sentence(error))
    }

    /// Stops all processes.
    pub(super) async fn stop(self) {
        for process in [self.phone, self.server].into_iter().flatten() {
            process.stop().await;
        }
    }
}

/// Starts the server; returns its address.
async fn start_server(place: &mut Option<Process>, home: &Home) -> anyhow::Result<String> {
    let data = home.path().to_string_lossy();
    let arguments = ["serve", "--data", &data, "--listen", "127.0.0.1:0", "--with-parent"];
    let log = home.write(SERVER_LOG, b"")?;
    let server = place.insert(Process::start("the server", arguments, log)?);
    loop {
        let line =
            timeout(START_WAIT, server.line()).await.context("the server took too long")??;
        if let Some(address) = line.strip_prefix("ready ") {
            return Ok(address.to_owned());
        }
    }
}

/// The application's credentials: new ones, or those of an earlier run.
async fn credentials(
    admin: &Admin,
    tenant: &TenantName,
    home: &Home,
) -> anyhow::Result<Credentials> {
    let (roles, scopes, valid) = (Roles::default(), None, None);
    let new = NewClient { name: CLIENT, roles, scopes, valid };
    if let Some(made) = client::create(admin, tenant, new).await? {
        home.write(CREDENTIALS, &serde_json::to_vec_pretty(&made)?)?;
        return Ok(made);
    }
    let read = |path: &Path| -> anyhow::Result<Credentials> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    };
    let path = home.file(CREDENTIALS);
    read(&path).with_context(|| {
        format!("{CLIENT} was made before, and {} does not say its secret", path.display())
    })
}

async fn connected(phone: &mut Process) -> anyhow::Result<()> {
    loop {
        match said(&phone.line().await?)? {
            DeviceEvent::Connected => return Ok(()),
            DeviceEvent::Lost { why, .. } => bail!("the phone does not reach the server: {why}"),
            _ => {}
        }
    }
}

async fn next_line(phone: &mut Option<Process>) -> anyhow::Result<String> {
    match phone {
        Some(phone) => phone.line().await,
        None => std::future::pending().await,
    }
}

pub(super) fn said(line: &str) -> anyhow::Result<DeviceEvent> {
    serde_json::from_str(line).context("the phone printed a line that is not an event")
}
