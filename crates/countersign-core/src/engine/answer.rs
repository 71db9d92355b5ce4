//! What devices do: see what is open, take it, and end it.
//!
//! Each step looks at the device and its user again, and holds what it saw in the commit: a lock that
//! was acknowledged before the commit makes the commit stale, and the next look refuses.

use std::sync::Arc;

use countersign_proof::Proof;
use countersign_proof::raw::Algorithm;

use super::scene::Scene;
use super::scenes::{Source, Tried, sources};
use super::{Engine, lost_every_race};
use crate::device::Device;
use crate::id::{DeviceId, IdentityId, TenantName, TransactionId};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Chance, Clock, Doorbell, Ledger, Registry};
use crate::refusal::{Error, Refusal};
use crate::terms::Form;
use crate::transaction::{Decline, End, Event, Input, Outcome, Pin, State, Transaction};
use crate::user::{Factor, Lock, Standing};

/// A signature as a device hands it in.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// The form that it claims.
    pub form: Form,
    /// Its bytes.
    pub value: &'a [u8],
    /// The identity that made it; where none is named, the one of the device's that fits. A code has none.
    pub identity: Option<IdentityId>,
    /// What a raw signature was made with. Where it is not said, the key's scheme with the hash that the terms
    /// prefer for this device.
    pub algorithm: Option<Algorithm>,
    /// The digest that the device learnt and signed, where the terms do not have it.
    pub digest: Option<&'a [u8]>,
}

