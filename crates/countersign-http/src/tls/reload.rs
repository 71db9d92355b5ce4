//! The certificates in use, which can be replaced while connections are open.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use countersign_core::time::Timestamp;
use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{UsedCertificates, own};
use countersign_config::ServerConfig;

/// The server's certificates. A handshake uses those of its moment. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<RwLock<Arc<dyn UsedCertificates>>>);

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

    #[cfg(test)]
    pub(super) fn of(own: own::OwnCertificates) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(own))))
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

    /// The end of the certificate in use, which may differ from the file's: a file that changed is
    /// not read until a reload, and one that cannot be used is not used.
    ///
    /// # Errors
    /// If the certificate cannot be parsed.
    pub fn end(&self) -> anyhow::Result<Timestamp> {
        let shared = self.0.read().shared();
        let end = own::end_of(&shared.cert[0])?;
        let since_epoch = end.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Timestamp::of_seconds(since_epoch.as_secs()))
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
