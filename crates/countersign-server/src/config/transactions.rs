//! `[transactions]`: how many may be open.

use countersign_core::limits::OPEN_PER_USER_MAX;

use super::layers::Layers;

/// Bounds on what relying parties may start.
#[derive(Clone, Debug)]
pub(crate) struct TransactionsConfig {
    /// Open transactions of one user.
    pub(crate) open_per_user_max: u16,
}

impl TransactionsConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let open = layers.take("transactions.open_per_user_max");
        let open_per_user_max = u16::try_from(open.count()?).unwrap_or(u16::MAX);
        anyhow::ensure!(
            open_per_user_max <= OPEN_PER_USER_MAX,
            "{open} is at most {OPEN_PER_USER_MAX}"
        );
        Ok(Self { open_per_user_max })
    }
}
