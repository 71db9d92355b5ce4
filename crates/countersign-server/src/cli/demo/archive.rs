//! The server that holds the demo's contract; its certificate is trusted only by those who receive
//! it with the request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

const CALL_WAIT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// One document, at one address.
pub(super) struct Archive {
    document: Vec<u8>,
    certificate: Vec<u8>,
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    port: u16,
}

impl Archive {
    /// Stores the document; [`Self::serve`] serves it.
    pub(super) async fn open(document: Vec<u8>) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("the archive has no key")?;
        let params = CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = params.self_signed(&key)?.der().to_vec();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.clone().into()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )?;
        let tcp = TcpListener::bind("localhost:0").await.context("the archive cannot listen")?;
        let port = tcp.local_addr()?.port();
        Ok(Self { document, certificate, tcp, acceptor: TlsAcceptor::from(Arc::new(config)), port })
    }

    /// The address of the document.
    pub(super) fn address(&self) -> String {
        format!("https://localhost:{}/contract.pdf", self.port)
    }

    /// Its certificate, DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Answers every call with the document, one after the other.
    pub(super) async fn serve(&self) {
        loop {
            if let Ok((stream, _)) = self.tcp.accept().await {
                // A caller that hangs up or is too slow gets no answer.
                let _ = timeout(CALL_WAIT, self.answer(stream)).await;
            }
        }
    }

    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = self.acceptor.accept(stream).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
            head.push(stream.read_u8().await?);
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.document.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&self.document).await?;
        stream.shutdown().await
    }
}
