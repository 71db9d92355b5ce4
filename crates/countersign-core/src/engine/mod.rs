//! The use cases: load, decide, commit and deliver.
//!
//! Each use case loads the rows on which it decides, decides with a pure function, and commits the
//! decision with its deliveries against the versions of those rows. A stale commit begins again.
//! The number of attempts is bounded, because each lost race is another caller's progress. A
//! device's step is first tried on the context cache (`context_cache.rs`), which only a commit can
//! confirm.
//!
//! * Relying parties (`start.rs`): [`start`](Engine::start), [`cancel`](Engine::cancel) and
//!   [`discard`](Engine::discard).
//! * Devices (`answer.rs`): [`offers`](Engine::offers), [`take`](Engine::take),
//!   [`finish`](Engine::finish), …
//! * Gateways (`gateway.rs`): [`fetch`](Engine::fetch), [`complete`](Engine::complete),
//!   [`withdraw`](Engine::withdraw).
//! * Users (`users.rs`): [`create_user`](Engine::create_user),
//!   [`set_user_lock`](Engine::set_user_lock), …
//! * Enrolled devices (`devices.rs`): [`enrol`](Engine::enrol),
//!   [`set_device_status`](Engine::set_device_status), …
//! * Activation codes (`activations.rs`): [`create_activation`](Engine::create_activation),
//!   [`delete_activation`](Engine::delete_activation).
//! * Operators (`tenants.rs`): [`create_tenant`](Engine::create_tenant),
//!   [`create_client`](Engine::create_client), …
//! * Whole tenants (`tenant_states.rs`): [`set_tenant_lock`](Engine::set_tenant_lock),
//!   [`delete_tenant`](Engine::delete_tenant).
//! * What operators take back or replace (`credentials.rs`):
//!   [`delete_client`](Engine::delete_client), [`distrust_root`](Engine::distrust_root), …
//! * Signing identities (`identities.rs`): [`identities`](Engine::identities),
//!   [`whose`](Engine::whose), …
//! * Certificates that end (`renewals.rs`): [`renew_identity`](Engine::renew_identity),
//!   [`replace_authority`](Engine::replace_authority), …
//! * The outbox (`outbox.rs`): [`claim`](Engine::claim), [`settle`](Engine::settle),
//!   [`replay`](Engine::replay).
//! * The ledger as a whole (`ledger.rs`): [`record_ledger_act`](Engine::record_ledger_act).
//! * Notifications that follow from events (`notifications.rs`):
//!   [`notify_of`](Engine::notify_of).
//! * Deadlines (`deadlines.rs`) and retention: [`sweep`](Engine::sweep), [`purge`](Engine::purge).
//! * Reads (`read.rs`): [`registry`](Engine::registry), [`events`](Engine::events), …
//!
//! Every change is committed with an event that names its [`Actor`]. The store, the notifier and
//! the clock are private, so that every other module must call a use case to change anything.

mod activations;
mod answer;
mod context;
mod context_cache;
mod credentials;
mod deadlines;
mod devices;
mod domains;
mod gateway;
mod identities;
mod ledger;
mod notifications;
mod outbox;
mod pin;
mod presence;
mod rates;
mod read;
mod renewals;
mod signers;
mod start;
mod tenant_states;
mod tenants;
mod users;
mod verify;

use core::time::Duration;
use std::sync::Arc;

pub use crate::spec::Notify;
pub use answer::{Completed, FinishMode, RawSubmission, Submission, Taken};
pub use devices::{Enrolled, EnrolmentSnapshot};
pub use gateway::Request;
pub use rates::StartRates;
pub use renewals::RenewalRequest;
pub use start::SignatureRequest;

use self::context_cache::{ContextCache, ReadFrom};
use crate::delivery::NewDelivery;
use crate::device::{Device, PinReset};
use crate::event::{Actor, EventKind, FrequentEvent, NewEvent, Subject};
use crate::id::{DeliveryId, TenantName, TransactionId};
use crate::limits::{COMMIT_TRIES_MAX, PURGE_MAX};
use crate::port::{
    Change, Clock, Commit, Committed, Entropy, Handle, Ledger, Notification, Notifier,
    Preconditions, Purge, RowsMax, StoredMax, TransactionChange, Versioned,
};
use crate::push_policy::PushPolicy;
use crate::refusal::{CancelError, CancelRefusal, Error, Fault};
use crate::time::Timestamp;
use crate::transaction::{Event, Step, Transaction};
use crate::user::{Lock, LockPolicy, LockState};

