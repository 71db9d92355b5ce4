//! Retention: what has been kept long enough goes, in small batches with pauses between them, so
//! that no commit waits for it.

use countersign_core::engine::Keep;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::task::Shutdown;
use crate::{Core, log};
use countersign_config::RetentionConfig;

/// How often it is looked whether something may go.
const LOOK_EVERY: Duration = Duration::from_mins(10);
/// Between two batches: at [`countersign_core::limits::FORGET_MAX`] a batch, up to 1,000 a second
/// go, which is more than come.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes what has been kept long enough, until the end begins.
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
