//! The writer thread. It takes all queued units of work, writes them as one SQL transaction, and
//! answers after the sync. The units that arrive during a sync are the next batch, so that batching
//! adds no delay.
//!
//! Each unit of work is checked in its turn, against the writes of the units before it in the
//! batch. A stale unit writes nothing. If a unit breaks a constraint, its batch is rolled back, and
//! each of its units is written separately. If the disk fails, every unit of the batch fails, and
//! none of its writes remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use countersign_core::Fault;
use countersign_core::limits::{COMMITS_PER_SYNC_MAX, COMMITS_QUEUED_MAX};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::{Checkpoints, copy_all};
use super::write_queue_lock::WriteQueueLock;
use crate::Stats;
use crate::answered::answered;
use crate::sql::error::StoreError;
use crate::sqlite_error::{explained, is_of_one_unit};

/// The number of attempts to get the write lock while another process holds it. With the pause
/// between two attempts, it is 10 seconds in all.
pub(super) const BUSY_TRIES_MAX: i32 = 10_000;
/// See [`BUSY_TRIES_MAX`].
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// The handle of the writer thread, by which callers queue units of work.
pub(super) struct Writer {
    /// `None` only during `drop`.
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

enum Message {
    Write(Box<dyn UnitOfWork>),
    Close(oneshot::Sender<Result<(), Fault>>),
}

#[derive(Default)]
struct Counts {
    commits: AtomicU64,
    syncs: AtomicU64,
    /// Whether the thread has ended or is about to end.
    closed: AtomicBool,
}

impl Writer {
    /// Starts the thread with its own connection.
    pub(super) fn start(
        sql: Connection,
        turn: WriteQueueLock,
        checkpoints: Checkpoints,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(COMMITS_QUEUED_MAX);
        let counts = Arc::new(Counts::default());
        let desk = WriterThread { sql, turn, checkpoints, counts: counts.clone() };
        let thread = thread::Builder::new()
            .name("ledger-writer".into())
            .spawn(move || desk.work(waiting))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counts })
    }

    /// Queues `work`, and answers when it is on disk. `work` reads before it writes: if it refuses,
    /// it has written nothing. It may run a second time if its batch was rolled back.
    pub(super) async fn write<T, W>(&self, doing: &'static str, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: AsyncFn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(doing, Message::Write(Box::new(Job { doing, work, outcome: None, reply })))?;
        answer.await.map_err(Fault::while_doing(doing))?
    }

    /// Completes the queued work, and ends the thread.
    pub(super) async fn close(&self) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        let doing = "closing the ledger";
        self.send(doing, Message::Close(reply))?;
        answer.await.map_err(Fault::while_doing(doing))?
    }

    /// Checks that the thread is running.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.counts.closed.load(Ordering::Acquire) {
            return Err(Fault::new("queueing for the ledger's writer", "the ledger is closed"));
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            commits: self.counts.commits.load(Ordering::Relaxed),
            syncs: self.counts.syncs.load(Ordering::Relaxed),
        }
    }

    fn send(&self, doing: &'static str, message: Message) -> Result<(), Fault> {
        let queue = self.queue.as_ref().expect("present until dropped");
        queue.try_send(message).map_err(|error| {
            let why = match error {
                TrySendError::Full(_) => "too many commits wait for the disk",
                TrySendError::Disconnected(_) => "the ledger is closed",
            };
            Fault::new(doing, why)
        })
    }
}

/// Answers the waiting callers before the file is closed.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has logged the panic, and this drop cannot report it to a
            // caller.
            let _ = thread.join();
        }
    }
}

/// A unit of work, with a caller who waits for its answer.
trait UnitOfWork: Send {
    /// Checks the unit and writes it. An error rolls the batch back.
    fn write(&mut self, sql: &Connection) -> rusqlite::Result<()>;
    /// Answers the caller after the batch was committed or failed.
    fn answer(self: Box<Self>, kept: &rusqlite::Result<()>);
}

