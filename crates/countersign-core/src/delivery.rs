//! Debts: what an event owes to somebody who is not on the line, and when to try again.
//!
//! A debt is written in the commit of the event that creates it, and paid afterwards by any node, as
//! often as needed. Waking a connected device or a waiting caller is a doorbell, never a debt.

use core::time::Duration;

use crate::device::Device;
use crate::id::{DeliveryId, DeviceId, TenantName, TransactionId};
use crate::limits::{DELIVERY_ATTEMPTS_MAX, DELIVERY_BACKOFF_MAX};
use crate::time::Timestamp;
use crate::transaction::{Event, Transaction};

/// What is owed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Debt {
    /// Tell the caller's address how the transaction ended.
    Callback,
    /// Wake this device through its push service.
    Push(DeviceId),
}

/// A debt in the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Its id, the same in each attempt.
    pub id: DeliveryId,
    /// Whose it is.
    pub tenant: TenantName,
    /// What it is about.
    pub transaction: TransactionId,
    /// What is owed.
    pub debt: Debt,
    /// Attempts made before this one.
    pub attempts: u8,
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// It arrived.
    Accepted,
    /// It will never be taken.
    Rejected,
    /// Not now; the receiver may have said how long to wait.
    Deferred(Option<Duration>),
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Paid.
    Done,
    /// Try again at this moment.
    Retry(Timestamp),
    /// Put aside for a person to look at.
    GiveUp,
}

/// What `event` owes to those who are not on the line. `absent` are the addressed devices that are
/// not online.
#[must_use]
pub fn owed(event: Event, transaction: &Transaction, absent: &[&Device]) -> Vec<Debt> {
    match event {
        Event::Started => {
            let reachable = absent.iter().filter(|device| device.push.is_some());
            reachable.map(|device| Debt::Push(device.id)).collect()
        }
        Event::Ended(_) if transaction.terms.callback.is_some() => vec![Debt::Callback],
        Event::Ended(_) | Event::Reached | Event::Taken | Event::PinProved | Event::PinMistaken => {
            Vec::new()
        }
    }
}

/// Decides what follows attempt number `count`, the first being 1.
///
/// Waits double from 2 seconds, or are what the receiver asked for if that is longer. `jitter`, 0 to
/// 255, takes up to a half off, so that deliveries that failed together do not come back together.
#[must_use]
pub fn after(attempt: Attempt, count: u8, now: Timestamp, jitter: u8) -> Verdict {
    match attempt {
        Attempt::Accepted => Verdict::Done,
        Attempt::Rejected => Verdict::GiveUp,
        Attempt::Deferred(_) if count >= DELIVERY_ATTEMPTS_MAX => Verdict::GiveUp,
        Attempt::Deferred(asked) => {
            let doubled = Duration::from_secs(1 << u32::from(count).min(20));
            let wait = doubled.min(DELIVERY_BACKOFF_MAX);
            let spread = wait * (512 - u32::from(jitter)) / 512;
            Verdict::Retry(now + spread.max(asked.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retries_come_within_two_four_and_eight_seconds() {
        for (count, within) in [(1, 2_000), (2, 4_000), (3, 8_000)] {
            for jitter in [0, 255] {
                let Verdict::Retry(at) =
                    after(Attempt::Deferred(None), count, Timestamp(0), jitter)
                else {
                    panic!("given up at {count}");
                };
                assert!(at.0 <= within && at.0 >= within / 2, "{count}: {at:?}");
            }
        }
    }

    #[test]
    fn a_receiver_that_asks_for_longer_gets_it_and_attempts_end() {
        let asked = Attempt::Deferred(Some(Duration::from_secs(90)));
        assert_eq!(after(asked, 1, Timestamp(0), 9), Verdict::Retry(Timestamp(90_000)));
        assert_eq!(after(asked, DELIVERY_ATTEMPTS_MAX, Timestamp(0), 9), Verdict::GiveUp);
        assert_eq!(after(Attempt::Rejected, 1, Timestamp(0), 9), Verdict::GiveUp);
    }
}
