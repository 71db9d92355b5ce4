//! Devices whose poll was answered and whose next poll is expected. A device that polls has no
//! connection between two polls, but it is online until the next one is overdue.

use std::collections::{HashMap, VecDeque};

use countersign_core::id::{DeviceId, TenantName};
use countersign_core::limits::POLL_GAP_MAX;
use countersign_core::spec::Recipients;
use countersign_core::time::Timestamp;

use super::by_user::UserKey;

/// Polls that are expected at once; beyond that, the oldest are forgotten.
const EXPECTED_MAX: usize = 131_072;

/// The expected polls of all users.
#[derive(Debug, Default)]
pub(super) struct ExpectedPolls {
    /// Until when each device's next poll is expected.
    users: HashMap<UserKey, Vec<(DeviceId, Timestamp)>>,
    /// The same, the earliest first. An entry whose time differs from the device's is outdated.
    order: VecDeque<(UserKey, DeviceId, Timestamp)>,
}

impl ExpectedPolls {
    /// Expects the device's next poll, as one was answered at `now`. Forgets overdue ones.
    pub(super) fn expect(&mut self, user: UserKey, device: DeviceId, now: Timestamp) {
        let until = now + POLL_GAP_MAX;
        let of_user = self.users.entry(user.clone()).or_default();
        of_user.retain(|(other, _)| *other != device);
        of_user.push((device, until));
        self.order.push_back((user, device, until));
        while self.order.len() > EXPECTED_MAX
            || self.order.front().is_some_and(|(_, _, until)| *until <= now)
        {
            let Some((user, device, until)) = self.order.pop_front() else { break };
            self.remove(&user, |expected| *expected == (device, until));
        }
    }

    /// Whether a poll of one of the user's recipients is expected and not overdue.
    pub(super) fn covers(&self, user: &UserKey, recipients: &Recipients, now: Timestamp) -> bool {
        let of_user = self.users.get(user);
        let is_expected =
            |(device, until): &(DeviceId, Timestamp)| now < *until && recipients.includes(*device);
        of_user.is_some_and(|of_user| of_user.iter().any(is_expected))
    }

    /// The user's devices whose poll is expected, and when it is overdue.
    pub(super) fn of(&self, user: &UserKey, now: Timestamp) -> Vec<(DeviceId, Timestamp)> {
        let of_user = self.users.get(user).into_iter().flatten();
        of_user.filter(|(_, until)| now < *until).copied().collect()
    }

    /// The users of whose devices polls are expected.
    pub(super) fn users(&self) -> Vec<UserKey> {
        self.users.keys().cloned().collect()
    }

    /// Expects no poll of these devices any more.
    pub(super) fn forget(&mut self, user: &UserKey, recipients: &Recipients) {
        self.remove(user, |(device, _)| recipients.includes(*device));
    }

    /// Expects no poll of a tenant's devices any more.
    pub(super) fn forget_tenant(&mut self, tenant: &TenantName) {
        self.users.retain(|user, _| user.0 != *tenant);
    }

    fn remove(&mut self, user: &UserKey, is_meant: impl Fn(&(DeviceId, Timestamp)) -> bool) {
        let Some(of_user) = self.users.get_mut(user) else { return };
        of_user.retain(|expected| !is_meant(expected));
        if of_user.is_empty() {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn jane() -> UserKey {
        ("acme".parse().unwrap(), "jane".parse().unwrap())
    }

    fn device(number: u64) -> DeviceId {
        number.try_into().unwrap()
    }

    #[test]
    fn a_poll_is_expected_until_it_is_overdue() {
        let mut expected = ExpectedPolls::default();
        let any = |expected: &ExpectedPolls, at| expected.covers(&jane(), &Recipients::Any, at);
        assert!(!any(&expected, NOW));
        expected.expect(jane(), device(1), NOW);
        let last = Timestamp((NOW + POLL_GAP_MAX).0 - 1);
        assert!(any(&expected, NOW) && any(&expected, last));
        assert!(!any(&expected, NOW + POLL_GAP_MAX));
        assert!(expected.covers(&jane(), &Recipients::Device(device(1)), NOW));
        assert!(!expected.covers(&jane(), &Recipients::Device(device(2)), NOW));
        let joe = ("acme".parse().unwrap(), "joe".parse().unwrap());
        assert!(!expected.covers(&joe, &Recipients::Any, NOW));
        // The next answer counts from anew.
        expected.expect(jane(), device(1), last);
        assert!(any(&expected, NOW + POLL_GAP_MAX));
        expected.forget(&jane(), &Recipients::Device(device(1)));
        assert!(!any(&expected, last), "a device that was logged out is not expected");
    }

    #[test]
    fn overdue_polls_leave_nothing_behind() {
        let mut expected = ExpectedPolls::default();
        for number in 1..=100 {
            let user = ("acme".parse().unwrap(), format!("user-{number}").parse().unwrap());
            expected.expect(user, device(number), NOW);
        }
        expected.expect(jane(), device(1), NOW + POLL_GAP_MAX);
        assert_eq!((expected.users.len(), expected.order.len()), (1, 1));
    }

    #[test]
    fn no_more_polls_are_expected_than_may_be() {
        let mut expected = ExpectedPolls::default();
        for number in 0..EXPECTED_MAX as u64 + 10 {
            let user = ("acme".parse().unwrap(), format!("user-{number}").parse().unwrap());
            expected.expect(user, device(number + 1), NOW);
        }
        assert_eq!((expected.users.len(), expected.order.len()), (EXPECTED_MAX, EXPECTED_MAX));
        assert!(
            !expected.users.contains_key(&("acme".parse().unwrap(), "user-9".parse().unwrap()))
        );
    }
}
