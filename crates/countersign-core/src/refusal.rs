//! The two kinds of error: a refusal because of the caller's request, and a failure of the server.
//!
//! Each audience has its own refusals, so that a use case can only refuse what concerns its
//! callers:
//!
//! * [`StartRefusal`]: clients that start transactions.
//! * [`CancelRefusal`]: clients that cancel or delete transactions.
//! * [`DeviceRefusal`]: devices that act, and gateways that act for them. [`ActorRefusal`] is the
//!   part that needs no transaction, and [`EnrolRefusal`] is for devices that enrol.
//! * [`UserRefusal`]: administrators of users, devices and activation codes. [`UnknownIdentity`] is
//!   the only refusal to administrators of signing identities.
//! * [`AdminRefusal`]: operators of tenants and clients.
//!
//! Each enum is closed: an edge matches it once, so that a new refusal does not compile until
//! every edge of that audience has an answer for it.

mod admin;
mod pin_reset;

pub use admin::AdminRefusal;
use countersign_proof::BadProof;
pub use pin_reset::PinResetRefusal;

use crate::outcome::Outcome;
pub use crate::quota::Quota;

/// The reason for refusing a call. A refusal changes nothing, and may be shown to the caller.
pub trait Refusal: core::error::Error + Send + Sync {
    /// A name for machines, in snake case. It does not change when the sentence does.
    fn kind(&self) -> &'static str;
}

/// The error of a use case that can refuse with `R`.
#[derive(Debug, thiserror::Error)]
pub enum Error<R> {
    /// The request was refused.
    #[error(transparent)]
    Refused(R),
    /// The infrastructure failed.
    #[error(transparent)]
    Failed(#[from] Fault),
}

/// The error of the start of a transaction.
pub type StartError = Error<StartRefusal>;
/// The error of a client's change of a transaction.
pub type CancelError = Error<CancelRefusal>;
/// The error of a device's call on a transaction.
pub type DeviceError = Error<DeviceRefusal>;
/// The error of a device's call that needs no transaction.
pub type ActorError = Error<ActorRefusal>;
/// The error of an enrolment.
pub type EnrolError = Error<EnrolRefusal>;
/// The error of the administration of users, devices and activation codes.
pub type UserError = Error<UserRefusal>;
/// The error of resetting a PIN.
pub type PinResetError = Error<PinResetRefusal>;
/// The error of the administration of signing identities.
pub type IdentityError = Error<UnknownIdentity>;
/// The error of an operator's use case.
pub type AdminError = Error<AdminRefusal>;

/// The reason for refusing to start a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StartRefusal {
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
    /// The certificates of all identities that could sign have ended. The devices must renew them.
    #[error(
        "the certificates of the signing identities have ended: the user's devices must renew them"
    )]
    CertificateEnded,
    /// The selectors match identities of several users, and the request names no user.
    #[error("the signing identities that match are of several users")]
    SeveralUsers,
    /// The caller has used the reference for a different request.
    #[error("this transaction id was used for another request")]
    OtherOrder,
    /// The user has too many open transactions.
    #[error("the user has too many open transactions")]
    TooManyOpen,
    /// The client or its tenant has used up a quota.
    #[error("{0}")]
    Quota(Quota),
}

/// The reason for refusing a client's change of a transaction, or the server's own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CancelRefusal {
    /// The transaction does not exist, or is not the caller's.
    #[error("no such transaction")]
    Unknown,
    /// The transaction has already ended, with this outcome.
    #[error("the transaction has already ended: {0}")]
    Ended(Outcome),
    /// The transaction's deadline has passed.
    #[error("the deadline has passed")]
    Late,
}

/// The reason for refusing a device's call that needs no transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ActorRefusal {
    /// The tenant does not have the device's user.
    #[error("no such user")]
    UnknownUser,
    /// The device does not exist.
    #[error("no such device")]
    UnknownDevice,
    /// The user is locked, by policy, by an administrator, or by saying "this was not me".
    #[error("the user is locked")]
    UserLocked,
    /// The device is locked, or retired.
    #[error("the device is locked")]
    DeviceLocked,
}

