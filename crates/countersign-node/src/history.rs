//! What this process tells of the history: a line in the log and a metric for each event, and the
//! events of refused calls.
//!
//! The names are those of the events, so that a line in the log is found in `countersign history`,
//! and the other way round.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use countersign_core::event::{Actor, EventKind, FrequentEvent, NewEvent, RecordedEvent, Subject};
use countersign_core::id::TenantName;
use countersign_core::refusal::{Error, Refusal};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Outcome;
use metrics::Counter;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::Core;
use crate::fault_log::{self, log};
use crate::task::Shutdown;

/// The refused calls that wait to be recorded. Beyond that they are counted only.
const REFUSALS_QUEUED_MAX: usize = 256;
/// The refused calls of one tenant that are recorded in a [`PERIOD`], so that an attacker cannot
/// fill the ledger. Beyond that they are counted only.
const REFUSALS_PER_PERIOD: u32 = 60;
const PERIOD: Duration = Duration::from_mins(1);

/// The counters of events, made once.
static COUNTERS: LazyLock<Counters> = LazyLock::new(Counters::new);
/// The counters of refusals, each made at its first refusal.
static REFUSALS: RwLock<Vec<(&'static str, Counter)>> = RwLock::new(Vec::new());

struct Counters {
    /// By the position of the kind in [`EventKind::ALL`].
    events: Vec<Counter>,
    /// By the position of the outcome in [`Outcome::ALL`].
    ended: Vec<Counter>,
}

impl Counters {
    fn new() -> Self {
        let event = |kind: &EventKind| metrics::counter!("countersign_events_total", "kind" => kind.as_str());
        let ended = |outcome: &Outcome| {
            let outcome = outcome.as_str();
            metrics::counter!("countersign_transactions_ended_total", "outcome" => outcome)
        };
        Self {
            events: EventKind::ALL.iter().map(event).collect(),
            ended: Outcome::ALL.iter().map(ended).collect(),
        }
    }

    fn count(&self, kind: EventKind) {
        if let Some(counter) = self.events.get(kind as usize) {
            counter.increment(1);
        }
    }
}

/// Makes the counters of events, so that they are exposed before the first event.
pub fn prepare() {
    LazyLock::force(&COUNTERS);
    fault_log::register();
}

/// Counts the events of a commit, and logs those that are not frequent.
pub(crate) fn recorded(frequent: FrequentEvent, others: &[NewEvent]) {
    if let Some(kind) = frequent.kind {
        COUNTERS.count(kind);
    }
    let place =
        frequent.outcome.and_then(|one| Outcome::ALL.iter().position(|other| *other == one));
    if let Some(ended) = place.and_then(|place| COUNTERS.ended.get(place)) {
        ended.increment(1);
    }
    for event in others {
        COUNTERS.count(event.kind);
        let details = event.details.iter().map(|(name, value)| (*name, value.as_str()));
        tell(event.tenant.as_ref(), event.kind, &event.actor, &event.subject, details);
    }
}

/// Counts and logs an event that an operator's command wrote.
pub fn recorded_elsewhere(tenant: Option<&TenantName>, event: &RecordedEvent) {
    COUNTERS.count(event.kind);
    let details = event.details.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    tell(tenant, event.kind, &event.actor, &event.subject, details);
}

/// Logs an event.
fn tell<'a>(
    tenant: Option<&TenantName>,
    event_kind: EventKind,
    actor: &Actor,
    subject: &Subject,
    details: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let (tenant, kind) = (tenant.map_or("", TenantName::as_str), event_kind.as_str());
    let details = details.map(|(name, value)| format!("{name}={value}"));
    let details = details.collect::<Vec<_>>().join(" ");
    if is_warning(event_kind) {
        warn!(
            tenant, event.kind = kind, event.actor = %actor, event.subject = %subject,
            event.details = details, "{kind} by {actor}: {subject} {details}"
        );
    } else {
        info!(
            tenant, event.kind = kind, event.actor = %actor, event.subject = %subject,
            event.details = details, "{kind} by {actor}: {subject} {details}"
        );
    }
}

/// Whether an event may be a sign of an attack.
const fn is_warning(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::PinRejected
            | EventKind::CodeRejected
            | EventKind::UserLocked
            | EventKind::DeviceLocked
            | EventKind::ClientRefused
            | EventKind::ApiKeyRefused
            | EventKind::EnrolmentRefused
            | EventKind::DeviceRefused
    )
}

