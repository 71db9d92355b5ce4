//! The writers. Each has a connection of its own and takes all units of work that wait, writes them
//! as one SQL transaction, and answers when it is durable. The units that arrive meanwhile are the
//! next batch.
//!
//! The statements of all units of a batch are sent together. Two units about the same user are
//! never in the same batch, so each is judged on what is committed. A stale unit writes nothing. If
//! the database refuses a unit, the batch is rolled back, and each of its units is written alone.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use countersign_core::Fault;
use countersign_core::limits::{COMMITS_PER_SYNC_MAX, COMMITS_QUEUED_MAX};
use countersign_core::port::{Committed, Settle, Settled};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::address::Address;
use super::connection::Connection;
use super::health::Health;
use super::unit::{Batch, Failed};
use crate::Stats;
use crate::postgres_error::is_of_others;
use crate::sql::change::PreparedCommit;
use crate::sql::error::StoreError;
use crate::sql::value::values;
use crate::sql::{Sql as _, delivery};

/// The batches that are written at the same time.
const WRITERS: usize = 2;
/// How long a unit waits for a database that is away.
const AWAY_MAX: Duration = Duration::from_secs(2);
/// The pause between two attempts to reach it.
const AWAY_PAUSE: Duration = Duration::from_millis(100);
/// How often a unit is written again because others ran beside it.
const TRIES_MAX: usize = 5;

/// The commits after which the statistics of a young ledger are renewed. On an empty table all
/// indexes seem equally good to PostgreSQL, and it would keep such a plan for a minute, while the
/// table grows.
const ANALYZE_AFTER: [u64; 4] = [20, 200, 2_000, 20_000];
/// The transactions above which the database renews the statistics by itself soon enough.
const YOUNG_MAX: i64 = 100_000;
const IS_YOUNG: &str = "SELECT 1 FROM pg_class WHERE oid = to_regclass('transactions') AND CAST(reltuples AS BIGINT) < ?1";
const ANALYZE: &str = "ANALYZE transactions, evidence, deliveries, contacts, used_signatures,
    users, devices, identities, identity_labels, identity_keys, activations, events, presence";

/// A unit of work that is written in batches.
pub(super) enum Work {
    Commit(Box<PreparedCommit>),
    Settle(Box<Settle>),
}

/// The result of a unit of work.
#[derive(Debug)]
pub(super) enum Answer {
    Committed(Committed),
    Settled(Settled),
}

struct Unit {
    doing: &'static str,
    work: Work,
    reply: oneshot::Sender<Result<Answer, Fault>>,
}

/// The handle of the writers.
pub(super) struct Writers {
    queue: parking_lot::Mutex<Option<mpsc::Sender<Unit>>>,
    tasks: Mutex<JoinSet<()>>,
    counts: Arc<BatchCounts>,
    health: Arc<Health>,
}

#[derive(Default)]
struct BatchCounts {
    commits: AtomicU64,
    syncs: AtomicU64,
    /// The entries of [`ANALYZE_AFTER`] that are done.
    analyzed: AtomicUsize,
}

impl Writers {
    /// Starts the writers.
    pub(super) fn start(address: &Arc<Address>, health: &Arc<Health>) -> Self {
        let (queue, waiting) = mpsc::channel(COMMITS_QUEUED_MAX);
        let (waiting, counts) = (Arc::new(Mutex::new(waiting)), Arc::new(BatchCounts::default()));
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            let writer = BatchWriter {
                address: Arc::clone(address),
                health: Arc::clone(health),
                connection: None,
                waiting: Arc::clone(&waiting),
                deferred: VecDeque::new(),
                counts: Arc::clone(&counts),
            };
            tasks.spawn(writer.work());
        }
        let queue = parking_lot::Mutex::new(Some(queue));
        Self { queue, tasks: Mutex::new(tasks), counts, health: Arc::clone(health) }
    }

    /// Queues a unit of work, and answers when it is durable.
    pub(super) async fn write(&self, doing: &'static str, work: Work) -> Result<Answer, Fault> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.lock().clone();
        let queue = queue.ok_or_else(|| Fault::new(doing, "the ledger is closed"))?;
        queue
            .try_send(Unit { doing, work, reply })
            .map_err(|_| Fault::new(doing, "too many commits wait for the database"))?;
        answer.await.map_err(Fault::while_doing(doing))?
    }

    /// Completes the queued work, and ends the writers.
    pub(super) async fn close(&self) {
        self.queue.lock().take();
        while self.tasks.lock().await.join_next().await.is_some() {}
    }

    /// Checks that the database answers, and the ledger is not closed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let doing = "queueing for the ledger's writers";
        if self.queue.lock().is_none() {
            return Err(Fault::new(doing, "the ledger is closed"));
        }
        if self.health.is_away() {
            return Err(Fault::new(doing, "the database does not answer"));
        }
        Ok(())
    }

    /// Counts a unit of work that was written alone.
    pub(super) fn count_alone(&self) {
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            commits: self.counts.commits.load(Ordering::Relaxed),
            syncs: self.counts.syncs.load(Ordering::Relaxed),
        }
    }
}

