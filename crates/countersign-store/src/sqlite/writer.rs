//! The one thread that writes: it takes what waits, writes it as one SQL transaction, and answers
//! after the sync. What queues up while the disk works is the next batch, so sharing adds no delay.
//!
//! Each unit of work is judged in its turn, on what those before it in the batch wrote. A stale one
//! writes nothing. One that breaks a constraint spoils its batch, whose units are then done one by
//! one. When the disk fails, every unit of the batch fails, and nothing of it is kept.

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
use super::error::{StoreError, explained, is_of_one_unit};
use super::write_queue_lock::WriteQueueLock;
use crate::Stats;

/// How often the write lock is asked for while another process has it, and the pause between two
/// tries: 10 seconds in all.
pub(super) const BUSY_TRIES_MAX: i32 = 10_000;
/// See [`BUSY_TRIES_MAX`].
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// The writer, as those see it who want something written.
pub(super) struct Writer {
    /// `None` only while it is dropped.
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
    /// The thread is gone, or about to go.
    closed: AtomicBool,
}

impl Writer {
    /// Starts the thread on a connection of its own.
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

    /// Has `work` done, and answers when it is on disk. `work` reads before it writes: what it
    /// refuses, it refuses with nothing written. It may run again where its batch has to.
    pub(super) async fn write<T, W>(&self, doing: &'static str, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.send(doing, Message::Write(Box::new(Job { doing, work, outcome: None, reply })))?;
        answer.await.map_err(Fault::while_doing(doing))?
    }

    /// Finishes what is queued, and the thread.
    pub(super) async fn close(&self) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        let doing = "closing the ledger";
        self.send(doing, Message::Close(reply))?;
        answer.await.map_err(Fault::while_doing(doing))?
    }

    /// Whether the thread is there.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.counts.closed.load(Ordering::Acquire) {
            return Err(Fault::new("asking for the ledger's writer", "the ledger is closed"));
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

/// Those who still wait are answered before the file is let go.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Something to write, with somebody who waits for it.
trait UnitOfWork: Send {
    /// Judges it and writes it. An error spoils the batch.
    fn write(&mut self, sql: &Connection) -> rusqlite::Result<()>;
    /// Answers, now that what it wrote is kept, or is not.
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
    W: Fn(&Connection) -> Result<T, StoreError> + Send,
{
    fn write(&mut self, sql: &Connection) -> rusqlite::Result<()> {
        match (self.work)(sql) {
            Err(StoreError::Sql(error)) => Err(error),
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
        // Whoever asked may have gone; what was written stays.
        let _ = self.reply.send(answer);
    }
}

/// Where the thread works.
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
                // What is queued behind this is refused when the queue goes.
                drop(waiting);
                drop(self);
                let doing = "closing the ledger";
                let _ = reply.send(closed.map_err(|trouble| trouble.while_doing(doing)));
                return;
            }
            self.checkpoints.turn(&self.sql);
        }
    }

    /// Writes the batch and answers it.
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
        // A full disk may have rolled back by itself.
        if kept.is_err() && !self.sql.is_autocommit() {
            self.sql.execute_batch("ROLLBACK")?;
        }
        if kept.is_ok() && self.sql.total_changes() != before {
            self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        }
        kept
    }

    /// Takes the write lock, waiting for another process's within bounds.
    fn begin(&self) -> rusqlite::Result<()> {
        let _turn = self.turn.take();
        self.sql.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }
}

/// However the thread ends, by a panic too, what asks for it is told.
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
