//! The quotas of clients and tenants, as reasons for refusing a start.

use core::time::Duration;

/// A used-up quota of a client or its tenant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Quota {
    /// The rate at which the client may start transactions.
    #[error("the client starts transactions faster than its quota allows")]
    ClientStarts {
        /// The time until the next start is possible.
        retry_after: Duration,
    },
    /// The rate at which all clients of the tenant together may start transactions.
    #[error("the tenant's clients start transactions faster than the tenant's quota allows")]
    TenantStarts {
        /// The time until the next start is possible.
        retry_after: Duration,
    },
    /// The bytes that the client's transactions may occupy in the ledger.
    #[error("the client's stored transactions have used up its quota")]
    ClientStored,
    /// The bytes that the tenant's transactions may occupy in the ledger.
    #[error("the tenant's stored transactions have used up its quota")]
    TenantStored,
    /// The client's calls that may wait at the same time.
    #[error("the client has too many waiting calls")]
    Waiting,
}

impl Quota {
    /// The time to wait before trying again, in whole seconds, at least 1: `Retry-After` (RFC 9110,
    /// section 10.2.3).
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        match self {
            Self::ClientStarts { retry_after } | Self::TenantStarts { retry_after } => {
                (retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1)
            }
            // Retention removes rows in batches, so a shorter wait would not help.
            Self::ClientStored | Self::TenantStored => 60,
            Self::Waiting => 5,
        }
    }
}
