//! What devices do: see what is open, take it, and end it.
//!
//! Each step looks at the device and its user again, and holds what it saw in the commit: a lock
//! that was acknowledged before the commit makes the commit stale, and the next look refuses.

use std::sync::Arc;

use countersign_proof::Proof;
use countersign_proof::raw::Algorithm;

use super::context::StepContext;
use super::context_cache::{ReadFrom, StepAttempt, read_order};
use super::{Engine, lost_every_race};
use crate::device::Device;
use crate::event::Actor;
use crate::id::{DeviceId, IdentityId, TenantName, TransactionId};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Change, Clock, Entropy, Ledger, Notifier, Registry};
use crate::refusal::{Error, Refusal};
use crate::spec::SignatureFormat;
use crate::transaction::{Decline, End, Event, Input, Outcome, Pin, State, Transaction};
use crate::user::{Factor, Lock, LockState};

/// A signature as a device hands it in.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// The form that it claims.
    pub form: SignatureFormat,
    /// Its bytes.
    pub value: &'a [u8],
    /// The identity that made it; where none is named, the one of the device's that fits. A code
    /// has none.
    pub identity: Option<IdentityId>,
    /// What a raw signature was made with. Where it is not said, the key's scheme with the hash
    /// that the terms prefer for this device.
    pub algorithm: Option<Algorithm>,
    /// The digest that the device learnt and signed, where the terms do not have it.
    pub digest: Option<&'a [u8]>,
}

/// How a signature is handed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishMode {
    /// By a device that took the transaction before.
    Taken,
    /// By a call that may be the device's first: it takes and finishes at once.
    AtOnce,
}

/// A transaction that was completed.
#[derive(Clone, Debug)]
pub struct Completed {
    /// As it ended.
    pub transaction: Arc<Transaction>,
    /// The device that signed, as it was then.
    pub device: Device,
}