struct Job<T, W> {
    doing: &'static str,
    work: W,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, W> UnitOfWork for Job<T, W>
where
    T: Send,
    W: AsyncFn(&Connection) -> Result<T, StoreError> + Send,
{
    fn write(&mut self, sql: &Connection) -> rusqlite::Result<()> {
        match answered((self.work)(sql)) {
            Err(StoreError::Sqlite(error)) => Err(error),
            outcome => {
                self.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, kept: &rusqlite::Result<()>) {
        let answer = match (kept, self.outcome) {
            (Ok(()), Some(outcome)) => outcome.map_err(|trouble| trouble.while_doing(self.doing)),
            (Ok(()), None) => Err(Fault::new(self.doing, "it was not written")),
            (Err(error), _) => Err(Fault::new(self.doing, explained(error).to_string())),
        };
        // The caller may have been dropped. The commit remains.
        let _ = self.reply.send(answer);
    }
}

/// The state of the writer thread.
struct WriterThread {
    sql: Connection,
    turn: WriteQueueLock,
    checkpoints: Checkpoints,
    counts: Arc<Counts>,
}

impl WriterThread {
    fn work(self, waiting: Receiver<Message>) {
        let mut batch = Vec::with_capacity(COMMITS_PER_SYNC_MAX);
        while let Ok(first) = waiting.recv() {
            let mut close = None;
            let more = std::iter::from_fn(|| waiting.try_recv().ok());
            for message in std::iter::once(first).chain(more.take(COMMITS_PER_SYNC_MAX - 1)) {
                match message {
                    Message::Write(unit) => batch.push(unit),
                    Message::Close(reply) => {
                        close = Some(reply);
                        break;
                    }
                }
            }
            self.keep(&mut batch);
            if let Some(reply) = close {
                let closed = copy_all(&self.sql).map_err(StoreError::from);
                // Messages behind this one are refused when the queue is dropped.
                drop(waiting);
                drop(self);
                let doing = "closing the ledger";
                let _ = reply.send(closed.map_err(|trouble| trouble.while_doing(doing)));
                return;
            }
            self.checkpoints.turn(&self.sql);
        }
    }

    /// Writes the batch, and answers each of its units.
    fn keep(&self, batch: &mut Vec<Box<dyn UnitOfWork>>) {
        self.counts.commits.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let kept = self.commit(batch);
        let one_by_one = batch.len() > 1 && kept.as_ref().is_err_and(is_of_one_unit);
        for mut unit in batch.drain(..) {
            if one_by_one {
                let kept = self.commit(std::slice::from_mut(&mut unit));
                unit.answer(&kept);
            } else {
                unit.answer(&kept);
            }
        }
    }

    fn commit(&self, batch: &mut [Box<dyn UnitOfWork>]) -> rusqlite::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let before = self.sql.total_changes();
        let kept = self.begin().and_then(|()| {
            batch.iter_mut().try_for_each(|unit| unit.write(&self.sql))?;
            self.sql.prepare_cached("COMMIT")?.execute([]).map(drop)
        });
        // SQLite may have rolled back by itself because the disk is full.
        if kept.is_err() && !self.sql.is_autocommit() {
            self.sql.execute_batch("ROLLBACK")?;
        }
        if kept.is_ok() && self.sql.total_changes() != before {
            self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        }
        kept
    }

    /// Takes the write lock. Waits for another process's lock, for a limited time.
    fn begin(&self) -> rusqlite::Result<()> {
        let _turn = self.turn.take();
        self.sql.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }
}

/// Marks the writer as closed when the thread ends, even by a panic, so that callers learn of it.
impl Drop for WriterThread {
    fn drop(&mut self) {
        self.counts.closed.store(true, Ordering::Release);
    }
}

/// Waits for another process's lock in short pauses; for a connection's busy handler.
pub(super) fn pause_while_busy(tries: i32) -> bool {
    thread::sleep(BUSY_PAUSE);
    tries < BUSY_TRIES_MAX
}
