//! Supervised tasks and the end of the process: the only module that spawns.
//!
//! Everything that runs beside a request is a named task of one [`Shutdown`]. A panic in any is
//! logged, once, with the name; an essential one that ends before it was told to takes the process
//! down, since a server that has lost its sweeper or its listener only looks alive.
//!
//! ```text
//! running ──begin──▶ draining ──finish──▶ over
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// The process's tasks, and how far its end has come. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    over: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<OnceLock<&'static str>>,
}

/// What the end of a task means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Criticality {
    /// The process cannot do without: its end before [`Shutdown::begin`] begins the shutdown.
    Essential,
    /// It ends when its work is done.
    Passing,
}

impl Shutdown {
    /// Tells everything to come to its end. Again is no event.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Whether the end has begun: nothing new is taken on.
    pub fn has_begun(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the end begins.
    pub async fn begun(&self) {
        self.draining.cancelled().await;
    }

    /// A token that is cancelled when the end begins.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// A token that is cancelled when all is done; what reports on the draining lives until then.
    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// The essential task that failed, if that is why the end began.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed.get().copied()
    }

    /// Runs `work` beside everything else. `name` stands in the log.
    pub fn spawn(
        &self,
        name: &'static str,
        weight: Criticality,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let shutdown = self.clone();
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let early = weight == Criticality::Essential && !shutdown.has_begun();
            match &ended {
                Err(panic) => {
                    error!(task.name = name, "Task {name} panicked: {}", panic_message(&**panic));
                }
                Ok(()) if early => error!(task.name = name, "Task {name} ended too early"),
                Ok(()) => {}
            }
            if early {
                let _ = shutdown.failed.set(name); // The first failure is the one that counts.
                shutdown.begin();
            }
        });
    }

    /// Ends everything: begins the end where that has not happened, tells what reports that it is
    /// over, and waits for all tasks, at most for `within`. Answers whether all ended.
    pub async fn finish(&self, within: Duration) -> bool {
        self.begin();
        self.over.cancel();
        self.tasks.close();
        let all = tokio::time::timeout(within, self.tasks.wait()).await.is_ok();
        if !all {
            let left = self.tasks.len();
            warn!(task.left = left, "{left} tasks did not end in {} s", within.as_secs());
        }
        all
    }

    /// Begins the end at SIGTERM or SIGINT; a second one ends the process where it stands.
    ///
    /// # Errors
    /// When the system takes no handler.
    pub fn begin_on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        self.spawn("signals", Criticality::Passing, async move {
            let over = shutdown.over();
            for count in 1.. {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    () = over.cancelled() => return,
                };
                if count > 1 {
                    warn!("{name} again: ending at once");
                    std::process::exit(1);
                }
                info!("{name}: draining");
                shutdown.begin();
            }
        });
        Ok(())
    }
}

/// Runs `work`, which may block, on a thread that is kept for such work. It runs to its end, also
/// if nobody waits for it any more: whoever calls this bounds how much of it there is at once.
///
/// # Errors
/// If it panicked, or the runtime ends.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    Ok(tokio::task::spawn_blocking(work).await?)
}

/// What a panic said.
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
        shutdown.begun().await;
        assert_eq!(shutdown.failed(), Some("sweeper"));
    }

    #[tokio::test]
    async fn an_essential_task_that_merely_ends_begins_the_end_too() {
        let shutdown = Shutdown::default();
        shutdown.spawn("listener", Criticality::Essential, async {});
        shutdown.begun().await;
        assert_eq!(shutdown.failed(), Some("listener"));
    }

    #[tokio::test]
    async fn a_panic_in_a_passing_task_stops_nothing_else() {
        let shutdown = Shutdown::default();
        shutdown.spawn("request", Criticality::Passing, async { panic!("a bug") });
        shutdown.tasks.close();
        shutdown.tasks.wait().await;
        assert!(!shutdown.has_begun());
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
    async fn what_reports_lives_until_all_is_over() {
        let shutdown = Shutdown::default();
        shutdown.begin();
        assert!(!shutdown.over().is_cancelled());
        shutdown.finish(Duration::from_mins(1)).await;
        assert!(shutdown.over().is_cancelled());
    }
}
