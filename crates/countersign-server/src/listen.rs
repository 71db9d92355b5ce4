//! The accept loop: sockets in, requests to a [`Router`] out.
//!
//! Everything that a stranger can hold open is counted or timed: connections by a semaphore (more wait in
//! the system's bounded backlog), the TLS handshake, the first request, each header and each body by a clock.
//! A connection that was upgraded to a WebSocket still counts.
//!
//! At the end it stops accepting, tells every connection to finish what it is answering, waits for at most
//! the drain time, and cuts what is left.

mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use self::stream::{CountedStream, TimedBody};
use crate::config::ServerConfig;
use crate::task::{Shutdown, Weight, panic_message};

/// A request's head: RFC 9110 names no bound; a device's token and a proxy's additions fit well.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection; a relying party may hold that many open.
const STREAMS_MAX: u32 = 256;
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// For the first request, for each header, and for an idle HTTP/1 connection.
const HEADER_WAIT_MAX: Duration = Duration::from_secs(30);
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
const HTTP2_PONG_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long to let things be when the process or the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who asks: in every request's extensions. The other end of the connection, or, where the configuration says
/// how a proxy in front names its client, that client (with port 0 where the proxy gives none).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// How many and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections open at once.
    pub(crate) connections_max: u32,
    /// For a TLS handshake.
    pub(crate) handshake_wait: Duration,
    /// For a first request, and for each header.
    pub(crate) header_wait: Duration,
    /// For a whole body.
    pub(crate) body_wait: Duration,
    /// For what is running when the end begins.
    pub(crate) drain: Duration,
}

impl Limits {
    /// With the usual times.
    pub(crate) fn new(connections_max: u32, drain: Duration) -> Self {
        Self {
            connections_max,
            handshake_wait: HANDSHAKE_WAIT_MAX,
            header_wait: HEADER_WAIT_MAX,
            body_wait: BODY_WAIT_MAX,
            drain,
        }
    }
}

/// A bound address, not yet served.
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    client_address_header: Option<HeaderName>,
    limits: Limits,
}

impl Listener {
    /// Binds the public address, as configured; `tls` is what [`crate::tls::prepare`] gave.
    ///
    /// # Errors
    /// Names the address and what to do, when it is taken or not ours.
    pub(crate) async fn public(
        config: &ServerConfig,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let limits = Limits::new(config.connections_max, config.drain);
        let listener = Self::bind(config.listen, tls, limits).await?;
        Ok(Self { client_address_header: config.client_address_header.clone(), ..listener })
    }

    /// Binds `address`; without `tls` it speaks plain HTTP.
    ///
    /// # Errors
    /// As [`Listener::public`].
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let tcp = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; end what listens there, or choose another address")
        })?;
        let address = tcp.local_addr().context("the system does not say where it listens")?;
        let tls = tls.map(TlsAcceptor::from);
        Ok(Self { tcp, address, tls, client_address_header: None, limits })
    }

    /// Where it listens, with the port that the system chose where 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then drains; returns when no connection is left. `tasks` runs the connections.
    pub(crate) async fn serve(self, router: Router, tasks: Shutdown, stop: CancellationToken) {
        let open = Arc::new(Semaphore::new(self.limits.connections_max as usize));
        let cut = CancellationToken::new();
        let connection = Connection {
            tls: self.tls,
            client_address_header: self.client_address_header,
            http: http_builder(&self.limits),
            router,
            limits: self.limits,
            stop: stop.clone(),
            cut: cut.clone(),
        };
        loop {
            let accepted = async {
                let permit = open.clone().acquire_owned().await.expect("never closed");
                (permit, self.tcp.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let stream = CountedStream::new(tcp, permit);
                    let work = connection.clone().run(stream, Peer(peer));
                    tasks.spawn("connection", Weight::Passing, work);
                }
                Err(error) => {
                    warn!(%error, "Cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp); // From here on the system refuses connections.

        let all = open.acquire_many(self.limits.connections_max);
        if tokio::time::timeout(self.limits.drain, all).await.is_err() {
            let left = self.limits.connections_max as usize - open.available_permits();
            warn!(connection.left = left, "Cutting {left} connections that did not end in time");
        }
        cut.cancel();
    }
}

fn http_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_wait)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PONG_WAIT_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    builder
}

/// What every connection needs; each gets a clone.
#[derive(Clone)]
struct Connection {
    tls: Option<TlsAcceptor>,
    client_address_header: Option<HeaderName>,
    http: auto::Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
    /// Finish what is being answered.
    stop: CancellationToken,
    /// Finish now.
    cut: CancellationToken,
}

impl Connection {
    async fn run(self, stream: CountedStream<TcpStream>, peer: Peer) {
        // Answers are small and waited for. Where the option is not to be had, all still works.
        let _ = stream.inner().set_nodelay(true);
        let Some(acceptor) = self.tls.clone() else { return self.speak(stream, peer).await };

        let handshake = tokio::time::timeout(self.limits.handshake_wait, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                // RFC 7301: what ALPN chose is what is spoken, whatever the first bytes look like.
                let http = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => self.http.clone().http2_only(),
                    _ => self.http.clone().http1_only(),
                };
                Self { http, ..self }.speak(stream, peer).await;
            }
            Ok(Err(error)) => debug!(%error, "No TLS handshake with {}: {error}", peer.0),
            Err(_) => debug!("No TLS handshake with {} in time", peer.0),
        }
    }

    async fn speak<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let asked = Arc::new(Notify::new());
        let service = service_fn({
            let (asked, router, body_wait) = (asked.clone(), self.router, self.limits.body_wait);
            let header = self.client_address_header;
            move |request: Request<Incoming>| {
                asked.notify_one();
                let named = header.as_ref().and_then(|header| client_in(request.headers(), header));
                let peer = named.unwrap_or(peer);
                answer(router.clone(), request, peer, body_wait).map(Ok::<_, Infallible>)
            }
        });
        let mut connection =
            pin!(self.http.serve_connection_with_upgrades(TokioIo::new(stream), service));
        // Hyper times headers, but neither its wait for HTTP/2's preface nor for the protocol's first bytes.
        let mut first = pin!(tokio::time::timeout(self.limits.header_wait, asked.notified()));
        let (mut has_asked, mut is_stopping) = (false, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error, "The connection with {} broke: {error}", peer.0);
                    }
                    return;
                }
                asked = first.as_mut(), if !has_asked => {
                    if asked.is_err() {
                        return debug!("No request from {} in time", peer.0);
                    }
                    has_asked = true;
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled() => return,
            }
        }
    }
}

/// The last address in the last line of `header`: what the nearest proxy wrote. Those before it are hearsay.
fn client_in(headers: &HeaderMap, header: &HeaderName) -> Option<Peer> {
    let line = headers.get_all(header).iter().next_back()?.to_str().ok()?;
    let last = line.rsplit(',').next()?.trim();
    let without_port = || Some(SocketAddr::new(last.parse::<IpAddr>().ok()?, 0));
    last.parse().ok().or_else(without_port).map(Peer)
}

/// Asks the router; a panic in a handler is answered 500 and costs nobody else anything.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: Peer,
    body_wait: Duration,
) -> Response {
    let mut request = request.map(|body| Body::new(TimedBody::new(body, body_wait)));
    request.extensions_mut().insert(peer);
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            error!("A handler panicked: {}", panic_message(&*panic));
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
