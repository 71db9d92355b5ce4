//! Tests over real sockets and real TLS on the loopback. Times are milliseconds; no test waits
//! longer than it must.

use std::sync::Mutex;
use std::time::SystemTime;

use axum::extract::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use countersign_config::{Config, Overrides};

mod strangers;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(50);

fn limits() -> Limits {
    Limits {
        handshake_wait: LONG,
        header_wait: LONG,
        body_wait: LONG,
        idle_wait: LONG,
        write_wait: LONG,
        ..Limits::new(LONG)
    }
}

struct Server {
    address: SocketAddr,
    tasks: Shutdown,
    served: JoinHandle<()>,
    ca: Option<Vec<u8>>,
}

impl Server {
    fn plain(router: Router, limits: Limits) -> Self {
        Self::start(router, limits, None, None)
    }

    fn tls(router: Router, limits: Limits) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = Config::load(None, Overrides::default()).unwrap().server;
        let tls = crate::tls::prepare(&config, data.path(), SystemTime::now()).unwrap();
        let ca = std::fs::read(crate::tls::own_ca(data.path())).unwrap();
        Self::start(router, limits, tls, Some(ca))
    }

    fn start(
        router: Router,
        limits: Limits,
        tls: Option<Arc<rustls::ServerConfig>>,
        ca: Option<Vec<u8>>,
    ) -> Self {
        Self::start_sharing(router, limits, tls, ca, Shares::unshared(100))
    }

    fn sharing(router: Router, limits: Limits, shares: Shares) -> Self {
        Self::start_sharing(router, limits, None, None, shares)
    }

    fn start_sharing(
        router: Router,
        limits: Limits,
        tls: Option<Arc<rustls::ServerConfig>>,
        ca: Option<Vec<u8>>,
        shares: Shares,
    ) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any, tls, limits, shares).unwrap();
        let (address, tasks) = (listener.address(), Shutdown::default());
        let served = tokio::spawn(listener.serve(router, tasks.clone(), tasks.draining()));
        Self { address, tasks, served, ca }
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.ca.as_ref().unwrap()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Sends a request and reads its answer, whose body is one line.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"!") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await.unwrap();
        assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8(answer).unwrap()
}

async fn hello(Extension(Peer(peer)): Extension<Peer>) -> String {
    format!("{peer}!")
}

fn hello_router() -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/panic", get(async || -> String { panic!("a bug") }))
}

#[tokio::test]
async fn http2_is_spoken_over_tls_and_the_handler_sees_the_peer() {
    let server = Server::tls(hello_router(), limits());
    let response = server.client().get(server.url("/")).send().await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let body = response.text().await.unwrap();
    assert!(body.starts_with("127.0.0.1:"), "{body}");
}

#[tokio::test]
async fn http1_is_spoken_to_a_client_that_offers_no_more() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = Server::tls(hello_router(), limits());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.ca.as_ref().unwrap()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = "acme.localhost".try_into().unwrap();
        let mut stream = connector.connect(name, server.connect().await).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('!'), "{answer}");
    }
}

#[tokio::test]
async fn a_panicking_handler_is_answered_500_and_its_neighbours_live_on() {
    let server = Server::tls(hello_router(), limits());
    let client = server.client();
    let response = client.get(server.url("/panic")).send().await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(client.get(server.url("/")).send().await.unwrap().status(), 200);
    assert!(!server.tasks.is_draining());
}

