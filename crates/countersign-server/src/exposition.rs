//! The list of all metrics: names, units, labels and help. `docs/metrics.md` has the same list.
//!
//! The guarantee: what is exposed is in this list, and the other way round, with a help text. A
//! counter whose labels are known begins at zero, so that its first increase is seen as one.

use std::path::PathBuf;
use std::time::Duration;

use countersign_core::port::Clock as _;
use countersign_core::time::Timestamp;
use countersign_http::listen::ConnectionLimit;
use countersign_node::clock::System;
use countersign_node::{Core, history, log};
use countersign_store::{Backlog, Store};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// The kind of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    unit: Unit,
    pub(crate) labels: &'static [&'static str],
    /// The values of the only label, if they are known.
    values: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// The upper bounds of histograms, in seconds, besides those of deliveries.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// The upper bounds of the time to a delivery, in seconds.
const DELIVERY_BUCKETS: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0];

const fn metric(kind: Kind, unit: Unit, name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, unit, labels: &[], values: &[], help }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    metric(Kind::Counter, Unit::Count, name, help)
}

const fn gauge(unit: Unit, name: &'static str, help: &'static str) -> Metric {
    metric(Kind::Gauge, unit, name, help)
}

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    metric(Kind::Histogram, Unit::Seconds, name, help)
}

impl Metric {
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    const fn with(self, values: &'static [&'static str]) -> Self {
        Self { values, ..self }
    }
}

/// All metrics, by name.
pub(crate) const METRICS: &[Metric] = &[
    gauge(Unit::Count, "countersign_build_info", "Always 1; the label is the version of this program.").by(&["version"]),
    gauge(Unit::Count, "countersign_callers_held", "Callers that wait for the end of a transaction."),
    gauge(Unit::Seconds, "countersign_certificate_first_end_timestamp_seconds", "The earliest end of a certificate that has not ended, since 1970.").by(&["kind"]),
    gauge(Unit::Count, "countersign_certificates_ended", "Certificates that have ended.").by(&["kind"]),
    gauge(Unit::Count, "countersign_certificates_ending", "Certificates that end within [certificates] warn_days.").by(&["kind"]),
    gauge(Unit::Seconds, "countersign_clock_ahead_seconds", "How far the server's clock is ahead of the system's, because that was set back."),
    gauge(Unit::Seconds, "countersign_clock_seconds", "The server's clock, since 1970."),
    counter("countersign_connections_closed_total", "Connections that were closed because of their peer's fault.").by(&["reason"]),
    gauge(Unit::Count, "countersign_connections_full", "1 if no further connection is accepted, else 0."),
    gauge(Unit::Count, "countersign_connections_max", "The limit on open connections."),
    gauge(Unit::Count, "countersign_connections_open", "Open connections."),
    counter("countersign_connections_refused_total", "Connections that were refused because of a limit.").by(&["reason"]).with(&["address_share", "reserved"]),
    counter("countersign_connections_total", "Connections that were accepted."),
    counter("countersign_deliveries_total", "Results of callbacks.").by(&["outcome"]).with(&["delivered", "retried", "dead_letter"]),
    gauge(Unit::Count, "countersign_deliveries_waiting", "Deliveries that wait for an attempt or its result, and dead letters; at most 100000 are counted.").by(&["kind"]),
    counter("countersign_delivery_attempts_total", "Calls of callbacks.").by(&["outcome"]).with(&["delivered", "redirected", "refused", "server_error", "timed_out", "unreachable", "broken", "forbidden"]),
    gauge(Unit::Count, "countersign_delivery_circuits_open", "Open circuits of deliveries, of endpoints and of whole hosts.").by(&["of"]),
    seconds("countersign_delivery_seconds", "The time from the end of a transaction to the delivery of its callback."),
    gauge(Unit::Count, "countersign_devices_connected", "Connected devices."),
    counter("countersign_events_total", "Events of the history, by kind: wrong PINs (pin.rejected), locks (user.locked), enrolments (device.enrolled) and all others.").by(&["kind"]),
    counter("countersign_faults_total", "Failures of the server or its ledger; each one is in the log."),
    seconds("countersign_http_request_seconds", "The time from the head of a request to the head of its answer; held calls are held on purpose.").by(&["dialect", "method", "route"]),
    counter("countersign_http_requests_total", "Answered requests, by the template of their route.").by(&["dialect", "method", "route", "status"]),
    gauge(Unit::Bytes, "countersign_ledger_bytes", "The size of the ledger's files: the ledger itself, and its write-ahead log.").by(&["file"]),
    counter("countersign_ledger_commits_total", "Units of work that the ledger answered."),
    counter("countersign_ledger_syncs_total", "Syncs of the ledger to the disk."),
    counter("countersign_pushes_total", "Attempts of pushes.").by(&["outcome", "sender"]),
    counter("countersign_refusals_total", "Calls that were refused, by the kind of the refusal.").by(&["kind"]),
    gauge(Unit::Seconds, "countersign_start_seconds", "When this process started, since 1970."),
    counter("countersign_transactions_ended_total", "Transactions that ended, by outcome.").by(&["outcome"]),
];

