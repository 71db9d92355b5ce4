//! Whether the database answers, as the last attempt has shown.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Error;
use tracing::{error, info};

use crate::postgres_error::{explained, is_of_connection};

/// Whether the database answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    away: AtomicBool,
}

impl Health {
    /// Whether the last attempt showed that the database does not answer.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Notes that the database answered.
    pub(super) fn answered(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::AcqRel) {
            info!("The database answers again");
        }
    }

    /// Notes a failure. Answers whether the connection is of no use any more.
    pub(super) fn failed(&self, failure: &Error) -> bool {
        let is_away = is_of_connection(failure);
        if is_away && !self.away.swap(true, Ordering::AcqRel) {
            error!("Calls are answered with 503 until it is back: {}", explained(failure));
        }
        is_away
    }
}
