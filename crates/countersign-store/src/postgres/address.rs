//! The address of a database, and connections to it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::connection::Connection;
use crate::postgres_error::explained;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Where a ledger on PostgreSQL is, as the operator states it.
#[derive(Clone, Debug)]
pub struct PostgresLocation {
    /// `postgres://user@host:port/database`, without a password.
    pub url: String,
    /// The file with the password of the database's user.
    pub password_file: Option<PathBuf>,
    /// The file with the certificates of the authorities that the database's certificate may come
    /// from, as PEM. Without it, only a database on this machine is used.
    pub ca_file: Option<PathBuf>,
    /// The file with the client certificate, as PEM, and the file with its private key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The schema of the ledger's tables in the database. It is made if it is missing.
    pub schema: String,
    /// The most connections for listings and for administration. The writers, and the reads of a
    /// few rows, have two more each.
    pub connections_max: usize,
    /// The longest time of one statement.
    pub statement_timeout: Duration,
}

/// The reason why no ledger on PostgreSQL can be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL cannot be used.
    #[error("store.url: {0}; write it like postgres://user@host:5432/database")]
    Url(String),
    /// The password is in the URL.
    #[error("store.url has a password; write it into a file, and name that in store.password_file")]
    PasswordInUrl,
    /// The URL says how TLS is made.
    #[error(
        "store.url has the parameter {0}; TLS to the database is set by store.ca_file, \
         store.client_certificate_file and store.client_key_file, and is always verified"
    )]
    TlsInUrl(&'static str),
    /// A database on another machine, and no authority.
    #[error(
        "the database {0} is on another machine: name the authority of its certificate in \
         store.ca_file"
    )]
    NoAuthority(String),
    /// A file cannot be read, or has not what it should have.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// No connection.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database stores text in another encoding.
    #[error("the database has the encoding {0}; make one with UTF8: `createdb -E UTF8 NAME`")]
    Encoding(String),
    /// The schema has tables that are not a ledger.
    #[error("schema {0} has tables of something else; name another one in store.schema")]
    Foreign(String),
    /// A newer program made the schema.
    #[error(
        "schema {schema} has version {found}, but this program knows only up to {known}; run the \
         newer program"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// There is a ledger where one was to be made.
    #[error("schema {0} has a ledger already; it was not changed")]
    Exists(String),
    /// A ledger is being moved into the schema.
    #[error(
        "a ledger is moved into schema {0}, and not all of it is there: call `countersign migrate \
         --from DIR --to URL` again, which goes on where it was"
    )]
    Moving(String),
    /// Nodes have the ledger into which another one was to be moved.
    #[error("nodes run on the ledger in schema {0}: stop them first")]
    Served(String),
    /// The schema has the move of another ledger.
    #[error(
        "schema {0} has a part of another ledger, or of this one as it was before it was changed, \
         or by another version of the program: \
         name another schema in store.schema, or remove this one (`DROP SCHEMA {0} CASCADE`) and \
         begin again"
    )]
    OtherMove(String),
    /// The clocks differ.
    #[error(
        "the clock of the database differs from this machine's by {0:?}; correct one of them \
         (NTP), since times of several nodes are compared"
    )]
    Clock(Duration),
    /// The master key cannot be used.
    #[error(transparent)]
    MasterKey(#[from] crate::MasterKeyError),
    /// Another node has begun this ledger with another master key.
    #[error(
        "{}: another node began this ledger with another master key: give all nodes of a fleet the \
         same file, or this fleet a schema of its own (store.schema)", .0.display()
    )]
    OtherMasterKey(PathBuf),
    /// Any other failure.
    #[error("the database: {0}")]
    Failed(String),
}

/// An address that connections can be made to.
pub(super) struct Address {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// The settings of each new connection.
    settings: String,
    /// The schema's name.
    pub(super) schema: String,
}

