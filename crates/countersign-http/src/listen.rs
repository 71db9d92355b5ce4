//! The accept loop: accepts sockets and passes their requests to a [`Router`].
//!
//! Every resource that an unauthenticated peer can hold has a limit or a timeout. Connections are
//! counted by `connection_limit`; more of them wait in the system's bounded backlog. The TLS
//! handshake, each head, each body, each write, each answer, an idle connection and the whole life
//! of a connection have a timeout; the memory of all bodies has a limit. A connection that was
//! upgraded to a WebSocket still counts.
//!
//! When the server drains, it stops accepting, tells every connection to finish its current
//! answers, waits at most for the drain time, and closes the remaining connections.

mod activity;
mod body;
mod body_memory;
mod connection_limit;
mod framing;
mod head;
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
use http::header::EXPECT;
use http::{HeaderMap, HeaderName, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep_until;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use self::activity::{Activity, Next, OpenRequest, after};
use self::body::RequestBody;
use self::body_memory::BodyMemory;
pub use self::body_memory::{BodyAccount, BodySender};
pub use self::connection_limit::{ConnectionLimit, KnownNetworks};
use self::connection_limit::{NoPermit, counted_network};
use self::framing::{TwoLengths, WatchedStream};
use self::head::BadHead;
use self::stream::ConnectionStream;
use countersign_config::{ServerConfig, Shares};
use countersign_node::task::{Criticality, Shutdown, panic_message};

/// The largest head of a request. RFC 9110 names no limit; a device's token and a proxy's headers
/// fit well.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// Concurrent requests on one HTTP/2 connection; a client may hold that many open.
const STREAMS_MAX: u32 = 256;
/// What HTTP/2 buffers of bodies before they are read: of one request, and of all on one
/// connection.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// What HTTP/2 buffers of one answer that its peer does not read.
const STREAM_SEND_BYTES_MAX: usize = 64 * 1024;
/// The system's buffer of one connection, each way; the system may use twice as much.
const SOCKET_BUFFER_BYTES: u32 = 128 * 1024;
/// Connections that wait in the system to be accepted.
const BACKLOG_MAX: u32 = 1024;
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
const HEADER_WAIT_MAX: Duration = Duration::from_secs(30);
const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
const IDLE_WAIT_MAX: Duration = Duration::from_secs(90);
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// A connection that is older finishes its current answers and closes; its peer opens another one.
const CONNECTION_AGE_MAX: Duration = Duration::from_hours(1);
/// Memory for bodies of a listener without a configuration.
const BODIES_BYTES_MAX: usize = 1024 * 1024;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
const HTTP2_PONG_WAIT_MAX: Duration = Duration::from_secs(20);
/// The pause after accepting failed because the process or the system is out of sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The client's address, in every request's extensions: the other end of the connection, or the
/// client that a proxy names, if the configuration says in which header (with port 0 if the proxy
/// gives none).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer(pub SocketAddr);

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest TLS handshake.
    pub handshake_wait: Duration,
    /// The longest wait for a first request, and for each head.
    pub header_wait: Duration,
    /// The longest wait for a whole body.
    pub body_wait: Duration,
    /// The longest time without an open request, after the first one.
    pub idle_wait: Duration,
    /// The longest time without progress of a write, and until a peer has read an answer.
    pub write_wait: Duration,
    /// The longest life of a connection; open requests are still finished.
    pub age_max: Duration,
    /// The longest wait for running requests when the server drains.
    pub drain: Duration,
}

impl Limits {
    /// The default timeouts.
    pub fn new(drain: Duration) -> Self {
        Self {
            handshake_wait: HANDSHAKE_WAIT_MAX,
            header_wait: HEADER_WAIT_MAX,
            body_wait: BODY_WAIT_MAX,
            idle_wait: IDLE_WAIT_MAX,
            write_wait: WRITE_WAIT_MAX,
            age_max: CONNECTION_AGE_MAX,
            drain,
        }
    }

    /// The shortest of the timeouts for which a connection is watched.
    fn shortest(&self) -> Duration {
        self.header_wait.min(self.idle_wait).min(self.write_wait).min(self.age_max)
    }
}

/// A bound address that is not yet served.
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    client_address_header: Option<HeaderName>,
    limits: Limits,
    limit: Arc<ConnectionLimit>,
    bodies: Arc<BodyMemory>,
}

