//! Push services for tests and the bench: Apple's, Google's and a browser's, on the loopback, over
//! TLS with HTTP/2.
//!
//! The real services cannot be reached from tests. These follow their published rules: the
//! permitted senders, the type and age of their tokens, the required members of a request, its
//! size, and the words of each refusal. They fail as the real ones do: with 503, with GOAWAY, and
//! with closed connections.
//!
//! ```text
//! POST /3/device/{token}                     Apple's
//! POST /v1/projects/{project}/messages:send  Google's, with POST /token for access tokens
//! POST /push/{id}                            a browser's (RFC 8030)
//! POST /up/{topic}, GET /up/{topic}/json     a self-hosted one: UnifiedPush, as ntfy serves it
//! ```

mod apns;
mod fcm;
mod jwt;
mod ntfy;
mod webpush;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

/// The largest payload that every service accepts, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4_096;
/// The most bytes that are read of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// All services, on one port. They stop when this is dropped.
pub struct Services {
    address: SocketAddr,
    state: Arc<ServiceState>,
    received: mpsc::UnboundedReceiver<Received>,
    /// Stops the services when dropped.
    _running: oneshot::Sender<Infallible>,
}

/// A push that a service accepted.
#[derive(Clone, Debug)]
pub struct Received {
    /// `apns`, `fcm`, `webpush` or `ntfy`.
    pub service: &'static str,
    /// The receiver: the token, or the path of a subscription.
    pub token: String,
    /// The headers as received.
    pub headers: HeaderMap,
    /// The body as received.
    pub body: Vec<u8>,
    /// The number of its connection, from 1.
    pub connection: usize,
    /// The time of its acceptance.
    pub at: Instant,
}

/// The answer to every request during an outage.
#[derive(Clone, Debug)]
pub struct Outage {
    /// The HTTP status.
    pub status: u16,
    /// The reason, in the service's own form.
    pub reason: &'static str,
    /// The `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

/// The way to end connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cut {
    /// GOAWAY on each connection (RFC 9113 §6.8): no new streams are accepted, and requests in
    /// progress are answered.
    GoAway,
    /// Each connection is closed.
    HangUp,
}

struct ServiceState {
    address: SocketAddr,
    authority: String,
    apns: apns::Apns,
    fcm: fcm::Fcm,
    ntfy: ntfy::Ntfy,
    dead: Mutex<BTreeMap<String, u64>>,
    trouble: Mutex<Option<Outage>>,
    /// Subscriptions whose pushes are answered with this status.
    failing: Mutex<BTreeMap<String, u16>>,
    /// The number of requests, counted from the call, after which connections are cut.
    cut_in: Mutex<Option<(usize, Cut)>>,
    cuts: broadcast::Sender<Cut>,
    told: mpsc::UnboundedSender<Received>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// The answer to a request.
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A request with its whole body.
struct ReceivedPush {
    head: http::request::Parts,
    body: Bytes,
    connection: usize,
}

impl Services {
    /// Starts the services on a free port, as `https://localhost:PORT`.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        listener.set_nonblocking(true).expect("the listener supports it");
        let (acceptor, authority) = tls();
        let (told, received) = mpsc::unbounded_channel();
        let state = Arc::new(ServiceState {
            address,
            authority,
            apns: apns::Apns::new(),
            fcm: fcm::Fcm::new(),
            ntfy: ntfy::Ntfy::default(),
            dead: Mutex::default(),
            trouble: Mutex::default(),
            failing: Mutex::default(),
            cut_in: Mutex::default(),
            cuts: broadcast::channel(16).0,
            told,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let (running, ended) = oneshot::channel();
        let listening = Arc::clone(&state);
        // On its own thread, because a test may block while it waits for a push.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("the listener is valid");
                tokio::select! {
                    () = listen(listener, acceptor, listening) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, state, received, _running: running }
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The root of the services' certificate, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.state.authority
    }

    /// The key of team [`apns::TEAM`], PEM, as in Apple's `.p8` file.
    #[must_use]
    pub fn apns_key(&self) -> String {
        self.state.apns.key_pem()
    }

    /// A service account's file, JSON.
    #[must_use]
    pub fn service_account(&self) -> String {
        self.state.fcm.account(&self.url())
    }

    /// Makes this token, or the subscription with this path, invalid.
    pub fn kill(&self, token: &str) {
        self.state.dead.lock().insert(token.to_owned(), now().as_millis() as u64);
    }

    /// Answers every push for the subscription with this path so from now on.
    pub fn fail(&self, path: &str, status: u16) {
        self.state.failing.lock().insert(path.to_owned(), status);
    }

    /// Answers every push so from now on; `None` ends the outage.
    pub fn trouble(&self, trouble: Option<Outage>) {
        *self.state.trouble.lock() = trouble;
    }

    /// Sends GOAWAY on every connection after this many further requests.
    pub fn go_away_in(&self, requests: usize) {
        *self.state.cut_in.lock() = Some((self.requests() + requests, Cut::GoAway));
    }

    /// Closes every connection after this many further requests.
    pub fn hang_up_in(&self, requests: usize) {
        *self.state.cut_in.lock() = Some((self.requests() + requests, Cut::HangUp));
    }

    /// The next accepted push.
    ///
    /// # Panics
    /// If no push arrives within half a minute.
    pub async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(30), self.received.recv()).await;
        next.expect("a push arrives in time").expect("the services run")
    }

