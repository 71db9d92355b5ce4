//! An activation code, from its creation to the enrolment of a device. It is a state machine as a
//! transaction is, with fewer states.
//!
//! ```text
//! Open ──redeem──▶ Used (by which request, and the answer it got)
//! ```
//!
//! Until the code expires, a repeated request gets the same answer, so that a lost 201 does not use
//! up the code.

use crate::device::{Device, Identity};
use crate::event::Actor;
use crate::id::{IdentityId, TenantName, UserName};
use crate::limits::{ACTIVATION_LIFE_MAX, ACTIVATIONS_PER_USER_MAX};
use crate::refusal::{EnrolRefusal, UserRefusal};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::versioned::Versioned;

/// A code with which one device can be enrolled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activation {
    /// The activation's id in the ledger.
    pub id: u128,
    /// The activation's tenant.
    pub tenant: TenantName,
    /// The user of the device to enrol.
    pub user: UserName,
    /// The code, sealed at rest.
    pub code: Secret<Vec<u8>>,
    /// The time at which the code expires.
    pub not_after: Timestamp,
    /// Who created the code: an application or an operator.
    pub maker: Actor,
    /// Whether it is left out of every list.
    pub secret: bool,
    /// Whether a person chose the code. A chosen code may be short, so the number of guesses is
    /// limited. A generated code has at least 80 random bits.
    pub chosen: bool,
    /// The labels of the identities that are enrolled with the code; at most
    /// [`crate::limits::LABELS_PER_IDENTITY_MAX`].
    pub labels: Vec<String>,
    /// Whether the code has been used.
    pub state: ActivationState,
}

/// Whether an activation code has been used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ActivationState {
    /// Not used.
    Open,
    /// Used once. No other request can use it.
    Used {
        /// SHA-256 of the request that used it.
        request: [u8; 32],
        /// The answer to that request. Its secrets are sealed to the device.
        answer: Vec<u8>,
    },
}

/// The permitted use of an activation by a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Redeemed {
    /// Enrol a device now.
    Now,
    /// The same request enrolled a device before and got this answer.
    Before(Vec<u8>),
}

impl Activation {
    /// Checks that this code may be created at `now`, beside the user's `others` that have not
    /// expired.
    ///
    /// # Errors
    /// Refuses a code that would expire at once or too late, a code that the user already has, and
    /// a code above the maximum.
    pub fn check_limits(
        &self,
        others: &[Versioned<Self>],
        now: Timestamp,
    ) -> Result<(), UserRefusal> {
        if self.not_after <= now || self.not_after > now + ACTIVATION_LIFE_MAX {
            return Err(UserRefusal::BadExpiry);
        }
        let open = || others.iter().filter(|other| other.value.state == ActivationState::Open);
        if open().any(|other| other.value.code == self.code) {
            return Err(UserRefusal::Exists);
        }
        if open().count() >= ACTIVATIONS_PER_USER_MAX {
            return Err(UserRefusal::ManyCodes);
        }
        Ok(())
    }

    /// Decides at `now` for the request with this SHA-256, which proved the code.
    ///
    /// # Errors
    /// Refuses if the code has expired, or was used by another request.
    pub fn redeem(&self, request: [u8; 32], now: Timestamp) -> Result<Redeemed, EnrolRefusal> {
        if now >= self.not_after {
            return Err(EnrolRefusal::NotActivated);
        }
        match &self.state {
            ActivationState::Open => Ok(Redeemed::Now),
            ActivationState::Used { request: first, answer } if *first == request => {
                Ok(Redeemed::Before(answer.clone()))
            }
            ActivationState::Used { .. } => Err(EnrolRefusal::NotActivated),
        }
    }
}

/// One unit of work: the device is enrolled and the code is used, or neither.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The activation on which it was decided.
    pub activation: Activation,
    /// The activation's version.
    pub expected: u32,
    /// The user's version. The commit also increases the user's count of enrolled devices.
    pub user_expected: u32,
    /// SHA-256 of the request.
    pub request: [u8; 32],
    /// The answer to the device.
    pub answer: Vec<u8>,
    /// The device. Its sequence number is one more than the user's count of enrolled devices.
    pub device: Device,
    /// The key of each of the device's identities, in their order.
    pub keys: Vec<IdentityKey>,
}

impl Enrolment {
    /// The fault's text for an enrolment or an addition with keys of other identities.
    pub const KEYS_UNFIT: &str = "the keys are not those of the identities";

    /// Whether `keys` belong to the device's identities. If not, a store reports a fault.
    #[must_use]
    pub fn keys_fit(&self) -> bool {
        self.keys.iter().map(|key| key.identity).eq(self.device.identities.iter().map(|i| i.id))
    }
}

