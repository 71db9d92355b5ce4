//! `[transactions]`: how many may be open.

use super::layers::Layers;

/// Bounds on what relying parties may start.
#[derive(Clone, Debug)]
pub(crate) struct TransactionsConfig {
    /// Open transactions of one user.
    pub(crate) open_per_user_max: u32,
}

impl TransactionsConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self { open_per_user_max: layers.take("transactions.open_per_user_max").count()? })
    }
}
