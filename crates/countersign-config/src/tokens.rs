//! `[tokens]`: access tokens of clients.

use std::time::Duration;

use super::layers::Layers;

/// How access tokens are issued.
#[derive(Clone, Debug)]
pub struct TokensConfig {
    /// The lifetime of a token.
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
