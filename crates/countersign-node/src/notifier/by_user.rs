//! Connected devices, by user: at most [`LINES_PER_DEVICE_MAX`] connections a device, so that a
//! notification of one user visits a bounded number of connections.

use std::collections::HashMap;

use countersign_core::id::{DeviceId, TenantName, UserName};
use countersign_core::limits::LINES_PER_DEVICE_MAX;
use countersign_core::spec::Recipients;

use super::local::{ConnectionEvent, ConnectionKind};
use super::queue::QueueSender;

/// The user whose devices are looked up.
pub(super) type UserKey = (TenantName, UserName);

/// The connections of all users.
#[derive(Debug, Default)]
pub(super) struct ConnectionsByUser {
    users: HashMap<UserKey, Vec<Connected>>,
    count: usize,
    /// Whether the server is stopping.
    is_stopping: bool,
}

/// A connection, as its senders see it.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) number: u64,
    pub(super) device: DeviceId,
    pub(super) kind: ConnectionKind,
    pub(super) notes: QueueSender,
}

impl ConnectionsByUser {
    /// Adds a connection of a device. A new channel replaces the device's channel. If the device
    /// then has too many connections, its oldest poll is replaced.
    pub(super) fn join(&mut self, user: UserKey, line: Connected) {
        // Almost every user has one connection.
        let by_user = self.users.entry(user).or_insert_with(|| Vec::with_capacity(1));
        let own = |one: &Connected| one.device == line.device;
        let channel =
            by_user.iter().position(|one| own(one) && one.kind == ConnectionKind::Channel);
        let replaced = match channel {
            Some(at) if line.kind == ConnectionKind::Channel => Some(at),
            _ if by_user.iter().filter(|one| own(one)).count() < LINES_PER_DEVICE_MAX => None,
            // Connections are in the order in which they were opened.
            _ => by_user.iter().position(|one| own(one) && one.kind == ConnectionKind::Poll),
        };
        if let Some(at) = replaced {
            // If the queue is full, removing it closes the connection anyway.
            let _ = by_user.remove(at).notes.send(ConnectionEvent::Replaced);
            self.count -= 1;
        }
        if self.is_stopping {
            // The queue is new, so it has room.
            let _ = line.notes.send(ConnectionEvent::Stopping);
        }
        by_user.push(line);
        self.count += 1;
    }

