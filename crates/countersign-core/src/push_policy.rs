//! Whether a device still has to be woken for a transaction, and what came of it.
//!
//! A push is a delivery of the outbox, one for each device, so that one dead address never stops
//! another device's. What a service says of an address is settled together with the delivery.

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

/// As much of a device as waking it takes: none of its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushTarget {
    /// Whose users' it is.
    pub tenant: TenantName,
    /// Which device.
    pub id: DeviceId,
    /// Its version, at which its address was read.
    pub version: u32,
    /// Whose it is.
    pub user: UserName,
    /// Whether it may sign.
    pub status: DeviceStatus,
    /// The application that it runs, as it says.
    pub app: String,
    /// How it is woken.
    pub push: Push,
}

impl From<Versioned<Device>> for PushTarget {
    fn from(Versioned { value, version }: Versioned<Device>) -> Self {
        let Device { tenant, id, user, status, about, push, .. } = value;
        Self { tenant, id, version, user, status, app: about.app, push }
    }
}

/// What a push that is due stands on.
#[derive(Clone, Debug)]
pub struct PushSnapshot {
    /// Who is woken.
    pub device: PushTarget,
    /// Their user, if there is one still.
    pub user: Option<Versioned<User>>,
    /// What for, if it is there still.
    pub transaction: Option<Versioned<Transaction>>,
}

/// Which devices are pushed, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PushPolicy {
    /// Which.
    pub when: When,
    /// How long they are given to take it by themselves.
    pub after: Duration,
}

/// Which devices are pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// None: nobody could wake them.
    Never,
    /// Those that are not on the line, after the wait.
    Absent,
    /// All, after the wait, unless they have taken it by then.
    Always,
    /// Those that are not on the line at once; the others after the wait, unless they have taken it
    /// by then.
    Both,
}

impl PushPolicy {
    /// How long after the start a device is pushed, if it is.
    #[must_use]
    pub fn wait(&self, is_present: bool) -> Option<Duration> {
        match (self.when, is_present) {
            (When::Never, _) | (When::Absent, true) => None,
            (When::Both, false) => Some(Duration::ZERO),
            (When::Absent, false) | (When::Always, _) | (When::Both, true) => Some(self.after),
        }
    }

    /// Decides, when a push is due, whether it is still needed; and where it goes.
    ///
    /// # Errors
    /// [`SkipReason`], where nothing is to be sent any more.
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

/// Why a push that was owed is not sent; a sentence for whoever looks at the transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SkipReason {
    /// The transaction is over.
    #[error("the transaction has ended")]
    Ended,
    /// Its time is over.
    #[error("its deadline has passed")]
    Late,
    /// The device, or its user, may do nothing.
    #[error("the device or its user is locked")]
    Locked,
    /// The device shows it already.
    #[error("the device has taken it")]
    Taken,
    /// Another device has it, and only one may.
    #[error("another device has taken it")]
    Elsewhere,
    /// The device is there.
    #[error("the device is on the line")]
    Present,
    /// There is no way to wake it any more.
    #[error("the device has no push address")]
    NoAddress,
}

/// How long a service is tried: until the transaction is over, so that its end bounds it, and
/// nothing else.
pub const RETRY: RetryPolicy = RetryPolicy {
    first: PUSH_BACKOFF_FIRST,
    longest: PUSH_BACKOFF_MAX,
    give_up_after: Duration::from_hours(14 * 24),
};

/// Decides what follows attempt number `count` of a push, the first being 1: it is of no use from
/// `deadline` on. `version` is the device's, at which its address was read. See
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

/// What is known of one device and one transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// The device.
    pub device: DeviceId,
    /// What came of the last attempt to push it, if one was made.
    pub push: Option<Pushed>,
    /// When it first asked what there is, having been away when the transaction began.
    pub reached_at: Option<Timestamp>,
}

/// What came of a push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pushed {
    /// How it stands.
    pub state: PushState,
    /// Since when.
    pub at: Timestamp,
    /// In a few words.
    pub outcome: String,
}

/// How a push stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushState {
    /// The service has it.
    Sent,
    /// It was not needed any more.
    Skipped,
    /// It is tried again, until the transaction ends.
    Waiting,
    /// The service would not have it.
    Failed,
    /// The address is nobody's any more, and was retired.
    Gone,
}

impl PushState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Skipped, Self::Waiting, Self::Failed, Self::Gone];

    /// What a verdict makes of a push.
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

    /// Its name in the ledger and on the command line.
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
