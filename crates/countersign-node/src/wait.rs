//! Callers that wait for a transaction's end: each one is a small task, which the notifier wakes.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::port::Handle;
use countersign_core::refusal::Quota;
use countersign_core::transaction::Transaction;
use countersign_core::{Error, Refusal};
use tokio::time::sleep;

use crate::Core;
use crate::notifier::{EndWaiter, TooMany};
use crate::task::Shutdown;

/// How often the ledger is read, because a notification may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Time for the sweeper after a deadline.
const SWEEP_GRACE: Duration = Duration::from_millis(500);

/// Waits until `started` has ended. `None` if the server stops first; the caller may ask again.
///
/// `waiter` waits for the transaction that the caller meant to start. If an earlier call already
/// started it under another id, that one is awaited instead.
///
/// # Errors
/// If the ledger fails, or the client has too many waiting callers.
pub async fn wait_for_end(
    core: &Core,
    started: Arc<Transaction>,
    mut waiter: EndWaiter,
    tasks: &Shutdown,
) -> Result<Option<Arc<Transaction>>, Error> {
    let (tenant, handle) = (started.spec.tenant.clone(), Handle::Id(started.spec.id));
    let mut current = started;
    if waiter.id() != current.spec.id {
        waiter = waiter.turn_to(current.spec.id)?;
        current = core.transaction(&tenant, &handle).await?;
    }
    while !current.state.is_ended() {
        let patience = core.now().until(current.deadline()) + SWEEP_GRACE;
        tokio::select! {
            ended = waiter.ended() => return Ok(Some(ended)),
            () = sleep(patience.min(LOOK_AGAIN)) => {}
            () = tasks.until_draining() => return Ok(None),
        }
        current = core.transaction(&tenant, &handle).await?;
    }
    Ok(Some(current))
}

impl From<TooMany> for Refusal {
    fn from(TooMany: TooMany) -> Self {
        Self::Quota(Quota::Waiting)
    }
}

impl From<TooMany> for Error {
    fn from(too_many: TooMany) -> Self {
        Refusal::from(too_many).into()
    }
}
