//! Use cases on devices: enrol one, lock, unlock or retire it, change its push address.

use std::sync::Arc;

use super::{Engine, lost_every_race};
use crate::device::{Device, DeviceStatus};
use crate::enrolment::{Activation, Enrolment};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DeviceId, TenantName, UserName};
use crate::limits::{COMMIT_TRIES_MAX, DEVICES_PER_USER_MAX, LISTED_MAX};
use crate::port::{
    Change, Clock, Committed, DeviceFilter, Entropy, Ledger, Notification, Notifier, Page, Part,
    Query, QuerySubject, Snapshot, Versioned,
};
use crate::push::{Push, PushAddress, Registration};
use crate::refusal::{
    ActorError, ActorRefusal, EnrolError, EnrolRefusal, Fault, UserError, UserRefusal,
};
use crate::tenant::{Tenant, TenantState};
use crate::user::User;

/// The rows on which an enrolment is decided. For unknown names the same reads are made, and find
/// no rows.
#[derive(Debug)]
pub struct EnrolmentSnapshot {
    /// The tenant, if it is active.
    pub tenant: Option<Tenant>,
    /// The user, if they are not locked.
    pub user: Option<Versioned<User>>,
    /// The user's activations that have not expired.
    pub activations: Vec<Versioned<Activation>>,
}

/// The result of an enrolment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolled {
    /// The device is enrolled.
    Done,
    /// A row on which it was decided has changed: decide again.
    Stale,
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Reads the rows on which an enrolment is decided.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn enrolment_snapshot(
        &self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<EnrolmentSnapshot, Fault> {
        let now = self.now();
        let parts = &[Part::Tenant, Part::Activations(now)];
        let query = Query { subject: QuerySubject::User(user), parts };
        let Snapshot { tenant, user, activations, .. } = self.store.snapshot(tenant, query).await?;
        let user = user.filter(|user| user.value.lock_state.check(now).is_ok());
        let tenant = tenant.filter(|tenant| tenant.state == TenantState::Active);
        Ok(EnrolmentSnapshot { tenant, user, activations })
    }

    /// Enrols a device with an activation whose code it has proved.
    ///
    /// # Errors
    /// Refuses a user or a tenant that has the maximum of devices, and a public key that belongs,
    /// or belonged, to another identity.
    pub async fn enrol(&self, enrolment: Enrolment) -> Result<Enrolled, EnrolError> {
        let device = &enrolment.device;
        let (filter, page) = (DeviceFilter::User(&device.user), Page::first(LISTED_MAX));
        let devices = self.store.devices(&device.tenant, filter, page).await?;
        if devices.rows.len() >= DEVICES_PER_USER_MAX {
            return Err(EnrolRefusal::NotActivated.into());
        }
        let activation = format!("{:032x}", enrolment.activation.id);
        let added = Arc::new(device.clone());
        let event = self.event(
            &device.tenant,
            EventKind::DeviceEnrolled,
            &Actor::Device(device.id),
            Subject::Device(device.id),
            vec![("user", device.user.to_string()), ("activation", activation)],
        );
        let (enrolment, devices_max) = (Box::new(enrolment), self.policy.rows_max.devices);
        let change = Change::Enrol { enrolment, devices_max };
        match self.commit(change, vec![event]).await? {
            Committed::Written => {
                self.notifier.notify(Notification::DeviceAdded(added));
                Ok(Enrolled::Done)
            }
            Committed::KeyUsed => Err(EnrolRefusal::KeyUsed.into()),
            Committed::TenantFull => Err(EnrolRefusal::NotActivated.into()),
            _ => Ok(Enrolled::Stale),
        }
    }

    /// The devices of a device's user without retired ones, itself included, in the order of their
    /// enrolment.
    ///
    /// # Errors
    /// Refuses a device that is unknown, locked or retired.
    pub async fn devices_beside(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Vec<Device>, ActorError> {
        let query = Query { subject: QuerySubject::Device(id), parts: &[Part::Devices] };
        let Snapshot { device, devices, .. } = self.store.snapshot(tenant, query).await?;
        device.ok_or(ActorRefusal::UnknownDevice)?.value.check()?;
        Ok(devices.into_iter().map(|device| device.value).collect())
    }

    /// Locks, unlocks or retires a device. Transactions that it has taken stay open, and end by
    /// another device or their deadline.
    ///
    /// # Errors
    /// Refuses a device that is unknown or retired, or already has that status.
    pub async fn set_device_status(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: DeviceId,
        status: DeviceStatus,
    ) -> Result<Device, UserError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found =
                self.store.read().device(tenant, id).await?.ok_or(UserRefusal::UnknownDevice)?;
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
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(device);
            }
        }
        Err(lost_every_race())
    }

    /// Retires a device that says goodbye. A repeated goodbye gets the same answer.
    ///
    /// # Errors
    /// Refuses a device that is unknown, or locked by an administrator.
    pub async fn say_goodbye(&self, tenant: &TenantName, id: DeviceId) -> Result<(), ActorError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found =
                self.store.read().device(tenant, id).await?.ok_or(ActorRefusal::UnknownDevice)?;
            if found.value.status == DeviceStatus::Retired {
                return Ok(());
            }
            found.value.check()?;
            let user = found.value.user.clone();
            let (actor, details) = (Actor::Device(id), vec![("user", user.to_string())]);
            let (kind, subject) = (EventKind::DeviceRetired, Subject::Device(id));
            let event = self.event(tenant, kind, &actor, subject, details);
            let (status, push) = (DeviceStatus::Retired, Push::None);
            let device = Box::new(Device { status, push, ..found.value });
            let change = Change::ChangeDevice { device, expected: found.version };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }

    /// Changes a device's push address and language, or removes them. Another device of the tenant
    /// that had the address loses it. An address belongs to the device that registered it last, and
    /// must not receive pushes for another device.
    ///
    /// # Errors
    /// Refuses a device that is unknown, locked or retired.
    pub async fn set_push(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        asked: Option<(PushAddress, Option<String>)>,
    ) -> Result<(), ActorError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found =
                self.store.read().device(tenant, id).await?.ok_or(ActorRefusal::UnknownDevice)?;
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
