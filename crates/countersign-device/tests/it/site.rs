//! A web server over TLS that sends exactly the test's bytes, correct or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A piece of a server's answer.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Bytes(Vec<u8>),
    /// These bytes without end, with a pause before each repetition.
    Forever(Vec<u8>, Duration),
    /// Nothing; the connection stays open.
    Hang,
}

/// A running web server, which ends with the test's runtime.
pub(crate) struct Site {
    /// The origin, without a trailing slash.
    pub(crate) origin: String,
    accepted: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

/// The CA of the web servers.
pub(crate) struct Authority {
    pub(crate) root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority for sites");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these parameters, and its key.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        Certified { der: params.signed_by(&key, &self.issuer).unwrap().der().to_vec(), key }
    }

    /// A web server on `localhost`.
    pub(crate) async fn site(
        &self,
        answer: impl Fn(&str) -> Vec<Say> + Send + Sync + 'static,
    ) -> Site {
        Site::start(self.issue(&localhost()), answer).await
    }
}

/// A certificate and its key.
pub(crate) struct Certified {
    pub(crate) der: Vec<u8>,
    pub(crate) key: KeyPair,
}

impl Certified {
    /// A self-issued certificate.
    pub(crate) fn by_itself(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { der: params.self_signed(&key).unwrap().der().to_vec(), key }
    }
}

pub(crate) fn localhost() -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a site");
    params
}

impl Site {
    pub(crate) async fn start(
        certified: Certified,
        answer: impl Fn(&str) -> Vec<Say> + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certified.der.into()],
                PrivateKeyDer::Pkcs8(certified.key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let tcp = TcpListener::bind("localhost:0").await.unwrap();
        let origin = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
        let (asked, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(answer));
        let counted = Arc::clone(&asked);
        let accepted = Arc::new(AtomicU32::new(0));
        let connected = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = tcp.accept().await.unwrap();
                connected.fetch_add(1, Ordering::SeqCst);
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                let asked = Arc::clone(&counted);
                // A client that disconnects is not an error of the server.
                tokio::spawn(async move { serve(stream, &acceptor, &*answer, &asked).await.ok() });
            }
        });
        Self { origin, accepted, asked }
    }

    /// The number of accepted connections.
    pub(crate) fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The number of requests.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(
    tcp: TcpStream,
    acceptor: &TlsAcceptor,
    answer: &(dyn Fn(&str) -> Vec<Say> + Send + Sync),
    asked: &AtomicU32,
) -> std::io::Result<()> {
    let mut stream = acceptor.accept(tcp).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    for say in answer(&path) {
        match say {
            Say::Bytes(bytes) => stream.write_all(&bytes).await?,
            Say::Forever(bytes, pause) => loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            },
            Say::Hang => {
                stream.flush().await?;
                std::future::pending::<()>().await;
            }
        }
    }
    stream.shutdown().await
}

/// An answer of 200 with its length.
pub(crate) fn ok(body: &[u8]) -> Vec<Say> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    vec![Say::Bytes(head.into_bytes()), Say::Bytes(body.to_vec())]
}

/// The head of an answer, without a body.
pub(crate) fn head(head: &str) -> Say {
    Say::Bytes(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes())
}
