//! `[retention]`: how long what has ended is kept.

use std::time::Duration;

use super::layers::Layers;

/// How long things are kept.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Ended transactions; none is for ever.
    pub ended_transactions: Option<Duration>,
    /// Events; none is for ever.
    pub events: Option<Duration>,
}

impl RetentionConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let ended_transactions = layers.take("retention.ended_transactions_days").days()?;
        Ok(Self { ended_transactions, events: layers.take("retention.events_days").days()? })
    }
}
