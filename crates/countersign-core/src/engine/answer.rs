//! The use cases of devices: list open transactions, take one, and end it.
//!
//! Each step reads the device and its user again, and its commit checks their versions. If a lock
//! was acknowledged before the commit, the commit is stale, and the next attempt refuses.

use std::sync::Arc;

use countersign_proof::raw::Algorithm;
use countersign_proof::{BadProof, Proof};

use super::context::StepContext;
use super::context_cache::{ReadFrom, StepAttempt, read_order};
use super::{Conclusion, Engine, lost_every_race};
use crate::device::Device;
use crate::event::Actor;
use crate::id::{DeviceId, IdentityId, RequestKey, TenantName, TransactionId};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Change, Clock, Entropy, Ledger, Notifier, Part, Query, QuerySubject, Snapshot};
use crate::refusal::{ActorError, ActorRefusal, DeviceError, DeviceRefusal, Error};
use crate::spec::{Notify, SignatureFormat};
use crate::time::Timestamp;
use crate::transaction::{
    Decline, End, Event, IdentitySnapshot, Input, Outcome, Pin, State, Transaction,
};
use crate::user::{Factor, Lock, LockState};

/// A signature, as a device hands it in, in the format that the device states.
#[derive(Clone, Copy, Debug)]
pub enum Submission<'a> {
    /// A CMS message, which names its algorithm and its transaction.
    Cms {
        /// The message, BER or DER.
        message: &'a [u8],
        /// The identity that signed. `None` selects the device's fitting identity.
        identity: Option<IdentityId>,
    },
    /// A raw signature.
    Raw(RawSubmission<'a>),
    /// A code (RFC 6287), which the device's code key makes, so it has no identity.
    Code {
        /// The code's digits, as text.
        digits: &'a [u8],
    },
}

/// A raw signature, as a device hands it in.
#[derive(Clone, Copy, Debug)]
pub struct RawSubmission<'a> {
    /// The signature's bytes, in the form that its algorithm has.
    pub signature: &'a [u8],
    /// The identity that signed. `None` selects the device's fitting identity.
    pub identity: Option<IdentityId>,
    /// The signature's algorithm.
    pub algorithm: Algorithm,
    /// The digest that the device obtained and signed, if the terms do not contain it.
    pub digest: Option<&'a [u8]>,
}

impl<'a> Submission<'a> {
    /// The signature's format.
    #[must_use]
    pub fn format(&self) -> SignatureFormat {
        match self {
            Self::Cms { .. } => SignatureFormat::Cms,
            Self::Raw(_) => SignatureFormat::Raw,
            Self::Code { .. } => SignatureFormat::Code,
        }
    }

    /// The signature's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Cms { message, .. } => message,
            Self::Raw(raw) => raw.signature,
            Self::Code { digits } => digits,
        }
    }
}

/// The way in which a signature is handed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FinishMode {
    /// By a device that has taken the transaction.
    Taken,
    /// By a device that may not have taken it: the call takes and finishes the transaction at once.
    AtOnce,
}

/// A transaction that a signature has completed.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The ended transaction.
    pub transaction: Arc<Transaction>,
    /// The device that signed, as it was at that time.
    pub device: Device,
}

