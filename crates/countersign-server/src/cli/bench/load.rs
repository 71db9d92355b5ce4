//! The load: workers, each with a connection of the application's and devices of its own, that do one
//! cycle after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::Bar;
use super::application::{Application, Pass};
use super::connect::Target;
use super::crowd::{Crowd, Keys};
use super::phone::Phone;
use super::process::{Server, Usage, own_cpu};
use super::report::Handshakes;
use crate::task::{Shutdown, Weight};

/// A cycle that takes longer has failed.
const CYCLE_MAX: Duration = Duration::from_mins(1);
/// Shorter than a token's life.
const TOKEN_EVERY: Duration = Duration::from_mins(2);
/// Shorter than the server's patience with a silent device.
const LOOK_UP_EVERY: Duration = Duration::from_secs(15);
/// Connected at once.
const TOGETHER: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seconds: u64,
    pub(super) concurrency: u32,
    pub(super) devices: u32,
    pub(super) rate: Option<u32>,
}

/// Everybody connected.
pub(super) struct Load {
    plan: Plan,
    workers: Vec<Worker>,
    pass: Pass,
    target: Target,
    tasks: Shutdown,
}

/// What came of it.
pub(super) struct Measured {
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// From the first cycle's beginning to the last one's end.
    pub(super) elapsed: Duration,
    /// Of the server, during that time.
    pub(super) used: Usage,
    pub(super) server_memory: u64,
    /// Of this process, during that time.
    pub(super) own_cpu: Duration,
}

struct Worker {
    number: usize,
    application: Application,
    devices: VecDeque<(Keys, Phone)>,
    made: u64,
    looked_up: Instant,
    tally: Tally,
}

struct Tally {
    latency: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
    ended: Instant,
}

/// When cycles begin.
#[derive(Clone)]
struct Schedule {
    began: Instant,
    until: Instant,
    /// The time between two beginnings, and how many there have been.
    open: Option<(Duration, Arc<AtomicU32>)>,
}

impl Load {
    /// Connects devices and application, and has each device sign once.
    pub(super) async fn connect(
        plan: Plan,
        server: &Server,
        mut crowd: Crowd,
        tasks: &Shutdown,
        bar: &Bar,
    ) -> anyhow::Result<(Self, Handshakes)> {
        let target = server.target.clone();
        let devices = std::mem::take(&mut crowd.devices).into_iter().take(plan.devices as usize);
        let (began, before) = (Instant::now(), server.cpu()?);
        let connecting = devices.map(|keys| {
            let target = &target;
            async move {
                let phone = Phone::connect(target, &keys).await?;
                bar.add(1);
                anyhow::Ok((keys, phone))
            }
        });
        let connecting = stream::iter(connecting).buffer_unordered(TOGETHER);
        let mut devices: VecDeque<_> = connecting.try_collect().await?;
        let handshakes = Handshakes {
            count: plan.devices,
            elapsed: began.elapsed(),
            server_cpu: server.cpu()?.saturating_sub(before),
        };
        let pass = Pass::get(&target, &crowd, tasks).await?;
        let mut workers = Vec::new();
        for number in 0..plan.concurrency as usize {
            let each = devices.len() / (plan.concurrency as usize - number);
            workers.push(Worker {
                number,
                application: Application::connect(&target, &pass, tasks).await?,
                devices: devices.drain(..each).collect(),
                made: 0,
                looked_up: Instant::now(),
                tally: Tally::new()?,
            });
        }
        let mut load = Self { plan, workers, pass, target, tasks: tasks.clone() };
        load.warm_up().await?;
        Ok((load, handshakes))
    }

    /// Has each device sign once, so that chains are verified and statements prepared.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let (done, mut all) = mpsc::channel(self.workers.len());
        for mut worker in self.workers.drain(..) {
            let done = done.clone();
            self.tasks.spawn("warming up", Weight::Passing, async move {
                for _ in 0..worker.devices.len() {
                    worker.cycle(Instant::now()).await;
                }
                let _ = done.send(worker).await; // Nobody waits when all has been given up.
            });
        }
        drop(done);
        while let Some(mut worker) = all.recv().await {
            let failed = worker.tally.first_error.take();
            ensure!(failed.is_none(), "a cycle failed: {}", failed.unwrap_or_default());
            worker.tally = Tally::new()?;
            self.workers.push(worker);
        }
        Ok(())
    }

    /// Measures.
    pub(super) async fn run(self, server: &Server) -> anyhow::Result<Measured> {
        let Self { plan, workers, pass, target, tasks } = self;
        let (before, own_before) = (server.usage().await?, own_cpu()?);
        let schedule = Schedule::of(plan);
        let (done, mut all) = mpsc::channel(workers.len());
        for mut worker in workers {
            let (done, schedule) = (done.clone(), schedule.clone());
            tasks.spawn("load", Weight::Passing, async move {
                while let Some(began) = schedule.next().await {
                    worker.cycle(began).await;
                }
                let _ = done.send(worker).await; // Nobody waits when all has been given up.
            });
        }
        drop(done);
        let bar = Bar::seconds(plan.seconds);
        let mut second = interval(Duration::from_secs(1));
        let mut token = interval(TOKEN_EVERY);
        second.tick().await;
        let mut ended = Vec::new();
        loop {
            tokio::select! {
                worker = all.recv() => match worker {
                    Some(worker) => ended.push(worker),
                    None => break,
                },
                _ = second.tick() => bar.add(1),
                _ = token.tick() => pass.renew(&target, &tasks).await?,
            }
        }
        bar.end();
        let (after, own_after) = (server.usage().await?, own_cpu()?);
        let mut tally = Tally::new()?;
        for worker in &ended {
            tally.add(&worker.tally)?;
        }
        Ok(Measured {
            elapsed: tally.ended - schedule.began,
            latency: tally.latency,
            errors: tally.errors,
            first_error: tally.first_error,
            used: Usage {
                cpu: after.cpu.saturating_sub(before.cpu),
                commits: after.commits - before.commits,
                syncs: after.syncs - before.syncs,
            },
            server_memory: server.memory()?,
            own_cpu: own_after.saturating_sub(own_before),
        })
    }
}

