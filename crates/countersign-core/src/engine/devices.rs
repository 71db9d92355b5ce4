//! What is done to devices: let one in, lock, unlock or retire it, change where it is pushed.

use super::{Engine, lost_every_race};
use crate::device::{Device, DeviceStatus};
use crate::enrolment::{Activation, Enrolment};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DeviceId, TenantName, UserName};
use crate::limits::{COMMIT_TRIES_MAX, DEVICES_PER_USER_MAX};
use crate::port::{Change, Clock, Committed, Entropy, Ledger, Notifier, Registry, Versioned};
use crate::push::{Push, PushAddress, Registration};
use crate::refusal::{Error, Refusal};
use crate::spec::Recipients;
use crate::tenant::Tenant;
use crate::user::User;

/// What an enrolment is decided on. For names that are unknown the same is read, and nothing found.
#[derive(Debug)]
pub struct EnrolmentSnapshot {
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// The user, if they are not locked.
    pub user: Option<Versioned<User>>,
    /// The user's activations that have not expired.
    pub activations: Vec<Versioned<Activation>>,
}

/// What became of an enrolment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolled {
    /// The device is in.
    Done,
    /// Something that it was decided on has changed meanwhile: decide again.
    Stale,
}

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Reads what an enrolment is decided on.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn enrolment_snapshot(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<EnrolmentSnapshot, Error> {
        let now = self.now();
        let found = self.store.user(tenant, user).await?;
        let user_unlocked = found.filter(|user| user.value.lock_state.check(now).is_ok());
        let activations = self.store.activations(tenant, user, now).await?;
        let tenant = self.store.tenant(tenant).await?;
        Ok(EnrolmentSnapshot { tenant, user: user_unlocked, activations })
    }

    /// Lets a device in by an activation whose code it has proved.
    ///
    /// # Errors
    /// Refuses a user who has as many devices as may be, and a public key that is or was another
    /// identity's.
    pub async fn enrol(&self, enrolment: Enrolment) -> Result<Enrolled, Error> {
        let device = &enrolment.device;
        let devices = self.store.devices(&device.tenant, Some(&device.user)).await?;
        if devices.len() >= DEVICES_PER_USER_MAX {
            return Err(Refusal::NotActivated.into());
        }
        let activation = format!("{:032x}", enrolment.activation.id);
        let event = self.event(
            &device.tenant,
            EventKind::DeviceEnrolled,
            &Actor::Device(device.id),
            Subject::Device(device.id),
            vec![("user", device.user.to_string()), ("activation", activation)],
        );
        match self.commit(Change::Enrol(Box::new(enrolment)), vec![event]).await? {
            Committed::Written => Ok(Enrolled::Done),
            Committed::KeyUsed => Err(Refusal::KeyUsed.into()),
            _ => Ok(Enrolled::Stale),
        }
    }

    /// Locks, unlocks or retires a device. What it has taken goes on without it, and ends in its own
    /// time.
    ///
    /// # Errors
    /// Refuses a device that is unknown or retired, or has that status already.
    pub async fn set_device_status(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: DeviceId,
        status: DeviceStatus,
    ) -> Result<Device, Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.device(tenant, id).await?.ok_or(Refusal::UnknownDevice)?;
            let device = found.value.with_status(status)?;
            let kind = match status {
                DeviceStatus::Active => EventKind::DeviceUnlocked,
                DeviceStatus::Locked => EventKind::DeviceLocked,
                DeviceStatus::Retired => EventKind::DeviceRetired,
            };
            let details = vec![("user", device.user.to_string())];
            let event = self.event(tenant, kind, actor, Subject::Device(id), details);
            let changed = Box::new(device.clone());
            let change = Change::ChangeDevice { device: changed, expected: found.version };
            if self.commit(change, vec![event]).await? != Committed::Written {
                continue;
            }
            if status != DeviceStatus::Active {
                self.disconnect(tenant, &device.user, Recipients::Device(id));
            }
            return Ok(device);
        }
        Err(lost_every_race())
    }

    /// Changes the address at which a device is pushed, and its language; or removes it. Another device
    /// of the tenant that had the address loses it: the address belongs to the device that registered it
    /// last, and must not be shown what is another's.
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
            let state = match push {
                Push::At(_) => "registered",
                _ => "removed",
            };
            let event = self.event(
                tenant,
                EventKind::PushAddressChanged,
                &Actor::Device(id),
                Subject::Device(id),
                vec![("state", state.to_owned())],
            );
            let device = Box::new(Device { push, ..found.value });
            let change = Change::ChangeDevice { device, expected: found.version };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }
}
