//! A user, with the counts of wrong tries and the locks that follow from them.

use core::time::Duration;

use crate::id::{SerialBase, TenantName, UserId, UserName};
use crate::refusal::Locked;
use crate::time::Timestamp;

/// A person, as a tenant knows them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The user's tenant.
    pub tenant: TenantName,
    /// The user's name.
    pub name: UserName,
    /// The user's id, drawn when the user was created.
    pub id: UserId,
    /// The common part of the serial numbers of the user's devices, assigned by the registry.
    pub serial_base: SerialBase,
    /// The number of devices ever enrolled. The next device's sequence number is one more.
    pub devices_made: u32,
    /// The number of activation codes ever created for the user. A new code is decided on this
    /// count, and is written only if the count has not changed.
    pub activations_made: u32,
    /// Whether the user may sign.
    pub lock_state: LockState,
    /// The record of the dialect through which the user was created: a document in the dialect's
    /// own form, at most [`crate::limits::PROFILE_BYTES_MAX`] bytes. No decision depends on it.
    pub profile: Option<String>,
    /// The time of the creation.
    pub created_at: Timestamp,
}

/// Recent wrong tries, and the lock that follows from them.
///
/// Wrong PINs and wrong codes are counted separately, and so are the locks that they cause: an
/// attacker who knows one of the two must not get more tries at the other. Each count is reset only
/// by a success of its own factor.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LockState {
    /// Wrong PINs since the last right one.
    pub wrong_pins: u16,
    /// Wrong codes since the last right one.
    pub wrong_codes: u16,
    /// Locks by wrong PINs since the last right one; each is longer than the one before.
    pub pin_locks_in_a_row: u16,
    /// Locks by wrong codes since the last right one; each is longer than the one before.
    pub code_locks_in_a_row: u16,
    /// Whether the user is locked.
    pub lock: Lock,
}

/// A user's lock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Lock {
    /// Not locked.
    #[default]
    Open,
    /// Locked by policy, after too many wrong tries. The lock ends by itself at this time.
    Until(Timestamp),
    /// The user reported "this was not me". No transactions are offered until an authorised caller
    /// removes the lock.
    ReportedByUser,
    /// Locked by an administrator. The lock never ends by itself.
    Administrator,
}

impl Lock {
    /// The cause of the lock, for events.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Open => "nothing",
            Self::Until(_) => "wrong-tries",
            Self::ReportedByUser => "not-me",
            Self::Administrator => "administrator",
        }
    }
}

/// What a user proves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Factor {
    /// Knowledge of the PIN.
    Pin,
    /// Possession of the code key.
    Code,
}

/// The rule for locking a user after wrong tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockPolicy {
    /// The number of wrong tries in a row that locks: 5 means that the fifth one does.
    pub wrong_max: u16,
    /// The duration of the first lock. Each further lock in a row lasts twice as long.
    pub first: Duration,
    /// The maximum duration of a lock.
    pub max: Duration,
}

impl LockState {
    /// Checks that the user may start, take or finish at `now`.
    ///
    /// # Errors
    /// Refuses a user who is locked.
    pub fn check(&self, now: Timestamp) -> Result<(), Locked> {
        match self.lock {
            Lock::Open => Ok(()),
            Lock::Until(end) if now >= end => Ok(()),
            Lock::Until(_) | Lock::ReportedByUser | Lock::Administrator => Err(Locked::User),
        }
    }

    /// The lock state after a wrong try, and whether that try locked the user.
    #[must_use]
    pub fn record_failure(
        mut self,
        factor: Factor,
        policy: &LockPolicy,
        now: Timestamp,
    ) -> (Self, bool) {
        let (wrong, locks_in_a_row) = match factor {
            Factor::Pin => (&mut self.wrong_pins, &mut self.pin_locks_in_a_row),
            Factor::Code => (&mut self.wrong_codes, &mut self.code_locks_in_a_row),
        };
        *wrong = wrong.saturating_add(1);
        let locks = *wrong >= policy.wrong_max;
        if locks {
            *wrong = 0;
            let doubled = policy.first.saturating_mul(1 << (*locks_in_a_row).min(30));
            self.lock = Lock::Until(now + doubled.min(policy.max));
            *locks_in_a_row = locks_in_a_row.saturating_add(1);
        }
        (self, locks)
    }