impl Worker {
    /// One cycle, counted from `began`.
    async fn cycle(&mut self, began: Instant) {
        self.look_after().await;
        let Some((keys, mut phone)) = self.devices.pop_front() else {
            return self.tally.fail("every device of a worker has failed".to_owned());
        };
        let outcome = timeout(CYCLE_MAX, self.signed(&keys, &mut phone)).await;
        match outcome.context("a cycle took too long").and_then(|outcome| outcome) {
            Ok(()) => {
                self.tally.count(began);
                self.devices.push_back((keys, phone));
            }
            // Nobody knows what is open for a device whose cycle failed, so it is done with.
            Err(error) => self.tally.fail(format!("{error:#}")),
        }
    }

    async fn signed(&mut self, keys: &Keys, phone: &mut Phone) -> anyhow::Result<()> {
        self.made += 1;
        let reference = format!("bench-{}-{}", self.number, self.made);
        let asking = self.application.ask(&keys.user, &reference);
        let (answer, signature) = tokio::try_join!(asking, phone.sign(keys))?;
        let signature = BASE64.encode(signature);
        let told = answer.windows(signature.len()).any(|bytes| bytes == signature.as_bytes());
        ensure!(told, "the answer does not hold the device's signature");
        Ok(())
    }

    /// Answers what pings came to the devices that wait for their turn.
    async fn look_after(&mut self) {
        if self.looked_up.elapsed() < LOOK_UP_EVERY {
            return;
        }
        self.looked_up = Instant::now();
        for (_, phone) in &mut self.devices {
            if let Err(error) = phone.look_up().await {
                self.tally.fail(format!("{error:#}"));
            }
        }
    }
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let longest = u64::try_from(CYCLE_MAX.as_micros()).unwrap_or(u64::MAX);
        // Ten times the longest: in an open loop a cycle may begin long after its time.
        let latency = Histogram::new_with_bounds(1, longest * 10, 3)?;
        Ok(Self { latency, errors: 0, first_error: None, ended: Instant::now() })
    }

    fn count(&mut self, began: Instant) {
        self.ended = Instant::now();
        let taken = u64::try_from((self.ended - began).as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(taken);
    }

    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.ended = self.ended.max(other.ended);
        Ok(())
    }
}

impl Schedule {
    fn of(plan: Plan) -> Self {
        let began = Instant::now();
        let until = began + Duration::from_secs(plan.seconds);
        let apart = |rate| Duration::from_secs(1) / rate;
        let open = plan.rate.map(|rate| (apart(rate), Arc::new(AtomicU32::new(0))));
        Self { began, until, open }
    }

    /// Waits for the next cycle's time, and tells when that was: in an open loop not when somebody was
    /// free for it, so that a server that stalls is not spared the cycles that it kept from beginning.
    async fn next(&self) -> Option<Instant> {
        let due = match &self.open {
            None => Instant::now(),
            Some((apart, begun)) => {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                let due = self.began + *apart * number;
                sleep_until(due.min(self.until)).await;
                due
            }
        };
        (due < self.until).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_an_open_loop_a_late_cycle_is_counted_from_when_it_was_to_begin() {
        let plan = Plan { seconds: 1, concurrency: 1, devices: 1, rate: Some(10) };
        let schedule = Schedule::of(plan);
        assert_eq!(schedule.next().await, Some(schedule.began));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(schedule.next().await, Some(schedule.began + Duration::from_millis(100)));
        assert_eq!(schedule.next().await, Some(schedule.began + Duration::from_millis(200)));
        for _ in 3..10 {
            assert!(schedule.next().await.is_some());
        }
        assert_eq!(schedule.next().await, None);
    }
}
