//! The certificates in use, which can be replaced while connections are open.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use countersign_config::ServerConfig;

/// The server's certificates. A handshake uses those of its moment. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<RwLock<Arc<dyn ResolvesServerCert>>>);

impl Certificates {
    /// Loads the certificates as configured; `None` if a proxy ends TLS. `data` is the data
    /// directory.
    ///
    /// # Errors
    /// Names the file that is missing, unreadable or invalid, and a remedy.
    pub fn load(
        config: &ServerConfig,
        data: &Path,
        now: SystemTime,
    ) -> anyhow::Result<Option<Self>> {
        let loaded = super::resolver(config, data, now)?;
        Ok(loaded.map(|loaded| Self(Arc::new(RwLock::new(loaded)))))
    }

    /// Loads them again. If that fails, those in use stay.
    ///
    /// # Errors
    /// As [`Certificates::load`]; and if the configuration has no TLS any more.
    pub fn reload(
        &self,
        config: &ServerConfig,
        data: &Path,
        now: SystemTime,
    ) -> anyhow::Result<()> {
        let loaded = super::resolver(config, data, now)?;
        *self.0.write() = loaded.context("`server.tls` cannot change while the server runs")?;
        Ok(())
    }

    /// The setup of rustls with these certificates.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        super::server_config(Arc::new(self.clone()))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().clone();
        current.resolve(hello)
    }
}
