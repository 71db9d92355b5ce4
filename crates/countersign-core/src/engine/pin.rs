//! The PIN, which the server checks without ever seeing it.

use countersign_proof::ocra;

use super::{Engine, lost_every_race};
use crate::device::{Device, DeviceStatus, PinDigest, PinReset};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{DeviceId, TenantName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, Clock, Committed, Entropy, Ledger, Notifier, Part, Query, QuerySubject, Snapshot,
};
use crate::refusal::{DeviceError, DeviceRefusal, PinResetError, PinResetRefusal};
use crate::user::Factor;

/// The value in place of a transaction's id when a change of the PIN is proved.
const NO_TRANSACTION: [u8; 16] = [0; 16];

/// Whether `given` proves the PIN for this transaction (RFC 6287), compared in constant time.
pub(super) fn proves(device: &Device, pin: &PinDigest, transaction: [u8; 16], given: &str) -> bool {
    ocra::check_pin_proof(device.code_key.expose(), pin.digest.expose(), transaction, given)
}

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Sets a device's PIN. The first one, version 1, needs no proof; each later one proves the one
    /// before it. A repeated call is accepted, and does not change the device.
    ///
    /// Every call that names the present PIN is a guess, either by a proof or by repeating the
    /// present version: an attacker who has the device's file could try every PIN. Each guess,
    /// right or wrong, is answered only after a commit that checks the user's version. So a guess
    /// that was decided before the last wrong one was written is stale, and then meets the lock. A
    /// right guess clears the count of wrong PINs in that commit.
    ///
    /// # Errors
    /// Refuses a change without proof or with a version that is not the next; without a PIN, any
    /// version but 1. A wrong proof counts
    /// as a wrong PIN, and so does a different PIN under the present version.
    pub async fn set_pin(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        new: &PinDigest,
        proof: Option<&str>,
    ) -> Result<(), DeviceError> {
        let actor = Actor::Device(id);
        for _ in 0..COMMIT_TRIES_MAX {
            let (now, subject) = (self.now(), Subject::Device(id));
            let (device, user) = self.load_actor(tenant, id).await?;
            let lock_state = user.value.lock_state;
            lock_state.check(now)?;
            let is_right = is_right(&device.value, new, proof)?;
            if is_right {
                // A first PIN needs no proof.
                let is_first = device.value.pin.is_none();
                let cleared =
                    if is_first { lock_state } else { lock_state.record_success(Factor::Pin) };
                let cleared = (cleared != lock_state).then_some(cleared);
                let kind = if device.value.pin.as_ref() == Some(new) {
                    EventKind::PinVerified
                } else {
                    EventKind::PinChanged
                };
                let details = vec![("version", new.version.to_string())];
                let event = self.event(tenant, kind, &actor, subject, details);
                let changed = Device { pin: Some(new.clone()), ..device.value };
                let change = Change::ChangePin {
                    device: Box::new(changed),
                    expected: device.version,
                    user_expected: user.version,
                    lock_state: cleared,
                };
                if self.commit(change, vec![event]).await? == Committed::Written {
                    return Ok(());
                }
                continue;
            }
            let policy = &self.policy.locks;
            let (after, locks) = lock_state.record_failure(Factor::Pin, policy, now);
            let name = &user.value.name;
            let mut events =
                vec![self.event(tenant, EventKind::PinRejected, &actor, subject, Vec::new())];
            if locks {
                let (subject, details) =
                    (Subject::User(name.clone()), vec![("by", after.lock.cause().to_owned())]);
                events.push(self.event(tenant, EventKind::UserLocked, &actor, subject, details));
            }
            let change = Change::SetLockState {
                tenant: tenant.clone(),
                user: name.clone(),
                expected: user.version,
                lock_state: after,
            };
            if self.commit(change, events).await? != Committed::Written {
                continue;
            }
            let tries_left = after.tries_left(Factor::Pin, policy);
            let tries_left = if locks { 0 } else { tries_left };
            return Err(DeviceRefusal::PinWrong { tries_left }.into());
        }
        Err(lost_every_race())
    }

    /// Forgets a device's PIN, for an operator. The next PIN is a first one again: version 1, which
    /// needs no proof. Counts of wrong PINs and locks of the user stay.
    ///
    /// # Errors
    /// Refuses if the policy forbids it, a device that is unknown or retired, and one without a
    /// PIN.
    pub async fn reset_pin(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<(), PinResetError> {
        if self.policy.pin_reset == PinReset::Forbidden {
            return Err(PinResetRefusal::Forbidden.into());
        }
        for _ in 0..COMMIT_TRIES_MAX {
            let query = Query { subject: QuerySubject::Device(id), parts: &[Part::User] };
            let Snapshot { device, user, .. } = self.store.snapshot(tenant, query).await?;
            let found = device.zip(user);
            let found = found.filter(|(device, _)| device.value.status != DeviceStatus::Retired);
            let (device, user) = found.ok_or(PinResetRefusal::UnknownDevice)?;
            if device.value.pin.is_none() {
                return Err(PinResetRefusal::Unchanged.into());
            }
            let (kind, subject) = (EventKind::PinForgotten, Subject::Device(id));
            let details = vec![("user", device.value.user.to_string())];
            let event = self.event(tenant, kind, actor, subject, details);
            let change = Change::ChangePin {
                device: Box::new(Device { pin: None, ..device.value }),
                expected: device.version,
                user_expected: user.version,
                lock_state: None,
            };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }
}

/// Whether a call that sets `new` has proved the present PIN, or needs no proof.
fn is_right(device: &Device, new: &PinDigest, proof: Option<&str>) -> Result<bool, DeviceRefusal> {
    match (&device.pin, proof) {
        (None, _) if new.version == 1 => Ok(true),
        // It was never set, or an operator has reset it: the device begins again.
        (None, _) => Err(DeviceRefusal::PinUnset),
        (Some(present), _) if new.version == present.version => Ok(*present == *new),
        (Some(present), Some(proof)) if new.version == present.version + 1 => {
            Ok(proves(device, present, NO_TRANSACTION, proof))
        }
        (Some(present), None) if new.version == present.version + 1 => {
            Err(DeviceRefusal::PinRequired)
        }
        _ => Err(DeviceRefusal::PinOutOfTurn),
    }
}
