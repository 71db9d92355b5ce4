//! `[channel]`: connected devices.

use std::time::Duration;

use super::layers::Layers;

/// When a device's channel counts as alive.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// How often the server pings.
    pub ping: Duration,
    /// How long without a sign of life a channel stays open; at least twice `ping`.
    pub idle: Duration,
}

impl ChannelConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let idle = layers.take("channel.idle_seconds");
        let config =
            Self { ping: layers.take("channel.ping_seconds").seconds()?, idle: idle.seconds()? };
        anyhow::ensure!(
            config.idle >= config.ping * 2,
            "{idle} is at least twice `channel.ping_seconds`, so that one lost pong closes nothing"
        );
        Ok(config)
    }
}
