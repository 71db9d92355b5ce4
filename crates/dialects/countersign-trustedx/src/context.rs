//! The state that the handlers of `TrustedX`'s calls share.

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

/// The beginning of the addresses of processes and identities.
pub(super) const PREFIX: &str = "/trustedx-resources/esigp/v1";

/// The state that the handlers share.
#[derive(Clone)]
pub struct TrustedX {
    /// Authenticates applications, and holds the engine.
    pub authenticator: Authenticator,
    /// Authenticates devices.
    pub devices: Devices,
    /// Says whether the process is draining.
    pub tasks: Shutdown,
    /// The operator's settings for this dialect.
    pub rules: Arc<TrustedXSettings>,
}

/// The operator's settings for this dialect.
#[derive(Debug)]
pub struct TrustedXSettings {
    /// The address at which applications and devices reach these calls.
    pub(super) address: String,
    /// The scopes of its tokens.
    pub scopes: Scopes,
    /// The lifetime of a process.
    pub lifetime: Duration,
    /// The default digest algorithm for HTML.
    pub digest_algorithm: Hash,
    /// The shortest RSA key that may sign, in bits.
    pub rsa_bits_min: u16,
    /// The tenants that allow SHA-1.
    pub sha1_tenants: Vec<TenantName>,
    /// The rules for addresses from which devices may fetch.
    pub(super) fetches: FetchRules,
    /// The device types; the first that fits a device is used.
    pub device_types: Vec<DeviceType>,
}

impl TrustedXSettings {
    /// The settings from the configuration, for the server at this public address.
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

    /// Whether a tenant's signatures may use SHA-1.
    pub(super) fn allows_sha1(&self, tenant: &TenantName) -> bool {
        self.sha1_tenants.contains(tenant)
    }
}
