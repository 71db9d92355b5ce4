//! What a device's step is decided on: who acts on what, read at one moment or remembered.
//!
//! Its promise: whatever is decided on it says what it stood on, so that the ledger can judge it.

use super::scenes::Source;
use super::{Decision, Engine};
use crate::device::Device;
use crate::id::{DeviceId, TenantName, TransactionId};
use crate::port::{
    Acting, Chance, Clock, Doorbell, Grounds, Household, Ledger, Registry, Versioned,
};
use crate::refusal::{Error, Refusal};
use crate::time::Timestamp;
use crate::transaction::{Event, Input, Pin, Step, Transaction};
use crate::user::{Standing, User};

/// Who acts on what.
pub(super) struct Scene {
    pub(super) source: Source,
    pub(super) device: Versioned<Device>,
    pub(super) user: Versioned<User>,
    pub(super) transaction: Versioned<Transaction>,
    pub(super) now: Timestamp,
}

impl Scene {
    /// The same, the transaction taken by the device that acts.
    pub(super) fn taken(mut self) -> Result<Self, Refusal> {
        let take = Input::Take { device: self.device.value.id, pin: Pin::Absent };
        self.transaction.value = self.transaction.value.step(take, self.now)?.next;
        Ok(self)
    }

    /// Decides, and says what the decision stands on, and which device acts. `standing` gives the user's
    /// standing after an event.
    pub(super) fn decide(
        self,
        input: Input,
        standing: impl Fn(Event) -> Standing,
    ) -> Result<(Decision, Device), Refusal> {
        let step: Step = self.transaction.value.step(input, self.now)?;
        let after = step.event.map(standing);
        let decision = Decision {
            source: self.source,
            step,
            expected: self.transaction.version,
            grounds: Grounds {
                user: Some(self.user.version),
                device: Some((self.device.value.id, self.device.version)),
            },
            standing: after.filter(|after| *after != self.user.value.standing),
        };
        Ok((decision, self.device.value))
    }
}

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// The device that acts and its user, neither of them necessarily unlocked.
    pub(super) async fn actor(
        &self,
        tenant: &TenantName,
        device: DeviceId,
    ) -> Result<(Versioned<Device>, Versioned<User>), Error> {
        let device = self.store.device(tenant, device).await?.ok_or(Refusal::UnknownDevice)?;
        device.value.check()?;
        let user = self.store.user(tenant, &device.value.user).await?;
        Ok((device, user.ok_or(Refusal::UnknownUser)?))
    }

    /// Everything that a device's step is decided on; the user not necessarily unlocked.
    pub(super) async fn scene(
        &self,
        source: Source,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Scene, Error> {
        let (device, user, transaction) = self.act(source, tenant, device, id).await?;
        let transaction = transaction.ok_or(Refusal::Unknown)?;
        Ok(Scene { source, device, user, transaction, now: self.now() })
    }

    /// The same, device and user in good standing.
    pub(super) async fn scene_in_good_standing(
        &self,
        source: Source,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Scene, Error> {
        let (device, user, transaction) = self.act(source, tenant, device, id).await?;
        let now = self.now();
        user.value.standing.check(now)?;
        let transaction = transaction.ok_or(Refusal::Unknown)?;
        Ok(Scene { source, device, user, transaction, now })
    }

    /// An unlocked device, its user, and the transaction where it is the device's to see.
    async fn act(
        &self,
        source: Source,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<(Versioned<Device>, Versioned<User>, Option<Versioned<Transaction>>), Error> {
        let found = match source {
            Source::Memory => self.scenes.recall(tenant, device, id),
            Source::Ledger => self.store.acting(tenant, device, id).await?,
        };
        let Acting { device, user, transaction } = found.ok_or(Refusal::UnknownDevice)?;
        device.value.check()?;
        let user = user.ok_or(Refusal::UnknownUser)?;
        // Another user's transaction is told from none by nobody.
        let transaction = transaction
            .filter(|found| found.value.terms.user == device.value.user)
            .filter(|found| found.value.terms.addressed.covers(device.value.id));
        if let (Source::Ledger, Some(transaction)) = (source, &transaction) {
            let household = Household { user: user.clone(), devices: vec![device.clone()] };
            self.scenes.keep(household, transaction.clone());
        }
        Ok((device, user, transaction))
    }
}