/// The operator's rules.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The rule for locking a user after wrong tries.
    pub locks: LockPolicy,
    /// Whether operators may reset PINs.
    pub pin_reset: PinReset,
    /// The maximum of open transactions of one user.
    pub open_per_user_max: u16,
    /// The rates at which transactions may be started.
    pub start_rates: StartRates,
    /// The maximum of bytes that stored transactions may occupy.
    pub stored_max: StoredMax,
    /// The maximum of users and devices of a tenant.
    pub rows_max: RowsMax,
    /// The devices that are pushed, and the wait before.
    pub push: PushPolicy,
}

/// Retention times. `None` keeps the rows for ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// The time for transactions, counted from their end.
    pub ended_transactions: Option<Duration>,
    /// The time for events.
    pub events: Option<Duration>,
}

/// The use cases, over a store, a notifier, and a system that provides a clock and entropy.
#[derive(Debug)]
pub struct Engine<S, D, W> {
    store: S,
    notifier: D,
    system: W,
    policy: Policy,
    signers: signers::Signers,
    context_cache: ContextCache,
    starts: rates::Starts,
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Builds an engine from its parts.
    pub fn new(store: S, notifier: D, system: W, policy: Policy) -> Self {
        let (signers, context_cache) = (signers::Signers::default(), ContextCache::default());
        let starts = rates::Starts::default();
        Self { store, notifier, system, policy, signers, context_cache, starts }
    }

    /// The devices that are pushed, and the wait before.
    pub fn push_policy(&self) -> &PushPolicy {
        &self.policy.push
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.system.now()
    }

    /// The notifier, which knows the connections of this process.
    pub fn notifier(&self) -> &D {
        &self.notifier
    }

    /// A new id, which begins with the present time.
    pub fn new_id(&self) -> u128 {
        self.system.new_id(self.now())
    }

    /// 128 random bits.
    pub fn random_u128(&self) -> u128 {
        self.system.random_u128()
    }

