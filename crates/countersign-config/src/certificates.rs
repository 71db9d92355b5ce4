//! `[certificates]`: the lifetimes of certificates, and when their ends are warned of.

use std::time::Duration;

use anyhow::ensure;

use super::layers::Layers;

/// The longest lifetime of a certificate, in days: about a hundred years.
const DAYS_MAX: u32 = 36_500;
const DAY: Duration = Duration::from_hours(24);

/// The `[certificates]` section.
#[derive(Clone, Debug)]
pub struct CertificatesConfig {
    /// The lifetime of the certificates of devices' identities.
    pub identity: Duration,
    /// The lifetime of the certificates of tenants' authorities, and of the authority that
    /// certifies the server itself.
    pub authority: Duration,
    /// The lifetime of the server's certificate, if it comes from the server's own authority.
    pub server: Duration,
    /// The time before an end from which on it is warned of.
    pub warn: Duration,
}

impl CertificatesConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let mut days = |name: &str| {
            let value = layers.take(name);
            let days = value.count()?;
            ensure!(days <= DAYS_MAX, "{value} is at most {DAYS_MAX}, not {days}");
            Ok(DAY * days)
        };
        let read = Self {
            identity: days("certificates.identity_days")?,
            authority: days("certificates.authority_days")?,
            server: days("certificates.server_days")?,
            warn: days("certificates.warn_days")?,
        };
        ensure!(
            read.identity <= read.authority && read.server <= read.authority,
            "`certificates.authority_days` is at least `certificates.identity_days` and \
             `certificates.server_days`, because a certificate ends with its authority's"
        );
        Ok(read)
    }
}
