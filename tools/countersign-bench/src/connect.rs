//! Connections to the server, with or without TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::command::Tls;

/// Connections from one address of this machine: fewer than it has ports for them.
const PER_ADDRESS: u32 = 20_000;
/// The loopback addresses that are used in turn.
const ADDRESSES: u32 = 200;

/// A connection with or without TLS.
pub(super) type Stream = Box<dyn Connection>;

pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

/// The address of the server, and its trusted certificate. Clones share the same configuration.
#[derive(Clone)]
pub(super) struct Target {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    /// The number of connections that were made.
    made: Arc<AtomicU32>,
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
        Ok(Self { address, tls, made: Arc::default(), origin: origin.into() })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = source(self.made.fetch_add(1, Ordering::Relaxed)) {
            socket.bind((source, 0).into())?;
        }
        let tcp: TcpStream = socket
            .connect(self.address)
            .await
            .context("the server does not accept the connection")?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from("localhost").expect("localhost is a valid name");
        let stream = tls.connect(name, tcp).await.context("the TLS handshake failed")?;
        Ok(Box::new(stream))
    }
}

/// The address from which to make this connection, if the system's own choice may be out of ports.
fn source(number: u32) -> Option<Ipv4Addr> {
    let turn = number / PER_ADDRESS % ADDRESSES;
    (turn > 0).then(|| Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_one_address_has_ports_for_come_from_several() {
        let texts = |number| source(number).map(|address| address.to_string());
        assert_eq!(texts(0), None);
        assert_eq!(texts(19_999), None);
        assert_eq!(texts(20_000).as_deref(), Some("127.0.0.2"));
        assert_eq!(texts(99_999).as_deref(), Some("127.0.0.5"));
        assert_eq!(texts(3_999_999).as_deref(), Some("127.0.0.200"));
        assert_eq!(texts(4_000_000), None);
    }
}
