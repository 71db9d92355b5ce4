//! One thing, fetched over TLS from an address that an application named.
//!
//! The promise: nothing is asked before the server has shown a certificate that chains to what the
//! application gave, so that an address can be made to connect, and to nothing more; and whatever
//! the server does, it is over within [`Limits`]. Only hosts that [`FetchPolicy`] permits are
//! connected to.
//!
//! No redirect is followed: the application says where its document is and who vouches for that
//! place; a redirect would lead to a place of somebody else's choice, in the device's own network
//! too. No proxy is used, no content is unpacked, and no cookie, token or referrer is sent.

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

/// Largest document.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long a server may be silent, before its first byte and between two pieces.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long one fetch may take.
const FETCH_TIME_MAX: Duration = Duration::from_mins(2);

/// What a server may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body; by default 64 MiB.
    pub bytes: u64,
    /// How long the server may be silent; by default 10 s.
    pub silence: Duration,
    /// How long all of it may take; by default 2 minutes.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: DOCUMENT_BYTES_MAX, silence: SILENCE_MAX, whole: FETCH_TIME_MAX }
    }
}

/// Why something could not be fetched.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotFetch {
    /// Not `https://`, or with a name or a password in it.
    #[error("its address is not one of https://")]
    Address,
    /// An address that the device does not connect to.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Nobody vouches for the server.
    #[error("root_certs holds no certificate that can vouch for its server")]
    NoRoots,
    /// Not DER, or not of a certificate.
    #[error("root_certs holds something that is no certificate")]
    BadRoot,
    /// Its certificate does not chain to these, is for another name, or not valid now.
    #[error("root_certs does not vouch for its server ({0})")]
    Untrusted(String),
    /// No connection, or it broke.
    #[error("its server cannot be reached ({0})")]
    Unreachable(String),
    /// It is elsewhere.
    #[error("its server redirects, and a device follows nowhere")]
    Redirected,
    /// Not 200.
    #[error("its server answers {0}")]
    Status(u16),
    /// Too many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// Nothing came for too long.
    #[error("its server was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// It came, and did not end.
    #[error("it did not come within {} ms", .0.as_millis())]
    Slow(Duration),
}

/// A body that is on its way.
pub(super) struct Fetch {
    response: Response,
    limits: Limits,
    /// When the whole time is over.
    over: Instant,
    length: u64,
}

impl Fetch {
    /// Asks for it, and waits for the answer's head.
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

    /// The next piece; nothing where it ended as its server said that it would.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CannotFetch> {
        let piece = within(&self.limits, self.over, self.response.chunk()).await?;
        self.length += piece.as_ref().map_or(0, Bytes::len) as u64;
        if self.length > self.limits.bytes {
            return Err(CannotFetch::TooLarge(self.limits.bytes));
        }
        Ok(piece)
    }

    /// How many bytes came.
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

/// TLS that trusts these certificates, and no others.
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

/// `root_certs` may hold a whole path. A server's own certificate in it vouches for others only if
/// its issuer said so (RFC 5280, section 4.2.1.9), or if nobody else issued it: then it vouches for
/// itself.
fn vouches(der: &[u8]) -> Result<bool, CannotFetch> {
    let certificate = Certificate::from_der(der).map_err(|_| CannotFetch::BadRoot)?;
    let certificate = certificate.tbs_certificate;
    let constraints = certificate.get::<BasicConstraints>().map_err(|_| CannotFetch::BadRoot)?;
    let is_ca = constraints.is_some_and(|(_, constraints)| constraints.ca);
    Ok(is_ca || certificate.issuer == certificate.subject)
}
