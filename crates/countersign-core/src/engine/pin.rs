//! The PIN: what the server can check of it without ever seeing it.

use countersign_proof::ocra;

use super::{Engine, lost_every_race};
use crate::device::{Device, PinDigest};
use crate::id::{DeviceId, TenantName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{Chance, Changed, Clock, Doorbell, Ledger, Registry};
use crate::refusal::{Error, Refusal};
use crate::user::Factor;

/// What a change of the PIN proves, in place of a transaction's id.
const NO_TRANSACTION: [u8; 16] = [0; 16];

/// Whether `given` proves the PIN for this transaction (RFC 6287; constant time).
pub(super) fn proves(device: &Device, pin: &PinDigest, transaction: [u8; 16], given: &str) -> bool {
    ocra::check_pin_proof(device.code_key.expose(), pin.digest.expose(), transaction, given)
}

impl<S: Ledger + Registry, D: Doorbell, W: Clock + Chance> Engine<S, D, W> {
    /// Sets a device's PIN: the first, version 1, needs no proof; each next one proves the one
    /// before it. The same again is accepted, and changes nothing.
    ///
    /// A right proof clears the count of wrong ones in the same commit, which holds that the user is not
    /// locked.
    ///
    /// # Errors
    /// Refuses a change out of turn or without proof; a wrong proof counts as a wrong PIN, and so does
    /// another PIN under the present version.
    pub async fn set_pin(
        &self,
        tenant: &TenantName,
        id: DeviceId,
        new: &PinDigest,
        proof: Option<&str>,
    ) -> Result<(), Error> {
        for _ in 0..COMMIT_TRIES_MAX {
            let now = self.now();
            let (device, user) = self.actor(tenant, id).await?;
            let standing = user.value.standing;
            standing.check(now)?;
            let present = device.value.pin.as_ref();
            let of_version = present.map_or(0, |pin| pin.version);
            if new.version != of_version && new.version != of_version + 1 {
                return Err(Refusal::PinOutOfTurn.into());
            }
            if present == Some(new) {
                return Ok(());
            }
            if present.is_some() && new.version == of_version + 1 && proof.is_none() {
                return Err(Refusal::PinRequired.into());
            }
            // What names the present version and is not it is a guess, and counts as one: otherwise
            // whoever has the device's file could try every PIN there is.
            let proved = new.version == of_version + 1
                && present.is_none_or(|pin| {
                    proof.is_some_and(|proof| proves(&device.value, pin, NO_TRANSACTION, proof))
                });
            if proved {
                let cleared = standing.after_right(Factor::Pin);
                let cleared = (cleared != standing).then_some(cleared);
                let changed = Device { pin: Some(new.clone()), ..device.value };
                let (expected, of_user) = (device.version, user.version);
                if self.store.change_pin(changed, expected, of_user, cleared).await?
                    == Changed::Written
                {
                    return Ok(());
                }
                continue;
            }
            let policy = &self.policy.locks;
            let (after, locks) = standing.after_wrong(Factor::Pin, policy, now);
            let name = &user.value.name;
            if self.store.set_standing(tenant, name, user.version, after).await? == Changed::Stale {
                continue;
            }
            let tries_left = after.tries_left(Factor::Pin, policy);
            let refusal =
                if locks { Refusal::UserLocked } else { Refusal::PinWrong { tries_left } };
            return Err(refusal.into());
        }
        Err(lost_every_race())
    }
}
