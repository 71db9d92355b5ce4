//! `[trustedx]`: the dialect with the API of Safelayer's `TrustedX`.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use countersign_core::id::TenantName;
use countersign_core::limits::CLOCK_MAX;
use countersign_proof::raw::Hash;
use serde::Deserialize;

use super::key::UncheckedValue;
use super::layers::Layers;

/// The largest number of device types.
const DEVICE_TYPES_MAX: usize = 64;

/// The `[trustedx]` section.
#[derive(Clone, Debug)]
pub struct TrustedXConfig {
    /// The scopes of its tokens.
    pub scopes: Scopes,
    /// The lifetime of a process.
    pub lifetime: Duration,
    /// The digest algorithm for HTML if neither the request nor the device type names one.
    pub digest_algorithm: Hash,
    /// The shortest RSA key that may sign, in bits.
    pub rsa_bits_min: u16,
    /// The tenants that allow SHA-1.
    pub sha1_tenants: Vec<TenantName>,
    /// The hosts from which this server may fetch digests, each for one tenant.
    pub fetch_hosts: Vec<FetchHost>,
    /// The device types; the first that fits a device is used.
    pub device_types: Vec<DeviceType>,
}

/// The names of its scopes, all different.
#[derive(Clone, Debug)]
pub struct Scopes {
    /// To request signatures, to read their results and to delete them.
    pub sign: String,
    /// To read signing identities.
    pub profile: String,
    /// To enable, disable, label and delete signing identities.
    pub manage: String,
    /// To register signing identities.
    pub register: String,
}

/// A host that the server may call on behalf of one tenant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchHost {
    /// The tenant.
    pub tenant: TenantName,
    /// A name or an address, in lower case.
    pub host: String,
    /// The port; 443 by default.
    pub port: u16,
}

/// The settings of one type of devices.
#[derive(Clone, Debug)]
pub struct DeviceType {
    /// The platform that the devices report; `None` for any.
    pub platform: Option<String>,
    /// The application that the devices report; `None` for any.
    pub application: Option<String>,
    /// The name of the type, as its applications read it.
    pub id: String,
    /// The name of the service that wakes the devices, as the applications read it.
    pub notifications_service_id: String,
    /// The scheme of URIs that open the application.
    pub wakeup_uri_scheme: String,
    /// The name of the verification policy, as the applications read it.
    pub verification_policy: String,
    /// The digest algorithm for HTML if a request names none.
    pub digest_algorithm: Option<Hash>,
    /// Further members that its applications may read.
    pub server_configuration: serde_json::Map<String, serde_json::Value>,
}

/// A device type as the configuration writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenType {
    platform: Option<String>,
    application: Option<String>,
    id: String,
    #[serde(default)]
    notifications_service_id: String,
    #[serde(default)]
    wakeup_uri_scheme: String,
    #[serde(default)]
    verification_policy: String,
    digest_algorithm: Option<String>,
    #[serde(default)]
    server_configuration: serde_json::Map<String, serde_json::Value>,
}

impl TrustedXConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self {
            scopes: Scopes::read(layers)?,
            lifetime: lifetime(&layers.take("trustedx.lifetime_seconds"))?,
            digest_algorithm: layers.take("trustedx.digest_algorithm").parse()?,
            rsa_bits_min: bits(&layers.take("trustedx.rsa_bits_min"))?,
            sha1_tenants: layers.take("trustedx.sha1_tenants").list()?,
            fetch_hosts: layers.take("trustedx.fetch_hosts").list()?,
            device_types: device_types(&layers.take("trustedx.device_types"))?,
        })
    }
}

fn lifetime(key: &UncheckedValue) -> anyhow::Result<Duration> {
    let lifetime = key.seconds()?;
    ensure!(lifetime <= CLOCK_MAX, "{key} is at most {}, not {}", CLOCK_MAX.as_secs(), key.value);
    Ok(lifetime)
}

/// At least 2,048 bits, because a shorter RSA key gives no evidence (NIST SP 800-131A).
fn bits(key: &UncheckedValue) -> anyhow::Result<u16> {
    match key.value.as_integer().map(u16::try_from) {
        Some(Ok(bits)) if (2_048..=8_192).contains(&bits) => Ok(bits),
        _ => bail!("{key} is a whole number from 2048 to 8192, not {}", key.value),
    }
}

fn device_types(key: &UncheckedValue) -> anyhow::Result<Vec<DeviceType>> {
    let entries = key.value.as_array().with_context(|| format!("{key} is a list of tables"))?;
    ensure!(entries.len() <= DEVICE_TYPES_MAX, "{key} are at most {DEVICE_TYPES_MAX}");
    let each = entries.iter().enumerate();
    each.map(|(nth, entry)| {
        let at = || format!("{key}, entry {}", nth + 1);
        let written: WrittenType = entry.clone().try_into().with_context(at)?;
        let hash = written.digest_algorithm.as_deref().map(Hash::from_str).transpose();
        Ok(DeviceType {
            platform: written.platform,
            application: written.application,
            id: written.id,
            notifications_service_id: written.notifications_service_id,
            wakeup_uri_scheme: written.wakeup_uri_scheme,
            verification_policy: written.verification_policy,
            digest_algorithm: hash.with_context(at)?,
            server_configuration: written.server_configuration,
        })
    })
    .collect()
}

impl FromStr for FetchHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "it is TENANT=HOST or TENANT=HOST:PORT";
        let (tenant, address) = text.split_once('=').ok_or(WRONG)?;
        let (host, port) = match address.rsplit_once(':') {
            // A colon within brackets belongs to an IPv6 address.
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| WRONG)?),
            _ => (address, 443),
        };
        if host.is_empty() || host.contains(['/', '@', '*', ' ']) || port == 0 {
            return Err(WRONG);
        }
        let tenant = tenant.parse().map_err(|_| "that is not a tenant's name")?;
        Ok(Self { tenant, host: host.to_ascii_lowercase(), port })
    }
}

impl Scopes {
    fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let mut name = |key| scope(&layers.take(key));
        let scopes = Self {
            sign: name("trustedx.scope_sign")?,
            profile: name("trustedx.scope_profile")?,
            manage: name("trustedx.scope_manage")?,
            register: name("trustedx.scope_register")?,
        };
        let all = scopes.all();
        let twice = (1..all.len()).find(|nth| all[..*nth].contains(&all[*nth]));
        ensure!(twice.is_none(), "`trustedx.scope_…` are four names, and two of them are the same");
        Ok(scopes)
    }

    /// All four scopes.
    pub fn all(&self) -> [&str; 4] {
        [&self.sign, &self.profile, &self.manage, &self.register]
    }
}

/// RFC 6749, section 3.3.
fn scope(key: &UncheckedValue) -> anyhow::Result<String> {
    let text = key.text()?;
    let fits = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    ensure!(
        fits && (1..=255).contains(&text.len()),
        "{key} is 1 to 255 visible characters without quotes and backslashes, not {}",
        key.value
    );
    Ok(text.to_owned())
}
