//! `[tokens]`: access tokens of relying parties.

use std::time::Duration;

use super::layers::Layers;

/// How access tokens are given out.
#[derive(Clone, Debug)]
pub struct TokensConfig {
    /// How long a token is good.
    pub lifetime: Duration,
    /// Wrong credentials accepted from one client address in a minute.
    pub failed_tries_per_minute: u32,
}

impl TokensConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self {
            lifetime: layers.take("tokens.lifetime_seconds").seconds()?,
            failed_tries_per_minute: layers.take("tokens.failed_tries_per_minute").count()?,
        })
    }
}
