//! One outgoing call: bounded, over TLS, without redirects, and with a closed set of failures.
//!
//! [`Outbound`] calls addresses of the operator. [`GuardedOutbound`] calls those that anybody else
//! names; each call says for which tenant it is made.

use std::error::Error;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use countersign_core::id::TenantName;
use countersign_core::time::Timestamp;
use countersign_wire::tls;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::RwLock;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response};
use tracing::warn;
use url::Url;

use super::guard::Forbidden;
use super::names::{self, Names};
use super::resolve::Resolver;

/// How much of an answer's body is read, so that its connection can be used again; the rest is
/// dropped.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long reading the body may take.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// Idle connections that are kept to one host, and how long they are kept.
const IDLE_CONNECTIONS_MAX: usize = 32;
const IDLE_WAIT_MAX: Duration = Duration::from_secs(55);

/// Makes a client that trusts these roots, besides the platform's.
type ClientMaker = dyn Fn(&[Certificate]) -> anyhow::Result<Client> + Send + Sync;

/// Calls addresses that the operator chose. Clones share their connections.
#[derive(Clone)]
pub struct Outbound {
    /// Replaced as a whole when the trusted roots change.
    client: Arc<RwLock<Client>>,
    build: Arc<ClientMaker>,
    timeout: Duration,
}

/// Calls addresses that clients and devices choose, if its resolver allows them. Clones share their
/// connections.
#[derive(Clone)]
pub struct GuardedOutbound {
    outbound: Outbound,
    resolver: Resolver,
}

/// A complete head of an answer, and the part of its body that was read.
pub struct OutboundAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The part of the body that was read.
    pub body: Bytes,
}

/// The reason why no answer arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unanswered {
    /// The address may not be called.
    Forbidden(Forbidden),
    /// No complete head arrived in time.
    TimedOut,
    /// No connection was made.
    Unreachable(String),
    /// A connection was made, but no complete head arrived.
    Broken(String),
}

impl Outbound {
    /// A client for addresses that the operator chose, over HTTP/2, whose streams share a
    /// connection.
    ///
    /// # Errors
    /// If a root is not a certificate.
    pub fn trusting(
        names: &Names,
        roots: &[Certificate],
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let names = names.clone();
        let more = move |builder: ClientBuilder| {
            builder
                .dns_resolver(names.clone())
                .http2_prior_knowledge()
                .http2_initial_stream_window_size(64 * 1024)
                .http2_keep_alive_interval(IDLE_WAIT_MAX)
                .http2_keep_alive_timeout(timeout)
        };
        Self::with(timeout, roots, move |roots| build(roots, timeout, &more))
    }

    fn with(
        timeout: Duration,
        roots: &[Certificate],
        build: impl Fn(&[Certificate]) -> anyhow::Result<Client> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let client = Arc::new(RwLock::new(build(roots)?));
        Ok(Self { client, build: Arc::new(build), timeout })
    }

    /// Trusts `roots` from now on, besides the platform's, in place of those before; also in
    /// clones. Calls that are open go on.
    ///
    /// # Errors
    /// If a root is not a certificate. Then those before stay trusted.
    pub fn trust(&self, roots: &[Certificate]) -> anyhow::Result<()> {
        let client = (self.build)(roots)?;
        *self.client.write() = client;
        Ok(())
    }

    /// Posts `body`. The result depends only on the answer's head.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn post(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<OutboundAnswer, Unanswered> {
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        // The client's own timeout is not used, because it would begin later than the attempt does.
        let client = self.client.read().clone();
        match tokio::time::timeout(self.timeout, client.execute(request)).await {
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

impl GuardedOutbound {
    /// A client that trusts the platform's roots and `roots`.
    ///
    /// # Errors
    /// If a root is not a certificate.
    pub fn new(
        resolver: Resolver,
        roots: &[Certificate],
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let asking = resolver.clone();
        let more = move |builder: ClientBuilder| builder.dns_resolver(asking.clone());
        let outbound = Outbound::with(timeout, roots, move |roots| build(roots, timeout, &more))?;
        Ok(Self { outbound, resolver })
    }

    /// Trusts other roots from now on: see [`Outbound::trust`].
    ///
    /// # Errors
    /// As [`Outbound::trust`].
    pub fn trust(&self, roots: &[Certificate]) -> anyhow::Result<()> {
        self.outbound.trust(roots)
    }

    /// Posts `body`, as [`Outbound::post`] does. Look-ups of names count for `tenant`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn post(
        &self,
        tenant: &TenantName,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<OutboundAnswer, Unanswered> {
        self.resolver.check_url(&url).map_err(Unanswered::Forbidden)?;
        names::on_behalf_of(tenant, self.outbound.post(url, headers, body)).await
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
        // A machine without any roots serves all the same; only its deliveries fail.
        let cause = causes(&error);
        warn!(cause, "No certificate authority is known for deliveries: {cause}");
        builder().tls_certs_only(roots()).build()
    })?)
}