/// The reason for refusing a device's call.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DeviceRefusal {
    /// The transaction does not exist, or is not for the caller.
    #[error("no such transaction")]
    Unknown,
    /// The tenant does not have the device's user.
    #[error("no such user")]
    UnknownUser,
    /// The device does not exist.
    #[error("no such device")]
    UnknownDevice,
    /// The user is locked, by policy, by an administrator, or by saying "this was not me".
    #[error("the user is locked")]
    UserLocked,
    /// The device is locked, or retired.
    #[error("the device is locked")]
    DeviceLocked,
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
    /// The transaction requires a PIN, and no PIN was proved.
    #[error("the transaction asks for the PIN")]
    PinRequired,
    /// The transaction requires a PIN, and the device has not set one.
    #[error("set a PIN on this device first")]
    PinUnset,
    /// The proof of the PIN is wrong.
    #[error("the PIN is wrong")]
    PinWrong {
        /// Tries left before the user is locked; 0 if this one locked the user.
        tries_left: u16,
    },
    /// The code is wrong.
    #[error("the code is wrong")]
    CodeWrong {
        /// Tries left before the user is locked; 0 if this one locked the user.
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
    /// The device has the maximum of identities.
    #[error("the device has too many signing identities")]
    ManyIdentities,
    /// The public key belongs, or belonged, to another identity of the tenant.
    #[error("the key belongs, or belonged, to another signing identity")]
    KeyUsed,
    /// A proof that the device holds a key, or the certificate for it, is not valid.
    #[error("the device has not proved that it holds the keys")]
    KeyUnproved,
    /// The signature is not valid.
    #[error("the signature was not accepted: {0}")]
    BadProof(#[from] BadProof),
}

/// The reason for refusing an enrolment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnrolRefusal {
    /// The activation code is wrong, used or expired, or there is no such user. The refusal does
    /// not say which, so that callers cannot probe for users.
    #[error("the activation was refused")]
    NotActivated,
    /// The public key belongs, or belonged, to another identity of the tenant.
    #[error("the key belongs, or belonged, to another signing identity")]
    KeyUsed,
}

/// The reason for refusing a change of a user, a device or an activation code by an administrator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UserRefusal {
    /// The tenant has no such user.
    #[error("no such user")]
    UnknownUser,
    /// The device does not exist, or is retired.
    #[error("no such device")]
    UnknownDevice,
    /// An object with this key exists already.
    #[error("it exists already")]
    Exists,
    /// The object already has the requested value.
    #[error("it already has that value")]
    Unchanged,
    /// The tenant has no such activation code.
    #[error("no such activation code")]
    UnknownCode,
    /// The user has the maximum of usable activation codes.
    #[error("the user has too many activation codes")]
    ManyCodes,
    /// The tenant has the maximum of users.
    #[error("the tenant has as many users as it may have")]
    ManyUsers,
    /// The tenant has the maximum of devices, retired ones included.
    #[error("the tenant has as many devices as it may have, retired ones included")]
    ManyDevices,
    /// The activation code would expire at once, or later than is allowed.
    #[error("the activation code must expire within a year from now")]
    BadExpiry,
}

/// The tenant has no such identity: the only refusal of the administration of identities.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such signing identity")]
pub struct UnknownIdentity;

/// The reason why a user or a device may not act. Each audience has a refusal of its own for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Locked {
    /// The user is locked.
    User,
    /// The device is locked, or retired.
    Device,
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

impl Refusal for StartRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::UnknownDevice => "unknown_device",
            Self::UserLocked => "user_locked",
            Self::DeviceLocked => "device_locked",
            Self::NoIdentity => "no_identity",
            Self::CertificateEnded => "certificate_ended",
            Self::SeveralUsers => "several_users",
            Self::OtherOrder => "other_order",
            Self::TooManyOpen => "too_many_open",
            Self::Quota(Quota::ClientStarts { .. }) => "client_start_quota",
            Self::Quota(Quota::TenantStarts { .. }) => "tenant_start_quota",
            Self::Quota(Quota::ClientStored) => "client_storage_quota",
            Self::Quota(Quota::TenantStored) => "tenant_storage_quota",
            Self::Quota(Quota::Waiting) => "waiting_quota",
        }
    }
}

