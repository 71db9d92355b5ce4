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
    /// A right proof clears the count of wrong ones in a commit of its own, before the change: it stays
    /// cleared where a lock comes in between and the change is refused.
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
            let (policy, name) = (&self.policy.locks, &user.value.name);
            let (after, locks) = if proved {
                (standing.after_right(Factor::Pin), false)
            } else {
                standing.after_wrong(Factor::Pin, policy, now)
            };
            if after != standing
                && self.store.set_standing(tenant, name, user.version, after).await?
                    == Changed::Stale
            {
                continue;
            }
            if !proved && locks {
                return Err(Refusal::UserLocked.into());
            }
            if !proved {
                let tries_left = after.tries_left(Factor::Pin, policy);
                return Err(Refusal::PinWrong { tries_left }.into());
            }
            let changed = Device { pin: Some(new.clone()), ..device.value };
            if self.store.change_device(changed, device.version).await? == Changed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }
}