    /// The next accepted push, if there is one already.
    pub fn take(&mut self) -> Option<Received> {
        self.received.try_recv().ok()
    }

    /// The receiver of all accepted pushes. Afterwards [`Services::next`] and [`Services::take`]
    /// get no pushes.
    pub fn received(&mut self) -> mpsc::UnboundedReceiver<Received> {
        std::mem::replace(&mut self.received, mpsc::unbounded_channel().1)
    }

    /// The number of accepted connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The number of requests, with any answer.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }
}

pub use apns::{KEY_ID, TEAM, TOPIC};
pub use fcm::PROJECT;

/// A certificate for `localhost`, and its issuer.
fn tls() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Push services");
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("the certificate and the key match");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), authority)
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<ServiceState>) {
    // The connections end with the listener.
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        open.spawn(async move { serve(stream, acceptor, state).await });
        while open.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<ServiceState>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let stream = TokioIo::new(acceptor.accept(stream).await.ok()?);
    let number = state.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let mut cuts = state.cuts.subscribe();
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request, number).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(1_000);
    let mut connection = std::pin::pin!(server.serve_connection(stream, service));
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.ok(),
            cut = cuts.recv() => match cut.ok()? {
                Cut::GoAway => connection.as_mut().graceful_shutdown(),
                Cut::HangUp => return None,
            }
        }
    }
}

impl ServiceState {
    async fn answer(&self, request: Request<Incoming>, connection: usize) -> Answer {
        let count = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.cut(count);
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let Ok(body) = body else { return plain(StatusCode::PAYLOAD_TOO_LARGE) };
        let asked = ReceivedPush { head, body: body.to_bytes(), connection };
        let path = asked.head.uri.path().to_owned();
        if path == "/token" {
            return self.fcm.token(&asked, &self.url());
        }
        if asked.head.method == Method::GET {
            return self.ntfy.stream(&path);
        }
        match path.split('/').collect::<Vec<_>>()[..] {
            ["", "3", "device", token] => self.apns.send(self, &asked, token),
            ["", "v1", "projects", project, "messages:send"] => {
                self.fcm.send(self, &asked, project)
            }
            ["", "push", _] => webpush::send(self, &asked, "webpush"),
            ["", "up", _] => webpush::send(self, &asked, "ntfy"),
            _ => plain(StatusCode::NOT_FOUND),
        }
    }

    fn cut(&self, count: usize) {
        let mut cut_in = self.cut_in.lock();
        if let Some((at, cut)) = *cut_in
            && count >= at
        {
            *cut_in = None;
            let _ = self.cuts.send(cut); // Fails only if there is no connection.
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn trouble(&self) -> Option<Outage> {
        self.trouble.lock().clone()
    }

    /// The time at which a token became invalid, in milliseconds.
    fn dead_since(&self, token: &str) -> Option<u64> {
        self.dead.lock().get(token).copied()
    }

    fn took(&self, asked: &ReceivedPush, service: &'static str, token: &str) {
        let _ = self.told.send(Received {
            service,
            token: token.to_owned(),
            headers: asked.head.headers.clone(),
            body: asked.body.to_vec(),
            connection: asked.connection,
            at: Instant::now(),
        });
    }
}

impl ReceivedPush {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970")
}

fn plain(status: StatusCode) -> Answer {
    said(status, Bytes::new())
}

fn json(status: u16, body: &Value) -> Answer {
    said(StatusCode::from_u16(status).expect("a status"), body.to_string().into())
}

fn said(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed());
    *answer.status_mut() = status;
    answer
}

/// As `json`, with the outage's `Retry-After`.
fn outage_answer(trouble: &Outage, body: &Value) -> Answer {
    let mut answer = json(trouble.status, body);
    if let Some(seconds) = trouble.retry_after {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    answer
}