    /// Tells all connections that the server is stopping, and each that joins from now on.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        for line in self.users.values().flatten() {
            // If the queue is full, the connection is closed when it has read that much.
            let _ = line.notes.send(ConnectionEvent::Stopping);
        }
    }

    /// Removes a connection, if it is still registered.
    pub(super) fn leave(&mut self, user: &UserKey, number: u64) {
        self.keep(user, |line| line.number != number);
    }

    /// Keeps the user's connections for which `keeps` is true.
    pub(super) fn keep(&mut self, user: &UserKey, keeps: impl FnMut(&Connected) -> bool) {
        let Some(by_user) = self.users.get_mut(user) else { return };
        let before = by_user.len();
        let mut keeps = keeps;
        by_user.retain(|line| keeps(line));
        self.count -= before - by_user.len();
        if by_user.is_empty() {
            self.users.remove(user);
        }
    }

    /// Removes all connections of a tenant, and returns them. Visits each user who is connected.
    pub(super) fn remove_tenant(&mut self, tenant: &TenantName) -> Vec<Connected> {
        let theirs = self.users.extract_if(|user, _| user.0 == *tenant);
        let removed: Vec<_> = theirs.flat_map(|(_, lines)| lines).collect();
        self.count -= removed.len();
        removed
    }

    /// Whether one of the user's recipients is connected.
    pub(super) fn covers(&self, user: &UserKey, recipients: &Recipients) -> bool {
        let by_user = self.users.get(user);
        by_user.is_some_and(|by_user| by_user.iter().any(|line| recipients.includes(line.device)))
    }

    /// The connected devices of a user, one as often as it has connections.
    pub(super) fn devices(&self, user: &UserKey) -> Vec<DeviceId> {
        self.users.get(user).into_iter().flatten().map(|line| line.device).collect()
    }

    /// The users who have a connected device.
    pub(super) fn users(&self) -> Vec<UserKey> {
        self.users.keys().cloned().collect()
    }

    /// Whether this connection is registered.
    pub(super) fn has(&self, user: &UserKey, number: u64) -> bool {
        let by_user = self.users.get(user);
        by_user.is_some_and(|by_user| by_user.iter().any(|line| line.number == number))
    }

    /// The number of connections.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::queue::{QueueReceiver, queue};
    use super::*;

    fn user(name: &str) -> UserKey {
        ("acme".parse().unwrap(), name.parse().unwrap())
    }

    fn line(number: u64, device: u64, kind: ConnectionKind) -> (Connected, QueueReceiver) {
        let (notes, heard) = queue();
        (Connected { number, device: device.try_into().unwrap(), kind, notes }, heard)
    }

    fn numbers(by_user: &ConnectionsByUser, name: &str) -> Vec<u64> {
        by_user.users.get(&user(name)).into_iter().flatten().map(|line| line.number).collect()
    }

    /// A notification visits each of the user's connections, so their number is its cost.
    #[test]
    fn seventy_five_thousand_polls_of_one_phone_leave_two_lines_to_look_at() {
        let mut by_user = ConnectionsByUser::default();
        let mut heard = Vec::new();
        for number in 0..75_000 {
            let (connected, notes) = line(number, 1, ConnectionKind::Poll);
            by_user.join(user("jane"), connected);
            heard.push(notes);
            assert!(numbers(&by_user, "jane").len() <= LINES_PER_DEVICE_MAX);
        }
        assert_eq!(numbers(&by_user, "jane"), [74_998, 74_999]);
        assert_eq!(by_user.count(), 2);
        assert!(
            matches!(heard[0].next().now_or_never(), Some(Some(ConnectionEvent::Replaced))),
            "the oldest was told"
        );
        assert!(heard[74_999].next().now_or_never().is_none());
        for number in 0..75_000 {
            by_user.leave(&user("jane"), number);
        }
        assert_eq!((by_user.count(), by_user.users.len()), (0, 0));
    }

    /// A connected device costs a place in the map, and this.
    #[test]
    fn a_users_only_connection_takes_thirty_two_bytes_beside_its_queue() {
        let mut by_user = ConnectionsByUser::default();
        let (connected, _heard) = line(1, 1, ConnectionKind::Channel);
        by_user.join(user("jane"), connected);
        assert_eq!((by_user.users[&user("jane")].capacity(), size_of::<Connected>()), (1, 32));
    }

    #[test]
    fn a_poll_never_replaces_the_channel_nor_another_devices_line() {
        let mut by_user = ConnectionsByUser::default();
        let mut heard = Vec::new();
        for (number, device, kind) in [
            (1, 1, ConnectionKind::Channel),
            (2, 2, ConnectionKind::Poll),
            (3, 1, ConnectionKind::Poll),
            (4, 1, ConnectionKind::Poll),
            (5, 1, ConnectionKind::Channel),
        ] {
            let (connected, notes) = line(number, device, kind);
            by_user.join(user("jane"), connected);
            heard.push(notes);
        }
        assert_eq!(numbers(&by_user, "jane"), [2, 4, 5]);
        assert!(
            matches!(heard[0].next().now_or_never(), Some(Some(ConnectionEvent::Replaced))),
            "by the next channel"
        );
    }

    #[test]
    fn a_new_channel_beside_two_polls_replaces_the_older_one() {
        let mut by_user = ConnectionsByUser::default();
        let mut heard = Vec::new();
        for (number, kind) in
            [(1, ConnectionKind::Poll), (2, ConnectionKind::Poll), (3, ConnectionKind::Channel)]
        {
            let (connected, notes) = line(number, 1, kind);
            by_user.join(user("jane"), connected);
            heard.push(notes);
        }
        assert_eq!(numbers(&by_user, "jane"), [2, 3]);
    }
}
