//! What the handlers of `TrustedX`'s calls share.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::id::TenantName;
use countersign_proof::raw::Hash;

use super::fetch_rules::FetchRules;
use countersign_channel::Devices;
use countersign_config::{DeviceType, Scopes, TrustedXConfig};
use countersign_http::caller::Authenticator;
use countersign_node::task::Shutdown;
use countersign_wire::guard::Guard;

/// What all addresses of processes and identities begin with.
pub(super) const PREFIX: &str = "/trustedx-resources/esigp/v1";

/// What the handlers share.
#[derive(Clone)]
pub struct TrustedX {
    /// Who is asking, and the engine.
    pub authenticator: Authenticator,
    /// Which device is calling.
    pub devices: Devices,
    /// Whether the process is about to end.
    pub tasks: Shutdown,
    /// What an operator decides about this dialect.
    pub rules: Arc<TrustedXSettings>,
}

/// What an operator decides about this dialect.
#[derive(Debug)]
pub struct TrustedXSettings {
    /// Where applications and devices reach these calls.
    pub(super) address: String,
    /// What its tokens are good for.
    pub scopes: Scopes,
    /// How long a process lives.
    pub lifetime: Duration,
    /// What HTML is hashed with, where nothing else says it.
    pub digest_algorithm: Hash,
    /// The shortest RSA key that may sign, in bits.
    pub rsa_bits_min: u16,
    /// The tenants that allow SHA-1.
    pub sha1_tenants: Vec<TenantName>,
    /// Which addresses a process may have devices fetch from.
    pub(super) fetches: FetchRules,
    /// What is told of devices; the first that fits.
    pub device_types: Vec<DeviceType>,
}

impl TrustedXSettings {
    /// As configured, on the server at this public address.
    pub fn new(config: &TrustedXConfig, guard: Guard, server: &str) -> Self {
        let config = config.clone();
        Self {
            address: format!("{server}{PREFIX}"),
            scopes: config.scopes,
            lifetime: config.lifetime,
            digest_algorithm: config.digest_algorithm,
            rsa_bits_min: config.rsa_bits_min,
            sha1_tenants: config.sha1_tenants,
            fetches: FetchRules::new(guard, config.fetch_hosts),
            device_types: config.device_types,
        }
    }

    /// Whether a tenant's signatures may be made with SHA-1.
    pub(super) fn allows_sha1(&self, tenant: &TenantName) -> bool {
        self.sha1_tenants.contains(tenant)
    }
}
