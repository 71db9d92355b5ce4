//! Connected devices, by their user: at most [`LINES_PER_DEVICE_MAX`] lines of each device, so that whatever
//! is done for one user looks at a bounded number of lines.

use std::collections::HashMap;

use countersign_core::id::{DeviceId, TenantName, UserName};
use countersign_core::limits::LINES_PER_DEVICE_MAX;
use countersign_core::terms::Addressed;
use tokio::sync::mpsc;

use super::local::{Kind, Note};

/// Whose devices are looked for.
pub(super) type User = (TenantName, UserName);

/// The lines of all users.
#[derive(Debug, Default)]
pub(super) struct Lines {
    users: HashMap<User, Vec<Connected>>,
    count: usize,
}

/// A line, as those see it who send to it.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) number: u64,
    pub(super) device: DeviceId,
    pub(super) kind: Kind,
    pub(super) notes: mpsc::Sender<Note>,
}

impl Lines {
    /// Adds a device's line. A channel replaces the device's channel. Where that leaves more lines than a
    /// device may have, the oldest poll is replaced.
    pub(super) fn join(&mut self, user: User, line: Connected) {
        let lines = self.users.entry(user).or_default();
        let own = |one: &Connected| one.device == line.device;
        let channel = lines.iter().position(|one| own(one) && one.kind == Kind::Channel);
        let replaced = match channel {
            Some(at) if line.kind == Kind::Channel => Some(at),
            _ if lines.iter().filter(|one| own(one)).count() < LINES_PER_DEVICE_MAX => None,
            // Lines stand in the order in which they came.
            _ => lines.iter().position(|one| own(one) && one.kind == Kind::Poll),
        };
        if let Some(at) = replaced {
            // A full queue is cut by this anyway.
            let _ = lines.remove(at).notes.try_send(Note::Replaced);
            self.count -= 1;
        }
        lines.push(line);
        self.count += 1;
    }

    /// Removes a line, if it is still there.
    pub(super) fn leave(&mut self, user: &User, number: u64) {
        self.keep(user, |line| line.number != number);
    }

    /// Keeps those of a user's lines that `keeps` is true for.
    pub(super) fn keep(&mut self, user: &User, keeps: impl FnMut(&Connected) -> bool) {
        let Some(lines) = self.users.get_mut(user) else { return };
        let before = lines.len();
        let mut keeps = keeps;
        lines.retain(|line| keeps(line));
        self.count -= before - lines.len();
        if lines.is_empty() {
            self.users.remove(user);
        }
    }

    /// Whether one of the user's addressed devices is connected.
    pub(super) fn covers(&self, user: &User, addressed: &Addressed) -> bool {
        let lines = self.users.get(user);
        lines.is_some_and(|lines| lines.iter().any(|line| addressed.covers(line.device)))
    }

    /// How many lines there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        ("acme".parse().unwrap(), name.parse().unwrap())
    }

    fn line(number: u64, device: u64, kind: Kind) -> (Connected, mpsc::Receiver<Note>) {
        let (notes, heard) = mpsc::channel(4);
        (Connected { number, device: device.try_into().unwrap(), kind, notes }, heard)
    }

    fn numbers(lines: &Lines, name: &str) -> Vec<u64> {
        lines.users.get(&user(name)).into_iter().flatten().map(|line| line.number).collect()
    }

    /// What is done for a user looks at each of the user's lines, so their number is the work.
    #[test]
    fn seventy_five_thousand_polls_of_one_phone_leave_two_lines_to_look_at() {
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for number in 0..75_000 {
            let (connected, notes) = line(number, 1, Kind::Poll);
            lines.join(user("jane"), connected);
            heard.push(notes);
            assert!(numbers(&lines, "jane").len() <= LINES_PER_DEVICE_MAX);
        }
        assert_eq!(numbers(&lines, "jane"), [74_998, 74_999]);
        assert_eq!(lines.count(), 2);
        assert!(matches!(heard[0].try_recv(), Ok(Note::Replaced)), "the oldest was told");
        assert!(heard[74_999].try_recv().is_err());
        for number in 0..75_000 {
            lines.leave(&user("jane"), number);
        }
        assert_eq!((lines.count(), lines.users.len()), (0, 0));
    }

    #[test]
    fn a_poll_never_replaces_the_channel_nor_another_devices_line() {
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for (number, device, kind) in [
            (1, 1, Kind::Channel),
            (2, 2, Kind::Poll),
            (3, 1, Kind::Poll),
            (4, 1, Kind::Poll),
            (5, 1, Kind::Channel),
        ] {
            let (connected, notes) = line(number, device, kind);
            lines.join(user("jane"), connected);
            heard.push(notes);
        }
        assert_eq!(numbers(&lines, "jane"), [2, 4, 5]);
        assert!(matches!(heard[0].try_recv(), Ok(Note::Replaced)), "by the next channel");
    }

    #[test]
    fn a_new_channel_beside_two_polls_replaces_the_older_one() {
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for (number, kind) in [(1, Kind::Poll), (2, Kind::Poll), (3, Kind::Channel)] {
            let (connected, notes) = line(number, 1, kind);
            lines.join(user("jane"), connected);
            heard.push(notes);
        }
        assert_eq!(numbers(&lines, "jane"), [2, 3]);
    }
}
