//! `[transactions]`: limits on open, started, stored and awaited transactions.

use std::num::NonZeroU32;

use countersign_core::engine::StartRates;
use countersign_core::limits::OPEN_PER_USER_MAX;
use countersign_core::port::StoredMax;

use super::key::UncheckedValue;
use super::layers::Layers;

const MEGABYTE: u64 = 1_000_000;

/// Limits on what clients may start.
#[derive(Clone, Debug)]
pub struct TransactionsConfig {
    /// Open transactions of one user.
    pub open_per_user_max: u16,
    /// Starts in a second.
    pub start_rates: StartRates,
    /// Bytes that stored transactions may occupy.
    pub stored_max: StoredMax,
    /// Callers of one client that may wait for an end at once.
    pub waiting_per_client_max: usize,
}

impl TransactionsConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let open = layers.take("transactions.open_per_user_max");
        let open_per_user_max = u16::try_from(open.count()?).unwrap_or(u16::MAX);
        anyhow::ensure!(
            open_per_user_max <= OPEN_PER_USER_MAX,
            "{open} is at most {OPEN_PER_USER_MAX}"
        );
        let client = layers.take("transactions.starts_per_client_per_second").number()?;
        let tenant = layers.take("transactions.starts_per_tenant_per_second").number()?;
        let start_rates =
            StartRates { client: NonZeroU32::new(client), tenant: NonZeroU32::new(tenant) };
        let stored_max = StoredMax {
            client: megabytes(&layers.take("transactions.stored_megabytes_per_client_max"))?,
            tenant: megabytes(&layers.take("transactions.stored_megabytes_per_tenant_max"))?,
        };
        let waiting = layers.take("transactions.waiting_per_client_max").count()?;
        let waiting_per_client_max = usize::try_from(waiting).unwrap_or(usize::MAX);
        Ok(Self { open_per_user_max, start_rates, stored_max, waiting_per_client_max })
    }
}

/// A number of megabytes, in bytes; zero means no limit.
fn megabytes(key: &UncheckedValue) -> anyhow::Result<u64> {
    Ok(match key.number()? {
        0 => u64::MAX,
        megabytes => u64::from(megabytes) * MEGABYTE,
    })
}
