//! Connections to the server, with TLS or without.

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

/// A connection, whatever it is made of.
pub(super) type Stream = Box<dyn Connection>;

pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// How the server is reached. Clones are handles to the same.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    /// As devices sign it.
    pub(super) origin: Arc<str>,
}

impl Target {
    /// A server that listens on `address` and keeps its own authority, if it has one, in `data`.
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
                // Each connection is a stranger's: its handshake is a whole one.
                config.resumption = rustls::client::Resumption::disabled();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Self { address, tls, origin: origin.into() })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Stream> {
        let tcp =
            TcpStream::connect(self.address).await.context("the server takes no connection")?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from("localhost").expect("it is a name");
        let stream = tls.connect(name, tcp).await.context("the TLS handshake failed")?;
        Ok(Box::new(stream))
    }
}
