//! A receiver of callbacks: a real TLS server on the loopback that does exactly what a test says,
//! byte by byte, because a library would rarely misbehave so.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Longer than any step here takes, shorter than a developer waits.
const PATIENCE: Duration = Duration::from_mins(1);

/// A certificate authority that no client trusts by default.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// One complete call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

/// How a receiver reacts to a call.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A status line and headers, and no body.
    Answer(&'static str),
    /// 200 with a body.
    Body(Vec<u8>),
    /// Never answers.
    Never,
    /// A valid head and a gigabyte of body.
    Flood,
    /// A head that does not end.
    FloodHead,
    /// Half a head, and then closes the connection.
    HalfWay,
}

pub(crate) const OK: Act = Act::Answer("204 No Content");

/// A receiver that listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Call>,
    listening: JoinHandle<()>,
    /// Connections that it accepted.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Bytes of answers that its callers have read.
    pub(crate) sent: Arc<AtomicU64>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Receivers");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names, and its key, PEM.
    pub(crate) fn certificate(&self, names: &[&str]) -> (String, String) {
        let (certificate, key) = self.issue(names);
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.issue(names);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id").expect("each call carries its id")
    }
}

impl Receiver {
    /// A receiver on a free port that does `act`, given the number of earlier calls.
    pub(crate) async fn new(
        authority: &Authority,
        act: impl Fn(usize, &Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let acceptor = authority.acceptor(&["localhost", "127.0.0.1"]);
        Self::listening(acceptor, 0, act).await
    }

    /// A receiver on this port that accepts everything.
    pub(crate) async fn at(authority: &Authority, port: u16) -> Self {
        Self::at_doing(authority, port, |_, _| OK).await
    }

    /// A receiver on this port that does `act`.
    pub(crate) async fn at_doing(
        authority: &Authority,
        port: u16,
        act: impl Fn(usize, &Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let acceptor = authority.acceptor(&["localhost", "127.0.0.1"]);
        Self::listening(acceptor, port, act).await
    }

    /// A receiver whose certificate is for another name.
    pub(crate) async fn named(authority: &Authority, name: &str) -> Self {
        Self::listening(authority.acceptor(&[name]), 0, |_, _| OK).await
    }

    async fn listening(
        acceptor: TlsAcceptor,
        port: u16,
        act: impl Fn(usize, &Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, calls) = mpsc::unbounded_channel();
        let (connections, sent): (Arc<AtomicUsize>, Arc<AtomicU64>) = Default::default();
        let line =
            Line { acceptor, act, told, sent: Arc::clone(&sent), count: AtomicUsize::new(0) };
        let (line, accepted) = (Arc::new(line), Arc::clone(&connections));
        let listening = tokio::spawn(async move {
            // The connections end with the listener.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                let line = Arc::clone(&line);
                open.spawn(async move { line.serve(stream).await });
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, calls, listening, connections, sent }
    }

    /// Its origin, without a path.
    pub(crate) fn origin(&self) -> String {
        format!("https://127.0.0.1:{}", self.address.port())
    }

    /// Its address, for a `callbackUrl`.
    pub(crate) fn url(&self) -> String {
        format!("{}/done?for=shop", self.origin())
    }

    /// The next call.
    pub(crate) async fn next(&mut self) -> Call {
        let next = tokio::time::timeout(PATIENCE, self.calls.recv()).await;
        next.expect("it is called in time").expect("it listens")
    }

    /// Whether there were further calls.
    pub(crate) fn has_more(&mut self) -> bool {
        !self.calls.is_empty()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

struct Line<F> {
    acceptor: TlsAcceptor,
    act: F,
    told: mpsc::UnboundedSender<Call>,
    sent: Arc<AtomicU64>,
    count: AtomicUsize,
}

impl<F: Fn(usize, &Call) -> Act> Line<F> {
    /// Handles calls on one connection until it ends.
    async fn serve(&self, stream: TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let mut stream = self.acceptor.accept(stream).await.ok()?;
        let mut read = Vec::new();
        loop {
            let call = next_call(&mut stream, &mut read).await?;
            let act = (self.act)(self.count.fetch_add(1, Ordering::Relaxed), &call);
            let _ = self.told.send(call);
            match act {
                Act::Answer(status) => {
                    let length =
                        if status.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
                    let answer = format!("HTTP/1.1 {status}\r\n{length}\r\n");
                    stream.write_all(answer.as_bytes()).await.ok()?;
                }
                Act::Body(body) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
                }
                Act::Never => std::future::pending().await,
                Act::Flood => {
                    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
                    stream.write_all(head).await.ok()?;
                    self.pour(&mut stream).await?;
                }
                Act::FloodHead => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.ok()?;
                    self.pour(&mut stream).await?;
                }
                Act::HalfWay => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await.ok()?;
                    stream.shutdown().await.ok()?;
                    return None;
                }
            }
        }
    }

    /// Sends a gigabyte.
    async fn pour<S>(&self, stream: &mut S) -> Option<()>
    where
        S: tokio::io::AsyncWrite + Unpin,
    {
        let bytes = vec![b'x'; 64 * 1024];
        for _ in 0..16 * 1024 {
            stream.write_all(&bytes).await.ok()?;
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Some(())
    }
}

async fn next_call<S>(stream: &mut S, read: &mut Vec<u8>) -> Option<Call>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).expect("a head is ASCII");
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers.map(|(n, v)| (n.to_lowercase(), v.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let whole = end + length.map_or(0, |(_, length)| length.parse::<usize>().unwrap());
    while read.len() < whole {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let body = read[end..whole].to_vec();
    read.drain(..whole);
    Some(Call { line, headers, body, at: Instant::now() })
}

/// A receiver that offers HTTP/2, and returns the version of each call.
pub(crate) async fn offering_http2(
    authority: &Authority,
) -> (SocketAddr, mpsc::UnboundedReceiver<http::Version>) {
    let acceptor = authority.acceptor(&["localhost"]);
    let mut config = (**acceptor.config()).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, versions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                let stream = TokioIo::new(acceptor.accept(stream).await.ok()?);
                let service = service_fn(move |call: http::Request<hyper::body::Incoming>| {
                    let _ = told.send(call.version());
                    std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(
                        http_body_util::Empty::<bytes::Bytes>::new(),
                    )))
                });
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(stream, service).await.ok()
            });
        }
    });
    (address, versions)
}

/// Writes a certificate and its key to the files that an example reads.
pub(crate) fn written(authority: &Authority, directory: &Path) -> [std::path::PathBuf; 2] {
    let (certificate, key) = authority.certificate(&["localhost", "127.0.0.1"]);
    [("receiver.pem", certificate), ("receiver.key", key)].map(|(name, pem)| {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    })
}
