//! Decides whether a device still needs a push for a transaction, and records the result.
//!
//! A push is a delivery of the outbox, one for each device, so that an invalid address does not
//! stop the pushes to other devices. A service's report about an address is settled together with
//! the delivery.

use core::time::Duration;

use crate::delivery::{Attempt, RetryPolicy, Verdict};
use crate::device::{Device, DeviceStatus};
use crate::id::{DeviceId, TenantName, UserName};
use crate::limits::{PUSH_BACKOFF_FIRST, PUSH_BACKOFF_MAX};
use crate::push::{Push, Registration};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::user::User;
use crate::versioned::Versioned;

/// The part of a device that a push needs. It has none of the device's keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushTarget {
    /// The device's tenant.
    pub tenant: TenantName,
    /// The device's id.
    pub id: DeviceId,
    /// The device's version at which its address was read.
    pub version: u32,
    /// The device's user.
    pub user: UserName,
    /// The device's status.
    pub status: DeviceStatus,
    /// The application that the device reports to run.
    pub app: String,
    /// The device's push registration.
    pub push: Push,
}

impl From<Versioned<Device>> for PushTarget {
    fn from(Versioned { value, version }: Versioned<Device>) -> Self {
        let Device { tenant, id, user, status, about, push, .. } = value;
        Self { tenant, id, version, user, status, app: about.app, push }
    }
}

/// The rows on which a due push is decided.
#[derive(Clone, Debug)]
pub struct PushSnapshot {
    /// The device to wake.
    pub device: PushTarget,
    /// The device's user, if it still exists.
    pub user: Option<Versioned<User>>,
    /// The transaction, if it still exists.
    pub transaction: Option<Versioned<Transaction>>,
}

/// The rule for pushing devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PushPolicy {
    /// The devices to push.
    pub when: When,
    /// The time that a device has to take the transaction before it is pushed.
    pub after: Duration,
}

/// The devices that are pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// No device, because no push service is configured.
    Never,
    /// Devices that are not connected, after the wait.
    Absent,
    /// All devices, after the wait, unless they have taken the transaction by then.
    Always,
    /// Devices that are not connected at once; connected devices after the wait, unless they have
    /// taken the transaction by then.
    Both,
}

impl PushPolicy {
    /// The time from the start to the push of a device; `None` if the device is not pushed.
    #[must_use]
    pub fn wait(&self, is_present: bool) -> Option<Duration> {
        match (self.when, is_present) {
            (When::Never, _) | (When::Absent, true) => None,
            (When::Both, false) => Some(Duration::ZERO),
            (When::Absent, false) | (When::Always, _) | (When::Both, true) => Some(self.after),
        }
    }

    /// Decides, when a push is due, whether it is still needed, and where it goes.
    ///
    /// # Errors
    /// [`SkipReason`] if the push is no longer needed.
    pub fn still<'a>(
        &self,
        transaction: &Transaction,
        device: &'a PushTarget,
        is_present: bool,
        now: Timestamp,
    ) -> Result<&'a Registration, SkipReason> {
        if transaction.state.is_ended() {
            return Err(SkipReason::Ended);
        }
        if now >= transaction.deadline() {
            return Err(SkipReason::Late);
        }
        if device.status != DeviceStatus::Active {
            return Err(SkipReason::Locked);
        }
        if transaction.taken_by(device.id) {
            return Err(SkipReason::Taken);
        }
        if transaction.spec.once && !transaction.takes.is_empty() {
            return Err(SkipReason::Elsewhere);
        }
        if is_present && self.when == When::Absent {
            return Err(SkipReason::Present);
        }
        device.push.registration().ok_or(SkipReason::NoAddress)
    }
}

/// The reason for not sending a queued push: a sentence for an operator who looks at the
/// transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SkipReason {
    /// The transaction has ended.
    #[error("the transaction has ended")]
    Ended,
    /// The transaction's deadline has passed.
    #[error("its deadline has passed")]
    Late,
    /// The device or its user is locked.
    #[error("the device or its user is locked")]
    Locked,
    /// The device has taken the transaction.
    #[error("the device has taken it")]
    Taken,
    /// Another device has taken the transaction, and only one may.
    #[error("another device has taken it")]
    Elsewhere,
    /// The device is connected.
    #[error("the device is connected")]
    Present,
    /// The device no longer has a push address.
    #[error("the device has no push address")]
    NoAddress,
}

/// How long a push service is retried: until the transaction ends. No other limit is reached
/// before.
pub const RETRY: RetryPolicy = RetryPolicy {
    first: PUSH_BACKOFF_FIRST,
    longest: PUSH_BACKOFF_MAX,
    give_up_after: Duration::from_hours(14 * 24),
};

/// Decides what follows attempt number `count` of a push, the first being 1. The push is useless
/// from `deadline` on. `version` is the device's version at which its address was read. See
/// [`RetryPolicy::after`].
#[must_use]
pub fn verdict(
    attempt: Attempt,
    count: u16,
    version: u32,
    deadline: Timestamp,
    now: Timestamp,
    jitter: u8,
) -> Verdict {
    if attempt == Attempt::Gone {
        return Verdict::Retire { version };
    }
    match RETRY.after(attempt, count, now, now, jitter) {
        Verdict::Retry(at) if at >= deadline => Verdict::GiveUp,
        verdict => verdict,
    }
}

/// The contact with one device about one transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// The device.
    pub device: DeviceId,
    /// The result of the last attempt to push the device, if one was made.
    pub push: Option<Pushed>,
    /// When it first asked for its open transactions, if it was offline when the transaction
    /// started.
    pub reached_at: Option<Timestamp>,
}

/// The result of a push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pushed {
    /// The state of the push.
    pub state: PushState,
    /// The time of that state.
    pub at: Timestamp,
    /// A description in a few words.
    pub outcome: String,
}

/// The state of a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushState {
    /// The service accepted it.
    Sent,
    /// It was no longer needed.
    Skipped,
    /// It will be retried, until the transaction ends.
    Waiting,
    /// The service rejected it.
    Failed,
    /// The address is no longer registered, and was retired.
    Gone,
}

impl PushState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Skipped, Self::Waiting, Self::Failed, Self::Gone];

    /// The state of a push after a verdict.
    #[must_use]
    pub fn after(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::Sent,
            Verdict::Skipped => Self::Skipped,
            Verdict::Retry(_) => Self::Waiting,
            Verdict::GiveUp => Self::Failed,
            Verdict::Retire { .. } => Self::Gone,
        }
    }

    /// The state's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}