impl Listener {
    /// Binds the public address, as configured. `tls` comes from [`crate::tls::Certificates`];
    /// `known` are the networks for which connections are reserved.
    ///
    /// # Errors
    /// Names the address and a remedy if it is in use or not an address of this machine.
    pub fn public(
        config: &ServerConfig,
        tls: Option<Arc<rustls::ServerConfig>>,
        known: KnownNetworks,
    ) -> anyhow::Result<Self> {
        let limits = Limits {
            header_wait: config.header,
            body_wait: config.body,
            idle_wait: config.idle,
            write_wait: config.write,
            ..Limits::new(config.drain)
        };
        let shares = config.shares.clone();
        let listener = Self::bind(config.listen, tls, limits, shares)?;
        Ok(Self {
            client_address_header: config.client_address_header.clone(),
            limit: ConnectionLimit::new(config.shares.clone(), known),
            bodies: BodyMemory::new(config.bodies_bytes_max),
            ..listener
        })
    }

    /// Binds `address`; without `tls` it speaks plain HTTP.
    ///
    /// # Errors
    /// As [`Listener::public`].
    pub fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        shares: Shares,
    ) -> anyhow::Result<Self> {
        let tcp = bound(address).with_context(|| {
            format!("cannot listen on {address}; end what listens there, or choose another address")
        })?;
        let address = tcp.local_addr().context("the system does not know the listening address")?;
        let tls = tls.map(TlsAcceptor::from);
        let limit = ConnectionLimit::new(shares, KnownNetworks::default());
        let bodies = BodyMemory::new(BODIES_BYTES_MAX);
        Ok(Self { tcp, address, tls, client_address_header: None, limits, limit, bodies })
    }

    /// The listening address, with the port that the system chose if 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its limit on connections.
    pub fn limit(&self) -> Arc<ConnectionLimit> {
        Arc::clone(&self.limit)
    }

    /// Serves until `stop`, then drains; returns when no connection is open. `tasks` runs the
    /// connections.
    pub async fn serve(self, router: Router, tasks: Shutdown, stop: CancellationToken) {
        let cut = CancellationToken::new();
        let connection = Connection {
            tls: self.tls,
            client_address_header: self.client_address_header,
            http: http_builder(&self.limits),
            router,
            limits: self.limits,
            limit: Arc::clone(&self.limit),
            bodies: self.bodies,
            stop: stop.clone(),
            cut: cut.clone(),
        };
        loop {
            let accepted = async {
                let permit = self.limit.free().await;
                (permit, self.tcp.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => match self.limit.admit(permit, peer.ip()) {
                    Ok(place) => {
                        let wait = self.limits.write_wait;
                        let stream = ConnectionStream::new(tcp, Some(place), wait);
                        let work = connection.clone().run(stream, Peer(peer));
                        tasks.spawn("connection", Criticality::Passing, work);
                    }
                    Err(reason) => refuse(&tcp, reason),
                },
                Err(error) => {
                    warn!(%error, "Cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp); // From here on the system refuses connections.

        let left = self.limit.drained(self.limits.drain).await;
        if left > 0 {
            warn!(connection.left = left, "Closing {left} connections that did not end in time");
        }
        cut.cancel();
    }
}

/// A socket whose connections inherit its limited buffers in the system.
fn bound(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}

/// Resets a connection beyond the limit without an answer, because a handshake would cost too much.
fn refuse(tcp: &TcpStream, reason: NoPermit) {
    metrics::counter!("countersign_connections_refused_total", "reason" => reason.as_str())
        .increment(1);
    // Nothing was sent. If the option is not available, the connection is closed all the same.
    let _ = tcp.set_zero_linger();
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
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    builder
}

/// The state that every connection needs; each gets a clone.
#[derive(Clone)]
struct Connection {
    tls: Option<TlsAcceptor>,
    client_address_header: Option<HeaderName>,
    http: auto::Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
    limit: Arc<ConnectionLimit>,
    bodies: Arc<BodyMemory>,
    /// Cancelled to finish the current answers and close.
    stop: CancellationToken,
    /// Cancelled to close at once.
    cut: CancellationToken,
}

impl Connection {
    async fn run(self, stream: ConnectionStream<TcpStream>, peer: Peer) {
        // Answers are small and urgent. If the option is not available, only latency suffers.
        let _ = stream.inner().set_nodelay(true);
        let Some(acceptor) = self.tls.clone() else { return self.speak(stream, peer).await };

        let handshake = tokio::time::timeout(self.limits.handshake_wait, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                // RFC 7301: the protocol that ALPN chose is used, whatever the first bytes look
                // like.
                let http = match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => self.http.clone().http2_only(),
                    _ => self.http.clone().http1_only(),
                };
                Self { http, ..self }.speak(stream, peer).await;
            }
            Ok(Err(error)) => debug!(%error, "TLS handshake with {} failed: {error}", peer.0),
            Err(_) => debug!("TLS handshake with {} timed out", peer.0),
        }
    }

    async fn speak<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let activity = Activity::new(&self.limits);
        let two_lengths = TwoLengths::new();
        let stream = WatchedStream::new(stream, Arc::clone(&two_lengths));
        let service = service_fn({
            let (activity, router) = (Arc::clone(&activity), self.router);
            let (header, body_wait) = (self.client_address_header, self.limits.body_wait);
            let (limit, bodies) = (self.limit, self.bodies);
            move |mut request: Request<Incoming>| {
                let open = activity.open();
                let named = header.as_ref().and_then(|header| client_in(request.headers(), header));
                // The client that the proxy names is counted; the proxy itself is not, if it is
                // exempt.
                let network = match named {
                    Some(client) => Some(client.0.ip().into()),
                    None => counted_network(limit.shares(), peer.0.ip()),
                };
                let peer = named.unwrap_or(peer);
                let account = bodies.account(network);
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(account);
                let checked = if two_lengths.has_next() {
                    Err(BadHead::TwoLengths)
                } else {
                    head::check(&request)
                };
                let router = router.clone();
                async move {
                    Ok::<_, Infallible>(match checked {
                        Ok(()) => answer(router, request, body_wait, open).await,
                        Err(bad) => open.answer(bad.into_response()),
                    })
                }
            }
        });
        let mut connection =
            pin!(self.http.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut look = pin!(sleep_until(after(self.limits.shortest())));
        let mut is_finishing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error, "Connection with {} failed: {error}", peer.0);
                    }
                    return;
                }
                () = look.as_mut() => match activity.next() {
                    Next::LookAt(at) => look.as_mut().reset(at),
                    Next::Finish(_) if !is_finishing => {
                        is_finishing = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(after(self.limits.write_wait));
                    }
                    Next::Finish(_) if !activity.is_idle() => {
                        look.as_mut().reset(after(self.limits.shortest()));
                    }
                    Next::Finish(reason) | Next::Close(reason) => return closed(peer, reason),
                },
                () = self.stop.cancelled(), if !is_finishing => {
                    is_finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled() => return,
            }
        }
    }
}

