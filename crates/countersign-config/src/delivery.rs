//! `[delivery]`: where callbacks may go, and how long they are retried.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use countersign_core::delivery::RetryPolicy;
use countersign_core::limits::{DELIVERY_AGE_MAX, DELIVERY_BACKOFF_MAX, DELIVERY_TIMEOUT_MAX};
use ipnet::IpNet;

use super::layers::Layers;

/// The largest number of deliveries in progress; each one is an HTTP request.
const CONCURRENCY_MAX: u16 = 4_096;

/// The `[delivery]` section.
#[derive(Clone, Debug)]
pub struct DeliveryConfig {
    /// Networks that may be called, in addition to the public internet.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of roots that are trusted in addition to the platform's.
    pub extra_ca_file: Option<PathBuf>,
    /// Deliveries in progress at once.
    pub concurrency: u16,
    /// The part of `concurrency` that one tenant may use for one host.
    pub per_host_concurrency: u16,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// When a failed delivery is tried again, and for how long.
    pub retry: RetryPolicy,
}

/// A network, or a single address.
pub(super) struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(|_| address());
        let network = network.map_err(|_| "it is not a network, such as \"10.0.0.0/8\"")?;
        if network.network() != network.addr() {
            return Err("it has bits behind its prefix; 10.1.2.3/8 is 10.0.0.0/8 or 10.1.2.3/32");
        }
        Ok(Self(network))
    }
}

impl DeliveryConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let networks: Vec<Network> = layers.take("delivery.allowed_networks").list()?;
        let concurrency = layers.take("delivery.concurrency");
        let per_host = layers.take("delivery.per_host_concurrency");
        let timeout = layers.take("delivery.timeout_seconds");
        let give_up_after = layers.take("delivery.give_up_after_seconds");
        let first = layers.take("delivery.backoff_first_seconds");
        let config = Self {
            allowed_networks: networks.into_iter().map(|network| network.0).collect(),
            extra_ca_file: layers.take("delivery.extra_ca_file").path()?,
            concurrency: u16::try_from(concurrency.count()?).unwrap_or(u16::MAX),
            per_host_concurrency: u16::try_from(per_host.count()?).unwrap_or(u16::MAX),
            timeout: timeout.seconds()?,
            retry: RetryPolicy {
                first: first.seconds()?,
                longest: DELIVERY_BACKOFF_MAX,
                give_up_after: give_up_after.seconds()?,
            },
        };
        let within = |key: &super::key::UncheckedValue, value: Duration, max: Duration| {
            anyhow::ensure!(value <= max, "{key} is at most {}", max.as_secs());
            Ok(())
        };
        within(&timeout, config.timeout, DELIVERY_TIMEOUT_MAX)?;
        within(&give_up_after, config.retry.give_up_after, DELIVERY_AGE_MAX)?;
        within(&first, config.retry.first, DELIVERY_BACKOFF_MAX)?;
        let max = CONCURRENCY_MAX;
        anyhow::ensure!(config.concurrency <= max, "{concurrency} is at most {max}");
        anyhow::ensure!(
            config.per_host_concurrency <= config.concurrency,
            "{} is at most `delivery.concurrency`",
            per_host.beside(&concurrency)
        );
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_one_or_as_its_only_address() {
        let read = |text: &str| text.parse::<Network>().map(|network| network.0.to_string());
        assert_eq!(read("10.0.0.0/8").as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(read("fd00::/8").as_deref(), Ok("fd00::/8"));
        assert_eq!(read("10.1.2.3").as_deref(), Ok("10.1.2.3/32"));
        assert_eq!(read("::1").as_deref(), Ok("::1/128"));
        for wrong in ["", "10.0.0.0/33", "10.1.2.3/8", "shop.example", "10.0.0"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