/// How a signature is handed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
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

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
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
        let (device, user) = self.actor(tenant, device).await?;
        user.value.standing.check(self.now())?;
        let mut offers = Vec::new();
        let mut reached = Vec::new();
        for open in self.store.open(tenant, &user.value.name).await? {
            let open = open.value;
            let taken_once = open.terms.once
                && open.takes.first().is_some_and(|take| take.device != device.value.id);
            if !open.terms.addressed.covers(device.value.id) || taken_once {
                continue;
            }
            let is_known = open.terms.present.contains(&device.value.id);
            if !is_known && !open.taken_by(device.value.id) {
                reached.push(open.terms.id);
            }
            if open.state != (State::Waiting { reached: false }) {
                offers.push(Arc::new(open));
                continue;
            }
            match self.apply(tenant, open.terms.id, Input::Reach).await {
                Ok(reached) => offers.push(reached),
                Err(Error::Refused(_)) => {} // It ended, or is about to.
                Err(failed) => return Err(failed),
            }
        }
        if !reached.is_empty() {
            self.store.note_reached(tenant, device.value.id, reached, self.now()).await?;
        }
        Ok(offers)
    }

    /// Whether a device may still take part.
    ///
    /// # Errors
    /// Refuses a device or a user that is locked or unknown.
    pub async fn check(&self, tenant: &TenantName, device: DeviceId) -> Result<(), Error> {
        let (_, user) = self.actor(tenant, device).await?;
        Ok(user.value.standing.check(self.now())?)
    }

    /// Takes a transaction: the person has opened it. Content is released only by this, and where the
    /// PIN is asked for, only to its proof.
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
        for source in sources() {
            let scene = self.scene_in_good_standing(source, tenant, device, id).await;
            let tried = self.try_take(scene, pin_proof).await;
            if let Some(answer) = source.answer(tried) {
                return answer;
            }
        }
        Err(lost_every_race())
    }

    async fn try_take(
        &self,
        scene: Result<Scene, Error>,
        pin_proof: Option<&str>,
    ) -> Result<Tried<Taken>, Error> {
        let scene = scene?;
        let device = scene.device.value.id;
        let pin = self.pin(&scene, pin_proof)?;
        let (before, now) = (scene.user.value.standing, scene.now);
        let (decision, taker) = scene.decide(Input::Take { device, pin }, |event| match event {
            Event::PinMistaken | Event::Ended(Outcome::Locked) => {
                before.after_wrong(Factor::Pin, &self.policy.locks, now).0
            }
            _ if pin == Pin::Right => before.after_right(Factor::Pin),
            _ => before,
        })?;
        let event = decision.step.event;
        let after = decision.standing.unwrap_or(before);
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
    /// Refuses a device or a user that is locked or unknown, a transaction that is not for this device, and
    /// one whose content is released to the PIN only, which this device has not proved for it.
    pub async fn look(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Arc<Transaction>, Error> {
        let transaction = self
            .scene_in_good_standing(Source::Ledger, tenant, device, id)
            .await?
            .transaction
            .value;
        if transaction.terms.pin_required && !transaction.taken_by(device) {
            return Err(Refusal::PinRequired.into());
        }
        Ok(Arc::new(transaction))
    }

    /// Ends a transaction with a signature, verified here and nowhere else.
    ///
    /// The same signature again is answered as the first was, without verifying it again.
    ///
    /// # Errors
    /// Refuses as [`Transaction::step`] does, and every signature that does not hold; a wrong code is
    /// committed before it is refused.
    pub async fn finish(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<Arc<Transaction>, Error> {
        Ok(self.finish_in(Manner::Taken, tenant, device, id, submission).await?.transaction)
    }

    /// As [`finish`](Self::finish), in that manner; says which device it was, too. At once, a device that has not taken it takes it in the
    /// same decision, which needs no PIN: where the terms ask for one, it must have been proved by a take.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_in(
        &self,
        manner: Manner,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        submission: &Submission<'_>,
    ) -> Result<Completed, Error> {
        let mut verified = None;
        for source in sources() {
            let scene = self.scene(source, tenant, device, id).await;
            let tried = self.try_finish(scene, manner, submission, &mut verified).await;
            if let Some(answer) = source.answer(tried) {
                return answer;
            }
        }
        Err(lost_every_race())
    }

    /// `verified` is what came of verifying, and for which version of the device.
    async fn try_finish(
        &self,
        scene: Result<Scene, Error>,
        manner: Manner,
        submission: &Submission<'_>,
        verified: &mut Option<(u32, Option<Proof>)>,
    ) -> Result<Tried<Completed>, Error> {
        let mut scene = scene?;
        let device = scene.device.value.id;
        let transaction = &scene.transaction.value;
        match transaction.end() {
            // Said again, it is answered again, though the user was locked since.
            Some(End::Finished { by, proof })
                if *by == device && proof.repeats(submission.value) =>
            {
                let transaction = Arc::new(scene.transaction.value);
                return Ok(Some(Ok(Completed { transaction, device: scene.device.value })));
            }
            ended => {
                scene.user.value.standing.check(scene.now)?;
                if let Some(end) = ended {
                    return Err(Refusal::Ended(end.outcome()).into());
                }
                if scene.now >= transaction.deadline() {
                    return Err(Refusal::Late.into());
                }
                if manner == Manner::AtOnce && !transaction.shown_by(device) {
                    scene = scene.taken()?;
                }
                scene.transaction.value.may_finish(device)?;
            }
        }
        // A device that changed meanwhile may have lost the identity: it is looked at again.
        let version = scene.device.version;
        let proof = match verified.take() {
            Some((then, proof)) if then == version => proof,
            _ => self.verify(&scene, submission).await?,
        };
        *verified = Some((version, proof.clone()));
        let (before, now, policy) = (scene.user.value.standing, scene.now, &self.policy.locks);
        let wrong = before.after_wrong(Factor::Code, policy, now);
        let input = match proof {
            Some(proof) => Input::Finish { device, proof },
            None => Input::MistakeCode { device, locks: wrong.1 },
        };
        let (decision, device) = scene.decide(input, |event| match (event, submission.form) {
            (Event::CodeMistaken | Event::Ended(Outcome::Locked), _) => wrong.0,
            (_, Form::Code) => before.after_right(Factor::Code),
            (_, Form::Cms | Form::Raw) => before,
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

    /// Ends a transaction with the person's no. "This was not me" also holds the user against further
    /// offers, in the same commit.
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
        self.answer(tenant, device, id, Input::Decline { device, reason, words }, |standing| {
            match reason {
                Decline::NotMe => Standing { lock: Lock::Disowned, ..standing },
                Decline::User => standing,
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
        self.answer(tenant, device, id, Input::Fail { device, reason }, |standing| standing).await
    }

    async fn answer(
        &self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
        input: Input,
        standing: impl Fn(Standing) -> Standing + Send + Sync,
    ) -> Result<Arc<Transaction>, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let scene = self.scene(Source::Ledger, tenant, device, id).await?;
            // "This was not me", said again, comes from a user whom it has locked.
            if !scene.transaction.value.state.is_ended() {
                scene.user.value.standing.check(scene.now)?;
            }
            let before = scene.user.value.standing;
            let (decision, _) = scene.decide(input.clone(), |_| standing(before))?;
            if let Some(done) = self.conclude(decision).await? {
                return Ok(done);
            }
        }
        Err(lost_every_race())
    }

    /// What comes of the proof of the PIN, if this transaction asks for one.
    fn pin(&self, scene: &Scene, given: Option<&str>) -> Result<Pin, Refusal> {
        let transaction = &scene.transaction.value;
        if !transaction.terms.pin_required || transaction.state.is_ended() {
            return Ok(Pin::Absent);
        }
        let device = &scene.device.value;
        let Some(pin) = &device.pin else { return Err(Refusal::PinUnset) };
        let Some(given) = given else { return Ok(Pin::Absent) };
        let id = transaction.terms.id.bytes();
        if super::pin::proves(device, pin, id, given) {
            return Ok(Pin::Right);
        }
        let standing = scene.user.value.standing;
        let (_, locks) = standing.after_wrong(Factor::Pin, &self.policy.locks, scene.now);
        Ok(Pin::Wrong { locks })
    }
}
