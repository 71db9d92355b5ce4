//! The use cases: load, decide, commit; then ring the doorbell.
//!
//! Each use case loads what it decides on, decides with a pure function, and commits the decision and
//! its debts against the versions that it was decided on. Found stale, it begins again; a bounded loop,
//! since whoever moved first has made progress. A device's step is tried first on what is remembered of
//! its transaction (`scenes.rs`), which only a commit can confirm.
//!
//! * [`start`](Engine::start), [`cancel`](Engine::cancel) and [`discard`](Engine::discard): what relying
//!   parties do (`start.rs`).
//! * [`offers`](Engine::offers), [`take`](Engine::take), [`finish`](Engine::finish), … : what devices
//!   do (`answer.rs`).
//! * [`fetch`](Engine::fetch), [`complete`](Engine::complete), [`withdraw`](Engine::withdraw): what they
//!   do through a gateway (`gateway.rs`).
//! * [`delete_user`](Engine::delete_user), [`set_device_status`](Engine::set_device_status), … : what
//!   is done to people and their devices (`people.rs`).
//! * [`identities`](Engine::identities), [`whose`](Engine::whose), … : which signing identities there
//!   are, and what is done to them (`identities.rs`).
//! * [`sweep`](Engine::sweep), [`forget`](Engine::forget): what time does.

mod answer;
mod gateway;
mod identities;
mod owed;
mod people;
mod pin;
mod rates;
mod scene;
mod scenes;
mod signers;
mod start;
mod verify;

use core::time::Duration;
use std::sync::Arc;

use countersign_proof::BadProof;

pub use answer::{Completed, Manner, Submission, Taken};
pub use gateway::Request;
pub use people::invite;
pub use rates::StartRates;
pub use start::{Announcement, Order};

use self::scenes::{Scenes, Source};
use crate::delivery::Owed;
use crate::device::Device;
use crate::id::{DeliveryId, TenantName, TransactionId};
use crate::limits::{COMMIT_TRIES_MAX, FORGET_MAX, SWEEP_MAX};
use crate::port::{
    Bell, Chance, Clock, Commit, Committed, Doorbell, Due, Grounds, Handle, Ledger, Registry,
    StoredMax,
};
use crate::refusal::{Error, Fault, Refusal};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Step, Transaction};
use crate::user::{LockPolicy, Standing};
use crate::waking::PushPolicy;

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
    pub doorbell: D,
    /// Time and randomness.
    pub world: W,
    policy: Policy,
    signers: signers::Signers,
    scenes: Scenes,
    starts: rates::Starts,
}

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// Joins the parts.
    pub fn new(store: S, doorbell: D, world: W, policy: Policy) -> Self {
        let (signers, scenes) = (signers::Signers::default(), Scenes::default());
        let starts = rates::Starts::default();
        Self { store, doorbell, world, policy, signers, scenes, starts }
    }

    /// Which devices are pushed, and when.
    pub fn push_policy(&self) -> &PushPolicy {
        &self.policy.push
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.world.now()
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

    /// Removes expired activations, and transactions that ended longer than `keep` ago, where that is
    /// bounded; one small batch of each. Answers whether there may be more.
    ///
    /// # Errors
    /// Fails when the ledger does; what was not removed then goes with the next batch.
    pub async fn forget(&self, keep: Option<Duration>) -> Result<bool, Fault> {
        let now = self.now();
        let codes = self.store.forget_activations(now, FORGET_MAX).await?;
        let ended = match keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)) {
            None => 0,
            Some(keep) => {
                let before = Timestamp(now.0.saturating_sub(keep));
                self.store.forget(before, FORGET_MAX).await?
            }
        };
        Ok(codes == FORGET_MAX || ended == FORGET_MAX)
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

    /// Commits what was decided, and rings for it. `None` if it has to be decided again: something had
    /// changed meanwhile, or nothing would be written and so judge what was remembered.
    async fn conclude(&self, decision: Decision) -> Result<Option<Arc<Transaction>>, Error> {
        let Step { next, event } = decision.step;
        let Some(event) = event else {
            return Ok((decision.source == Source::Ledger).then(|| Arc::new(next)));
        };
        let debts = self.debts(event, &next, &[]);
        let owes = !debts.is_empty();
        let id = next.terms.id;
        let commit = Commit {
            debts,
            transaction: next.clone(),
            expected: Some(decision.expected),
            event,
            grounds: decision.grounds,
            standing: decision.standing,
            open_max: self.policy.open_per_user_max,
            stored_max: self.policy.stored_max,
        };
        match self.store.commit(commit).await? {
            Committed::Written => {}
            Committed::SignatureUsed => return Err(Refusal::from(BadProof::UsedBefore).into()),
            Committed::Stale
            | Committed::ReferenceTaken
            | Committed::KeyTaken
            | Committed::Crowded
            | Committed::ClientFull
            | Committed::TenantFull => {
                // Somebody else moved first: decide again, on what they wrote.
                self.scenes.forget(id);
                return Ok(None);
            }
        }
        if next.state.is_ended() || decision.standing.is_some() {
            self.scenes.forget(id);
        } else {
            self.scenes.advance(&next, decision.expected + 1);
        }
        let next = Arc::new(next);
        if let Event::Ended(_) = event {
            self.doorbell.ring(Bell::Ended(Arc::clone(&next)));
        }
        if owes {
            self.doorbell.ring(Bell::Owed);
        }
        Ok(Some(next))
    }

    fn debts(
        &self,
        event: Event,
        transaction: &Transaction,
        addressed: &[(&Device, bool)],
    ) -> Vec<Owed> {
        let mint = || DeliveryId(self.world.mint(self.now()));
        owed::owed(event, transaction, addressed, &self.policy.push, mint)
    }
}

/// What was decided, and what it stands on.
struct Decision {
    source: Source,
    step: Step,
    expected: u32,
    grounds: Grounds,
    standing: Option<Standing>,
}

impl Decision {
    /// A decision that stands on the transaction alone.
    fn on_transaction(step: Step, expected: u32) -> Self {
        let grounds = Grounds::default();
        Self { source: Source::Ledger, step, expected, grounds, standing: None }
    }
}

/// Each lost race is somebody else's progress, so this many in a row is not contention but a bug.
fn lost_every_race() -> Error {
    Fault::new("committing", "lost every race").into()
}
