//! The end of a transaction, with the device and the reason.

use core::fmt;

use countersign_proof::Proof;

use crate::device::{About, Device, Usage};
use crate::id::{DeviceId, IdentityId};
use crate::outcome::Outcome;
use crate::user::Factor;

/// The way in which a transaction ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The user signed.
    Finished {
        /// The device that signed.
        by: DeviceId,
        /// The verified signature.
        proof: Proof,
        /// The identity of a raw signature, which does not name its signer itself.
        identity: Option<Box<IdentitySnapshot>>,
    },
    /// The user declined.
    Declined {
        /// The device on which the user declined.
        by: DeviceId,
        /// The user's reason.
        reason: Decline,
        /// The user's own words, at most [`crate::limits::REASON_BYTES_MAX`]; empty if the device
        /// sent no words.
        words: String,
    },
    /// A device could not sign.
    Failed {
        /// The device that failed.
        by: DeviceId,
        /// The device's reason, at most [`crate::limits::REASON_BYTES_MAX`]; empty if the device
        /// sent none.
        reason: String,
    },
    /// A deadline passed.
    Expired(Timeout),
    /// The client cancelled it.
    Cancelled,
    /// Wrong PINs, or wrong codes, locked the user.
    Locked {
        /// The device that sent the last wrong one.
        by: DeviceId,
        /// The factor that was wrong.
        factor: Factor,
    },
}

/// An identity and its device, as they were when the identity signed. It stays when they change or
/// are gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentitySnapshot {
    /// The identity's id.
    pub id: IdentityId,
    /// The identity's use.
    pub usage: Usage,
    /// The labels that selectors matched.
    pub labels: Vec<String>,
    /// The reason for the last change of its status.
    pub status_reason: String,
    /// The device's description of itself.
    pub about: About,
}

impl IdentitySnapshot {
    /// The identity of this device that made a raw signature; `None` for other signatures.
    pub(crate) fn of(device: &Device, proof: &Proof) -> Option<Box<Self>> {
        let raw = proof.raw()?;
        let identity = device.identities.iter().find(|one| one.has_certificate(&raw.certificate));
        identity.map(|identity| {
            Box::new(Self {
                id: identity.id,
                usage: identity.usage,
                labels: identity.labels.clone(),
                status_reason: identity.status_reason.clone(),
                about: device.about.clone(),
            })
        })
    }
}

/// The reason why a user declined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decline {
    /// The user does not want to sign.
    User,
    /// The user did not cause the transaction; another person did.
    NotMe,
}

/// The clock that ran out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timeout {
    /// No addressed device came online.
    GoOnline,
    /// No device signed.
    Sign,
}

impl End {
    /// The outcome, without device and reason.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Finished { .. } => Outcome::Finished,
            Self::Declined { .. } => Outcome::Declined,
            Self::Failed { .. } => Outcome::Failed,
            Self::Expired(_) => Outcome::Expired,
            Self::Cancelled => Outcome::Cancelled,
            Self::Locked { .. } => Outcome::Locked,
        }
    }

    /// The device that ended it, if a device did.
    #[must_use]
    pub fn by(&self) -> Option<DeviceId> {
        match self {
            Self::Finished { by, .. }
            | Self::Declined { by, .. }
            | Self::Failed { by, .. }
            | Self::Locked { by, .. } => Some(*by),
            Self::Expired(_) | Self::Cancelled => None,
        }
    }
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 6] = [
        Self::Finished,
        Self::Declined,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
        Self::Locked,
    ];

    /// The clock's name in the ledger, in logs and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Locked => "locked",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
