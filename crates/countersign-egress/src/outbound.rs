//! One call out of this process: bounded, over TLS, without redirects, and told in a closed set of
//! ways in which it may not arrive.

use std::error::Error;
use std::fmt;
use std::iter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use countersign_core::time::Timestamp;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response};
use tracing::warn;
use url::Url;

use super::guard::Forbidden;
use super::names::Names;
use super::resolve::Resolver;

/// What is read of an answer's body, so that its connection can be used again; the rest is dropped.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long that may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// Connections that are kept, to one host, for how long.
const IDLE_CONNECTIONS_MAX: usize = 32;
const IDLE_WAIT_MAX: Duration = Duration::from_secs(55);

/// Calls addresses. Clones share their connections.
#[derive(Clone)]
pub struct Outbound {
    client: Client,
    /// Where addresses come from strangers: what judges them.
    resolver: Option<Resolver>,
    timeout: Duration,
}

/// A complete head of an answer, and what was read of its body.
pub struct OutboundAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why nobody answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unanswered {
    /// Its address may not be called.
    Forbidden(Forbidden),
    /// No complete head in time.
    TimedOut,
    /// No connection.
    Unreachable(String),
    /// A connection, and no complete head.
    Broken(String),
}

impl Outbound {
    /// Calls what strangers name, as far as `resolver` lets it. Trusts the platform's roots and
    /// `roots`.
    ///
    /// # Errors
    /// When a root is none.
    pub fn guarded(
        resolver: Resolver,
        roots: &[Certificate],
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let asking = resolver.clone();
        let client = build(roots, timeout, move |builder| builder.dns_resolver(asking.clone()))?;
        Ok(Self { client, resolver: Some(resolver), timeout })
    }

    /// Calls what the operator has named, by HTTP/2, whose streams share a connection.
    ///
    /// # Errors
    /// When a root is none.
    pub fn trusting(
        names: &Names,
        roots: &[Certificate],
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let client = build(roots, timeout, |builder| {
            builder
                .dns_resolver(names.clone())
                .http2_prior_knowledge()
                .http2_initial_stream_window_size(64 * 1024)
                .http2_keep_alive_interval(IDLE_WAIT_MAX)
                .http2_keep_alive_timeout(timeout)
        })?;
        Ok(Self { client, resolver: None, timeout })
    }

    /// Posts `body`. What counts is the head of the answer.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<OutboundAnswer, Unanswered> {
        if let Some(resolver) = &self.resolver {
            resolver.check_url(&url).map_err(Unanswered::Forbidden)?;
        }
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        // The client's own clock, which it is not given, would begin later than the attempt does.
        match tokio::time::timeout(self.timeout, self.client.execute(request)).await {
            Ok(Ok(mut answer)) => {
                let body = read(&mut answer).await;
                let headers = std::mem::take(answer.headers_mut());
                Ok(OutboundAnswer { status: answer.status(), headers, body })
            }
            Ok(Err(error)) => Err(Unanswered::of(&error)),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }
}

fn build(
    roots: &[Certificate],
    timeout: Duration,
    more: impl Fn(ClientBuilder) -> ClientBuilder,
) -> anyhow::Result<Client> {
    let builder = || {
        let builder = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .https_only(true)
            .referer(false)
            .connect_timeout(timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_WAIT_MAX);
        more(builder)
    };
    let roots = || roots.iter().cloned();
    Ok(builder().tls_certs_merge(roots()).build().or_else(|error| {
        // A machine without any roots serves all the same; only its deliveries do not arrive.
        let cause = causes(&error);
        warn!(cause, "No certificate authority is known for deliveries: {cause}");
        builder().tls_certs_only(roots()).build()
    })?)
}

/// Reads an answer's body, within bounds, so that its connection can be used again.
async fn read(answer: &mut Response) -> Bytes {
    let mut body = BytesMut::new();
    let reading = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
    };
    // The head has arrived: whatever is missing of the rest was not to be had.
    let _ = tokio::time::timeout(ANSWER_WAIT_MAX, reading).await;
    body.freeze()
}

impl OutboundAnswer {
    /// How long the receiver asks to be left alone (RFC 9110, section 10.2.3): seconds, or a date.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(&self.headers, now)
    }

    /// Whether the receiver as a whole is not well: calling it more does not help.
    pub fn is_outage(&self) -> bool {
        is_outage(self.status)
    }
}

/// Whether a status says that the receiver as a whole is not well. One that refuses a call and
/// answers is.
pub fn is_outage(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: SystemTime = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(UNIX_EPOCH).ok()?;
    Some(now.until(Timestamp(u64::try_from(at.as_millis()).ok()?)))
}

impl Unanswered {
    fn of(error: &reqwest::Error) -> Self {
        for cause in chain(error) {
            // An I/O error hides what it wraps from the chain.
            let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let inner = io.and_then(|inner| inner.downcast_ref::<Forbidden>());
            if let Some(forbidden) = cause.downcast_ref::<Forbidden>().or(inner) {
                return Self::Forbidden(*forbidden);
            }
        }
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_connect() {
            Self::Unreachable(causes(error))
        } else {
            Self::Broken(causes(error))
        }
    }

    /// Its name in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::TimedOut => "timed_out",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
        }
    }
}

/// For the log and the ledger; nothing of what was sent.
impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(why) => write!(f, "not called: {why}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Unreachable(why) => write!(f, "not reached: {why}"),
            Self::Broken(why) => write!(f, "no complete answer: {why}"),
        }
    }
}

/// The innermost reason, which says most; the URL, which may hold a secret, is in none of them.
fn causes(error: &reqwest::Error) -> String {
    chain(error)
        .last()
        .map_or_else(|| "the request could not be made".to_owned(), ToString::to_string)
}

/// What caused it, from the outside in.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_receiver_may_ask_for_a_wait_in_seconds_or_until_a_date() {
        let asked = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers, Timestamp(784_111_770_000))
        };
        assert_eq!(asked("120"), Some(Duration::from_mins(2)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO), "it has passed");
        for wrong in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }
}
