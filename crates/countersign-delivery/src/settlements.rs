//! Records the results of deliveries.
//!
//! The guarantee: results that arrive while the ledger writes are written next, together, so that
//! many settlements share a sync. No call waits for them: after a crash, a delivery whose result
//! was not yet written is repeated with the same id, like one that was interrupted before its
//! answer. The number of pending results is limited: while the ledger is slower than the receivers,
//! nothing more is claimed.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::delivery::Settlement;
use countersign_core::limits::COMMITS_PER_SYNC_MAX;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _, join_all};
use tokio::time::sleep;

use countersign_node::{Core, log};

/// The largest number that is written together: as many as share one sync, so that no other commit
/// waits longer.
const TOGETHER_MAX: usize = COMMITS_PER_SYNC_MAX;
/// The number of pending results from which nothing more is claimed.
const NOTED_MAX: usize = 4 * TOGETHER_MAX;
/// The pause before the next write, after a write of fewer than [`TOGETHER_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
/// How often writing a result is tried if the ledger fails; after that, the lease expires.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Results that are pending, and results that are being written.
pub(super) struct SettlementBatcher {
    core: Arc<Core>,
    noted: Vec<Settlement>,
    writing: Fuse<BoxFuture<'static, ()>>,
}

impl SettlementBatcher {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, noted: Vec::new(), writing: Fuse::terminated() }
    }

    /// Adds a result to be written.
    pub(super) fn note(&mut self, settlement: Option<Settlement>) {
        self.noted.extend(settlement);
    }

    /// Whether more may be claimed; results of deliveries in progress always have room.
    pub(super) fn has_room(&self) -> bool {
        self.noted.len() < NOTED_MAX
    }

    pub(super) fn is_written(&self) -> bool {
        self.noted.is_empty() && self.writing.is_terminated()
    }

    /// Writes the pending results, after those that are being written; waits if there are none.
    /// Cancel safe: a second call continues where the first one was.
    pub(super) async fn write(&mut self) {
        if self.writing.is_terminated() {
            if self.noted.is_empty() {
                return std::future::pending().await;
            }
            let core = Arc::clone(&self.core);
            let count = self.noted.len().min(TOGETHER_MAX);
            let noted: Vec<_> = self.noted.drain(..count).collect();
            let written = async move {
                join_all(noted.into_iter().map(|settlement| settle(&core, settlement))).await;
                if count < TOGETHER_MAX {
                    sleep(PAUSE).await;
                }
            };
            self.writing = written.boxed().fuse();
        }
        (&mut self.writing).await;
    }
}

async fn settle(core: &Core, settlement: Settlement) {
    for tries in 1..=TRIES {
        match core.settle(settlement.clone()).await {
            Ok(()) => return,
            Err(fault) => log(&fault),
        }
        if tries < TRIES {
            sleep(TRY_AGAIN).await;
        }
    }
}
