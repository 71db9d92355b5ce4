//! The load: workers, each with its own connection of the application and its own devices, that do
//! one cycle after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};

use crate::bar::Bar;
use crate::crowd::Keys;
use crate::dialect::{CYCLE_MAX, Dialect};
use crate::process::{Measurable, own_cpu};
use crate::report::Handshakes;
use crate::tally::{Measured, Tally};
use crate::task::Tasks;

/// The time of one dialect's turn: long for a cycle, and short compared with other changes on this
/// machine.
pub(crate) const TURN: Duration = Duration::from_secs(1);
/// The interval of token renewal, shorter than a token's lifetime.
const RENEW_EVERY: Duration = Duration::from_mins(2);
/// The interval of answering pings, shorter than the server's limit for a silent device.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(15);
/// Connections that are opened at once.
const TOGETHER: usize = 16;

/// The application and all devices, connected to one dialect.
pub(super) struct Load<S: Dialect> {
    dialect: S,
    rate: Option<u32>,
    workers: Vec<Worker<S>>,
    renewed: Instant,
    tasks: Tasks,
    pub(super) measured: Measured,
}

struct Worker<S: Dialect> {
    dialect: S,
    application: S::Application,
    devices: VecDeque<(Keys, S::Device)>,
    made: u64,
    looked_after: Instant,
    tally: Tally,
}

/// The work of all workers.
#[derive(Clone)]
enum Work {
    /// One cycle with each of their devices.
    Each,
    /// Cycles, as a schedule says.
    Due(Schedule),
}

/// The schedule of cycles.
#[derive(Clone)]
struct Schedule {
    began: Instant,
    until: Instant,
    /// The interval between two beginnings, and the number of cycles begun.
    open: Option<(Duration, Arc<AtomicU32>)>,
}

impl<S: Dialect> Load<S> {
    /// Connects devices and the application. Each device signs once, so that chains are verified
    /// and statements are prepared before the measurement.
    pub(super) async fn connect(
        dialect: S,
        server: &(impl Measurable + ?Sized),
        devices: Vec<Keys>,
        concurrency: u32,
        rate: Option<u32>,
        tasks: &Tasks,
        bar: &Bar,
    ) -> anyhow::Result<(Self, Handshakes)> {
        let count = u32::try_from(devices.len()).expect("their number came from a u32");
        let (began, before) = (Instant::now(), server.cpu()?);
        let connecting = devices.into_iter().map(|keys| {
            let dialect = &dialect;
            async move {
                let device = dialect.device(&keys).await?;
                bar.add(1);
                anyhow::Ok((keys, device))
            }
        });
        let connecting = stream::iter(connecting).buffer_unordered(TOGETHER);
        let mut devices: VecDeque<_> = connecting.try_collect().await?;
        let (elapsed, server_cpu) = (began.elapsed(), server.cpu()?.saturating_sub(before));
        let mut workers = Vec::new();
        for left in (1..=concurrency as usize).rev() {
            let each = devices.len() / left;
            workers.push(Worker {
                dialect: dialect.clone(),
                application: dialect.application().await?,
                devices: devices.drain(..each).collect(),
                made: 0,
                looked_after: Instant::now(),
                tally: Tally::new(),
            });
        }
        let (tasks, renewed) = (tasks.clone(), Instant::now());
        let measured = Measured::nothing();
        let mut load = Self { dialect, rate, workers, renewed, tasks, measured };
        load.work(Work::Each, None).await?;
        for worker in &mut load.workers {
            let failed = worker.tally.reset();
            ensure!(failed.is_none(), "a cycle failed: {}", failed.unwrap_or_default());
        }
        Ok((load, Handshakes { count, elapsed, server_cpu }))
    }

    /// Measures for the given time, and adds the result to earlier ones.
    pub(super) async fn measure(
        &mut self,
        turn: Duration,
        server: &(impl Measurable + ?Sized),
        bar: &Bar,
    ) -> anyhow::Result<()> {
        let (before, own_before) = (server.usage().await?, own_cpu()?);
        let schedule = Schedule::of(turn, self.rate);
        self.work(Work::Due(schedule.clone()), Some(bar)).await?;
        let used = server.usage().await?.since(before);
        let own_cpu = own_cpu()?.saturating_sub(own_before);
        let tallies = self.workers.iter().map(|worker| &worker.tally);
        self.measured.add(schedule.began, tallies, used, own_cpu);
        for worker in &mut self.workers {
            worker.tally.reset();
        }
        Ok(())
    }

    /// Runs all workers and waits for them. `bar` counts seconds.
    async fn work(&mut self, work: Work, bar: Option<&Bar>) -> anyhow::Result<()> {
        let (done, mut all) = mpsc::channel(self.workers.len());
        for mut worker in self.workers.drain(..) {
            let (done, work) = (done.clone(), work.clone());
            self.tasks.spawn(async move {
                worker.work(work).await;
                let _ = done.send(worker).await; // The receiver is gone after an error.
            });
        }
        drop(done);
        let mut second = interval(Duration::from_secs(1));
        second.tick().await;
        loop {
            tokio::select! {
                worker = all.recv() => match worker {
                    Some(worker) => self.workers.push(worker),
                    None => return Ok(()),
                },
                _ = second.tick() => {
                    if let Some(bar) = bar {
                        bar.add(1);
                    }
                    if self.renewed.elapsed() > RENEW_EVERY {
                        self.renewed = Instant::now();
                        self.dialect.renew().await?;
                    }
                }
            }
        }
    }
}

impl<S: Dialect> Worker<S> {
    async fn work(&mut self, work: Work) {
        match work {
            Work::Each => {
                for _ in 0..self.devices.len() {
                    self.cycle(Instant::now()).await;
                }
            }
            Work::Due(schedule) => {
                while let Some(began) = schedule.next().await {
                    self.cycle(began).await;
                }
            }
        }
    }

    /// One cycle; its latency counts from `began`.
    async fn cycle(&mut self, began: Instant) {
        self.look_after().await;
        let Some((keys, mut device)) = self.devices.pop_front() else {
            return self.tally.fail("every device of a worker has failed".to_owned());
        };
        self.made += 1;
        let cycle = self.dialect.cycle(&mut self.application, &mut device, &keys, self.made);
        let outcome = timeout(CYCLE_MAX, cycle).await;
        match outcome.context("a cycle took too long").and_then(|outcome| outcome) {
            Ok(cycle) => {
                self.tally.count(began, &cycle);
                self.devices.push_back((keys, device));
            }
            // The state of a device is unknown after a failed cycle, so the device is not used
            // again.
            Err(error) => self.tally.fail(format!("{error:#}")),
        }
    }

    /// Answers pings on the devices that wait for their turn.
    async fn look_after(&mut self) {
        if self.looked_after.elapsed() < LOOK_AFTER_EVERY {
            return;
        }
        self.looked_after = Instant::now();
        for (_, device) in &mut self.devices {
            if let Err(error) = S::look_after(device).await {
                self.tally.fail(format!("{error:#}"));
            }
        }
    }
}

impl Schedule {
    fn of(turn: Duration, rate: Option<u32>) -> Self {
        let began = Instant::now();
        let apart = |rate| Duration::from_secs(1) / rate;
        let open = rate.map(|rate| (apart(rate), Arc::new(AtomicU32::new(0))));
        Self { began, until: began + turn, open }
    }

    /// Waits for the next cycle's time and returns it. In an open loop this is the planned time,
    /// not the time at which a worker was free, so that a stalled server is charged for the cycles
    /// that it delayed.
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
        let schedule = Schedule::of(Duration::from_secs(1), Some(10));
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
