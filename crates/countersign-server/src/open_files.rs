//! The limit on open files: enough of them remain for the ledger, deliveries, health and metrics,
//! however many connections are open.

use countersign_config::Config;
use tracing::warn;

use crate::observe::ADMIN_CONNECTIONS_MAX;

/// The files of the ledger, the log, the runtime and the listeners.
const OWN_FILES: u64 = 128;
/// Idle connections to receivers of callbacks and push services.
const IDLE_CONNECTIONS: u64 = 256;

/// Raises the system's limit on open files as far as it is needed and allowed. If that is not far
/// enough, lowers the limit on connections.
pub(crate) fn fit(config: &mut Config) {
    let others = OWN_FILES
        + IDLE_CONNECTIONS
        + u64::from(ADMIN_CONNECTIONS_MAX)
        + u64::from(config.delivery.concurrency)
        + u64::from(config.push.concurrency);
    let wanted = config.server.shares.connections_max;
    let needed = u64::from(wanted) + others;
    let allowed = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    let fitting = fitting(wanted, allowed, others);
    if fitting < wanted {
        config.server.shares.lower(fitting);
        warn!(
            "The system allows {allowed} open files, and `server.connections_max` needs {needed}: \
             at most {fitting} connections are open at once, and further ones wait. Raise \
             `ulimit -n` (systemd: LimitNOFILE=)"
        );
    }
}

/// The connections for which there are files, beside `others`; at least half of the files, because
/// the others are seldom open all at once.
fn fitting(wanted: u32, allowed: u64, others: u64) -> u32 {
    let left = allowed.saturating_sub(others).max(allowed / 2);
    u32::try_from(left).map_or(wanted, |left| left.min(wanted)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(fitting(10_000, 20_000, 1_000), 10_000);
        assert_eq!(fitting(10_000, 11_000, 1_000), 10_000);
        assert_eq!(fitting(10_000, 4_096, 1_000), 3_096);
        assert_eq!(fitting(10_000, 1_024, 1_000), 512, "half of them");
        assert_eq!(fitting(10_000, 1, 1_000), 1);
    }
}
