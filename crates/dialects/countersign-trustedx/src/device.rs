//! Device types: their descriptions for applications, and the algorithms that their devices use.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::{Path, Request, State};
use countersign_core::device::{About, Device};
use countersign_core::id::{DeviceId, TenantName};
use countersign_proof::raw::{Algorithm, Hash};
use serde::Serialize;

use super::context::{TrustedX, TrustedXSettings};
use super::problem::ProcessError;
use countersign_config::DeviceType;

/// `result.device_type`: all of the vendor's members, empty if they are not configured.
#[derive(Debug, Serialize)]
pub(super) struct ShownType<'a> {
    id: &'a str,
    notifications_service_id: &'a str,
    wakeup_uri_scheme: &'a str,
    verification_policy: &'a str,
    application: ApplicationView<'a>,
    server_configuration: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct ApplicationView<'a> {
    id: &'a str,
    version: &'a str,
}

/// The algorithms that devices of one type may use.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    signature_policy: SignaturePolicy,
}

#[derive(Debug, Serialize)]
struct SignaturePolicy {
    id: String,
    signature_algorithms: Vec<&'static str>,
    digest_algorithms: Vec<&'static str>,
    /// The digest algorithm for a transaction's HTML, if its request names none.
    default_digest_algorithm: &'static str,
    rsa_key_bits_min: u16,
    elliptic_curves: [&'static str; 3],
}

/// The type of a device that fits no configured type.
static UNKNOWN: LazyLock<DeviceType> = LazyLock::new(|| DeviceType {
    platform: None,
    application: None,
    id: String::new(),
    notifications_service_id: String::new(),
    wakeup_uri_scheme: String::new(),
    verification_policy: String::new(),
    digest_algorithm: None,
    server_configuration: serde_json::Map::new(),
});

/// `GET …/device_configuration/{device_type}`, the address of the template
/// `device_configuration_url`: for an application with any scope, or a device.
pub(super) async fn configuration(
    State(trustedx): State<TrustedX>,
    type_id: Option<Path<String>>,
    request: Request,
) -> Result<Json<Configuration>, ProcessError> {
    let tenant = trustedx.either(request).await?.tenant().clone();
    let type_id = type_id.map_or_else(String::new, |Path(type_id)| type_id);
    Ok(Json(trustedx.rules.configuration(&tenant, &type_id)))
}

impl TrustedXSettings {
    /// The first type that fits a device's description.
    pub(super) fn device_type(&self, about: &About) -> &DeviceType {
        let is = |wanted: &Option<String>, said: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(said))
        };
        let fits = |one: &&DeviceType| {
            is(&one.platform, &about.platform) && is(&one.application, &about.app)
        };
        self.device_types.iter().find(fits).unwrap_or(&UNKNOWN)
    }

    /// The type in the vendor's format.
    pub(super) fn shown_type<'a>(&'a self, about: &'a About) -> ShownType<'a> {
        let found = self.device_type(about);
        ShownType {
            id: &found.id,
            notifications_service_id: &found.notifications_service_id,
            wakeup_uri_scheme: &found.wakeup_uri_scheme,
            verification_policy: &found.verification_policy,
            application: ApplicationView { id: &about.app, version: &about.app_version },
            server_configuration: &found.server_configuration,
        }
    }

    /// The digest algorithms for HTML, for the devices whose type has one of its own.
    pub(super) fn hashes<'a>(
        &self,
        devices: impl Iterator<Item = &'a Device>,
    ) -> Vec<(DeviceId, Hash)> {
        let own =
            |device: &Device| Some((device.id, self.device_type(&device.about).digest_algorithm?));
        devices.filter_map(own).collect()
    }

    /// The algorithms for a tenant's devices of that type; for an unknown type, those that any
    /// device may use.
    fn configuration(&self, tenant: &TenantName, type_id: &str) -> Configuration {
        let known = self.device_types.iter().find(|one| one.id == type_id);
        let sha1 = self.allows_sha1(tenant);
        let allowed = |hash: Hash| sha1 || hash != Hash::Sha1;
        let algorithms = Algorithm::ALL.into_iter().filter(|one| allowed(one.hash()));
        let default = known.and_then(|known| known.digest_algorithm);
        Configuration {
            signature_policy: SignaturePolicy {
                id: known.map_or_else(String::new, |known| known.verification_policy.clone()),
                signature_algorithms: algorithms.map(Algorithm::as_str).collect(),
                digest_algorithms: Hash::ALL
                    .into_iter()
                    .filter(|hash| allowed(*hash))
                    .map(Hash::as_str)
                    .collect(),
                default_digest_algorithm: default.unwrap_or(self.digest_algorithm).as_str(),
                rsa_key_bits_min: self.rsa_bits_min,
                elliptic_curves: ["P-256", "P-384", "P-521"],
            },
        }
    }
}
