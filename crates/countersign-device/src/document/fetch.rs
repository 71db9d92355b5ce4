//! Fetches one resource over TLS from a URL that an application gave.
//!
//! The guarantee: a request is sent only after the server has shown a certificate that chains to
//! the application's certificates. So a URL can make the device open a connection, but not send a
//! request, to another server. Every fetch ends within [`Limits`], and connects only to hosts that
//! [`FetchPolicy`] permits.
//!
//! Redirects are not followed: the application names the document's server and its certificates,
//! but a redirect could lead to any server, even in the device's own network. No proxy is used, no
//! content is decompressed, and no cookie, token or referrer is sent.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use countersign_wire::guard::Forbidden;
use der::Decode as _;
use reqwest::{Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;
use x509_cert::Certificate;
use x509_cert::ext::pkix::BasicConstraints;

use super::policy::FetchPolicy;
use crate::display;
use crate::error;
use crate::http;

/// The largest document, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The longest silence of a server, before its first byte and between two pieces.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The longest time of one fetch.
const FETCH_TIME_MAX: Duration = Duration::from_mins(2);

/// The limits of a fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body in bytes; by default 64 MiB.
    pub bytes: u64,
    /// The longest silence of the server; by default 10 s.
    pub silence: Duration,
    /// The longest time of the fetch; by default 2 minutes.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: DOCUMENT_BYTES_MAX, silence: SILENCE_MAX, whole: FETCH_TIME_MAX }
    }
}

/// The reason for which a resource could not be fetched.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotFetch {
    /// The URL is not `https://`, or has a user name or a password.
    #[error("its address is not one of https://")]
    Address,
    /// The policy forbids the address.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The application gave no CA certificate for the server.
    #[error("root_certs has no certificate that can authenticate its server")]
    NoRoots,
    /// A trusted certificate is not X.509 in DER.
    #[error("root_certs has an entry that is not a certificate")]
    BadRoot,
    /// The server's certificate does not chain to the trusted ones, is for another name, or is not
    /// valid now.
    #[error("root_certs does not authenticate its server ({0})")]
    Untrusted(String),
    /// The connection could not be opened, or broke.
    #[error("its server cannot be reached ({0})")]
    Unreachable(String),
    /// The server answered with a redirect.
    #[error("its server redirects, and a device does not follow redirects")]
    Redirected,
    /// The status is not 200.
    #[error("its server answers {0}")]
    Status(u16),
    /// The body exceeds the limit of this many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The server was silent for too long.
    #[error("its server was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The fetch took too long.
    #[error("it did not come within {} ms", .0.as_millis())]
    Slow(Duration),
}

/// A response whose body is being received.
pub(super) struct Fetch {
    response: Response,
    limits: Limits,
    /// The end of the fetch's time.
    over: Instant,
    length: u64,
}

impl Fetch {
    /// Sends the request and waits for the response's head.
    pub(super) async fn begin(
        url: &str,
        roots: &[Vec<u8>],
        limits: &Limits,
        policy: &FetchPolicy,
    ) -> Result<Self, CannotFetch> {
        let over = Instant::now() + limits.whole;
        let url = address(url)?;
        let resolver = policy.resolver(&url)?;
        let client = http::client_builder(&tls(roots)?).dns_resolver(resolver).build();
        let client = client.map_err(|error| CannotFetch::Unreachable(error.to_string()))?;
        let response = within(limits, over, client.get(url).send()).await?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(CannotFetch::Redirected),
            status => return Err(CannotFetch::Status(status.as_u16())),
        }
        if response.content_length().is_some_and(|length| length > limits.bytes) {
            return Err(CannotFetch::TooLarge(limits.bytes));
        }
        Ok(Self { response, limits: *limits, over, length: 0 })
    }

    /// The next piece of the body; `None` after the announced end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CannotFetch> {
        let piece = within(&self.limits, self.over, self.response.chunk()).await?;
        self.length += piece.as_ref().map_or(0, Bytes::len) as u64;
        if self.length > self.limits.bytes {
            return Err(CannotFetch::TooLarge(self.limits.bytes));
        }
        Ok(piece)
    }

    /// The number of bytes received.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

async fn within<T>(
    limits: &Limits,
    over: Instant,
    step: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, CannotFetch> {
    match timeout_at(over, timeout(limits.silence, step)).await {
        Err(_) => Err(CannotFetch::Slow(limits.whole)),
        Ok(Err(_)) => Err(CannotFetch::Silent(limits.silence)),
        Ok(Ok(outcome)) => outcome.map_err(|error| match error::innermost(&error) {
            (why, true) => CannotFetch::Untrusted(display::line(&why)),
            (why, false) => CannotFetch::Unreachable(display::line(&why)),
        }),
    }
}

fn address(text: &str) -> Result<Url, CannotFetch> {
    let url = Url::parse(text).map_err(|_| CannotFetch::Address)?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    if url.scheme() == "https" && is_plain { Ok(url) } else { Err(CannotFetch::Address) }
}

/// A TLS configuration that trusts only these certificates.
fn tls(roots: &[Vec<u8>]) -> Result<ClientConfig, CannotFetch> {
    let mut trusted = RootCertStore::empty();
    for root in roots {
        if vouches(root)? {
            let root = CertificateDer::from_slice(root);
            trusted.add(root).map_err(|_| CannotFetch::BadRoot)?;
        }
    }
    if trusted.is_empty() {
        return Err(CannotFetch::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the protocol's versions")
        .with_root_certificates(trusted)
        .with_no_client_auth())
}

/// Returns whether a certificate of `root_certs` may be a trust anchor. `root_certs` may contain a
/// whole path. A server's own certificate is an anchor only if its issuer made it a CA (RFC 5280
/// §4.2.1.9), or if it is self-issued: then it authenticates its own server only.
fn vouches(der: &[u8]) -> Result<bool, CannotFetch> {
    let certificate = Certificate::from_der(der).map_err(|_| CannotFetch::BadRoot)?;
    let certificate = certificate.tbs_certificate;
    let constraints = certificate.get::<BasicConstraints>().map_err(|_| CannotFetch::BadRoot)?;
    let is_ca = constraints.is_some_and(|(_, constraints)| constraints.ca);
    Ok(is_ca || certificate.issuer == certificate.subject)
}
