//! `[tokens]`: access tokens of relying parties.

use std::time::Duration;

use super::layers::Layers;

/// How access tokens are given out.
#[derive(Clone, Debug)]
pub(crate) struct TokensConfig {
    /// How long a token is good.
    pub(crate) lifetime: Duration,
    /// Wrong credentials accepted from one client address in a minute.
    pub(crate) failed_tries_per_minute: u32,
}

impl TokensConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self {
            lifetime: layers.take("tokens.lifetime_seconds").seconds()?,
            failed_tries_per_minute: layers.take("tokens.failed_tries_per_minute").count()?,
        })
    }
}
