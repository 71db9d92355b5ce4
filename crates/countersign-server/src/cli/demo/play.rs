//! The play: who comes on stage, and what they do.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::Clock as _;
use countersign_core::tenant::Tenant;
use countersign_device::{PhoneFile, State};
use countersign_proof::{Inspected, Roots, cms};
use tokio::time::{interval, timeout};

use super::application::{Application, Payment};
use super::home::{Home, quoted};
use super::process::{Process, log_tail};
use super::stage::{self, Stage};
use crate::cli::client::Credentials;
use crate::cli::desk::{Desk, Place};
use crate::cli::device::said::Said;
use crate::cli::{activation, answer, ca, client, moment, tenant, user};
use crate::clock::World;
use crate::config::own_program;
use crate::tls::own_ca;

/// The signature's file.
pub(super) const SIGNATURE: &str = "payment.p7m";
/// The file of the tenant's root certificate.
pub(super) const CA: &str = "acme-ca.pem";

const TENANT: &str = "acme";
const CLIENT: &str = "Acme Shop";
const USER: &str = "jane";
const PIN: &str = "2468";
const PHONE: &str = "phone.json";
const CREDENTIALS: &str = "client.json";
const TOKEN: &str = "token";
const SERVER_LOG: &str = "server.log";
const PHONE_LOG: &str = "phone.log";

/// A server makes keys and certificates at its first start, and a debug build is slow.
const START_WAIT: Duration = Duration::from_mins(1);
const PHONE_WAIT: Duration = Duration::from_secs(30);
const CODE_VALID: Duration = Duration::from_mins(5);
/// Access tokens are good for five minutes.
const TOKEN_EVERY: Duration = Duration::from_mins(2);

/// The play, and who is on stage.
pub(super) struct Play<'a> {
    home: &'a Home,
    stage: Stage,
    server: Option<Process>,
    phone: Option<Process>,
    /// Whether the signature came and was verified.
    pub(super) verified: bool,
}

/// What the first scenes leave for the later ones.
struct Set {
    desk: Desk,
    server: String,
    tenant: Tenant,
    user: UserName,
    application: Application,
}

impl<'a> Play<'a> {
    pub(super) fn new(home: &'a Home, stage: Stage) -> Self {
        Self { home, stage, server: None, phone: None, verified: false }
    }

    /// Plays it, and unless it is for `once` goes on until somebody stops it.
    pub(super) async fn run(&mut self, once: bool) -> anyhow::Result<()> {
        let set = self.set_up().await?;
        self.enrol(&set).await?;
        self.connect().await?;
        let signature = self.sign(&set).await?;
        self.verify(&set, &signature).await?;
        if once {
            return set.desk.close().await;
        }
        self.stay(&set).await
    }

    /// The server, and who is registered there.
    async fn set_up(&mut self) -> anyhow::Result<Set> {
        let start = start_server(&mut self.server, self.home);
        let server = self.stage.step("The server starts", start, String::clone).await?;

        let place = Place { data: Some(self.home.path().to_owned()), config: None, json: false };
        let desk = Desk::at(&place)?;
        let name: TenantName = TENANT.parse()?;
        let found = async {
            tenant::create(&desk, &name).await?;
            desk.tenant(&name).await
        };
        let tenant =
            self.stage.step("A tenant, with its own CA", found, |_| TENANT.to_owned()).await?;
        let register = credentials(&desk, &name, self.home);
        let credentials = self
            .stage
            .step("An application", register, |made| format!("{CLIENT}, {}", made.client_id))
            .await?;
        let user: UserName = USER.parse()?;
        let create = user::create(&desk, &name, &user);
        self.stage.step("A person", create, |_| USER.to_owned()).await?;
        let ca = std::fs::read(own_ca(self.home.path()))
            .context("the server's CA is not where it should be")?;
        let application = Application::new(&server, &ca, credentials)?;
        Ok(Set { desk, server, tenant, user, application })
    }

    /// The phone gets its keys, in a process of its own.
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
                activation::create(&set.desk, &set.tenant.name, &set.user, CODE_VALID).await?;
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