/// The permanent record of an identity's key, so that no other identity of the tenant can ever have
/// it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdentityKey {
    /// The identity.
    pub identity: IdentityId,
    /// SHA-256 of its `SubjectPublicKeyInfo`, DER.
    pub key_digest: [u8; 32],
    /// The serial number of its certificate, if the tenant's own authority issued it.
    pub certificate_serial: Option<u128>,
}

/// A new identity with its key.
#[derive(Clone, Debug)]
pub struct NewIdentity {
    /// The identity.
    pub identity: Identity,
    /// Its key.
    pub key: IdentityKey,
}

/// One unit of work: a device gets one more identity, and the identity's key is recorded.
#[derive(Clone, Debug)]
pub struct Addition {
    /// The device with the identity, which is its last one.
    pub device: Device,
    /// The device's version on which it was decided.
    pub expected: u32,
    /// The version of the device's user. A lock of the user makes the addition stale.
    pub user_expected: u32,
    /// The key of the identity.
    pub key: IdentityKey,
}

impl Addition {
    /// Whether `key` belongs to the new identity. If not, a store reports a fault.
    #[must_use]
    pub fn key_fits(&self) -> bool {
        self.device.identities.last().is_some_and(|added| added.id == self.key.identity)
    }
}

/// One unit of work: an identity gets a new certificate, for its key or for another key.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The device, with the new certificate.
    pub device: Device,
    /// The device's version on which it was decided.
    pub expected: u32,
    /// The version of the device's user. A lock of the user makes the renewal stale.
    pub user_expected: u32,
    /// The key of the identity. It may be one that the identity has or had.
    pub key: IdentityKey,
}

impl Renewal {
    /// Whether `key` belongs to an identity of the device. If not, a store reports a fault.
    #[must_use]
    pub fn key_fits(&self) -> bool {
        self.device.identities.iter().any(|identity| identity.id == self.key.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(state: ActivationState) -> Activation {
        Activation {
            id: 1,
            tenant: "acme".parse().unwrap(),
            user: "jane".parse().unwrap(),
            code: Secret::new(b"CODE".to_vec()),
            not_after: Timestamp(10),
            maker: Actor::Server,
            secret: false,
            chosen: true,
            labels: Vec::new(),
            state,
        }
    }

    #[test]
    fn a_user_may_have_a_few_different_codes() {
        let named = |code: &str, state| {
            let code = Secret::new(code.as_bytes().to_vec());
            Versioned { value: Activation { code, ..activation(state) }, version: 1 }
        };
        let new = activation(ActivationState::Open);
        let open = |n: usize| named(&n.to_string(), ActivationState::Open);
        let used = ActivationState::Used { request: [1; 32], answer: Vec::new() };
        let mut others: Vec<_> = (1..ACTIVATIONS_PER_USER_MAX).map(open).collect();
        others.push(named("CODE", used));
        assert_eq!(new.check_limits(&others, Timestamp(9)), Ok(()));
        others.push(open(99));
        assert_eq!(new.check_limits(&others, Timestamp(9)), Err(UserRefusal::ManyCodes));
        let twin = [named("CODE", ActivationState::Open)];
        assert_eq!(new.check_limits(&twin, Timestamp(9)), Err(UserRefusal::Exists));
        assert_eq!(new.check_limits(&[], Timestamp(10)), Err(UserRefusal::BadExpiry));
        let distant = Timestamp(11) + ACTIVATION_LIFE_MAX;
        let distant = Activation { not_after: distant, ..new };
        assert_eq!(distant.check_limits(&[], Timestamp(10)), Err(UserRefusal::BadExpiry));
    }

    #[test]
    fn a_code_serves_one_request_and_repeats_its_answer_until_it_expires() {
        let used = ActivationState::Used { request: [1; 32], answer: b"yes".to_vec() };
        assert_eq!(
            activation(ActivationState::Open).redeem([1; 32], Timestamp(9)),
            Ok(Redeemed::Now)
        );
        let again = activation(used.clone()).redeem([1; 32], Timestamp(9));
        assert_eq!(again, Ok(Redeemed::Before(b"yes".to_vec())));
        let other = activation(used.clone()).redeem([2; 32], Timestamp(9));
        assert_eq!(other, Err(EnrolRefusal::NotActivated));
        for state in [ActivationState::Open, used] {
            let late = activation(state).redeem([1; 32], Timestamp(10));
            assert_eq!(late, Err(EnrolRefusal::NotActivated));
        }
    }
}