/// A recorder with the bounds of every histogram.
///
/// # Errors
/// If there are no bounds.
pub(crate) fn recorder() -> anyhow::Result<PrometheusBuilder> {
    let deliveries = Matcher::Full("countersign_delivery_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets(BUCKETS)?;
    Ok(builder.set_buckets_for_metric(deliveries, DELIVERY_BUCKETS)?)
}

/// Describes all metrics to the recorder, and sets those to zero whose labels are known.
pub(crate) fn describe() {
    for metric in METRICS {
        let Metric { name, unit, help, .. } = *metric;
        match metric.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
        if metric.kind == Kind::Counter {
            match (metric.labels, metric.values) {
                ([], _) => counter!(name).absolute(0),
                ([label], values) => {
                    for value in values {
                        counter!(name, *label => *value).absolute(0);
                    }
                }
                _ => {}
            }
        }
    }
    gauge!("countersign_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    drop(metrics::histogram!("countersign_delivery_seconds"));
    history::prepare();
}

/// The seconds since 1970, as a gauge's value.
pub(crate) fn seconds_since_epoch(at: Timestamp) -> f64 {
    Duration::from_millis(at.0).as_secs_f64()
}

/// The gauges that are read when the metrics are.
pub(crate) struct Gauges {
    pub(crate) store: Store,
    pub(crate) core: std::sync::Arc<Core>,
    pub(crate) system: System,
    pub(crate) limit: std::sync::Arc<ConnectionLimit>,
    /// The directory of the ledger's files.
    pub(crate) data: PathBuf,
}

impl Gauges {
    /// Updates the gauges.
    #[expect(clippy::cast_precision_loss, reason = "gauges, far below 2^52")]
    pub(crate) async fn update(&self) {
        let (lines, waiters) = self.core.notifier().counts();
        gauge!("countersign_devices_connected").set(lines as f64);
        gauge!("countersign_callers_held").set(waiters as f64);
        gauge!("countersign_clock_ahead_seconds").set(self.system.ahead().as_secs_f64());
        gauge!("countersign_clock_seconds").set(seconds_since_epoch(self.system.now()));
        gauge!("countersign_connections_max").set(self.limit.connections_max());
        gauge!("countersign_connections_full").set(u8::from(self.limit.is_full()));
        let stats = self.store.stats();
        counter!("countersign_ledger_commits_total").absolute(stats.commits);
        counter!("countersign_ledger_syncs_total").absolute(stats.syncs);
        for (file, name) in [("ledger", "ledger.db"), ("log", "ledger.db-wal")] {
            let bytes = std::fs::metadata(self.data.join(name)).map_or(0, |found| found.len());
            gauge!("countersign_ledger_bytes", "file" => file).set(bytes as f64);
        }
        match self.store.backlog().await {
            Ok(Backlog { callbacks, pushes, dead_letters }) => {
                let counts =
                    [("callback", callbacks), ("push", pushes), ("dead_letter", dead_letters)];
                for (kind, count) in counts {
                    gauge!("countersign_deliveries_waiting", "kind" => kind).set(count);
                }
            }
            Err(fault) => log(&fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_metric_and_no_other() {
        let page = include_str!("../../../docs/metrics.md");
        let listed = page.lines().filter(|line| line.starts_with("| `countersign_"));
        let expected = METRICS.iter().map(|metric| {
            let labels = if metric.labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", metric.labels.join(","))
            };
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!("| `{}{labels}` | {kind} | {} |", metric.name, metric.help)
        });
        assert_eq!(listed.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn every_name_says_its_unit_as_promtool_requires() {
        assert!(METRICS.is_sorted_by(|a, b| a.name < b.name), "by name, each once");
        for Metric { name, kind, unit, help, .. } in METRICS {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(is_plain), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            match unit {
                Unit::Seconds => assert!(name.ends_with("_seconds"), "{name}"),
                Unit::Bytes => assert!(name.ends_with("_bytes"), "{name}"),
                _ => assert!(!name.contains("seconds") && !name.contains("bytes"), "{name}"),
            }
            for reserved in ["_count", "_sum", "_bucket", "_info"] {
                assert!(!name.ends_with(reserved) || *name == "countersign_build_info", "{name}");
            }
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
        }
    }
}
