//! The use cases: load, decide, commit; then ring the doorbell.
//!
//! Each use case loads what it decides on, decides with a pure function, and commits the decision
//! and its debts against the versions that it was decided on. Found stale, it begins again; a
//! bounded loop, since whoever moved first has made progress. A device's step is tried first on
//! what is remembered of its transaction (`context_cache.rs`), which only a commit can confirm.
//!
//! * [`start`](Engine::start), [`cancel`](Engine::cancel) and [`discard`](Engine::discard): what
//!   relying parties do (`start.rs`).
//! * [`offers`](Engine::offers), [`take`](Engine::take), [`finish`](Engine::finish), … : what
//!   devices do (`answer.rs`).
//! * [`fetch`](Engine::fetch), [`complete`](Engine::complete), [`withdraw`](Engine::withdraw): what
//!   they do through a gateway (`gateway.rs`).
//! * [`delete_user`](Engine::delete_user), [`set_device_status`](Engine::set_device_status), … :
//!   what is done to people and their devices (`people.rs`).
//! * [`identities`](Engine::identities), [`whose`](Engine::whose), … : which signing identities
//!   there are, and what is done to them (`identities.rs`).
//! * [`sweep`](Engine::sweep), [`purge`](Engine::forget): what time does.

mod answer;
mod context;
mod context_cache;
mod gateway;
mod identities;
mod outbox;
mod people;
mod pin;
mod rates;
mod signers;
mod start;
mod verify;

use core::time::Duration;
use std::sync::Arc;

use countersign_proof::BadProof;

pub use answer::{Completed, FinishMode, Submission, Taken};
pub use gateway::Request;
pub use people::create_activation;
pub use rates::StartRates;
pub use start::{Notify, SignatureRequest};

use self::context_cache::{ContextCache, ReadFrom};
use crate::delivery::NewDelivery;
use crate::device::Device;
use crate::id::{DeliveryId, TenantName, TransactionId};
use crate::limits::{COMMIT_TRIES_MAX, PURGE_MAX, SWEEP_MAX};
use crate::port::{
    Clock, Commit, Committed, Due, Entropy, Handle, Ledger, Notification, Notifier, Preconditions,
    Registry, StoredMax,
};
use crate::push_policy::PushPolicy;
use crate::refusal::{Error, Fault, Refusal};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Step, Transaction};
use crate::user::{LockPolicy, LockState};

/// The rules that an operator sets.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// When wrong tries lock a user.
    pub locks: LockPolicy,
    /// Open transactions of one user.
    pub open_per_user_max: u16,
    /// How fast transactions may be started.
    pub start_rates: StartRates,
    /// How many bytes stored transactions may occupy.
    pub stored_max: StoredMax,
    /// Which devices are pushed, and when.
    pub push: PushPolicy,
}

/// The use cases over a store, a doorbell, and a world with a clock and chance.
#[derive(Debug)]
pub struct Engine<S, D, W> {
    /// The durable truth.
    pub store: S,
    /// Who is on the line.
    pub notifier: D,
    /// Time and randomness.
    pub system: W,
    policy: Policy,
    signers: signers::Signers,
    context_cache: ContextCache,
    starts: rates::Starts,
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Joins the parts.
    pub fn new(store: S, notifier: D, system: W, policy: Policy) -> Self {
        let (signers, context_cache) = (signers::Signers::default(), ContextCache::default());
        let starts = rates::Starts::default();
        Self { store, notifier, system, policy, signers, context_cache, starts }
    }

    /// Which devices are pushed, and when.
    pub fn push_policy(&self) -> &PushPolicy {
        &self.policy.push
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.system.now()
    }

