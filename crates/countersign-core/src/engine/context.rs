//! Step contexts: the device, user and transaction on which a device's step is decided.
//!
//! A context is read at one moment, or cached. A decision on it always names the versions of its
//! rows, so that the ledger can detect a stale one.

use super::context_cache::ReadFrom;
use super::{Decision, Engine};
use crate::device::Device;
use crate::event::Actor;
use crate::id::{DeviceId, TenantName, TransactionId};
use crate::port::{
    Clock, Entropy, Ledger, Notifier, Part, Preconditions, Query, QuerySubject, Snapshot,
    StepSnapshot, UserWithDevices, Versioned,
};
use crate::refusal::{ActorError, ActorRefusal, DeviceError, DeviceRefusal};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Pin, Step, Transaction};
use crate::user::{LockState, User};

/// The device, user and transaction of one step.
pub(super) struct StepContext {
    pub(super) read_from: ReadFrom,
    pub(super) device: Versioned<Device>,
    pub(super) user: Versioned<User>,
    pub(super) transaction: Versioned<Transaction>,
    pub(super) now: Timestamp,
}

impl StepContext {
    /// The same context, with the transaction taken by the acting device.
    pub(super) fn taken(mut self) -> Result<Self, DeviceRefusal> {
        let take = Input::Take { device: self.device.value.id, pin: Pin::Absent };
        self.transaction.value = self.transaction.value.step(take, self.now)?.next;
        Ok(self)
    }

    /// Refuses a locked user, and a transaction that has ended.
    pub(super) fn check_open(&self) -> Result<(), DeviceRefusal> {
        self.user.value.lock_state.check(self.now)?;
        match self.transaction.value.end() {
            Some(end) => Err(DeviceRefusal::Ended(end.outcome())),
            None if self.now >= self.transaction.value.deadline() => Err(DeviceRefusal::Late),
            None => Ok(()),
        }
    }

    /// The same context, with the transaction fetched for the acting device, unless it has taken
    /// it. A right signature shows that the device had the content.
    pub(super) fn fetched(mut self) -> Result<Self, DeviceRefusal> {
        if self.transaction.value.taken_by(self.device.value.id) {
            return Ok(self);
        }
        let fetch = Input::Fetch { device: self.device.value.id };
        self.transaction.value = self.transaction.value.step(fetch, self.now)?.next;
        Ok(self)
    }

    /// Decides, and returns the decision with the versions on which it depends and the acting
    /// device. `lock_state` computes the user's lock state after an event.
    pub(super) fn decide(
        self,
        input: Input,
        lock_state: impl Fn(Event) -> LockState,
    ) -> Result<(Decision, Device), DeviceRefusal> {
        let step: Step = self.transaction.value.step(input, self.now)?;
        let after = step.event.map(lock_state);
        let decision = Decision {
            actor: Actor::Device(self.device.value.id),
            read_from: self.read_from,
            step,
            expected: self.transaction.version,
            preconditions: Preconditions {
                user: Some(self.user.version),
                device: Some((self.device.value.id, self.device.version)),
            },
            lock_state: after.filter(|after| *after != self.user.value.lock_state),
        };
        Ok((decision, self.device.value))
    }
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Loads the acting device and its user. Either may be locked.
    pub(super) async fn load_actor(
        &self,
        tenant: &TenantName,
        device: DeviceId,
    ) -> Result<(Versioned<Device>, Versioned<User>), ActorError> {
        let query = Query { subject: QuerySubject::Device(device), parts: &[Part::User] };
        let Snapshot { device, user, .. } = self.store.snapshot(tenant, query).await?;
        let device = device.ok_or(ActorRefusal::UnknownDevice)?;
        device.value.check()?;
        Ok((device, user.ok_or(ActorRefusal::UnknownUser)?))
    }

    /// Loads the step context. The user may be locked.
    pub(super) async fn context(
        &self,
        read_from: ReadFrom,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<StepContext, DeviceError> {
        let (device, user, transaction) = self.load_step(read_from, tenant, device, id).await?;
        let transaction = transaction.ok_or(DeviceRefusal::Unknown)?;
        Ok(StepContext { read_from, device, user, transaction, now: self.now() })
    }

    /// Loads the step context. Refuses a locked device or user.
    pub(super) async fn unlocked_context(
        &self,
        read_from: ReadFrom,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<StepContext, DeviceError> {
        let (device, user, transaction) = self.load_step(read_from, tenant, device, id).await?;
        let now = self.now();
        user.value.lock_state.check(now)?;
        let transaction = transaction.ok_or(DeviceRefusal::Unknown)?;
        Ok(StepContext { read_from, device, user, transaction, now })
    }

    /// Loads an unlocked device, its user, and the transaction if the device may see it.
    async fn load_step(
        &self,
        read_from: ReadFrom,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<(Versioned<Device>, Versioned<User>, Option<Versioned<Transaction>>), DeviceError>
    {
        let found = match read_from {
            ReadFrom::Cache => self.context_cache.get(tenant, device, id),
            ReadFrom::Store => self.store.read().step_snapshot(tenant, device, id).await?,
        };
        let StepSnapshot { device, user, transaction } =
            found.ok_or(DeviceRefusal::UnknownDevice)?;
        device.value.check()?;
        let user = user.ok_or(DeviceRefusal::UnknownUser)?;
        // Report another user's transaction as not found, so that its existence does not leak.
        let transaction = transaction
            .filter(|found| found.value.spec.user == device.value.user)
            .filter(|found| found.value.spec.recipients.includes(device.value.id));
        if let (ReadFrom::Store, Some(transaction)) = (read_from, &transaction) {
            let user_with_devices =
                UserWithDevices { user: user.clone(), devices: vec![device.clone()] };
            self.context_cache.insert(user_with_devices, transaction.clone());
        }
        Ok((device, user, transaction))
    }
}
