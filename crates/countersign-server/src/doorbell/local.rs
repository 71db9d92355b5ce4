//! The doorbell of one node: who is connected to it, and who waits here.
//!
//! Losing it costs delay and nothing else. Each line has a bounded queue; one that is full is cut, and
//! its device resumes from the ledger.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::limits::CHANNEL_FRAMES_MAX;
use countersign_core::port::{Bell, Doorbell};
use countersign_core::terms::Addressed;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, Transaction};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

/// Devices whose last time on the line a node remembers; those seen longest ago are forgotten.
const SEEN_MAX: usize = 131_072;

/// Connected devices and waiting callers. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    lines: Mutex<HashMap<User, Vec<Connected>>>,
    waiters: Mutex<HashMap<TransactionId, Vec<Waiting>>>,
    seen: Mutex<Seen>,
    /// Rung when somebody is owed a call.
    owed: Notify,
    numbers: AtomicU64,
}

type User = (TenantName, UserName);

/// When devices last came on the line, in two generations: the older one goes when the newer is full.
#[derive(Debug, Default)]
struct Seen {
    new: HashMap<(TenantName, DeviceId), Timestamp>,
    old: HashMap<(TenantName, DeviceId), Timestamp>,
}

#[derive(Debug)]
struct Connected {
    number: u64,
    device: DeviceId,
    kind: Kind,
    notes: mpsc::Sender<Note>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    ended: oneshot::Sender<Arc<Transaction>>,
}

/// How a device is connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// By a channel, of which each device has one.
    Channel,
    /// By a poll, for as long as it waits.
    Poll,
}

/// What a line hears.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// There is something for the device.
    Offer(Arc<Transaction>),
    /// Something has ended.
    Ended(Arc<Transaction>),
    /// The device opened another channel.
    Replaced,
    /// The user or the device was locked, logged out or deleted.
    Locked,
}

/// A device's line; on the board until it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    board: Arc<Board>,
    user: User,
    number: u64,
    notes: mpsc::Receiver<Note>,
}

/// A caller's place; on the board until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    board: Arc<Board>,
    id: TransactionId,
    number: u64,
    ended: oneshot::Receiver<Arc<Transaction>>,
}

impl Local {
    /// Connects a device, at `now`. Its channel replaces the one that it had; a poll replaces nothing.
    pub(crate) fn connect(
        &self,
        tenant: &TenantName,
        user: &UserName,
        device: DeviceId,
        kind: Kind,
        now: Timestamp,
    ) -> Line {
        self.0.seen.lock().see((tenant.clone(), device), now);
        let (sender, notes) = mpsc::channel(CHANNEL_FRAMES_MAX);
        let (user, number) = ((tenant.clone(), user.clone()), self.number());
        let mut lines = self.0.lines.lock();
        let lines = lines.entry(user.clone()).or_default();
        if kind == Kind::Channel {
            lines.retain(|line| {
                let replaced = line.device == device && line.kind == Kind::Channel;
                if replaced {
                    // A full queue is cut by this anyway.
                    let _ = line.notes.try_send(Note::Replaced);
                }
                !replaced
            });
        }
        lines.push(Connected { number, device, kind, notes: sender });
        Line { board: Arc::clone(&self.0), user, number, notes }
    }

    /// When a device last came on this node's line, as far as it remembers.
    pub(crate) fn last_seen(&self, tenant: &TenantName, device: DeviceId) -> Option<Timestamp> {
        let seen = self.0.seen.lock();
        let device = (tenant.clone(), device);
        seen.new.get(&device).or_else(|| seen.old.get(&device)).copied()
    }

    /// Waits for the end of a transaction. To be called before it is looked at, so that no end falls
    /// in between.
    pub(crate) fn wait(&self, id: TransactionId) -> Waiter {
        let (sender, ended) = oneshot::channel();
        let number = self.number();
        let waiting = Waiting { number, ended: sender };
        self.0.waiters.lock().entry(id).or_default().push(waiting);
        Waiter { board: Arc::clone(&self.0), id, number, ended }
    }

    /// Waits until somebody is owed a call, since the last time that this was waited for.
    pub(crate) async fn owed(&self) {
        self.0.owed.notified().await;
    }

    /// Devices connected, and callers waiting.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let lines = self.0.lines.lock().values().map(Vec::len).sum();
        (lines, self.0.waiters.lock().values().map(Vec::len).sum())
    }

    fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the addressed lines. A line that cannot take it is cut: its sender goes.
    fn tell(&self, transaction: &Transaction, notes: &[Note]) {
        let terms = &transaction.terms;
        let user = (terms.tenant.clone(), terms.user.clone());
        if let Some(lines) = self.0.lines.lock().get_mut(&user) {
            lines.retain(|line| {
                !terms.addressed.covers(line.device)
                    || notes.iter().all(|note| line.notes.try_send(note.clone()).is_ok())
            });
        }
    }
}

impl Seen {
    fn see(&mut self, device: (TenantName, DeviceId), now: Timestamp) {
        if self.new.len() >= SEEN_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(device, now);
    }
}