/// The state of one writer.
struct BatchWriter {
    address: Arc<Address>,
    health: Arc<Health>,
    connection: Option<Connection>,
    waiting: Arc<Mutex<mpsc::Receiver<Unit>>>,
    /// Units about a user who has another one in the batch before.
    deferred: VecDeque<Unit>,
    counts: Arc<BatchCounts>,
}

impl BatchWriter {
    async fn work(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.counts.commits.fetch_add(batch.len() as u64, Ordering::Relaxed);
            self.keep(batch).await;
            self.analyze().await;
        }
    }

    /// Renews the statistics of a young ledger, so that all plans are made again.
    async fn analyze(&mut self) {
        let done = self.counts.analyzed.load(Ordering::Relaxed);
        let Some(after) = ANALYZE_AFTER.get(done) else { return };
        if self.counts.commits.load(Ordering::Relaxed) < *after
            || self.counts.analyzed.swap(done + 1, Ordering::Relaxed) != done
        {
            return;
        }
        let Ok(connection) = self.connected().await else { return };
        if connection.exists(IS_YOUNG, values![YOUNG_MAX]).await.unwrap_or(false) {
            // Without statistics it is only slow.
            let _ = connection.client().batch_execute(ANALYZE).await;
        }
    }

    /// Everything that waits: at least one unit, and at most one about each user.
    async fn next_batch(&mut self) -> Option<Vec<Unit>> {
        let mut taken = std::mem::take(&mut self.deferred);
        if taken.is_empty() {
            let mut waiting = self.waiting.lock().await;
            taken.push_back(waiting.recv().await?);
            take_more(&mut taken, &mut waiting);
        } else if let Ok(mut waiting) = self.waiting.try_lock() {
            // Otherwise the other writer waits for what comes next.
            take_more(&mut taken, &mut waiting);
        }
        let (mut batch, mut users) = (Vec::with_capacity(taken.len()), HashSet::new());
        for unit in taken {
            let is_first = match &unit.work {
                Work::Commit(commit) => {
                    let user = commit.user().map(|(tenant, user)| (tenant.clone(), user.clone()));
                    user.is_none_or(|user| users.insert(user))
                }
                Work::Settle(_) => true,
            };
            if is_first { batch.push(unit) } else { self.deferred.push_back(unit) }
        }
        Some(batch)
    }

    /// Writes the batch, and answers each of its units.
    async fn keep(&mut self, batch: Vec<Unit>) {
        if batch.len() > 1 {
            match self.write(&batch).await {
                Ok(answers) => return answer_all(batch, answers),
                Err(Failed::Unknown(error)) => return fail_all(batch, &error),
                Err(Failed::Unwritten(_)) => {}
            }
        }
        for unit in batch {
            let answer = self.write_alone(&unit).await;
            let _ = unit.reply.send(answer.map_err(|error| error.while_doing(unit.doing)));
        }
    }

    async fn write_alone(&mut self, unit: &Unit) -> Result<Answer, StoreError> {
        let mut tries = 0;
        loop {
            match self.write(std::slice::from_ref(unit)).await {
                Ok(mut answers) => return Ok(answers.remove(0)),
                Err(Failed::Unwritten(StoreError::Postgres(error)))
                    if is_of_others(&error) && tries < TRIES_MAX =>
                {
                    tries += 1;
                }
                Err(Failed::Unwritten(StoreError::TenantLocked)) => {
                    return Ok(Answer::Committed(Committed::Stale));
                }
                Err(Failed::Unwritten(error) | Failed::Unknown(error)) => return Err(error),
            }
        }
    }

    /// Writes units in one SQL transaction. While the database is away, it is tried again for a
    /// limited time.
    async fn write(&mut self, units: &[Unit]) -> Result<Vec<Answer>, Failed> {
        let until = Instant::now() + AWAY_MAX;
        loop {
            let written = match self.connected().await {
                Ok(connection) => write(connection, units).await,
                Err(error) => Err(Failed::Unwritten(error.into())),
            };
            let is_away = match &written {
                Ok(_) => {
                    self.health.answered();
                    false
                }
                Err(
                    Failed::Unwritten(StoreError::Postgres(error))
                    | Failed::Unknown(StoreError::Postgres(error)),
                ) => self.health.failed(error),
                Err(_) => false,
            };
            if is_away {
                self.connection = None;
            }
            match written {
                Ok((answers, is_changed)) => {
                    self.counts.syncs.fetch_add(u64::from(is_changed), Ordering::Relaxed);
                    return Ok(answers);
                }
                Err(Failed::Unwritten(_)) if is_away && Instant::now() < until => {
                    sleep(AWAY_PAUSE).await;
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    async fn connected(&mut self) -> Result<&Connection, tokio_postgres::Error> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = Some(self.address.connect(None).await?);
        }
        Ok(self.connection.as_ref().expect("it was just set"))
    }
}

/// Takes what waits, as far as it fits into a batch.
fn take_more(taken: &mut VecDeque<Unit>, waiting: &mut mpsc::Receiver<Unit>) {
    while taken.len() < COMMITS_PER_SYNC_MAX {
        let Ok(unit) = waiting.try_recv() else { break };
        taken.push_back(unit);
    }
}

/// Writes units in one SQL transaction. Answers what became of each, and whether anything was
/// written.
async fn write(connection: &Connection, units: &[Unit]) -> Result<(Vec<Answer>, bool), Failed> {
    connection.send("BEGIN");
    let batch = Batch::new(connection);
    // All are polled in turn, so that their statements are sent together.
    let written = futures_util::future::join_all(units.iter().map(|unit| unit.work.write(&batch)));
    let answers: Result<Vec<Answer>, StoreError> = written.await.into_iter().collect();
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            connection.send("ROLLBACK");
            return Err(Failed::Unwritten(error));
        }
    };
    let is_changed = answers.iter().any(Answer::is_change);
    batch.commit().await?;
    Ok((answers, is_changed))
}

impl Work {
    async fn write(&self, batch: &Batch<&Connection>) -> Result<Answer, StoreError> {
        match self {
            Self::Commit(commit) => {
                let committed = commit.write(batch).await?;
                if let (Committed::Written, Some(tenant)) = (&committed, commit.depends_on()) {
                    batch.depends_on(tenant);
                }
                Ok(Answer::Committed(committed))
            }
            Self::Settle(settle) => Ok(Answer::Settled(delivery::settle(batch, settle).await?)),
        }
    }
}

impl Answer {
    fn is_change(&self) -> bool {
        match self {
            Self::Committed(committed) => *committed == Committed::Written,
            Self::Settled(settled) => settled.changed > 0,
        }
    }
}

fn answer_all(batch: Vec<Unit>, answers: Vec<Answer>) {
    for (unit, answer) in batch.into_iter().zip(answers) {
        // The caller may have been dropped. The commit remains.
        let _ = unit.reply.send(Ok(answer));
    }
}

fn fail_all(batch: Vec<Unit>, error: &StoreError) {
    for unit in batch {
        let _ = unit.reply.send(Err(Fault::new(unit.doing, error.to_string())));
    }
}
