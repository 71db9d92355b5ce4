//! A person who signs, and whether they may just now: counts of what went wrong, and locks.

use core::time::Duration;

use crate::id::{SerialBase, TenantName, UserName};
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// A person, as a tenant knows them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// Whose user this is.
    pub tenant: TenantName,
    /// The user's name.
    pub name: UserName,
    /// What the serial numbers of this user's devices begin with. Given by the registry.
    pub serial_base: SerialBase,
    /// Devices ever enrolled; the next one's sequence number is one more.
    pub devices_made: u32,
    /// Activation codes ever made for the user. A new code is decided on this count, and written
    /// only if it still holds.
    pub activations_made: u32,
    /// Whether the user may sign.
    pub lock_state: LockState,
    /// What the dialect on which the user was made keeps of them: a document of its own, at most
    /// [`crate::limits::PROFILE_BYTES_MAX`] bytes. Nothing is decided on it.
    pub profile: Option<String>,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// What went wrong lately, and what follows from it.
///
/// Wrong PINs and wrong codes count apart, and so do the locks that they led to: whoever knows one
/// of the two must not get more tries at the other. Each count is reset by its own success only.
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
    /// By policy, after too many wrong tries; opens by itself at this moment.
    Until(Timestamp),
    /// The person said "this was not me": no offers until somebody with the right lifts it.
    ReportedByUser,
    /// By an administrator; never opens by itself.
    Administrator,
}

impl Lock {
    /// What the lock came from, for events.
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

/// What a person proves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Factor {
    /// Knowledge of the PIN.
    Pin,
    /// Possession of the code key.
    Code,
}

/// When wrong tries lock a user, and for how long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LockPolicy {
    /// The wrong try that locks: 5 means that the fifth does.
    pub wrong_max: u16,
    /// How long the first lock lasts; each further one in a row lasts twice as long.
    pub first: Duration,
    /// The longest that a lock lasts.
    pub max: Duration,
}

impl LockState {
    /// Whether the user may start, take or finish at `now`.
    ///
    /// # Errors
    /// Refuses a user who is locked.
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.lock {
            Lock::Open => Ok(()),
            Lock::Until(end) if now >= end => Ok(()),
            Lock::Until(_) | Lock::ReportedByUser | Lock::Administrator => Err(Refusal::UserLocked),
        }
    }

    /// The standing after a wrong try, and whether that try locked the user.
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

    /// The standing after a right try.
    #[must_use]
    pub fn record_success(self, factor: Factor) -> Self {
        let lock = if matches!(self.lock, Lock::Until(_)) { Lock::Open } else { self.lock };
        match factor {
            Factor::Pin => Self { wrong_pins: 0, pin_locks_in_a_row: 0, lock, ..self },
            Factor::Code => Self { wrong_codes: 0, code_locks_in_a_row: 0, lock, ..self },
        }
    }

    /// Tries left before the one that locks, for the person to be told.
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
    fn a_policy_lock_opens_by_itself_and_an_administrators_never() {
        let locked = |lock| LockState { lock, ..LockState::default() };
        assert!(locked(Lock::Until(Timestamp(5))).check(Timestamp(4)).is_err());
        assert!(locked(Lock::Until(Timestamp(5))).check(Timestamp(5)).is_ok());
        assert!(locked(Lock::Administrator).check(Timestamp(u64::MAX)).is_err());
        assert!(locked(Lock::ReportedByUser).check(Timestamp(u64::MAX)).is_err());
    }

    #[test]
    fn a_right_try_of_one_factor_leaves_the_growth_of_the_other_factors_locks() {
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
            // Its own success ends the row.
            lock_state = lock_state.record_success(wrong);
            assert_eq!(lock_state, LockState::default());
        }
    }

    #[test]
    fn a_right_code_leaves_the_count_of_wrong_pins() {
        let (lock_state, _) = wrong(LockState::default(), 2, Timestamp(0));
        assert_eq!(lock_state.record_success(Factor::Code).wrong_pins, 2);
        assert_eq!(lock_state.record_success(Factor::Pin).wrong_pins, 0);
    }
}
