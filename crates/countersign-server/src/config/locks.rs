//! `[locks]`: what wrong PINs and codes cost.

use std::time::Duration;

use super::layers::Layers;

/// How guessing is slowed down, and then stopped.
#[derive(Clone, Debug)]
pub(crate) struct LocksConfig {
    /// Wrong answers in a row, after which a lock begins.
    pub(crate) wrong_max: u32,
    /// How long the first lock lasts; each further one lasts twice as long.
    pub(crate) first: Duration,
    /// Locks in a row, after which only an operator unlocks.
    pub(crate) lock_max: u32,
}

impl LocksConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let lock_max = layers.take("locks.lock_max");
        let config = Self {
            wrong_max: layers.take("locks.wrong_max").count()?,
            first: layers.take("locks.first_seconds").seconds()?,
            lock_max: lock_max.count()?,
        };
        // Doubling that often overflows no clock: 2^16 times the longest first lock is some millennia.
        anyhow::ensure!(config.lock_max <= 16, "{lock_max} is at most 16");
        Ok(config)
    }
}