impl Doorbell for Local {
    fn ring(&self, bell: Bell) {
        match bell {
            Bell::Offer(transaction) => {
                self.tell(&transaction, &[Note::Offer(Arc::clone(&transaction))]);
            }
            Bell::Ended(transaction) => {
                let ended = Note::Ended(Arc::clone(&transaction));
                match transaction.end() {
                    Some(End::Locked { .. } | End::Declined { reason: Decline::NotMe, .. }) => {
                        self.tell(&transaction, &[ended, Note::Locked]);
                    }
                    _ => self.tell(&transaction, &[ended]),
                }
                let waiting = self.0.waiters.lock().remove(&transaction.terms.id);
                for waiting in waiting.into_iter().flatten() {
                    // A caller that hung up hears nothing; the ledger has the end.
                    let _ = waiting.ended.send(Arc::clone(&transaction));
                }
            }
            Bell::Owed => self.0.owed.notify_one(),
            Bell::HungUp { tenant, user, addressed } => {
                // Off the board at once: from here on the device is not online.
                if let Some(lines) = self.0.lines.lock().get_mut(&(tenant, user)) {
                    lines.retain(|line| {
                        let hung_up = addressed.covers(line.device);
                        if hung_up {
                            // A full queue is cut by this anyway.
                            let _ = line.notes.try_send(Note::Locked);
                        }
                        !hung_up
                    });
                }
            }
        }
    }

    fn online(&self, tenant: &TenantName, user: &UserName, addressed: &Addressed) -> bool {
        let lines = self.0.lines.lock();
        let lines = lines.get(&(tenant.clone(), user.clone()));
        lines.is_some_and(|lines| lines.iter().any(|line| addressed.covers(line.device)))
    }
}

impl Line {
    /// The next note. `None` when the line was cut, because it was not read.
    pub(crate) async fn next(&mut self) -> Option<Note> {
        self.notes.recv().await
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = self.board.lines.lock();
        if let Some(connected) = lines.get_mut(&self.user) {
            connected.retain(|line| line.number != self.number);
            if connected.is_empty() {
                lines.remove(&self.user);
            }
        }
    }
}

impl Waiter {
    /// The transaction that is waited for.
    pub(crate) fn id(&self) -> TransactionId {
        self.id
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Arc<Transaction> {
        (&mut self.ended).await.expect("a place on the board is given up by its waiter, or rung")
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiters = self.board.waiters.lock();
        if let Some(waiting) = waiters.get_mut(&self.id) {
            waiting.retain(|waiting| waiting.number != self.number);
            if waiting.is_empty() {
                waiters.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(board: &Local, user: &str, device: u64, at: u64) -> Line {
        let device = DeviceId::try_from(device).unwrap();
        let (tenant, user) = ("acme".parse().unwrap(), user.parse().unwrap());
        board.connect(&tenant, &user, device, Kind::Channel, Timestamp(at))
    }

    fn hang_up(board: &Local, user: &str, addressed: Addressed) {
        let (tenant, user) = ("acme".parse().unwrap(), user.parse().unwrap());
        board.ring(Bell::HungUp { tenant, user, addressed });
    }

    #[tokio::test]
    async fn who_is_hung_up_on_is_offline_at_once_and_hears_why() {
        let board = Local::default();
        let (mut one, mut two) = (connect(&board, "jane", 1, 5), connect(&board, "jane", 2, 5));
        let joes = connect(&board, "joe", 3, 5);
        let first = Addressed::Device(DeviceId::try_from(1).unwrap());
        let online = |user: &str, addressed: &Addressed| {
            board.online(&"acme".parse().unwrap(), &user.parse().unwrap(), addressed)
        };
        hang_up(&board, "jane", first.clone());
        assert!(!online("jane", &first) && online("jane", &Addressed::Any));
        assert!(matches!(one.next().await, Some(Note::Locked)));
        assert!(one.next().await.is_none(), "nothing comes after that");
        hang_up(&board, "jane", Addressed::Any);
        assert!(!online("jane", &Addressed::Any) && online("joe", &Addressed::Any));
        assert!(matches!(two.next().await, Some(Note::Locked)));
        drop((one, two, joes));
        assert_eq!(board.counts(), (0, 0));
    }

    #[test]
    fn when_a_device_came_is_remembered_after_it_has_gone_within_bounds() {
        let board = Local::default();
        let acme: TenantName = "acme".parse().unwrap();
        let seen = |device| board.last_seen(&acme, DeviceId::try_from(device).unwrap());
        drop(connect(&board, "jane", 1, 5));
        drop(connect(&board, "jane", 1, 7));
        assert_eq!((seen(1), seen(2)), (Some(Timestamp(7)), None));
        for device in 0..SEEN_MAX as u64 {
            board
                .0
                .seen
                .lock()
                .see((acme.clone(), DeviceId::drawn(u128::from(device) << 1)), Timestamp(9));
        }
        let seen = board.0.seen.lock();
        assert!(seen.new.len() + seen.old.len() <= SEEN_MAX);
    }
}