/// Reads an answer's body, within limits, so that its connection can be used again.
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
    // The head has arrived, so a body that is late or broken is no failure.
    let _ = tokio::time::timeout(ANSWER_WAIT_MAX, reading).await;
    body.freeze()
}

impl OutboundAnswer {
    /// How long the receiver asks not to be called (RFC 9110, section 10.2.3): seconds, or a date.
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        retry_after(&self.headers, now)
    }

    /// Whether the receiver as a whole has an outage, so that further calls do not help.
    pub fn is_outage(&self) -> bool {
        is_outage(self.status)
    }
}

/// Whether a status says that the receiver as a whole has an outage. A receiver that refuses one
/// call has none.
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
    pub(super) fn of(error: &reqwest::Error) -> Self {
        for cause in chain(error) {
            // An I/O error hides the error that it wraps from the chain.
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

impl Error for Unanswered {}

/// For the log and the ledger; contains nothing of the request.
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

/// The refusal of TLS in words, or else the innermost reason, which is the most precise. It never
/// contains the URL, which may hold a secret.
fn causes(error: &reqwest::Error) -> String {
    if let Some(refusal) = tls::refusal(error) {
        return refusal.sentence;
    }
    chain(error)
        .last()
        .map_or_else(|| "the request could not be made".to_owned(), ToString::to_string)
}

/// The chain of causes, from the outside in.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use http::HeaderValue;

    use super::super::fetch::{FetchError, FetchLimits, fetch};
    use super::super::guard::Guard;
    use super::super::names::LOOKUPS_PER_TENANT_MAX;
    use super::*;

    /// Names under `good` have an address at which nothing listens; look-ups of others hang, and
    /// are counted.
    fn resolver() -> (Resolver, Arc<AtomicUsize>) {
        let hanging = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&hanging);
        let names = Names::answered_by(move |name| {
            if name.starts_with("good") {
                return std::future::ready(Ok(vec![[127, 0, 0, 1].into()])).boxed();
            }
            begun.fetch_add(1, Ordering::Relaxed);
            std::future::pending().boxed()
        });
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()]);
        (Resolver::new(guard, names), hanging)
    }

    /// Calls of acme whose look-ups hang make its other calls wait, and none of globex.
    async fn look_ups_count_for_their_tenant(
        hanging: &AtomicUsize,
        call: impl AsyncFn(TenantName, Url) -> Unanswered,
    ) {
        let call = |tenant: &str, host: &str| {
            call(tenant.parse().unwrap(), Url::parse(&format!("https://{host}.example:1")).unwrap())
        };
        let hang = join_all((0..LOOKUPS_PER_TENANT_MAX).map(|_| call("acme", "hangs")));
        let others = async {
            while hanging.load(Ordering::Relaxed) < LOOKUPS_PER_TENANT_MAX {
                tokio::task::yield_now().await;
            }
            tokio::select! {
                biased;
                own = call("acme", "good") => panic!("{own}"),
                other = call("globex", "good") => other,
            }
        };
        let other = tokio::select! {
            _ = hang => panic!("globex waits for acme's look-ups"),
            other = others => other,
        };
        assert!(matches!(other, Unanswered::Unreachable(_)), "{other:?}");
    }

    const WAIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn look_ups_for_calls_count_for_their_tenant() {
        let (resolver, hanging) = resolver();
        let guarded = GuardedOutbound::new(resolver, &[], WAIT).unwrap();
        look_ups_count_for_their_tenant(&hanging, async |tenant, url| {
            guarded.post(&tenant, url, HeaderMap::new(), Bytes::new()).await.err().unwrap()
        })
        .await;
    }

    #[tokio::test]
    async fn look_ups_for_fetches_count_for_their_tenant() {
        let (resolver, hanging) = resolver();
        let limits = FetchLimits { wait: WAIT, bytes: 1 };
        look_ups_count_for_their_tenant(&hanging, async |tenant, url| {
            match fetch(&resolver, &tenant, url, Vec::new(), limits).await.unwrap_err() {
                FetchError::Unanswered(unanswered) => unanswered,
                other => panic!("{other}"),
            }
        })
        .await;
    }

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
