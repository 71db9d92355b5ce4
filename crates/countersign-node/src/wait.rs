//! Callers that wait for a transaction's end: each one is a small task, which the notifier wakes.

use std::sync::Arc;
use std::time::Duration;

use countersign_core::Fault;
use countersign_core::id::TenantName;
use countersign_core::port::Handle;
use countersign_core::transaction::Transaction;
use tokio::time::sleep;

use crate::Core;
use crate::notifier::{EndWaiter, TooMany};
use crate::task::Shutdown;

/// How often the ledger is read, because a notification may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Time for the sweeper after a deadline.
const SWEEP_GRACE: Duration = Duration::from_millis(500);

/// The reason why a wait ended without an answer.
#[derive(Debug)]
pub enum WaitError {
    /// The transaction was removed meanwhile.
    Unknown,
    /// The client has too many waiting callers.
    TooMany(TooMany),
    /// The ledger failed.
    Failed(Fault),
}

/// Waits until `started` has ended. `None` if the server stops first; the caller may ask again.
///
/// `waiter` waits for the transaction that the caller meant to start. If an earlier call already
/// started it under another id, that one is awaited instead.
///
/// # Errors
/// See [`WaitError`].
pub async fn wait_for_end(
    core: &Core,
    started: Arc<Transaction>,
    mut waiter: EndWaiter,
    tasks: &Shutdown,
) -> Result<Option<Arc<Transaction>>, WaitError> {
    let (tenant, handle) = (started.spec.tenant.clone(), Handle::Id(started.spec.id));
    let mut current = started;
    if waiter.id() != current.spec.id {
        waiter = waiter.turn_to(current.spec.id)?;
        current = read(core, &tenant, &handle).await?;
    }
    while !current.state.is_ended() {
        let patience = core.now().until(current.deadline()) + SWEEP_GRACE;
        tokio::select! {
            ended = waiter.ended() => return Ok(Some(ended)),
            () = sleep(patience.min(LOOK_AGAIN)) => {}
            () = tasks.until_draining() => return Ok(None),
        }
        current = read(core, &tenant, &handle).await?;
    }
    Ok(Some(current))
}

async fn read(
    core: &Core,
    tenant: &TenantName,
    handle: &Handle,
) -> Result<Arc<Transaction>, WaitError> {
    let found = core.read().transaction(tenant, handle).await?;
    Ok(Arc::new(found.ok_or(WaitError::Unknown)?.value))
}

impl From<TooMany> for WaitError {
    fn from(too_many: TooMany) -> Self {
        Self::TooMany(too_many)
    }
}

impl From<Fault> for WaitError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}
