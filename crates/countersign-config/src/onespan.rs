//! `[onespan]`: the dialect with OneSpan's APIs.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use countersign_core::id::ClientId;
use countersign_core::spec::Digits;
use ipnet::IpNet;
use serde::Deserialize;

use super::delivery::Network;
use super::key::UncheckedValue;
use super::layers::Layers;

/// The largest value of [`OneSpanConfig::wait`].
const WAIT_MAX: Duration = Duration::from_mins(5);
/// The largest number of [`OneSpanConfig::components`].
const COMPONENTS_MAX: usize = 64;

/// The `[onespan]` section.
#[derive(Clone, Debug)]
pub struct OneSpanConfig {
    /// How long a suspended call waits for the user, and the lifetime of the transaction that it
    /// started.
    pub wait: Duration,
    /// The path before `/rest/v2` in the gateway's addresses; may be empty.
    pub context: String,
    /// The number of digits of a code.
    pub code_digits: Digits,
    /// Fetches that one API key may try for one serial number in a minute.
    pub fetches_per_minute: u32,
    /// Completions that one API key may try for one user in a minute.
    pub completions_per_minute: u32,
    /// Whether status codes hide from callers which users are locked.
    pub generic_status_codes: bool,
    /// Whether a cancel may name its request by the plain key.
    pub plain_cancel_keys: bool,
    /// The components that call without credentials.
    pub components: Vec<Component>,
}

/// A component that is known by its type and its network, and calls without credentials.
#[derive(Clone, Debug)]
pub struct Component {
    /// The component type that it names.
    pub component_type: String,
    /// The client for which it calls.
    pub client: ClientId,
    /// The networks from which it calls; at least one.
    networks: Vec<IpNet>,
}

/// A component as the configuration writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenComponent {
    #[serde(rename = "type")]
    component_type: String,
    client: String,
    networks: Vec<String>,
}

impl Component {
    /// Whether it may call from this address.
    #[must_use]
    pub fn calls_from(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl OneSpanConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let digits = layers.take("onespan.code_digits");
        let code_digits = u8::try_from(digits.count()?).ok().and_then(Digits::new);
        Ok(Self {
            wait: wait(&layers.take("onespan.wait_seconds"))?,
            context: context(&layers.take("onespan.context"))?,
            code_digits: code_digits.with_context(|| {
                format!("{digits} is a number from 6 to 10, not {}", digits.value)
            })?,
            fetches_per_minute: layers.take("onespan.fetches_per_minute").count()?,
            completions_per_minute: layers.take("onespan.completions_per_minute").count()?,
            generic_status_codes: layers.take("onespan.generic_status_codes").yes()?,
            plain_cancel_keys: layers.take("onespan.plain_cancel_keys").yes()?,
            components: components(&layers.take("onespan.component"))?,
        })
    }
}

/// Path segments, without a slash around them.
fn context(key: &UncheckedValue) -> anyhow::Result<String> {
    let text = key.text()?.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b);
    ensure!(
        text.bytes().all(plain) && !text.contains("//"),
        "{key} is a path of letters, digits and `-_.~`, not {}",
        key.value
    );
    Ok(text.to_owned())
}

fn components(key: &UncheckedValue) -> anyhow::Result<Vec<Component>> {
    let entries = key.value.as_array().with_context(|| format!("{key} is a list of tables"))?;
    ensure!(entries.len() <= COMPONENTS_MAX, "{key} are at most {COMPONENTS_MAX}");
    let each = entries.iter().enumerate();
    each.map(|(nth, entry)| {
        let at = || format!("{key}, entry {}", nth + 1);
        let written: WrittenComponent = entry.clone().try_into().with_context(at)?;
        let network = |text: &String| match text.parse::<Network>() {
            Ok(network) if network.0.prefix_len() > 0 => Ok(network.0),
            Ok(_) => Err(anyhow!("a network that is every address protects nothing")),
            Err(reason) => Err(anyhow!("{text}: {reason}")),
        };
        let networks: anyhow::Result<Vec<IpNet>> = written.networks.iter().map(network).collect();
        let networks = networks.with_context(at)?;
        ensure!(!networks.is_empty(), "{}: `networks` has at least one network", at());
        ensure!(!written.component_type.is_empty(), "{}: `type` is empty", at());
        let client = written.client.parse().with_context(at)?;
        Ok(Component { component_type: written.component_type, client, networks })
    })
    .collect()
}

fn wait(key: &UncheckedValue) -> anyhow::Result<Duration> {
    let seconds = key.value.as_integer().map(u64::try_from);
    match seconds.and_then(Result::ok).map(Duration::from_secs) {
        Some(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => {
            let most = WAIT_MAX.as_secs();
            anyhow::bail!("{key} is a whole number from 0 to {most}, not {}", key.value)
        }
    }
}
