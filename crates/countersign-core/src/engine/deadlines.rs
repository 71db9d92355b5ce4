//! Deadlines: transactions end when their time is over.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;

use super::Engine;
use crate::event::Actor;
use crate::id::{TenantName, TransactionId};
use crate::limits::{SWEEP_BEGUN_TOGETHER, SWEEP_MAX};
use crate::port::{Clock, Due, Entropy, Ledger, Notifier};
use crate::refusal::{Error, Fault};
use crate::time::Timestamp;
use crate::transaction::Transaction;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Ends transactions whose deadline has passed, at most [`SWEEP_MAX`]. Answers them and the
    /// next deadline. Their commits are made at once, so that they share syncs; if as many as may
    /// be were due, more may remain.
    ///
    /// # Errors
    /// Fails if the ledger does. Transactions that were not ended are ended by the next sweep.
    pub async fn sweep(&self) -> Result<Due, Fault> {
        let due = self.store.due(self.now(), SWEEP_MAX).await?;
        let mut ends = Vec::with_capacity(due.now.len());
        for (tenant, id) in &due.now {
            ends.push(Box::pin(self.expire(tenant, *id)));
        }
        let mut swept = Ok(());
        // A fault stops no other end: a commit whose caller is gone would end its transaction
        // without a notification.
        all_at_once(ends, |ended| swept = core::mem::replace(&mut swept, Ok(())).and(ended)).await;
        swept.map(|()| due)
    }

    /// Ends a transaction if its deadline has passed.
    async fn expire(&self, tenant: &TenantName, id: TransactionId) -> Result<(), Fault> {
        let tick = |transaction: Transaction, now: Timestamp| Ok(transaction.tick(now));
        match self.apply(tenant, id, tick, &Actor::Server).await {
            Ok(_) | Err(Error::Refused(_)) => Ok(()),
            Err(Error::Failed(fault)) => Err(fault),
        }
    }
}

/// Runs all futures at once, in one task, and passes each result to `ended`. They are begun a few
/// at a time, because each reads before it waits, and other tasks need the thread too.
async fn all_at_once<F: Future>(futures: Vec<Pin<Box<F>>>, mut ended: impl FnMut(F::Output)) {
    let mut left = futures.into_iter();
    let mut running = Vec::new();
    poll_fn(|context| {
        running.extend(left.by_ref().take(SWEEP_BEGUN_TOGETHER));
        running.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => {
                ended(result);
                false
            }
            Poll::Pending => true,
        });
        if left.len() > 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