    /// Removes expired activations, and rows older than `keep` allows, in one small batch of each
    /// kind. Answers whether more may remain.
    ///
    /// # Errors
    /// Fails if the ledger does. Rows that were not removed are removed with the next batch.
    pub async fn purge(&self, keep: Keep) -> Result<bool, Fault> {
        let now = self.now();
        let ago = |keep: Duration| {
            Timestamp(now.0.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)))
        };
        let mut is_more = self.store.purge(Purge::Activations(now), PURGE_MAX).await? >= PURGE_MAX;
        if let Some(keep) = keep.ended_transactions {
            let transactions = Purge::Transactions(ago(keep));
            is_more |= self.store.purge(transactions, PURGE_MAX).await? >= PURGE_MAX;
        }
        if let Some(keep) = keep.events {
            is_more |= self.store.purge(Purge::Events(ago(keep)), PURGE_MAX).await? >= PURGE_MAX;
        }
        Ok(is_more)
    }

    /// Takes a step whose decision depends only on the transaction.
    async fn apply(
        &self,
        tenant: &TenantName,
        id: TransactionId,
        step: impl Fn(Transaction, Timestamp) -> Result<Step, CancelRefusal> + Send + Sync,
        actor: &Actor,
    ) -> Result<Arc<Transaction>, CancelError> {
        let found = self
            .store
            .read()
            .transaction(tenant, &Handle::Id(id))
            .await?
            .ok_or(CancelRefusal::Unknown)?;
        self.apply_to(found, step, actor).await
    }

    /// Takes a step of a transaction that was just read. It is read again only if it has changed
    /// meanwhile.
    async fn apply_to(
        &self,
        found: Versioned<Transaction>,
        step: impl Fn(Transaction, Timestamp) -> Result<Step, CancelRefusal> + Send + Sync,
        actor: &Actor,
    ) -> Result<Arc<Transaction>, CancelError> {
        let (tenant, id) = (found.value.spec.tenant.clone(), found.value.spec.id);
        let mut current = found;
        for _ in 0..COMMIT_TRIES_MAX {
            let next = step(current.value, self.now())?;
            let decision = Decision::on_transaction(actor, next, current.version);
            if let Conclusion::Done(done) = self.conclude(decision).await? {
                return Ok(done);
            }
            let again = self.store.read().transaction(&tenant, &Handle::Id(id)).await?;
            current = again.ok_or(CancelRefusal::Unknown)?;
        }
        Err(lost_every_race())
    }

    /// Commits a decision, and sends its notifications.
    async fn conclude(&self, decision: Decision) -> Result<Conclusion, Fault> {
        let Step { next, event } = decision.step;
        let Some(event) = event else {
            return Ok(match decision.read_from {
                ReadFrom::Store => Conclusion::Done(Arc::new(next)),
                ReadFrom::Cache => Conclusion::Stale,
            });
        };
        let deliveries = self.deliveries(event, &next, &[]);
        let has_deliveries = !deliveries.is_empty();
        let id = next.spec.id;
        let events = self.events_of_step(event, &next, &decision.actor, decision.lock_state);
        let change = TransactionChange {
            deliveries,
            transaction: next.clone(),
            expected: Some(decision.expected),
            event,
            preconditions: decision.preconditions,
            lock_state: decision.lock_state,
            open_max: self.policy.open_per_user_max,
            stored_max: self.policy.stored_max,
        };
        match self.commit(Change::Transaction(Box::new(change)), events).await? {
            Committed::Written => {}
            Committed::SignatureUsed => return Ok(Conclusion::SignatureUsed),
            _ => {
                // Another caller committed first: decide again on the new rows.
                self.context_cache.remove(id);
                return Ok(Conclusion::Stale);
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
        Ok(Conclusion::Done(next))
    }

    /// Commits a change together with its events. Closes the channels of devices that it locked or
    /// deleted; the end of a transaction does so itself, after the device has withdrawn it.
    async fn commit(&self, change: Change, events: Vec<NewEvent>) -> Result<Committed, Fault> {
        let frequent = FrequentEvent::of(&events);
        let others = events.iter().filter(|event| !event.kind.is_frequent());
        let others: Vec<_> = others.cloned().collect();
        let is_step = matches!(change, Change::Transaction(_));
        let committed = self.store.commit(Commit { change, events }).await?;
        if matches!(committed, Committed::Written | Committed::Replayed(1..)) {
            self.notifier.recorded(frequent, &others);
            if !is_step {
                for event in &others {
                    self.disconnect_by(event);
                }
            }
        }
        Ok(committed)
    }

    /// Records that a call was refused, as an event without a change. Answers whether it did: an
    /// event that names an unknown tenant is not recorded.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn record_refusal(&self, event: NewEvent) -> Result<bool, Fault> {
        if let Some(tenant) = &event.tenant
            && !self.has_tenant(tenant).await?
        {
            return Ok(false);
        }
        self.commit(Change::Nothing, vec![event]).await?;
        Ok(true)
    }

    /// An event of a tenant, at the present time.
    fn event(
        &self,
        tenant: &TenantName,
        kind: EventKind,
        actor: &Actor,
        subject: Subject,
        details: Vec<(&'static str, String)>,
    ) -> NewEvent {
        let (tenant, at) = (Some(tenant.clone()), self.now());
        NewEvent { tenant, at, kind, actor: actor.clone(), subject, details }
    }

    /// The event of a transaction, and the event of its user's lock if the step locked the user.
    fn events_of_step(
        &self,
        event: Event,
        next: &Transaction,
        actor: &Actor,
        lock_state: Option<LockState>,
    ) -> Vec<NewEvent> {
        let now = self.now();
        let mut events = vec![NewEvent::of_transaction(event, next, actor.clone(), now)];
        let lock = lock_state.map(|lock_state| lock_state.lock);
        if let Some(lock) = lock.filter(|lock| *lock != Lock::Open) {
            let (spec, details) = (&next.spec, vec![("by", lock.cause().to_owned())]);
            let subject = Subject::User(spec.user.clone());
            events.push(self.event(&spec.tenant, EventKind::UserLocked, actor, subject, details));
        }
        events
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

/// The result of committing a decision.
enum Conclusion {
    /// The transaction after the decision.
    Done(Arc<Transaction>),
    /// It must be decided again: either a row has changed, or the decision writes nothing, so that
    /// no commit would confirm the cached context.
    Stale,
    /// The decision accepted a signature that was accepted before.
    SignatureUsed,
}

/// A decision, with the versions on which it depends.
struct Decision {
    actor: Actor,
    read_from: ReadFrom,
    step: Step,
    expected: u32,
    preconditions: Preconditions,
    lock_state: Option<LockState>,
}

impl Decision {
    /// A decision that depends only on the transaction.
    fn on_transaction(actor: &Actor, step: Step, expected: u32) -> Self {
        let (actor, preconditions) = (actor.clone(), Preconditions::default());
        Self { actor, read_from: ReadFrom::Store, step, expected, preconditions, lock_state: None }
    }
}

/// Each lost race is another caller's progress, so this many in a row indicate a bug and not
/// contention.
fn lost_every_race<R>() -> Error<R> {
    Fault::new("committing", "lost every race").into()
}