impl Address {
    pub(super) fn of(location: &PostgresLocation) -> Result<Self, PostgresError> {
        for key in ["sslrootcert", "sslcert", "sslkey", "sslmode"] {
            if location.url.contains(&format!("{key}=")) {
                return Err(PostgresError::TlsInUrl(key));
            }
        }
        let mut config: Config = location.url.parse().map_err(|error: tokio_postgres::Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            PostgresError::Url(source.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_password().is_some() {
            return Err(PostgresError::PasswordInUrl);
        }
        if let Some(path) = &location.password_file {
            config.password(read(path)?.trim_end_matches(['\r', '\n']));
        }
        let is_schema = |name: &str| {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            (1..=63).contains(&name.len()) && name.chars().all(letters)
        };
        if !is_schema(&location.schema) {
            let why = format!(
                "the schema {:?} has other characters than a-z, 0-9 and _",
                location.schema
            );
            return Err(PostgresError::Url(why));
        }
        let tls = tls(location, &config)?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config.connect_timeout(CONNECT_MAX).application_name("countersign");
        config.tcp_user_timeout(CONNECT_MAX * 2).keepalives_idle(Duration::from_secs(10));
        // A plan that must scan a table counts as very dear if scans are off, and would be compiled
        // by LLVM at each execution.
        let settings = format!(
            "SET search_path TO {}; SET statement_timeout TO {}; SET lock_timeout TO {1};
             SET idle_in_transaction_session_timeout TO {1};
             SET plan_cache_mode TO force_generic_plan; SET enable_seqscan TO off; SET jit TO off",
            location.schema,
            location.statement_timeout.as_millis(),
        );
        Ok(Self { config, tls, settings, schema: location.schema.clone() })
    }

    /// Makes a connection. What is told on the channels that it listens to goes to `told`.
    pub(super) async fn connect(
        &self,
        told: Option<mpsc::Sender<String>>,
    ) -> Result<Connection, tokio_postgres::Error> {
        let client = match &self.tls {
            None => {
                let (client, driver) = self.config.connect(NoTls).await?;
                drive(driver, told);
                client
            }
            Some(tls) => {
                let (client, driver) = self.config.connect(tls.clone()).await?;
                drive(driver, told);
                client
            }
        };
        client.batch_execute(&self.settings).await?;
        Ok(Connection::new(client))
    }
}

/// Reads and writes a connection in a task of its own, until it ends.
fn drive<S, T>(mut driver: tokio_postgres::Connection<S, T>, told: Option<mpsc::Sender<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            match poll_fn(|context| driver.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(message))) => {
                    let payload = || message.payload().to_owned();
                    // Who does not keep up has lost messages, and is to connect again.
                    if told.as_ref().is_some_and(|told| told.try_send(payload()).is_err()) {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    debug!(error = %explained(&error), "A connection to the database ended");
                    return;
                }
                None => return,
            }
        }
    });
}

fn read(path: &Path) -> Result<String, PostgresError> {
    let failed =
        |error: std::io::Error| PostgresError::File { path: path.into(), why: error.to_string() };
    std::fs::read_to_string(path).map_err(failed)
}

/// How connections are encrypted: not at all only on this machine.
fn tls(
    location: &PostgresLocation,
    config: &Config,
) -> Result<Option<MakeRustlsConnect>, PostgresError> {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    let Some(path) = &location.ca_file else {
        return match config.get_hosts().iter().find(|host| !is_local(host)) {
            None => Ok(None),
            Some(Host::Tcp(name)) => Err(PostgresError::NoAuthority(name.clone())),
            Some(Host::Unix(path)) => Err(PostgresError::NoAuthority(path.display().to_string())),
        };
    };
    let wrong = |path: &Path, why: String| PostgresError::File { path: path.into(), why };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| PostgresError::Failed(error.to_string()))?;
    let builder = builder.with_root_certificates(roots);
    let config = match &location.client_certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let opened = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes());
            let opened = opened.map_err(|error| wrong(key, error.to_string()))?;
            let with = builder.with_client_auth_cert(certificates(chain)?, opened);
            with.map_err(|error| wrong(chain, error.to_string()))?
        }
    };
    Ok(Some(MakeRustlsConnect::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => {
            let why = "it has no certificate in PEM".into();
            Err(PostgresError::File { path: path.into(), why })
        }
        Err(error) => Err(PostgresError::File { path: path.into(), why: error.to_string() }),
    }
}