/// Counts a refusal, by its kind.
pub fn refused(refusal: &impl Refusal) {
    let kind = refusal.kind();
    if let Some((_, counter)) = REFUSALS.read().iter().find(|(known, _)| *known == kind) {
        return counter.increment(1);
    }
    let counter = metrics::counter!("countersign_refusals_total", "kind" => kind);
    counter.increment(1);
    REFUSALS.write().push((kind, counter));
}

/// Counts the refusal of an error, if it is one.
pub fn counted<R: Refusal>(error: &Error<R>) {
    if let Error::Refused(refusal) = error {
        refused(refusal);
    }
}

/// The refused calls that are to be recorded.
#[derive(Debug)]
pub(crate) struct RefusedCalls {
    queue: mpsc::Sender<NewEvent>,
    queued: Mutex<Option<mpsc::Receiver<NewEvent>>>,
    counts: Mutex<Counts>,
}

/// The refused calls of each tenant since a time, and those that belong to no tenant.
#[derive(Debug, Default)]
struct Counts {
    since: Timestamp,
    by_tenant: BTreeMap<Option<TenantName>, u32>,
}

impl Default for RefusedCalls {
    fn default() -> Self {
        let (queue, queued) = mpsc::channel(REFUSALS_QUEUED_MAX);
        Self { queue, queued: Mutex::new(Some(queued)), counts: Mutex::default() }
    }
}

impl RefusedCalls {
    /// Queues a refused call to be recorded, unless its tenant has too many. Does not wait, so that
    /// the time of an answer does not tell whether the named client or user exists.
    pub(crate) fn note(&self, event: NewEvent) {
        let is_recorded = {
            let mut counts = self.counts.lock();
            if event.at >= counts.since + PERIOD {
                *counts = Counts { since: event.at, ..Counts::default() };
            }
            // A name that is made up uses a place of its own, so the names are limited too.
            let is_full = counts.by_tenant.len() >= REFUSALS_QUEUED_MAX
                && !counts.by_tenant.contains_key(&event.tenant);
            !is_full && {
                let count = counts.by_tenant.entry(event.tenant.clone()).or_default();
                *count += 1;
                *count <= REFUSALS_PER_PERIOD
            }
        };
        let kind = event.kind;
        if !is_recorded || self.queue.try_send(event).is_err() {
            COUNTERS.count(kind);
        }
    }

    pub(crate) fn take(&self) -> Option<mpsc::Receiver<NewEvent>> {
        self.queued.lock().take()
    }
}

/// Records refused calls until the process drains.
pub async fn work(core: Arc<Core>, tasks: Shutdown) {
    let Some(mut queued) = core.notifier().refused_calls() else { return };
    while let Some(Some(event)) = tasks.draining().run_until_cancelled(queued.recv()).await {
        let kind = event.kind;
        match core.record_refusal(event).await {
            Ok(true) => {}
            Ok(false) => COUNTERS.count(kind),
            Err(fault) => log(&fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(tenant: &str, at: u64) -> NewEvent {
        NewEvent {
            tenant: tenant.parse().ok(),
            at: Timestamp(at),
            kind: EventKind::ClientRefused,
            actor: Actor::Unknown,
            subject: Subject::Client("shop".parse().unwrap()),
            details: Vec::new(),
        }
    }

    #[test]
    fn every_kind_of_event_has_its_own_counter() {
        let counters = Counters::new();
        assert_eq!(counters.events.len(), EventKind::ALL.len());
        for (place, kind) in EventKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, place, "{}", kind.as_str());
        }
    }

    #[test]
    fn an_attacker_cannot_fill_the_history() {
        let calls = RefusedCalls::default();
        let mut queued = calls.take().unwrap();
        let mut recorded = || std::iter::from_fn(|| queued.try_recv().ok()).count();
        (0..1_000).for_each(|_| calls.note(event("acme", 1)));
        calls.note(event("beta", 1));
        (0..1_000).for_each(|_| calls.note(event("", 1)));
        assert_eq!(recorded(), 121, "of each tenant, and of none");
        calls.note(event("acme", 60_001));
        assert_eq!(recorded(), 1, "a minute later");
        (0..2_000).for_each(|number| calls.note(event(&format!("t{number}"), 60_001)));
        assert!(recorded() <= REFUSALS_QUEUED_MAX);
        assert!(calls.counts.lock().by_tenant.len() <= REFUSALS_QUEUED_MAX);
    }
}
