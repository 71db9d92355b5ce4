//! Tasks beside the load: its workers, and what drives its connections.

use std::time::Duration;

use tokio_util::task::TaskTracker;

/// What the tasks of a load get to end.
pub(crate) const LAST_WAIT: Duration = Duration::from_secs(5);

/// Running tasks. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(TaskTracker);

impl Tasks {
    /// Runs `work` beside everything else.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }

    /// Waits until all have ended, for at most [`LAST_WAIT`].
    pub(crate) async fn finish(&self) {
        self.0.close();
        // Tasks that are still running end with the process.
        let _ = tokio::time::timeout(LAST_WAIT, self.0.wait()).await;
    }
}