/// A transaction that a device may show.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// The device that took it, to whose key the content is sealed.
    pub device: Device,
    /// The time of the call.
    pub at: Timestamp,
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Reads the open transactions of this device, oldest first. A device that asks is online, so
    /// the clock *go online* stops for the transactions that it is offered.
    ///
    /// With `key`, reads only the transaction with this request key, if it is one of them. Without
    /// it, leaves out those of [`Notify::Nobody`] that the device has not taken.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown.
    pub async fn offers(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        key: Option<RequestKey>,
    ) -> Result<Vec<Arc<Transaction>>, ActorError> {
        let parts = &[Part::User, Part::Open];
        let query = Query { subject: QuerySubject::Device(device), parts };
        let Snapshot { device, user, open, .. } = self.store.snapshot(tenant, query).await?;
        let device = device.ok_or(ActorRefusal::UnknownDevice)?;
        device.value.check()?;
        user.ok_or(ActorRefusal::UnknownUser)?.value.lock_state.check(self.now())?;
        let actor = Actor::Device(device.value.id);
        let mut offers = Vec::new();
        let mut reached = Vec::new();
        for open in open {
            let open = open.value;
            let taken_once = open.spec.once
                && open.takes.first().is_some_and(|take| take.device != device.value.id);
            if !open.spec.recipients.includes(device.value.id) || taken_once {
                continue;
            }
            let is_offered = match key {
                Some(key) => open.spec.request_key == key,
                None => open.spec.announced != Notify::Nobody || open.taken_by(device.value.id),
            };
            if !is_offered {
                continue;
            }
            if open.spec.is_ended_for(&device.value, self.now()) {
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
            match self.apply(tenant, open.spec.id, Transaction::reach, &actor).await {
                Ok(reached) => offers.push(reached),
                Err(Error::Refused(_)) => {} // It ended, or is about to.
                Err(Error::Failed(fault)) => return Err(fault.into()),
            }
        }
        if !reached.is_empty() {
            let (tenant, device) = (tenant.clone(), device.value.id);
            let at = self.now();
            // This change has no event of its own, because the transaction's history has
            // `TransactionReached`.
            let change = Change::Reached { tenant, device, transactions: reached, at };
            self.commit(change, Vec::new()).await?;
        }
        Ok(offers)
    }

    /// Checks that a device may still take part.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown.
    pub async fn check(&self, tenant: &TenantName, device: DeviceId) -> Result<(), ActorError> {
        let (_, user) = self.load_actor(tenant, device).await?;
        Ok(user.value.lock_state.check(self.now())?)
    }

    /// Takes a transaction, because the user has opened it. Only a take releases content; if the
    /// transaction requires the PIN, only with a proof of the PIN.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does. A wrong PIN is committed before it is refused.
    pub async fn take(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        pin_proof: Option<&str>,
    ) -> Result<Taken, DeviceError> {
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
        context: Result<StepContext, DeviceError>,
        pin_proof: Option<&str>,
    ) -> Result<StepAttempt<Taken>, DeviceError> {
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
        let Conclusion::Done(transaction) = self.conclude(decision).await? else {
            return Ok(None);
        };
        Ok(Some(match event {
            Some(Event::PinMistaken) => {
                let tries_left = after.tries_left(Factor::Pin, &self.policy.locks);
                Err(DeviceRefusal::PinWrong { tries_left })
            }
            Some(Event::Ended(_)) => Err(DeviceRefusal::PinWrong { tries_left: 0 }),
            _ => Ok(Taken { transaction, device: taker, at: now }),
        }))
    }

    /// A transaction as a device may see it without taking it.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown, a transaction that is not for this
    /// device, and a transaction that requires the PIN if this device has not proved the PIN for
    /// it.
    pub async fn look(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Arc<Transaction>, DeviceError> {
        let transaction =
            self.unlocked_context(ReadFrom::Store, tenant, device, id).await?.transaction.value;
        if transaction.spec.pin_required && !transaction.taken_by(device) {
            return Err(DeviceRefusal::PinRequired.into());
        }
        Ok(Arc::new(transaction))
    }

    /// Ends a transaction with a signature. This is the only place that verifies signatures.
    ///
    /// A repeated signature gets the same answer as the first time, and is not verified again.
    ///
    /// With [`FinishMode::AtOnce`], a device that has not taken the transaction takes it in the
    /// same decision, without a PIN. If the terms require the PIN, an earlier take must have proved
    /// it.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does, and every invalid signature. A wrong code is
    /// committed before it is refused.
    pub async fn finish(
        &self,
        mode: FinishMode,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<Completed, DeviceError> {
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

    /// `verified` is the result of an earlier verification, with the device's version at that time.
    async fn try_finish(
        &self,
        context: Result<StepContext, DeviceError>,
        mode: FinishMode,
        submission: &Submission<'_>,
        verified: &mut Option<(u32, Option<Proof>)>,
    ) -> Result<StepAttempt<Completed>, DeviceError> {
        let mut context = context?;
        let device = context.device.value.id;
        let transaction = &context.transaction.value;
        match transaction.end() {
            // Repeat the answer for a repeated signature, even if the user has been locked since.
            Some(End::Finished { by, proof, .. })
                if *by == device && proof.repeats(submission.bytes()) =>
            {
                let transaction = Arc::new(context.transaction.value);
                return Ok(Some(Ok(Completed { transaction, device: context.device.value })));
            }
            _ => {
                context.check_open()?;
                if mode == FinishMode::AtOnce && !transaction.shown_by(device) {
                    context = context.taken()?;
                }
                context.transaction.value.may_finish(device)?;
            }
        }
        // Verify again if the device has changed, because it may have lost the identity.
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
            Some(proof) => {
                context = context.fetched()?;
                finished(&context.device.value, proof)
            }
            None => Input::MistakeCode { device, locks: wrong.1 },
        };
        let (decision, device) = context.decide(input, |event| match (event, submission) {
            (Event::CodeMistaken | Event::Ended(Outcome::Locked), _) => wrong.0,
            (_, Submission::Code { .. }) => before.record_success(Factor::Code),
            (_, Submission::Cms { .. } | Submission::Raw(_)) => before,
        })?;
        let event = decision.step.event;
        let transaction = match self.conclude(decision).await? {
            Conclusion::Done(transaction) => transaction,
            Conclusion::Stale => return Ok(None),
            Conclusion::SignatureUsed => {
                return Err(DeviceRefusal::BadProof(BadProof::UsedBefore).into());
            }
        };
        Ok(Some(match event {
            Some(Event::CodeMistaken) => {
                let tries_left = wrong.0.tries_left(Factor::Code, policy);
                Err(DeviceRefusal::CodeWrong { tries_left })
            }
            Some(Event::Ended(Outcome::Locked)) => Err(DeviceRefusal::CodeWrong { tries_left: 0 }),
            _ => Ok(Completed { transaction, device }),
        }))
    }

    /// Ends a transaction because the user declined. "This was not me" also locks the user in the
    /// same commit, so that no further transactions are offered. `words` are the user's own, at
    /// most [`crate::limits::REASON_BYTES_MAX`]; empty if the device sent none.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does.
    pub async fn decline(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        reason: Decline,
        words: String,
    ) -> Result<Arc<Transaction>, DeviceError> {
        self.answer(tenant, device, id, Input::Decline { device, reason, words }, |lock_state| {
            match reason {
                Decline::NotMe => LockState { lock: Lock::ReportedByUser, ..lock_state },
                Decline::User => lock_state,
            }
        })
        .await
    }

    /// Ends a transaction that the device cannot complete.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does.
    pub async fn fail(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        reason: String,
    ) -> Result<Arc<Transaction>, DeviceError> {
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
    ) -> Result<Arc<Transaction>, DeviceError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let context = self.context(ReadFrom::Store, tenant, device, id).await?;
            // A repeated "this was not me" comes from a user whom the first one locked.
            if !context.transaction.value.state.is_ended() {
                context.user.value.lock_state.check(context.now)?;
            }
            let before = context.user.value.lock_state;
            let (decision, _) = context.decide(input.clone(), |_| lock_state(before))?;
            if let Conclusion::Done(done) = self.conclude(decision).await? {
                return Ok(done);
            }
        }
        Err(lost_every_race())
    }

    /// Checks the proof of the PIN, if this transaction requires one.
    fn pin(&self, context: &StepContext, given: Option<&str>) -> Result<Pin, DeviceRefusal> {
        let transaction = &context.transaction.value;
        if !transaction.spec.pin_required || transaction.state.is_ended() {
            return Ok(Pin::Absent);
        }
        let device = &context.device.value;
        let Some(pin) = &device.pin else { return Err(DeviceRefusal::PinUnset) };
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

/// The input of a verified signature by this device.
fn finished(device: &Device, proof: Proof) -> Input {
    let identity = IdentitySnapshot::of(device, &proof);
    Input::Finish { device: device.id, proof, identity }
}
