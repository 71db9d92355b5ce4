//! What operators do at the command line: their commands write to the ledger in processes of their
//! own. The running server reads the events of their commits. It logs and counts them, and notifies
//! the devices and callers that are connected to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_core::id::TenantName;
use countersign_core::time::Timestamp;
use countersign_node::task::Shutdown;
use countersign_node::{Core, history, log};
use countersign_store::Store;

/// The interval between two looks. A notification of an operator's act comes later by so much.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An event may be committed so much later than it was made.
const LATE_MAX: Duration = Duration::from_mins(1);
/// The events that one look reads; a script that makes more in a minute is logged and
/// notified in part.
const EVENTS_MAX: u16 = 10_000;

/// Logs and counts the events of operators and notifies of them, from now on until the process
/// drains.
pub(crate) async fn watch(core: Arc<Core>, store: Store, tasks: Shutdown) {
    let begun = core.now();
    let mut seen = Seen::default();
    let mut turns = tokio::time::interval(LOOK_EVERY);
    while tasks.draining().run_until_cancelled(turns.tick()).await.is_some() {
        let late = u64::try_from(LATE_MAX.as_millis()).unwrap_or(u64::MAX);
        let since = Timestamp(core.now().0.saturating_sub(late)).max(begun);
        match store.events_of_operators(since, EVENTS_MAX).await {
            Ok(events) => {
                seen.forget_before(since);
                for found in events {
                    let event = &found.event;
                    if seen.is_new(event.at, found.tenant.clone(), event.number) {
                        history::recorded_elsewhere(found.tenant.as_ref(), event);
                        if let Err(fault) = core.notify_of(found.tenant.as_ref(), event).await {
                            log(&fault);
                        }
                    }
                }
            }
            Err(fault) => log(&fault),
        }
    }
}

/// The events that were logged, by their times.
#[derive(Debug, Default)]
struct Seen(BTreeSet<(Timestamp, Option<TenantName>, u64)>);

impl Seen {
    fn is_new(&mut self, at: Timestamp, tenant: Option<TenantName>, number: u64) -> bool {
        self.0.insert((at, tenant, number))
    }

    fn forget_before(&mut self, since: Timestamp) {
        self.0 = self.0.split_off(&(since, None, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_logged_once_also_if_it_comes_late() {
        let mut seen = Seen::default();
        let acme: Option<TenantName> = Some("acme".parse().unwrap());
        let mut is_new = |at, number| seen.is_new(Timestamp(at), acme.clone(), number);
        assert!(is_new(5, 1) && is_new(3, 2) && !is_new(5, 1) && !is_new(3, 2));
        seen.forget_before(Timestamp(5));
        assert_eq!(seen.0.len(), 1);
    }
}
