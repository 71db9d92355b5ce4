//! The tasks of the load: its workers, and the drivers of its connections.

use std::time::Duration;

use tokio_util::task::TaskTracker;

/// The time that tasks have to end.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(5);

/// Running tasks. Clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `work` concurrently.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }

    /// Waits until all have ended, for at most [`LAST_WAIT`].
    pub(crate) async fn finish(&self) {
        self.0.close();
        // Tasks that still run end with the process.
        let _ = tokio::time::timeout(LAST_WAIT, self.0.wait()).await;
    }
}