impl Refusal for CancelRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_transaction",
            Self::Ended(_) => "ended",
            Self::Late => "late",
        }
    }
}

impl Refusal for ActorRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::UnknownDevice => "unknown_device",
            Self::UserLocked => "user_locked",
            Self::DeviceLocked => "device_locked",
        }
    }
}

impl Refusal for DeviceRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_transaction",
            Self::UnknownUser => "unknown_user",
            Self::UnknownDevice => "unknown_device",
            Self::UserLocked => "user_locked",
            Self::DeviceLocked => "device_locked",
            Self::Ended(_) => "ended",
            Self::Late => "late",
            Self::NotTaken => "not_taken",
            Self::OtherDevice => "other_device",
            Self::ManyTakes => "many_takes",
            Self::PinRequired => "pin_required",
            Self::PinUnset => "pin_unset",
            Self::PinWrong { .. } => "pin_wrong",
            Self::CodeWrong { .. } => "code_wrong",
            Self::PinOutOfTurn => "pin_out_of_turn",
            Self::OtherForm => "other_form",
            Self::UnfitIdentity => "unfit_identity",
            Self::ManyIdentities => "many_identities",
            Self::KeyUsed => "key_used",
            Self::KeyUnproved => "key_unproved",
            Self::BadProof(_) => "bad_proof",
        }
    }
}

impl Refusal for EnrolRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotActivated => "not_activated",
            Self::KeyUsed => "key_used",
        }
    }
}

impl Refusal for UserRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownUser => "unknown_user",
            Self::UnknownDevice => "unknown_device",
            Self::Exists => "exists",
            Self::Unchanged => "unchanged",
            Self::UnknownCode => "unknown_code",
            Self::ManyCodes => "many_codes",
            Self::ManyUsers => "many_users",
            Self::ManyDevices => "many_devices",
            Self::BadExpiry => "bad_expiry",
        }
    }
}

impl Refusal for UnknownIdentity {
    fn kind(&self) -> &'static str {
        "unknown_identity"
    }
}

impl<R: Refusal> From<R> for Error<R> {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal)
    }
}

impl<R: Refusal + From<Locked>> From<Locked> for Error<R> {
    fn from(locked: Locked) -> Self {
        Self::Refused(locked.into())
    }
}

impl From<Locked> for StartRefusal {
    fn from(locked: Locked) -> Self {
        match locked {
            Locked::User => Self::UserLocked,
            Locked::Device => Self::DeviceLocked,
        }
    }
}

impl From<Locked> for ActorRefusal {
    fn from(locked: Locked) -> Self {
        match locked {
            Locked::User => Self::UserLocked,
            Locked::Device => Self::DeviceLocked,
        }
    }
}

impl From<Locked> for DeviceRefusal {
    fn from(locked: Locked) -> Self {
        ActorRefusal::from(locked).into()
    }
}

impl From<ActorRefusal> for DeviceRefusal {
    fn from(refusal: ActorRefusal) -> Self {
        match refusal {
            ActorRefusal::UnknownUser => Self::UnknownUser,
            ActorRefusal::UnknownDevice => Self::UnknownDevice,
            ActorRefusal::UserLocked => Self::UserLocked,
            ActorRefusal::DeviceLocked => Self::DeviceLocked,
        }
    }
}

impl From<CancelRefusal> for DeviceRefusal {
    fn from(refusal: CancelRefusal) -> Self {
        match refusal {
            CancelRefusal::Unknown => Self::Unknown,
            CancelRefusal::Ended(outcome) => Self::Ended(outcome),
            CancelRefusal::Late => Self::Late,
        }
    }
}

impl From<ActorError> for DeviceError {
    fn from(error: ActorError) -> Self {
        match error {
            Error::Refused(refusal) => Self::Refused(refusal.into()),
            Error::Failed(fault) => Self::Failed(fault),
        }
    }
}