#[tokio::test]
async fn plain_http_is_not_answered_where_tls_is_spoken() {
    let server = Server::tls(hello_router(), limits());
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // An alert, or a reset.
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(server.client().get(server.url("/")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn whoever_does_not_begin_is_closed() {
    for begun in ["", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nhost"] {
        let server = Server::plain(hello_router(), Limits { header_wait: SHORT, ..limits() });
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_closed() {
    let server = Server::tls(hello_router(), Limits { handshake_wait: SHORT, ..limits() });
    let mut stream = server.connect().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let router = Router::new().route("/", post(async |body: String| body));
    let server = Server::plain(router, Limits { body_wait: SHORT, ..limits() });
    let mut stream = server.connect().await;
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn headers_beyond_the_bound_are_refused() {
    let server = Server::plain(hello_router(), limits());
    let long = format!("long: {}\r\n", "x".repeat(HEADER_BYTES_MAX));
    for headers in [long, "many: x\r\n".repeat(HEADERS_MAX + 1)] {
        let mut stream = server.connect().await;
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_until_another_closes() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let router = Router::new().fallback(async move |request: Request<Body>| {
        seen.lock().unwrap().push(request.uri().path().to_owned());
        "done!"
    });
    let server = Server::sharing(router, limits(), Shares::unshared(1));
    let mut first = server.connect().await;
    ask(&mut first, "/first").await;
    let mut second = server.connect().await;
    second.write_all(b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    for _ in 0..10 {
        ask(&mut first, "/first").await;
    }
    drop(first);
    read_answer(&mut second).await;
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 12);
    assert_eq!(order.last().map(String::as_str), Some("/second"));
}

#[tokio::test]
async fn what_is_being_answered_when_the_end_begins_is_answered() {
    let (arrived, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (seen, wait) = (arrived.clone(), leave.clone());
    let router = Router::new().route(
        "/",
        get(async move || {
            seen.notify_one();
            wait.notified().await;
            "done!"
        }),
    );
    let server = Server::plain(router, limits());
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    server.tasks.start_draining();
    while TcpStream::connect(server.address).await.is_ok() {} // Until the socket is closed.
    leave.notify_one();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it stays open");
    server.served.await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_the_drain_time_is_cut() {
    let arrived = Arc::new(Notify::new());
    let seen = arrived.clone();
    let router = Router::new().route(
        "/",
        get(async move || {
            seen.notify_one();
            std::future::pending::<String>().await
        }),
    );
    let server = Server::plain(router, Limits { drain: SHORT, ..limits() });
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    arrived.notified().await;
    server.tasks.start_draining();
    server.served.await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let server = Server::plain(hello_router(), limits());
    let mut stream = server.connect().await;
    ask(&mut stream, "/").await;
    let silent = server.connect().await;
    server.tasks.start_draining();
    server.served.await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(silent);
}

/// The drain waits for upgraded connections too, so that a channel can be closed with a reason.
#[tokio::test]
async fn a_channel_is_closed_with_its_reason_before_the_end() {
    let told: Arc<Mutex<Option<Shutdown>>> = Arc::default();
    let tasks = told.clone();
    let channel = async move |upgrade: WebSocketUpgrade| {
        let tasks = tasks.lock().unwrap().clone().unwrap();
        upgrade.on_upgrade(async move |mut socket| {
            socket.send(Message::Text("welcome".into())).await.unwrap();
            tasks.until_draining().await;
            let frame = CloseFrame { code: 1001, reason: "draining".into() };
            socket.send(Message::Close(Some(frame))).await.unwrap();
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    let server = Server::plain(Router::new().route("/", get(channel)), limits());
    *told.lock().unwrap() = Some(server.tasks.clone());
    let url = format!("ws://{}/", server.address);
    let (mut socket, _) =
        tokio_tungstenite::client_async(url, server.connect().await).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "welcome");
    server.tasks.start_draining();
    let last = socket.next().await.unwrap().unwrap();
    assert!(!server.served.is_finished(), "the end did not wait for the channel");
    let tokio_tungstenite::tungstenite::Message::Close(Some(frame)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(frame.reason.as_str(), "draining");
    assert!(socket.next().await.is_none());
    drop(socket);
    server.served.await.unwrap();
}

#[test]
fn the_client_is_whom_the_nearest_proxy_names() {
    let header = HeaderName::from_static("x-forwarded-for");
    let named = |lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header.clone(), line.parse().unwrap());
        }
        client_in(&headers, &header).map(|peer| peer.0.to_string())
    };
    assert_eq!(named(&["6.6.6.6, 192.0.2.1"]).as_deref(), Some("192.0.2.1:0"));
    assert_eq!(named(&["6.6.6.6", "192.0.2.1:99"]).as_deref(), Some("192.0.2.1:99"));
    assert_eq!(named(&["2001:db8::1"]).as_deref(), Some("[2001:db8::1]:0"));
    assert_eq!(named(&["192.0.2.1, unknown"]), None);
    assert_eq!(named(&[]), None);
}

#[tokio::test]
async fn behind_a_proxy_the_peer_is_its_client() {
    let mut config = Config::load(None, Overrides::default()).unwrap().server;
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.client_address_header = Some(HeaderName::from_static("host"));
    let listener = Listener::public(&config, None, KnownNetworks::default()).unwrap();
    let (address, tasks) = (listener.address(), Shutdown::default());
    let served = tokio::spawn(listener.serve(hello_router(), tasks.clone(), tasks.draining()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: 192.0.2.1\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut stream).await.ends_with("192.0.2.1:0!"));
    tasks.start_draining();
    served.await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let bound = Listener::bind(address, None, limits(), Shares::unshared(1));
    let error = bound.err().expect("it is taken");
    assert!(format!("{error:#}").contains(&format!("cannot listen on {address}")), "{error:#}");
}
