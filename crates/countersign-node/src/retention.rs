//! Retention: removes what has been kept long enough, in small batches with pauses between them, so
//! that no commit waits for it.

use countersign_core::engine::Keep;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::task::Shutdown;
use crate::{Core, log};
use countersign_config::RetentionConfig;

/// The interval between two checks for something to remove.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// The pause between two batches. With [`countersign_core::limits::PURGE_MAX`] a batch, up to
/// 1,000 a second are removed, which is more than arrive.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes what has been kept long enough, until the shutdown begins.
pub async fn work(core: Arc<Core>, rules: RetentionConfig, tasks: Shutdown) {
    let draining = tasks.draining();
    let keep = Keep { ended_transactions: rules.ended_transactions, events: rules.events };
    loop {
        let wait = match core.purge(keep).await {
            Ok(true) => PAUSE,
            Ok(false) => LOOK_EVERY,
            Err(fault) => {
                log(&fault);
                LOOK_EVERY
            }
        };
        if draining.run_until_cancelled(sleep(wait)).await.is_none() {
            return;
        }
    }
}
