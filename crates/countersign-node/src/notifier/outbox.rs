//! The news for the other nodes of a fleet: short messages, and the places of devices.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};

use countersign_core::port::Notification;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::by_user::UserKey;
use super::hint::Hint;

/// Hints that wait to be sent. If there are more, all nodes are told to ask the ledger instead.
const HINTS_MAX: usize = 65_536;

/// Hints and users that wait to be sent and written.
#[derive(Debug, Default)]
pub(super) struct FleetOutbox {
    waiting: Mutex<Waiting>,
    /// Notified when something waits.
    changed: Notify,
    node: AtomicU32,
}

#[derive(Debug, Default)]
struct Waiting {
    hints: VecDeque<Hint>,
    /// Whether hints were dropped, or may not have arrived.
    overflown: bool,
    /// Users whose devices have come or gone here.
    users: HashSet<UserKey>,
}

impl FleetOutbox {
    /// The number of this node; 0 until it has joined.
    pub(super) fn node(&self) -> u32 {
        self.node.load(Ordering::Relaxed)
    }

    pub(super) fn set_node(&self, number: u32) {
        self.node.store(number, Ordering::Relaxed);
    }

    /// Has the other nodes told of a notification, if it can concern them.
    pub(super) fn announce(&self, notification: &Notification) {
        let Some(hint) = Hint::of(notification) else { return };
        let mut waiting = self.waiting.lock();
        if waiting.hints.len() < HINTS_MAX {
            waiting.hints.push_back(hint);
        } else {
            waiting.overflown = true;
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Has it written where the user's devices are.
    pub(super) fn note_presence(&self, user: UserKey) {
        self.waiting.lock().users.insert(user);
        self.changed.notify_one();
    }

    /// Notes that hints may not have arrived, so that all nodes are told to ask the ledger.
    pub(super) fn note_lost(&self) {
        self.waiting.lock().overflown = true;
        self.changed.notify_one();
    }

    /// Waits until something waits to be sent or written.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes at most `max` hints. If hints were dropped, tells all nodes to ask the ledger.
    pub(super) fn hints(&self, max: usize) -> Vec<Hint> {
        let mut waiting = self.waiting.lock();
        if std::mem::take(&mut waiting.overflown) {
            waiting.hints.clear();
            return vec![Hint::AskTheLedger];
        }
        let count = waiting.hints.len().min(max);
        waiting.hints.drain(..count).collect()
    }

    /// Takes at most `max` users whose devices have come or gone.
    pub(super) fn users(&self, max: usize) -> Vec<UserKey> {
        let mut waiting = self.waiting.lock();
        if waiting.users.len() <= max {
            return waiting.users.drain().collect();
        }
        let taken: Vec<UserKey> = waiting.users.iter().take(max).cloned().collect();
        for user in &taken {
            waiting.users.remove(user);
        }
        taken
    }
}
