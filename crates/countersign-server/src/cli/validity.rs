//! The validity of certificates, as commands show it.

use countersign_core::time::Timestamp;
use countersign_http::time_format;
use serde::Serialize;

/// The validity of a certificate.
#[derive(Clone, Serialize)]
pub(super) struct Validity {
    /// The first second.
    valid_from: String,
    /// The last second.
    valid_until: String,
    /// Whether it has ended.
    ended: bool,
}

impl Validity {
    /// Reads a certificate, DER; `None` if it is none.
    pub(super) fn of(certificate: &[u8], now: Timestamp) -> Option<Self> {
        let (from, until) = countersign_proof::validity(certificate).ok()?;
        Some(Self::from_until(from, Timestamp::of_seconds(until), now))
    }

    /// The validity of a certificate whose path to a root ends at `until`.
    pub(super) fn of_path(certificate: &[u8], until: Timestamp, now: Timestamp) -> Self {
        let from = countersign_proof::validity(certificate).map_or(0, |(from, _)| from);
        Self::from_until(from, until, now)
    }

    fn from_until(from: u64, until: Timestamp, now: Timestamp) -> Self {
        Self {
            valid_from: time_format::of_seconds(from),
            valid_until: time_format::of_seconds(until.seconds()),
            ended: now.seconds() > until.seconds(),
        }
    }

    /// The end.
    pub(super) fn until(&self) -> &str {
        &self.valid_until
    }

    /// The end for a table.
    pub(super) fn text(&self) -> String {
        let until = &self.valid_until;
        if self.ended { format!("{until} (ended)") } else { until.clone() }
    }
}
