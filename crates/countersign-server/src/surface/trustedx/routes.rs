//! The addresses of `TrustedX`'s calls, and what their handlers share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, any, get, post, put};
use countersign_core::id::TenantName;
use countersign_proof::raw::Hash;

use super::fetch_rules::FetchRules;
use super::problem::{NOT_FOUND, OTHER_METHOD};
use super::{device, identity, links, oauth, process};
use crate::channel::Devices;
use crate::config::{DeviceType, Scopes};
use crate::delivery::guard::Guard;
use crate::surface::caller::Gate;
use crate::task::Shutdown;

/// What all addresses of processes and identities begin with.
const PREFIX: &str = "/trustedx-resources/esigp/v1";
/// What those of the authorization server begin with.
const AUTHORIZATION: &str = "/trustedx-authserver/oauth";

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct TrustedX {
    /// Who is asking, and the engine.
    pub(crate) gate: Gate,
    /// Which device is calling.
    pub(crate) devices: Devices,
    /// Whether the process is about to end.
    pub(crate) tasks: Shutdown,
    /// What an operator decides about this surface.
    pub(crate) rules: Arc<Rules>,
}

/// What an operator decides about this surface.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Where applications and devices reach these calls.
    pub(super) address: String,
    /// What its tokens are good for.
    pub(crate) scopes: Scopes,
    /// How long a process lives.
    pub(crate) lifetime: Duration,
    /// What HTML is hashed with, where nothing else says it.
    pub(crate) digest_algorithm: Hash,
    /// The shortest RSA key that may sign, in bits.
    pub(crate) rsa_bits_min: u16,
    /// The tenants that allow SHA-1.
    pub(crate) sha1_tenants: Vec<TenantName>,
    /// Which addresses a process may have devices fetch from.
    pub(super) fetches: FetchRules,
    /// What is told of devices; the first that fits.
    pub(crate) device_types: Vec<DeviceType>,
}

impl Rules {
    /// As configured, on the server at this public address.
    pub(crate) fn new(config: &crate::config::TrustedXConfig, guard: Guard, server: &str) -> Self {
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

/// `TrustedX`'s calls. They are not nested: a device's proof names the whole path.
pub(crate) fn router(trustedx: TrustedX) -> Router {
    let resources = [
        ("/signatures/device/raw", post(process::create_raw)),
        ("/signatures/device/commitment/transaction", post(process::create_transaction)),
        ("/signatures/device/commitment/document", post(process::create_document)),
        ("/signatures/device/authentication", post(process::create_authentication)),
        ("/signatures/{id}", get(process::show).delete(process::delete)),
        ("/signatures/{id}/result", get(process::result)),
        ("/signatures/{id}/finish", put(links::finish)),
        ("/signatures/{id}/fail", put(links::fail)),
        ("/signatures/{id}/cancel", put(links::cancel)),
        ("/sign_identities", get(identity::list)),
        ("/sign_identities/{id}", get(identity::show).delete(identity::delete)),
        ("/sign_identities/{id}/status", put(identity::set_status)),
        ("/sign_identities/{id}/labels", put(identity::set_labels)),
        ("/device_configuration/{device_type}", get(device::configuration)),
        ("/device_configuration/", get(device::configuration)),
    ];
    let authorization = [
        ("/{tenant}/token", post(oauth::token)),
        ("/{tenant}/introspect", post(oauth::introspect)),
        ("/{tenant}/keys", get(oauth::keys)),
        ("/keys", get(oauth::own_keys)),
    ];
    let at = |prefix: &str, path: &str| format!("{prefix}{path}");
    let resources = resources.map(|(path, methods)| (at(PREFIX, path), methods));
    let authorization = authorization.map(|(path, methods)| (at(AUTHORIZATION, path), methods));
    resources
        .into_iter()
        .chain(authorization)
        .fold(Router::new(), |router, (path, methods)| router.route(&path, known(methods)))
        .route("/trustedx-resources/{*rest}", any(async || NOT_FOUND))
        .route("/trustedx-authserver/{*rest}", any(async || NOT_FOUND))
        .with_state(trustedx)
}

/// An address takes these methods, and says so of others.
fn known(methods: MethodRouter<TrustedX>) -> MethodRouter<TrustedX> {
    methods.fallback(async || OTHER_METHOD)
}
