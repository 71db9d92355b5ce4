//! The two ways in which a call ends badly: the caller asked for what cannot be, or we failed.

use core::time::Duration;

use countersign_proof::BadProof;

use crate::outcome::Outcome;

/// Why a call was turned down. A refusal changes nothing and is safe to show to the caller.
///
/// Closed on purpose: each dialect matches it once, so that a new one does not compile until every
/// dialect has said how it tells it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is no such transaction, or it is not the caller's.
    #[error("no such transaction")]
    Unknown,
    /// The tenant has no such user.
    #[error("no such user")]
    UnknownUser,
    /// The device does not exist, is not the user's, or the user has none that could sign.
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
    /// The selectors match identities of several users, and none is named.
    #[error("the signing identities that match are of several users")]
    SeveralUsers,
    /// The tenant has no such identity.
    #[error("no such signing identity")]
    UnknownIdentity,
    /// The public key is, or was, another identity's of the tenant.
    #[error("the key belongs, or belonged, to another signing identity")]
    KeyUsed,
    /// The device holds as many identities as may be.
    #[error("the device has too many signing identities")]
    ManyIdentities,
    /// The caller gave the same reference to something else before.
    #[error("this transaction id was used for another request")]
    OtherOrder,
    /// The user has too many open transactions.
    #[error("the user has too many open transactions")]
    TooManyOpen,
    /// It has already ended, and how.
    #[error("the transaction has already ended: {0}")]
    Ended(Outcome),
    /// Its deadline has passed.
    #[error("the deadline has passed")]
    Late,
    /// This device has not taken it.
    #[error("the device has not taken the transaction")]
    NotTaken,
    /// It may be taken once, and another device did.
    #[error("another device has taken the transaction")]
    OtherDevice,
    /// As many devices as may have taken it.
    #[error("too many devices have taken the transaction")]
    ManyTakes,
    /// The client, or its tenant, has used up a quota.
    #[error("{0}")]
    Quota(Quota),
    /// It asks for a PIN and none was proved.
    #[error("the transaction asks for the PIN")]
    PinRequired,
    /// It asks for a PIN and the device has none set.
    #[error("set a PIN on this device first")]
    PinUnset,
    /// The proof of the PIN is wrong; how many more tries there are.
    #[error("the PIN is wrong")]
    PinWrong {
        /// Tries left before the user is locked.
        tries_left: u16,
    },
    /// The code is wrong; how many more tries there are.
    #[error("the code is wrong")]
    CodeWrong {
        /// Tries left before the user is locked.
        tries_left: u16,
    },
    /// A PIN is changed by proving the old one and naming the next version.
    #[error("the change of the PIN does not follow on the present one")]
    PinOutOfTurn,
    /// The transaction does not accept this form of signature.
    #[error("the transaction does not accept this form of signature")]
    OtherForm,
    /// The device has no such identity, or it is disabled, or of the other use.
    #[error("the identity is not one that may sign this")]
    UnfitIdentity,
    /// The signature does not hold.
    #[error("the signature was not accepted: {0}")]
    BadProof(#[from] BadProof),
    /// Wrong, used or expired activation code, or no such user: which, is not told.
    #[error("the activation was refused")]
    NotActivated,
    /// Something is made that exists already.
    #[error("it exists already")]
    Exists,
    /// Something is to become what it is already.
    #[error("it is so already")]
    Unchanged,
    /// The user has as many usable activation codes as may be.
    #[error("the user has too many activation codes")]
    ManyCodes,
    /// An activation code would be good for no time, or for longer than may be.
    #[error("the activation code must expire within a year from now")]
    BadExpiry,
}

/// What a client, or its tenant, has used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Quota {
    /// The rate at which the client may start transactions.
    #[error("the client starts transactions faster than its quota allows")]
    ClientStarts {
        /// How long until one more may be started.
        retry_after: Duration,
    },
    /// The rate at which all clients of the tenant together may start transactions.
    #[error("the tenant's clients start transactions faster than the tenant's quota allows")]
    TenantStarts {
        /// How long until one more may be started.
        retry_after: Duration,
    },
    /// The bytes that the client's transactions may occupy in the ledger.
    #[error("the client's stored transactions have used up its quota")]
    ClientStored,
    /// The bytes that the tenant's transactions may occupy in the ledger.
    #[error("the tenant's stored transactions have used up its quota")]
    TenantStored,
    /// The calls of the client that may wait at once.
    #[error("the client has too many waiting calls")]
    Waiting,
}

impl Quota {
    /// How long to wait before the same call is tried again, in whole seconds, at least 1:
    /// `Retry-After` (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        match self {
            Self::ClientStarts { retry_after } | Self::TenantStarts { retry_after } => {
                (retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1)
            }
            // Retention removes rows in batches; nothing is gained by asking sooner.
            Self::ClientStored | Self::TenantStored => 60,
            Self::Waiting => 5,
        }
    }
}

/// The infrastructure failed. Opaque on purpose: it is logged once, never matched on, never shown.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Fault {
    doing: &'static str,
    source: Box<dyn core::error::Error + Send + Sync>,
}

impl Fault {
    /// A fault met while `doing` something.
    pub fn new(
        doing: &'static str,
        source: impl Into<Box<dyn core::error::Error + Send + Sync>>,
    ) -> Self {
        Self { doing, source: source.into() }
    }

    /// For `map_err`: what was being done when it failed.
    pub fn while_doing<E: Into<Box<dyn core::error::Error + Send + Sync>>>(
        doing: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::new(doing, source)
    }
}

/// A use case's bad end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for what cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// We failed.
    #[error(transparent)]
    Failed(#[from] Fault),
}

/// Why what an operator asked for was turned down.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdminRefusal {
    /// There is no such tenant.
    #[error("no such tenant")]
    UnknownTenant,
    /// The tenant has no such client.
    #[error("no such client")]
    UnknownClient,
    /// Something of that name exists already.
    #[error("it exists already")]
    Exists,
    /// The tenant trusts as many roots as it may.
    #[error("the tenant trusts too many roots")]
    ManyRoots,
    /// Two keys sign the client's callbacks already.
    #[error("two keys sign the client's callbacks already: end the older one first")]
    ManyKeys,
}

/// Why an operator's use case failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] AdminRefusal),
    /// The infrastructure failed.
    #[error(transparent)]
    Failed(#[from] Fault),
}
