//! What became of deliveries, written down.
//!
//! Its promise: what is noted while the ledger writes is written next, together, so that many settlements share
//! a sync. Nobody waits for them: a delivery that was paid and not written down yet is repeated after a crash,
//! with the same id, as one is that was cut off before its answer.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::delivery::Settlement;
use countersign_core::port::Ledger as _;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Fuse, FusedFuture as _, join_all};
use tokio::time::sleep;

use crate::serve::Core;
use crate::surface::caller::log;

/// After what was written, before more is.
const PAUSE: Duration = Duration::from_millis(50);
/// How often what became of a delivery is written down, if the ledger fails; then its lease ends.
const TRIES: u32 = 3;
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What is to be written, and what is being written.
pub(super) struct Book {
    core: Arc<Core>,
    noted: Vec<Settlement>,
    writing: Fuse<BoxFuture<'static, ()>>,
}

impl Book {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, noted: Vec::new(), writing: Fuse::terminated() }
    }

    /// Notes what is to be written.
    pub(super) fn note(&mut self, settlement: Option<Settlement>) {
        self.noted.extend(settlement);
    }

    pub(super) fn is_written(&self) -> bool {
        self.noted.is_empty() && self.writing.is_terminated()
    }

    /// Writes what is noted, once what is being written is; waits where there is nothing. Goes on where it was
    /// when it is called again.
    pub(super) async fn write(&mut self) {
        if self.writing.is_terminated() {
            if self.noted.is_empty() {
                return std::future::pending().await;
            }
            let core = Arc::clone(&self.core);
            let noted = std::mem::take(&mut self.noted);
            let written = async move {
                join_all(noted.into_iter().map(|settlement| settle(&core, settlement))).await;
                sleep(PAUSE).await;
            };
            self.writing = written.boxed().fuse();
        }
        (&mut self.writing).await;
    }
}

async fn settle(core: &Core, settlement: Settlement) {
    for tries in 1..=TRIES {
        match core.store.settle(settlement.clone()).await {
            Ok(()) => return,
            Err(fault) => log(&fault),
        }
        if tries < TRIES {
            sleep(TRY_AGAIN).await;
        }
    }
}
