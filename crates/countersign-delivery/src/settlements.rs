//! What became of deliveries, written down.
//!
//! Its promise: what is noted while the ledger writes is written next, together, so that many
//! settlements share a sync. Nobody waits for them: a delivery that was paid and not written down
//! yet is repeated after a crash, with the same id, as one is that was cut off before its answer.
//! What is noted is bounded: while the ledger is slower than receivers are, nothing more is
//! claimed.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::delivery::Settlement;
use countersign_core::limits::COMMITS_PER_SYNC_MAX;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _, join_all};
use tokio::time::sleep;

use countersign_node::{Core, log};

/// That are written together: no more than share a sync, so that nobody's commit waits behind more
/// than that.
const TOGETHER_MAX: usize = COMMITS_PER_SYNC_MAX;
/// From so many on that are noted, nothing more is claimed.
const NOTED_MAX: usize = 4 * TOGETHER_MAX;
/// After fewer than that were written, before more are.
const PAUSE: Duration = Duration::from_millis(50);
/// How often what became of a delivery is written down, if the ledger fails; then its lease ends.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What is to be written, and what is being written.
pub(super) struct SettlementBatcher {
    core: Arc<Core>,
    noted: Vec<Settlement>,
    writing: Fuse<BoxFuture<'static, ()>>,
}

impl SettlementBatcher {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, noted: Vec::new(), writing: Fuse::terminated() }
    }

    /// Notes what is to be written.
    pub(super) fn note(&mut self, settlement: Option<Settlement>) {
        self.noted.extend(settlement);
    }

    /// Whether more may be claimed: what is on its way has room in any case.
    pub(super) fn has_room(&self) -> bool {
        self.noted.len() < NOTED_MAX
    }

    pub(super) fn is_written(&self) -> bool {
        self.noted.is_empty() && self.writing.is_terminated()
    }

    /// Writes what is noted, once what is being written is; waits where there is nothing. Goes on
    /// where it was when it is called again.
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
