//! `[locks]`: limits on wrong PINs and codes.

use std::time::Duration;

use anyhow::Context as _;
use countersign_core::device::PinReset;

use super::key::UncheckedValue;
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
    /// Whether operators may reset PINs.
    pub pin_reset: PinReset,
}

impl LocksConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let (wrong_max, max) = (layers.take("locks.wrong_max"), layers.take("locks.max_seconds"));
        let first = layers.take("locks.first_seconds");
        let config = Self {
            wrong_max: u16::try_from(wrong_max.count()?).unwrap_or(u16::MAX),
            first: first.seconds()?,
            max: max.seconds()?,
            pin_reset: pin_reset(&layers.take("locks.pin_reset"))?,
        };
        anyhow::ensure!(config.wrong_max <= 100, "{wrong_max} is at most 100");
        anyhow::ensure!(
            config.max >= config.first,
            "{} is at least `locks.first_seconds`",
            max.beside(&first)
        );
        Ok(config)
    }
}

fn pin_reset(value: &UncheckedValue) -> anyhow::Result<PinReset> {
    let text = value.text()?;
    let found = PinReset::ALL.into_iter().find(|rule| rule.as_str() == text);
    found.with_context(|| format!("{value} is \"allowed\" or \"forbidden\", not \"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Overrides};

    #[test]
    fn pins_are_reset_only_if_the_configuration_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("countersign.toml");
        let load = |value: &str| {
            std::fs::write(&file, format!("[locks]\n{value}")).unwrap();
            Config::load(Some(&file), Overrides::default()).map(|config| config.locks.pin_reset)
        };
        assert_eq!(load("").unwrap(), PinReset::Forbidden);
        assert_eq!(load("pin_reset = \"allowed\"").unwrap(), PinReset::Allowed);
        assert_eq!(load("pin_reset = \"forbidden\"").unwrap(), PinReset::Forbidden);
        let wrong = load("pin_reset = \"yes\"").unwrap_err().to_string();
        assert!(wrong.contains("`locks.pin_reset` is \"allowed\" or"), "{wrong}");
    }
}
