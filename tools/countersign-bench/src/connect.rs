//! Connections to the server, with or without TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::command::Tls;

/// A connection with or without TLS.
pub(super) type Stream = Box<dyn Connection>;

pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// The address of the server, and its trusted certificate. Clones share the same configuration.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    /// The origin that devices sign.
    pub(super) origin: Arc<str>,
}

impl Target {
    /// A server that listens on `address`. Its certificate authority, if it has one, is in `data`.
    pub(super) fn new(
        address: SocketAddr,
        origin: &str,
        data: &Path,
        tls: Tls,
    ) -> anyhow::Result<Self> {
        let tls = match tls {
            Tls::Off => None,
            Tls::On => {
                let ca = CertificateDer::from_pem_file(data.join("tls/ca.pem"))
                    .context("the server's CA cannot be read")?;
                let mut roots = RootCertStore::empty();
                roots.add(ca)?;
                let mut config =
                    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                // Each connection stands for a new client, so it makes a full handshake.
                config.resumption = rustls::client::Resumption::disabled();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Self { address, tls, origin: origin.into() })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Stream> {
        let tcp = TcpStream::connect(self.address)
            .await
            .context("the server does not accept the connection")?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from("localhost").expect("localhost is a valid name");
        let stream = tls.connect(name, tcp).await.context("the TLS handshake failed")?;
        Ok(Box::new(stream))
    }
}