/// A transaction that a device may show now.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What to show.
    pub transaction: Arc<Transaction>,
    /// The device that took it, whose key the content is sealed with.
    pub device: Device,
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// What is open for this device, oldest first. Being asked for it, the device is online: the
    /// clock *go online* of what it is offered stops.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown.
    pub async fn offers(
        &self,
        tenant: &TenantName,
        device: DeviceId,
    ) -> Result<Vec<Arc<Transaction>>, Error> {
        let (device, user) = self.load_actor(tenant, device).await?;
        user.value.lock_state.check(self.now())?;
        let actor = Actor::Device(device.value.id);
        let mut offers = Vec::new();
        let mut reached = Vec::new();
        for open in self.store.open(tenant, &user.value.name).await? {
            let open = open.value;
            let taken_once = open.spec.once
                && open.takes.first().is_some_and(|take| take.device != device.value.id);
            if !open.spec.recipients.includes(device.value.id) || taken_once {
                continue;
            }
            let is_known = open.spec.present.contains(&device.value.id);
            if !is_known && !open.taken_by(device.value.id) {
                reached.push(open.spec.id);
            }
            if open.state != (State::Waiting { reached: false }) {
                offers.push(Arc::new(open));
                continue;
            }
            match self.apply(tenant, open.spec.id, Input::Reach, &actor).await {
                Ok(reached) => offers.push(reached),
                Err(Error::Refused(_)) => {} // It ended, or is about to.
                Err(failed) => return Err(failed),
            }
        }
        if !reached.is_empty() {
            let (tenant, device) = (tenant.clone(), device.value.id);
            let at = self.now();
            // No event: what a transaction's history needs of it is `TransactionReached`.
            let change = Change::Reached { tenant, device, transactions: reached, at };
            self.commit(change, Vec::new()).await?;
        }
        Ok(offers)
    }

    /// Whether a device may still take part.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown.
    pub async fn check(&self, tenant: &TenantName, device: DeviceId) -> Result<(), Error> {
        let (_, user) = self.load_actor(tenant, device).await?;
        Ok(user.value.lock_state.check(self.now())?)
    }

    /// Takes a transaction: the person has opened it. Content is released only by this, and where
    /// the PIN is asked for, only to its proof.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does; a wrong PIN is committed before it is refused.
    pub async fn take(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        pin_proof: Option<&str>,
    ) -> Result<Taken, Error> {
        for read_from in read_order() {
            let context = self.unlocked_context(read_from, tenant, device, id).await;
            let attempt = self.try_take(context, pin_proof).await;
            if let Some(answer) = read_from.answer(attempt) {
                return answer;
            }
        }
        Err(lost_every_race())
    }

    async fn try_take(
        &self,
        context: Result<StepContext, Error>,
        pin_proof: Option<&str>,
    ) -> Result<StepAttempt<Taken>, Error> {
        let context = context?;
        let device = context.device.value.id;
        let pin = self.pin(&context, pin_proof)?;
        let (before, now) = (context.user.value.lock_state, context.now);
        let (decision, taker) =
            context.decide(Input::Take { device, pin }, |event| match event {
                Event::PinMistaken | Event::Ended(Outcome::Locked) => {
                    before.record_failure(Factor::Pin, &self.policy.locks, now).0
                }
                _ if pin == Pin::Right => before.record_success(Factor::Pin),
                _ => before,
            })?;
        let event = decision.step.event;
        let after = decision.lock_state.unwrap_or(before);
        let Some(transaction) = self.conclude(decision).await? else { return Ok(None) };
        Ok(Some(match event {
            Some(Event::PinMistaken) => {
                let tries_left = after.tries_left(Factor::Pin, &self.policy.locks);
                Err(Refusal::PinWrong { tries_left })
            }
            Some(Event::Ended(_)) => Err(Refusal::UserLocked),
            _ => Ok(Taken { transaction, device: taker }),
        }))
    }

    /// A transaction, for a device that only looks: what it may see without taking it.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown, a transaction that is not for this
    /// device, and one whose content is released to the PIN only, which this device has not proved
    /// for it.
    pub async fn look(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Arc<Transaction>, Error> {
        let transaction =
            self.unlocked_context(ReadFrom::Store, tenant, device, id).await?.transaction.value;
        if transaction.spec.pin_required && !transaction.taken_by(device) {
            return Err(Refusal::PinRequired.into());
        }
        Ok(Arc::new(transaction))
    }

    /// Ends a transaction with a signature, verified here and nowhere else.
    ///
    /// The same signature again is answered as the first was, without verifying it again.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does, and every signature that does not hold; a wrong code
    /// is committed before it is refused.
    pub async fn finish(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<Arc<Transaction>, Error> {
        Ok(self.finish_in(FinishMode::Taken, tenant, device, id, submission).await?.transaction)
    }

    /// As [`finish`](Self::finish), in that manner; says which device it was, too. At once, a
    /// device that has not taken it takes it in the same decision, which needs no PIN: where the
    /// terms ask for one, it must have been proved by a take.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_in(
        &self,
        mode: FinishMode,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<Completed, Error> {
        let mut verified = None;
        for read_from in read_order() {
            let context = self.context(read_from, tenant, device, id).await;
            let attempt = self.try_finish(context, mode, submission, &mut verified).await;
            if let Some(answer) = read_from.answer(attempt) {
                return answer;
            }
        }
        Err(lost_every_race())
    }

    /// `verified` is what came of verifying, and for which version of the device.
    async fn try_finish(
        &self,
        context: Result<StepContext, Error>,
        mode: FinishMode,
        submission: &Submission<'_>,
        verified: &mut Option<(u32, Option<Proof>)>,
    ) -> Result<StepAttempt<Completed>, Error> {
        let mut context = context?;
        let device = context.device.value.id;
        let transaction = &context.transaction.value;
        match transaction.end() {
            // Said again, it is answered again, though the user was locked since.
            Some(End::Finished { by, proof })
                if *by == device && proof.repeats(submission.value) =>
            {
                let transaction = Arc::new(context.transaction.value);
                return Ok(Some(Ok(Completed { transaction, device: context.device.value })));
            }
            ended => {
                context.user.value.lock_state.check(context.now)?;
                if let Some(end) = ended {
                    return Err(Refusal::Ended(end.outcome()).into());
                }
                if context.now >= transaction.deadline() {
                    return Err(Refusal::Late.into());
                }
                if mode == FinishMode::AtOnce && !transaction.shown_by(device) {
                    context = context.taken()?;
                }
                context.transaction.value.may_finish(device)?;
            }
        }
        // A device that changed meanwhile may have lost the identity: it is looked at again.
        let version = context.device.version;
        let proof = match verified.take() {
            Some((then, proof)) if then == version => proof,
            _ => self.verify(&context, submission).await?,
        };
        *verified = Some((version, proof.clone()));
        let (before, now, policy) =
            (context.user.value.lock_state, context.now, &self.policy.locks);
        let wrong = before.record_failure(Factor::Code, policy, now);
        let input = match proof {
            Some(proof) => Input::Finish { device, proof },
            None => Input::MistakeCode { device, locks: wrong.1 },
        };
        let (decision, device) = context.decide(input, |event| match (event, submission.form) {
            (Event::CodeMistaken | Event::Ended(Outcome::Locked), _) => wrong.0,
            (_, SignatureFormat::Code) => before.record_success(Factor::Code),
            (_, SignatureFormat::Cms | SignatureFormat::Raw) => before,
        })?;
        let event = decision.step.event;
        let Some(transaction) = self.conclude(decision).await? else { return Ok(None) };
        Ok(Some(match event {
            Some(Event::CodeMistaken) => {
                let tries_left = wrong.0.tries_left(Factor::Code, policy);
                Err(Refusal::CodeWrong { tries_left })
            }
            Some(Event::Ended(Outcome::Locked)) => Err(Refusal::UserLocked),
            _ => Ok(Completed { transaction, device }),
        }))
    }

    /// Ends a transaction with the person's no. "This was not me" also holds the user against
    /// further offers, in the same commit.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does.
    pub async fn decline(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        reason: Decline,
    ) -> Result<Arc<Transaction>, Error> {
        self.decline_saying(tenant, device, id, reason, String::new()).await
    }

    /// As [`decline`](Self::decline), with words of the device's, at most
    /// [`crate::limits::REASON_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`decline`](Self::decline).
    pub async fn decline_saying(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        reason: Decline,
        words: String,
    ) -> Result<Arc<Transaction>, Error> {
        self.answer(tenant, device, id, Input::Decline { device, reason, words }, |lock_state| {
            match reason {
                Decline::NotMe => LockState { lock: Lock::ReportedByUser, ..lock_state },
                Decline::User => lock_state,
            }
        })
        .await
    }

    /// Ends a transaction that the device cannot do.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does.
    pub async fn fail(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        reason: String,
    ) -> Result<Arc<Transaction>, Error> {
        self.answer(tenant, device, id, Input::Fail { device, reason }, |lock_state| lock_state)
            .await
    }

    async fn answer(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        input: Input,
        lock_state: impl Fn(LockState) -> LockState + Send + Sync,
    ) -> Result<Arc<Transaction>, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let context = self.context(ReadFrom::Store, tenant, device, id).await?;
            // "This was not me", said again, comes from a user whom it has locked.
            if !context.transaction.value.state.is_ended() {
                context.user.value.lock_state.check(context.now)?;
            }
            let before = context.user.value.lock_state;
            let (decision, _) = context.decide(input.clone(), |_| lock_state(before))?;
            if let Some(done) = self.conclude(decision).await? {
                return Ok(done);
            }
        }
        Err(lost_every_race())
    }

    /// What comes of the proof of the PIN, if this transaction asks for one.
    fn pin(&self, context: &StepContext, given: Option<&str>) -> Result<Pin, Refusal> {
        let transaction = &context.transaction.value;
        if !transaction.spec.pin_required || transaction.state.is_ended() {
            return Ok(Pin::Absent);
        }
        let device = &context.device.value;
        let Some(pin) = &device.pin else { return Err(Refusal::PinUnset) };
        let Some(given) = given else { return Ok(Pin::Absent) };
        let id = transaction.spec.id.bytes();
        if super::pin::proves(device, pin, id, given) {
            return Ok(Pin::Right);
        }
        let lock_state = context.user.value.lock_state;
        let (_, locks) = lock_state.record_failure(Factor::Pin, &self.policy.locks, context.now);
        Ok(Pin::Wrong { locks })
    }
}