    /// The phone waits for work, in another process.
    async fn connect(&mut self) -> anyhow::Result<()> {
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
            ];
            let phone = place.insert(Process::start("the phone", arguments, home.file(PHONE_LOG))?);
            timeout(PHONE_WAIT, connected(phone)).await.context("the phone took too long")?
        };
        let detail = "WebSocket over TLS".to_owned();
        self.stage.step("The phone is online", connect, |()| detail).await
    }

    /// The application asks, and the person signs: the PKCS#7, DER.
    async fn sign(&mut self, set: &Set) -> anyhow::Result<Vec<u8>> {
        let token = set.application.token().await?;
        let payment = payment();
        let detail = "KOBIL's Start Signature, over HTTPS";
        self.stage.began("The shop asks for a payment", detail)?;
        let began = Instant::now();
        let asked = set.application.ask(&token, USER, &payment);
        tokio::pin!(asked);
        let phone = self.phone.as_mut().expect("the phone is online");
        let (mut signature, mut told) = (None, false);
        // Which of the two hears first is chance.
        while signature.is_none() || !told {
            tokio::select! {
                answered = &mut asked, if signature.is_none() => signature = Some(answered?),
                line = timeout(PHONE_WAIT, phone.line()) => {
                    match said(&line.context("the phone took too long")??)? {
                        shown @ Said::Shown { .. } => self.stage.phone(&shown)?,
                        Said::Ended { state: State::Finished, .. } => told = true,
                        Said::Ended { .. } => bail!("the phone was told of another end"),
                        Said::Left { why, .. } => bail!("the phone could not sign: {why}"),
                        _ => {}
                    }
                }
            }
        }
        let signature = signature.expect("it was waited for");
        let took = began.elapsed();
        self.stage.succeeded("Jane enters her PIN and signs", "with her phone's own key", took)?;

        let inspected = inspect(&set.tenant, &signature)?;
        ensure!(inspected.content == payment.statement(), "something else was signed");
        let detail = format!("PKCS#7, {} bytes, verified", signature.len());
        self.stage.succeeded("The shop has the signature", &detail, began.elapsed())?;
        Ok(signature)
    }

    /// Anybody can verify it.
    async fn verify(&mut self, set: &Set, signature: &[u8]) -> anyhow::Result<()> {
        let inspected = inspect(&set.tenant, signature)?;
        let file = self.home.write(SIGNATURE, signature)?;
        let ca = self.home.write(CA, ca::roots(&set.tenant)?.concat().as_bytes())?;
        let arguments = ["cms", "-verify", "-inform", "DER", "-in"];
        let mut openssl = tokio::process::Command::new("openssl");
        openssl.args(arguments).arg(&file).arg("-CAfile").arg(&ca);
        openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let verify = async {
            match openssl.kill_on_drop(true).output().await {
                // Not installed: whoever reads the line may have it elsewhere.
                Err(_) => Ok(false),
                Ok(output) if output.status.success() => Ok(true),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    bail!("OpenSSL does not accept the signature: {}", said.trim())
                }
            }
        };
        let at = moment::of_seconds(inspected.signing_time);
        let detail = |found: &bool| match found {
            true => format!("signed {at}"),
            false => "not installed here".to_owned(),
        };
        self.stage.step("OpenSSL verifies it", verify, detail).await?;
        self.verified = true;

        let (file, ca) = (quoted(&file), quoted(&ca));
        let line = format!("openssl {} {file} -CAfile {ca}", arguments.join(" "));
        stage::lines(&[
            String::new(),
            "Verify it yourself, on any machine, without this server:".to_owned(),
            String::new(),
            self.stage.paint.bold(line),
            String::new(),
        ])
    }

    /// Stays up for more.
    async fn stay(&mut self, set: &Set) -> anyhow::Result<()> {
        self.invite(set)?;
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
                    let note = "The phone here has let go: it runs elsewhere, or is locked.";
                    stage::lines(&[self.stage.paint.dim(note)])?;
                },
            }
        }
    }

    fn invite(&self, set: &Set) -> anyhow::Result<()> {
        let paint = self.stage.paint;
        let program = own_program().map_or_else(|_| "countersign".to_owned(), |path| quoted(&path));
        let directory = quoted(self.home.path());
        let address = set.application.address(USER);
        let body = "{\"transactionId\":\"'$(date +%s)'\",\"signatureMessage\":\"Lend Bob my \
                    bicycle?\",\"deviceGoOnlineTimeout\":60,\"signatureTimeout\":120}";
        stage::lines(&[
            "It stays up for more. In another terminal, ask Jane something else:".to_owned(),
            String::new(),
            paint.bold(format!("cd {directory}")),
            paint.bold("curl -s --cacert tls/ca.pem -H \"authorization: Bearer $(cat token)\" \\"),
            paint.bold("  -H 'content-type: application/json' \\"),
            paint.bold(format!("  -d '{body}' \\")),
            paint.bold(format!("  {address}")),
            String::new(),
            "Her phone here approves everything. To be asked, run it yourself:".to_owned(),
            String::new(),
            paint.bold(format!("{program} device run {PHONE} --answer ask --pin {PIN}")),
            String::new(),
            paint.dim("Ctrl-C ends it all."),
            String::new(),
        ])
    }

    /// Says why it failed, with what the server last said; gives the reason back as the process's error.
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

    /// Sends everybody home.
    pub(super) async fn stop(self) {
        for process in [self.phone, self.server].into_iter().flatten() {
            process.stop().await;
        }
    }
}

/// Starts the server; its address.
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

/// The application's credentials: made, or kept from another time.
async fn credentials(desk: &Desk, tenant: &TenantName, home: &Home) -> anyhow::Result<Credentials> {
    if let Some(made) = client::create(desk, tenant, CLIENT, None).await? {
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
            Said::Connected => return Ok(()),
            Said::Lost { why, .. } => bail!("the phone does not reach the server: {why}"),
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

fn said(line: &str) -> anyhow::Result<Said> {
    serde_json::from_str(line).context("the phone says something that is no event")
}

fn inspect(tenant: &Tenant, signature: &[u8]) -> anyhow::Result<Inspected> {
    let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice))?;
    let now = World::default().now().seconds();
    cms::inspect(signature, &roots, now).context("the signature does not hold")
}

fn payment() -> Payment {
    let mut chance = [0; 8];
    aws_lc_rs::rand::fill(&mut chance).expect("the system gives random bytes");
    Payment::new(format!("order-4711-{}", hex::encode(chance)))
}