    /// Reads a transaction.
    ///
    /// # Errors
    /// Refuses where there is none.
    pub async fn transaction(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Arc<Transaction>, Error> {
        let found = self.store.load(tenant, handle).await?.ok_or(Refusal::Unknown)?;
        Ok(Arc::new(found.value))
    }

    /// Ends what has run out of time, and says when to look again.
    ///
    /// # Errors
    /// Fails when the ledger does; what was not ended then is ended by the next sweep.
    pub async fn sweep(&self) -> Result<Due, Fault> {
        let due = self.store.due(self.now(), SWEEP_MAX).await?;
        for (tenant, id) in &due.now {
            match self.apply(tenant, *id, Input::Tick).await {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(Error::Failed(fault)) => return Err(fault),
            }
        }
        Ok(due)
    }

    /// Removes expired activations, and transactions that ended longer than `keep` ago, where that
    /// is bounded; one small batch of each. Answers whether there may be more.
    ///
    /// # Errors
    /// Fails when the ledger does; what was not removed then goes with the next batch.
    pub async fn purge(&self, keep: Option<Duration>) -> Result<bool, Fault> {
        let now = self.now();
        let codes = self.store.purge_activations(now, PURGE_MAX).await?;
        let ended = match keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)) {
            None => 0,
            Some(keep) => {
                let before = Timestamp(now.0.saturating_sub(keep));
                self.store.purge(before, PURGE_MAX).await?
            }
        };
        Ok(codes == PURGE_MAX || ended == PURGE_MAX)
    }

    /// Applies an input that stands on the transaction alone.
    async fn apply(
        &self,
        tenant: &TenantName,
        id: TransactionId,
        input: Input,
    ) -> Result<Arc<Transaction>, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let handle = Handle::Id(id);
            let current = self.store.load(tenant, &handle).await?.ok_or(Refusal::Unknown)?;
            let step = current.value.step(input.clone(), self.now())?;
            let decision = Decision::on_transaction(step, current.version);
            if let Some(done) = self.conclude(decision).await? {
                return Ok(done);
            }
        }
        Err(lost_every_race())
    }

    /// Commits what was decided, and rings for it. `None` if it has to be decided again: something
    /// had changed meanwhile, or nothing would be written and so judge what was remembered.
    async fn conclude(&self, decision: Decision) -> Result<Option<Arc<Transaction>>, Error> {
        let Step { next, event } = decision.step;
        let Some(event) = event else {
            return Ok((decision.read_from == ReadFrom::Store).then(|| Arc::new(next)));
        };
        let deliveries = self.deliveries(event, &next, &[]);
        let has_deliveries = !deliveries.is_empty();
        let id = next.spec.id;
        let commit = Commit {
            deliveries,
            transaction: next.clone(),
            expected: Some(decision.expected),
            event,
            preconditions: decision.preconditions,
            lock_state: decision.lock_state,
            open_max: self.policy.open_per_user_max,
            stored_max: self.policy.stored_max,
        };
        match self.store.commit(commit).await? {
            Committed::Written => {}
            Committed::SignatureUsed => return Err(Refusal::from(BadProof::UsedBefore).into()),
            Committed::Stale
            | Committed::ReferenceTaken
            | Committed::RequestKeyTaken
            | Committed::TooManyOpen
            | Committed::ClientFull
            | Committed::TenantFull => {
                // Somebody else moved first: decide again, on what they wrote.
                self.context_cache.remove(id);
                return Ok(None);
            }
        }
        if next.state.is_ended() || decision.lock_state.is_some() {
            self.context_cache.remove(id);
        } else {
            self.context_cache.advance(&next, decision.expected + 1);
        }
        let next = Arc::new(next);
        if let Event::Ended(_) = event {
            self.notifier.notify(Notification::Ended(Arc::clone(&next)));
        }
        if has_deliveries {
            self.notifier.notify(Notification::NewDelivery);
        }
        Ok(Some(next))
    }

    fn deliveries(
        &self,
        event: Event,
        transaction: &Transaction,
        recipients: &[(&Device, bool)],
    ) -> Vec<NewDelivery> {
        let new_id = || DeliveryId(self.system.new_id(self.now()));
        outbox::deliveries_for(event, transaction, recipients, &self.policy.push, new_id)
    }
}

/// What was decided, and what it stands on.
struct Decision {
    read_from: ReadFrom,
    step: Step,
    expected: u32,
    preconditions: Preconditions,
    lock_state: Option<LockState>,
}

impl Decision {
    /// A decision that stands on the transaction alone.
    fn on_transaction(step: Step, expected: u32) -> Self {
        let preconditions = Preconditions::default();
        Self { read_from: ReadFrom::Store, step, expected, preconditions, lock_state: None }
    }
}

/// Each lost race is somebody else's progress, so this many in a row is not contention but a bug.
fn lost_every_race() -> Error {
    Fault::new("committing", "lost every race").into()
}
