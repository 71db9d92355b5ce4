//! The server's TLS: its certificate, and the setup of rustls.
//!
//! TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. There are no client certificates: devices and applications
//! authenticate in each request.

mod own;
mod reload;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use countersign_store::private;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use self::own::Own;
pub use self::own::{own_ca, own_ca_digest};
pub use self::reload::Certificates;
use countersign_config::{ServerConfig, Tls};

/// TLS as configured, for a listener whose certificates are never replaced; `None` if a proxy ends
/// it.
#[cfg(test)]
pub(crate) fn prepare(
    config: &ServerConfig,
    data: &Path,
    now: SystemTime,
) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    Ok(Certificates::load(config, data, now)?.map(|certificates| certificates.server_config()))
}

/// Checks the files of a certificate from elsewhere, if the configuration names them.
///
/// # Errors
/// Names the file that is missing, unreadable or invalid.
pub fn check_files(config: &ServerConfig) -> anyhow::Result<()> {
    match &config.tls {
        Tls::Files { certificate, key } => load(certificate, key).map(drop),
        Tls::Own | Tls::InFront => Ok(()),
    }
}

/// Loads the certificates as configured; `None` if a proxy ends TLS. `data` is the data directory.
fn resolver(
    config: &ServerConfig,
    data: &Path,
    now: SystemTime,
) -> anyhow::Result<Option<Arc<dyn UsedCertificates>>> {
    Ok(match &config.tls {
        Tls::InFront => None,
        Tls::Files { certificate, key } => {
            Some(Arc::new(FileCertificates(Arc::new(load(certificate, key)?))))
        }
        Tls::Own => {
            let own = Own::in_directory(&data.join("tls"), &config.lifetimes);
            Some(Arc::new(own.open(&config.hostname, now)?))
        }
    })
}

fn server_config(certificates: Arc<dyn ResolvesServerCert>) -> Arc<rustls::ServerConfig> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider speaks both")
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls)
}

/// Certificates in use.
trait UsedCertificates: ResolvesServerCert {
    /// The chain that a client is given, unless it names a subdomain with one of its own.
    fn shared(&self) -> Arc<CertifiedKey>;
}

/// Certificates from elsewhere, as they were read.
#[derive(Debug)]
struct FileCertificates(Arc<CertifiedKey>);

impl ResolvesServerCert for FileCertificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shared())
    }
}

impl UsedCertificates for FileCertificates {
    fn shared(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}

/// Checks that no other user can read a private key's file.
fn check_private(key: &Path) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(key);
    let metadata = metadata
        .with_context(|| format!("cannot read a private key (PEM) from {}", key.display()))?;
    Ok(private::check(key, &metadata)?)
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Reads a certificate chain and its key, and checks that they match.
fn load(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).with_context(
            || format!("cannot read certificates (PEM) from {}", certificate.display()),
        )?;
    anyhow::ensure!(!chain.is_empty(), "{} holds no PEM certificate", certificate.display());
    check_private(key)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key (PEM) from {}", key.display()))?;
    CertifiedKey::from_der(chain, private, &provider()).with_context(|| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{certificate} and {key} cannot be used; the key must be the certificate's")
    })
}
