//! `[locks]`: limits on wrong PINs and codes.

use std::time::Duration;

use super::layers::Layers;

/// How guessing is slowed down.
#[derive(Clone, Debug)]
pub struct LocksConfig {
    /// Wrong answers in a row after which a lock begins.
    pub wrong_max: u16,
    /// The duration of the first lock; each further lock lasts twice as long.
    pub first: Duration,
    /// The longest duration of a lock.
    pub max: Duration,
}

impl LocksConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let (wrong_max, max) = (layers.take("locks.wrong_max"), layers.take("locks.max_seconds"));
        let config = Self {
            wrong_max: u16::try_from(wrong_max.count()?).unwrap_or(u16::MAX),
            first: layers.take("locks.first_seconds").seconds()?,
            max: max.seconds()?,
        };
        anyhow::ensure!(config.wrong_max <= 100, "{wrong_max} is at most 100");
        anyhow::ensure!(config.max >= config.first, "{max} is at least `locks.first_seconds`");
        Ok(config)
    }
}
