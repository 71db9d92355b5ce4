//! What is done to people and their devices: let a device in, lock or retire it, log a person out,
//! delete them. Whoever is on the line then is told to hang up.

use super::{Engine, lost_every_race};
use crate::device::{Device, DeviceStatus};
use crate::enrolment::Activation;
use crate::id::{DeviceId, TenantName, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Changed, Clock, Entropy, Ledger, Notification, Notifier, Registry};
use crate::push::{Push, PushAddress, Registration};
use crate::refusal::{Error, Refusal};
use crate::spec::Recipients;
use crate::time::Timestamp;
use crate::transaction::Input;

/// Makes an activation code at `now`. It is written only if no other code was made for the user
/// since it was decided on, so the bound on open codes holds however many are made at once.
///
/// # Errors
/// Refuses an unknown user, and what [`Activation::join`] refuses.
pub async fn create_activation<S: Registry>(
    store: &S,
    activation: Activation,
    now: Timestamp,
) -> Result<(), Error> {
    let (tenant, name) = (&activation.tenant, &activation.user);
    for _ in 0..COMMIT_TRIES_MAX {
        let user = store.user(tenant, name).await?.ok_or(Refusal::UnknownUser)?.value;
        let others = store.activations(tenant, name, now).await?;
        activation.join(&others, now)?;
        let made = store.create_activation(activation.clone(), user.activations_made).await?;
        if made == Changed::Written {
            return Ok(());
        }
    }
    Err(lost_every_race())
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Makes an activation code for a device of its user's.
    ///
    /// # Errors
    /// As [`create_activation`].
    pub async fn create_activation(&self, activation: Activation) -> Result<(), Error> {
        create_activation(&self.store, activation, self.now()).await
    }

    /// Locks, unlocks or retires a device. Whatever it has open goes on without it, and ends in its
    /// own time.
    ///
    /// # Errors
    /// Refuses a device that is unknown or retired, or has that status already.
    pub async fn set_device_status(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        status: DeviceStatus,
    ) -> Result<(), Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.device(tenant, id).await?.ok_or(Refusal::UnknownDevice)?;
            let device = found.value.with_status(status)?;
            let user = device.user.clone();
            if self.store.change_device(device, found.version).await? == Changed::Stale {
                continue;
            }
            if status != DeviceStatus::Active {
                self.disconnect(tenant, &user, Recipients::Device(id));
            }
            return Ok(());
        }
        Err(lost_every_race())
    }

    /// Changes where a device is woken, or that it is not. Another device of the tenant that had
    /// that address loses it: whoever holds the address now is who registered it last, and must not
    /// be shown what is another's.
    ///
    /// # Errors
    /// Refuses a device that is unknown, locked or retired.
    pub async fn set_push(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        asked: Option<(PushAddress, Option<String>)>,
    ) -> Result<(), Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.device(tenant, id).await?.ok_or(Refusal::UnknownDevice)?;
            found.value.check()?;
            let present = found.value.push.registration();
            let present = present.map(|held| (held.address.clone(), held.language.clone()));
            if present == asked && (asked.is_some() || found.value.push == Push::None) {
                return Ok(());
            }
            let push = match &asked {
                None => Push::None,
                Some((address, language)) => Push::At(Registration {
                    address: address.clone(),
                    language: language.clone(),
                    since: self.now(),
                }),
            };
            let moved = Device { push, ..found.value };
            if self.store.change_device(moved, found.version).await? == Changed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }

    /// Closes the channels of a user's devices. They may come back: whoever is to stay out is
    /// locked.
    ///
    /// # Errors
    /// Refuses an unknown user, and one who has no device on the line.
    pub async fn log_out(&self, tenant: &TenantName, user: &UserName) -> Result<(), Error> {
        self.store.user(tenant, user).await?.ok_or(Refusal::UnknownUser)?;
        if !self.notifier.online(tenant, user, &Recipients::Any) {
            return Err(Refusal::Unchanged.into());
        }
        self.disconnect(tenant, user, Recipients::Any);
        Ok(())
    }

    /// Deletes a user: what they have open is cancelled, and told to its callers; their devices are
    /// retired. What has ended stays, under the name.
    ///
    /// # Errors
    /// Refuses an unknown user.
    pub async fn delete_user(&self, tenant: &TenantName, user: &UserName) -> Result<(), Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.user(tenant, user).await?.ok_or(Refusal::UnknownUser)?;
            for open in self.store.open(tenant, user).await? {
                let id = open.value.spec.id;
                let late = self.now() >= open.value.deadline();
                let input = if late { Input::Tick } else { Input::Cancel };
                match self.apply(tenant, id, input).await {
                    Ok(_) | Err(Error::Refused(_)) => {} // It ended, or is looked at again.
                    Err(failed) => return Err(failed),
                }
            }
            // Stale where something was started, or the user changed, meanwhile.
            if self.store.delete_user(tenant, user, found.version).await? == Changed::Written {
                self.disconnect(tenant, user, Recipients::Any);
                return Ok(());
            }
        }
        Err(lost_every_race())
    }

    fn disconnect(&self, tenant: &TenantName, user: &UserName, recipients: Recipients) {
        let (tenant, user) = (tenant.clone(), user.clone());
        self.notifier.notify(Notification::Disconnect { tenant, user, recipients });
    }
}
