//! The two kinds of error: a refusal because of the caller's request, and a failure of the server.

use core::time::Duration;

use countersign_proof::BadProof;

use crate::outcome::Outcome;

/// The reason for refusing a call. A refusal changes nothing, and may be shown to the caller.
///
/// The enum is closed: each dialect matches it once, so that a new refusal does not compile until
/// every dialect has an answer for it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The transaction does not exist, or is not the caller's.
    #[error("no such transaction")]
    Unknown,
    /// The tenant has no such user.
    #[error("no such user")]
    UnknownUser,
    /// The device does not exist or is not the user's, or the user has no device that can sign.
    #[error("no such device")]
    UnknownDevice,
    /// The user is locked, by policy, by an administrator, or by saying "this was not me".
    #[error("the user is locked")]
    UserLocked,
    /// The device is locked, or retired.
    #[error("the device is locked")]
    DeviceLocked,
    /// No enabled identity of the right use matches the selectors.
    #[error("no enabled signing identity matches")]
    NoIdentity,
    /// The selectors match identities of several users, and the request names no user.
    #[error("the signing identities that match are of several users")]
    SeveralUsers,
    /// The tenant has no such identity.
    #[error("no such signing identity")]
    UnknownIdentity,
    /// The public key belongs, or belonged, to another identity of the tenant.
    #[error("the key belongs, or belonged, to another signing identity")]
    KeyUsed,
    /// The device has the maximum of identities.
    #[error("the device has too many signing identities")]
    ManyIdentities,
    /// The caller has used the reference for a different request.
    #[error("this transaction id was used for another request")]
    OtherOrder,
    /// The user has too many open transactions.
    #[error("the user has too many open transactions")]
    TooManyOpen,
    /// The transaction has already ended, with this outcome.
    #[error("the transaction has already ended: {0}")]
    Ended(Outcome),
    /// The transaction's deadline has passed.
    #[error("the deadline has passed")]
    Late,
    /// This device has not taken the transaction.
    #[error("the device has not taken the transaction")]
    NotTaken,
    /// Only one device may take the transaction, and another one did.
    #[error("another device has taken the transaction")]
    OtherDevice,
    /// The maximum of devices have taken the transaction.
    #[error("too many devices have taken the transaction")]
    ManyTakes,
    /// The client or its tenant has used up a quota.
    #[error("{0}")]
    Quota(Quota),
    /// The transaction requires a PIN, and no PIN was proved.
    #[error("the transaction asks for the PIN")]
    PinRequired,
    /// The transaction requires a PIN, and the device has not set one.
    #[error("set a PIN on this device first")]
    PinUnset,
    /// The proof of the PIN is wrong.
    #[error("the PIN is wrong")]
    PinWrong {
        /// Tries left before the user is locked.
        tries_left: u16,
    },
    /// The code is wrong.
    #[error("the code is wrong")]
    CodeWrong {
        /// Tries left before the user is locked.
        tries_left: u16,
    },
    /// A change of the PIN must prove the old PIN and name the next version.
    #[error("the change of the PIN does not follow on the present one")]
    PinOutOfTurn,
    /// The transaction does not accept this form of signature.
    #[error("the transaction does not accept this form of signature")]
    OtherForm,
    /// The device has no such identity, or it is disabled, or it is for the other use.
    #[error("the identity is not one that may sign this")]
    UnfitIdentity,
    /// The signature is not valid.
    #[error("the signature was not accepted: {0}")]
    BadProof(#[from] BadProof),
    /// The activation code is wrong, used or expired, or there is no such user. The refusal does
    /// not say which, so that callers cannot probe for users.
    #[error("the activation was refused")]
    NotActivated,
    /// An object with this key exists already.
    #[error("it exists already")]
    Exists,
    /// The object already has the requested value.
    #[error("it already has that value")]
    Unchanged,
    /// The user has the maximum of usable activation codes.
    #[error("the user has too many activation codes")]
    ManyCodes,
    /// The activation code would expire at once, or later than is allowed.
    #[error("the activation code must expire within a year from now")]
    BadExpiry,
}

/// A used-up quota of a client or its tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Quota {
    /// The rate at which the client may start transactions.
    #[error("the client starts transactions faster than its quota allows")]
    ClientStarts {
        /// The time until the next start is possible.
        retry_after: Duration,
    },
    /// The rate at which all clients of the tenant together may start transactions.
    #[error("the tenant's clients start transactions faster than the tenant's quota allows")]
    TenantStarts {
        /// The time until the next start is possible.
        retry_after: Duration,
    },
    /// The bytes that the client's transactions may occupy in the ledger.
    #[error("the client's stored transactions have used up its quota")]
    ClientStored,
    /// The bytes that the tenant's transactions may occupy in the ledger.
    #[error("the tenant's stored transactions have used up its quota")]
    TenantStored,
    /// The client's calls that may wait at the same time.
    #[error("the client has too many waiting calls")]
    Waiting,
}

impl Quota {
    /// The time to wait before trying again, in whole seconds, at least 1: `Retry-After` (RFC 9110,
    /// section 10.2.3).
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        match self {
            Self::ClientStarts { retry_after } | Self::TenantStarts { retry_after } => {
                (retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1)
            }
            // Retention removes rows in batches, so a shorter wait would not help.
            Self::ClientStored | Self::TenantStored => 60,
            Self::Waiting => 5,
        }
    }
}

/// A failure of the infrastructure. It is opaque: it is logged once, never matched on, and never
/// shown.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Fault {
    doing: &'static str,
    source: Box<dyn core::error::Error + Send + Sync>,
}

impl Fault {
    /// Wraps an error that occurred while `doing` something.
    pub fn new(
        doing: &'static str,
        source: impl Into<Box<dyn core::error::Error + Send + Sync>>,
    ) -> Self {
        Self { doing, source: source.into() }
    }

    /// A closure for `map_err` that wraps an error that occurred while `doing` something.
    pub fn while_doing<E: Into<Box<dyn core::error::Error + Send + Sync>>>(
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::new(doing, source)
    }
}

/// The error of a use case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Failed(#[from] Fault),
}

/// The reason for refusing an operator's request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdminRefusal {
    /// There is no such tenant.
    #[error("no such tenant")]
    UnknownTenant,
    /// The tenant has no such client.
    #[error("no such client")]
    UnknownClient,
    /// An object of that name exists already.
    #[error("it exists already")]
    Exists,
    /// The tenant has the maximum of trusted roots.
    #[error("the tenant trusts too many roots")]
    ManyRoots,
    /// Two keys already sign the client's callbacks.
    #[error("two keys sign the client's callbacks already: end the older one first")]
    ManyKeys,
}

/// The error of an operator's use case.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] AdminRefusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Failed(#[from] Fault),
}