/// Counts a connection that is closed because of its peer's fault.
fn closed(peer: Peer, reason: &'static str) {
    metrics::counter!("countersign_connections_closed_total", "reason" => reason).increment(1);
    debug!("Connection with {} closed: {reason}", peer.0);
}

/// The last address in the last line of `header`, which the nearest proxy wrote. Earlier addresses
/// cannot be trusted.
fn client_in(headers: &HeaderMap, header: &HeaderName) -> Option<Peer> {
    let line = headers.get_all(header).iter().next_back()?.to_str().ok()?;
    let last = line.rsplit(',').next()?.trim();
    let without_port = || Some(SocketAddr::new(last.parse::<IpAddr>().ok()?, 0));
    last.parse().ok().or_else(without_port).map(Peer)
}

/// Calls the router. A panic in a handler is answered 500 and affects no other request.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    body_wait: Duration,
    open: OpenRequest,
) -> Response {
    let awaits_leave = request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let (body, unread) = RequestBody::new(body, body_wait);
    let request = Request::from_parts(head, Body::new(body));
    let response = match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => {
            error!("A handler panicked: {}", panic_message(&*panic));
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    // A client that sent `Expect: 100-continue` learns that it need not send its body (RFC 9110,
    // section 10.1.1).
    if !awaits_leave {
        unread.discard().await;
    }
    open.answer(response)
}