    /// The lock state after a right try.
    #[must_use]
    pub fn record_success(self, factor: Factor) -> Self {
        let lock = if matches!(self.lock, Lock::Until(_)) { Lock::Open } else { self.lock };
        match factor {
            Factor::Pin => Self { wrong_pins: 0, pin_locks_in_a_row: 0, lock, ..self },
            Factor::Code => Self { wrong_codes: 0, code_locks_in_a_row: 0, lock, ..self },
        }
    }

    /// The number of wrong tries that remain before a lock, to tell the user.
    #[must_use]
    pub fn tries_left(&self, factor: Factor, policy: &LockPolicy) -> u16 {
        let wrong = match factor {
            Factor::Pin => self.wrong_pins,
            Factor::Code => self.wrong_codes,
        };
        policy.wrong_max.saturating_sub(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: LockPolicy =
        LockPolicy { wrong_max: 3, first: Duration::from_secs(10), max: Duration::from_secs(25) };

    fn wrong(lock_state: LockState, tries: u16, now: Timestamp) -> (LockState, bool) {
        (0..tries)
            .fold((lock_state, false), |(s, _), _| s.record_failure(Factor::Pin, &POLICY, now))
    }

    #[test]
    fn the_third_wrong_pin_locks_and_the_lock_grows_up_to_its_bound() {
        let now = Timestamp(0);
        assert!(!wrong(LockState::default(), 2, now).1);
        let (first, locked) = wrong(LockState::default(), 3, now);
        assert!(locked);
        assert_eq!(first.lock, Lock::Until(Timestamp(10_000)));
        let (second, _) = wrong(first, 3, now);
        assert_eq!(second.lock, Lock::Until(Timestamp(20_000)));
        let (third, _) = wrong(second, 3, now);
        assert_eq!(third.lock, Lock::Until(Timestamp(25_000)));
    }

    #[test]
    fn a_policy_lock_ends_by_itself_and_an_administrators_never() {
        let locked = |lock| LockState { lock, ..LockState::default() };
        assert!(locked(Lock::Until(Timestamp(5))).check(Timestamp(4)).is_err());
        assert!(locked(Lock::Until(Timestamp(5))).check(Timestamp(5)).is_ok());
        assert!(locked(Lock::Administrator).check(Timestamp(u64::MAX)).is_err());
        assert!(locked(Lock::ReportedByUser).check(Timestamp(u64::MAX)).is_err());
    }

    #[test]
    fn a_right_try_of_one_factor_does_not_shorten_the_locks_of_the_other() {
        for (wrong, right) in [(Factor::Pin, Factor::Code), (Factor::Code, Factor::Pin)] {
            let (mut lock_state, mut now) = (LockState::default(), Timestamp(0));
            for seconds in [10, 20, 25, 25] {
                for _ in 0..POLICY.wrong_max {
                    lock_state = lock_state.record_failure(wrong, &POLICY, now).0;
                }
                let end = now + Duration::from_secs(seconds);
                assert_eq!(lock_state.lock, Lock::Until(end), "{wrong:?}");
                now = end;
                lock_state = lock_state.record_success(right);
            }
            // A success of the same factor resets the number of locks in a row.
            lock_state = lock_state.record_success(wrong);
            assert_eq!(lock_state, LockState::default());
        }
    }

    #[test]
    fn a_right_code_does_not_reset_the_count_of_wrong_pins() {
        let (lock_state, _) = wrong(LockState::default(), 2, Timestamp(0));
        assert_eq!(lock_state.record_success(Factor::Code).wrong_pins, 2);
        assert_eq!(lock_state.record_success(Factor::Pin).wrong_pins, 0);
    }
}
