//! `[retention]`: how long ended transactions and events are kept.

use std::time::Duration;

use super::layers::Layers;

/// The `[retention]` section.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// How long ended transactions are kept; `None` means without limit.
    pub ended_transactions: Option<Duration>,
    /// How long events are kept; `None` means without limit.
    pub events: Option<Duration>,
}

impl RetentionConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let ended_transactions = layers.take("retention.ended_transactions_days").days()?;
        Ok(Self { ended_transactions, events: layers.take("retention.events_days").days()? })
    }
}
