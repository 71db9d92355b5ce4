//! `[channel]`: connected devices.

use std::time::Duration;

use super::layers::Layers;

/// When a device's channel is considered alive.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// The interval between two pings of the server.
    pub ping: Duration,
    /// How long a channel stays open without a frame from the device; at least twice `ping`.
    pub idle: Duration,
}

impl ChannelConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let idle = layers.take("channel.idle_seconds");
        let ping = layers.take("channel.ping_seconds");
        let config = Self { ping: ping.seconds()?, idle: idle.seconds()? };
        anyhow::ensure!(
            config.idle >= config.ping * 2,
            "{} is at least twice `channel.ping_seconds`, so that one lost pong closes nothing",
            idle.beside(&ping)
        );
        Ok(config)
    }
}
