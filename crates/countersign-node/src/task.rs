//! Supervised tasks and the shutdown of the process: the only module that spawns.
//!
//! Everything that runs beside a request is a named task of one [`Shutdown`]. A panic in a task is
//! logged once, with the task's name. If an essential task ends too early, the process ends,
//! because a server without its sweeper or its listener only looks alive.
//!
//! ```text
//! running ──start_leaving──▶ leaving ──start_draining──▶ draining ──finish──▶ terminated
//! ```
//!
//! While the process is leaving, it serves everything, and `/readyz` says that it will stop, so
//! that a load balancer sends no more to it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::clock;

/// The process's tasks, and the state of its shutdown. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    draining: CancellationToken,
    terminated: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<OnceLock<&'static str>>,
}

/// What the end of a task means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Criticality {
    /// The process cannot run without it: if it ends before [`Shutdown::start_draining`], the
    /// shutdown begins.
    Essential,
    /// It ends when its work is done.
    Passing,
}

impl Shutdown {
    /// Says that the process will stop. Idempotent.
    pub fn start_leaving(&self) {
        self.leaving.cancel();
    }

    /// Whether the process will stop, or is stopping.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Waits until the process will stop.
    pub async fn until_leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// Starts draining. Idempotent.
    pub fn start_draining(&self) {
        self.leaving.cancel();
        self.draining.cancel();
    }

    /// Whether the shutdown has begun; then no new work is accepted.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the shutdown begins.
    pub async fn until_draining(&self) {
        self.draining.cancelled().await;
    }

    /// A token that is cancelled when the shutdown begins.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// A token that is cancelled when all work is done; tasks that report on the draining run until
    /// then.
    pub fn terminated(&self) -> CancellationToken {
        self.terminated.clone()
    }

    /// The essential task that failed, if that started the shutdown.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }

    /// Runs `work` as a task. `name` is for the log.
    pub fn spawn(
        &self,
        name: &'static str,
        weight: Criticality,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = self.clone();
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let early = weight == Criticality::Essential && !shutdown.is_draining();
            match &ended {
                Err(panic) => {
                    error!(task.name = name, "Task {name} panicked: {}", panic_message(&**panic));
                }
                Ok(()) if early => error!(task.name = name, "Task {name} ended too early"),
                Ok(()) => {}
            }
            if early {
                let _ = shutdown.failed.set(name); // The first failure is the one that counts.
                shutdown.start_draining();
            }
        });
    }

    /// Ends everything: starts draining if that has not happened, cancels [`Shutdown::terminated`],
    /// and waits at most `within` for all tasks. Returns whether all ended.
    pub async fn finish(&self, within: Duration) -> bool {
        self.start_draining();
        self.terminated.cancel();
        self.tasks.close();
        let all = tokio::time::timeout(within, self.tasks.wait()).await.is_ok();
        if !all {
            let left = self.tasks.len();
            warn!(task.left = left, "{left} tasks did not end in {} s", within.as_secs());
        }
        all
    }

    /// Begins the shutdown at SIGTERM or SIGINT: the process is leaving for `lame_duck`, and then
    /// drains. A second signal ends the process at once.
    ///
    /// # Errors
    /// If the system accepts no handler.
    pub fn drain_on_signals(&self, lame_duck: Duration) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        self.spawn("signals", Criticality::Passing, async move {
            let terminated = shutdown.terminated();
            let mut left = None;
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    () = until(left) => {
                        left = None;
                        shutdown.start_draining();
                        continue;
                    }
                    () = terminated.cancelled() => return,
                };
                if shutdown.is_leaving() {
                    warn!("{name} again: ending at once");
                    std::process::exit(1);
                }
                info!("{name}: not ready from now on; draining in {} s", lame_duck.as_secs());
                shutdown.start_leaving();
                left = Some(clock::deadline(lame_duck));
            }
        });
        Ok(())
    }

    /// Runs `work` at each SIGHUP, which does not end the process then.
    ///
    /// # Errors
    /// If the system accepts no handler.
    pub fn at_hangup<R>(&self, work: impl Fn() -> R + Send + Sync + 'static) -> std::io::Result<()>
    where
        R: Future<Output = ()> + Send,
    {
        let mut hangup = signal(SignalKind::hangup())?;
        let terminated = self.terminated();
        self.spawn("reload", Criticality::Passing, async move {
            while let Some(Some(())) = terminated.run_until_cancelled(hangup.recv()).await {
                work().await;
            }
        });
        Ok(())
    }
}

/// Waits until a moment; for ever if there is none.
async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Runs `work`, which may block, on a thread for blocking work. It runs to its end, even if its
/// caller no longer waits; so callers must limit how much of it runs at once.
///
/// # Errors
/// If `work` panicked, or the runtime ends.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// The message of a panic.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_an_essential_task_begins_the_end_and_is_told() {
        let shutdown = Shutdown::default();
        shutdown.spawn("sweeper", Criticality::Essential, async { panic!("no broom") });
        shutdown.until_draining().await;
        assert_eq!(shutdown.failed(), Some("sweeper"));
    }

    #[tokio::test]
    async fn an_essential_task_that_merely_ends_begins_the_end_too() {
        let shutdown = Shutdown::default();
        shutdown.spawn("listener", Criticality::Essential, async {});
        shutdown.until_draining().await;
        assert_eq!(shutdown.failed(), Some("listener"));
    }

    #[tokio::test]
    async fn a_panic_in_a_passing_task_stops_nothing_else() {
        let shutdown = Shutdown::default();
        shutdown.spawn("request", Criticality::Passing, async { panic!("a bug") });
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
        assert!(!shutdown.is_draining());
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_after_the_beginning_is_no_failure() {
        let shutdown = Shutdown::default();
        let told = shutdown.draining();
        shutdown.spawn("listener", Criticality::Essential, async move { told.cancelled().await });
        assert!(shutdown.finish(Duration::from_mins(1)).await);
        assert_eq!(shutdown.failed(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_never_ends_does_not_hold_the_process() {
        let shutdown = Shutdown::default();
        shutdown.spawn("stuck", Criticality::Passing, std::future::pending());
        assert!(!shutdown.finish(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_process_that_leaves_does_not_drain_yet_and_one_that_drains_leaves() {
        let shutdown = Shutdown::default();
        shutdown.start_leaving();
        assert!(shutdown.is_leaving() && !shutdown.is_draining());
        let shutdown = Shutdown::default();
        shutdown.start_draining();
        assert!(shutdown.is_leaving() && shutdown.is_draining());
    }

    #[tokio::test]
    async fn what_reports_lives_until_all_is_over() {
        let shutdown = Shutdown::default();
        shutdown.start_draining();
        assert!(!shutdown.terminated().is_cancelled());
        shutdown.finish(Duration::from_mins(1)).await;
        assert!(shutdown.terminated().is_cancelled());
    }
}
