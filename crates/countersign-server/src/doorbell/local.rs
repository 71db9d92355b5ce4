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
use countersign_core::transaction::{Decline, End, Transaction};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Connected devices and waiting callers. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Local(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    lines: Mutex<HashMap<User, Vec<Connected>>>,
    waiters: Mutex<HashMap<TransactionId, Vec<Waiting>>>,
    numbers: AtomicU64,
}

type User = (TenantName, UserName);

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
    /// The user was locked.
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
    /// Connects a device. Its channel replaces the one that it had; a poll replaces nothing.
    pub(crate) fn connect(
        &self,
        tenant: &TenantName,
        user: &UserName,
        device: DeviceId,
        kind: Kind,
    ) -> Line {
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

    /// Waits for the end of a transaction. To be called before it is looked at, so that no end falls
    /// in between.
    pub(crate) fn wait(&self, id: TransactionId) -> Waiter {
        let (sender, ended) = oneshot::channel();
        let number = self.number();
        let waiting = Waiting { number, ended: sender };
        self.0.waiters.lock().entry(id).or_default().push(waiting);
        Waiter { board: Arc::clone(&self.0), id, number, ended }
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
                        self.tell(&transaction, &[ended, Note::Locked])
                    }
                    _ => self.tell(&transaction, &[ended]),
                }
                let waiting = self.0.waiters.lock().remove(&transaction.terms.id);
                for waiting in waiting.into_iter().flatten() {
                    // A caller that hung up hears nothing; the ledger has the end.
                    let _ = waiting.ended.send(Arc::clone(&transaction));
                }
            }
        }
    }

    fn online(&self, tenant: &TenantName, user: &UserName, addressed: Addressed) -> bool {
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
