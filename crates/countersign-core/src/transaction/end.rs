//! How a transaction ends: with whom, and why.

use core::fmt;

use countersign_proof::Proof;

use crate::id::DeviceId;
use crate::outcome::Outcome;
use crate::user::Factor;

/// How a transaction ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// The person signed.
    Finished {
        /// On this device.
        by: DeviceId,
        /// The verified signature.
        proof: Proof,
    },
    /// The person said no.
    Declined {
        /// On this device.
        by: DeviceId,
        /// And why.
        reason: Decline,
        /// In what words, at most [`crate::limits::REASON_BYTES_MAX`]; none, where the device gave
        /// none.
        words: String,
    },
    /// The device could not do it.
    Failed {
        /// Which.
        by: DeviceId,
        /// Why, in its own words, at most [`crate::limits::REASON_BYTES_MAX`]; empty, where it gave
        /// none.
        reason: String,
    },
    /// Nobody answered in time.
    Expired(Timeout),
    /// The relying party took it back.
    Cancelled,
    /// Wrong PINs, or wrong codes, locked the user.
    Locked {
        /// The device that sent the last of them.
        by: DeviceId,
        /// Which of the two.
        factor: Factor,
    },
}

/// Why a person said no.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decline {
    /// They do not want to.
    User,
    /// They never asked for it: somebody else did.
    NotMe,
}

/// The clock that ran out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timeout {
    /// No addressed device came online.
    GoOnline,
    /// Nobody signed.
    Sign,
}

impl End {
    /// The end without its particulars.
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

    /// The device that ended it, where one did.
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
    /// Its name in the ledger, in logs and on the wire.
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
