//! The report on pushes, for people and for programs. The JSON's names contain their units.

use std::time::Duration;

use serde::Serialize;

use super::PushFound;
use crate::command::{Bench, Tls};
use crate::report::{micros, millis, processor, round};
use crate::tally::Measured;
use crate::text;

/// The bound on the cost of a push, in verifications.
const VERIFICATIONS: f64 = 2.0;

/// The figures.
#[derive(Debug, Serialize)]
pub(super) struct PushReport {
    version: &'static str,
    processor: String,
    processors: usize,
    ledger_file_system: String,
    seconds: u64,
    concurrency: u32,
    /// The number of devices with a push address.
    devices: u32,
    tls: bool,
    /// Only for an open loop.
    rate_starts_per_second: Option<u32>,
    /// The number of pushes after the service's return. The following figures are for these.
    pushes: u64,
    /// The number of further requests.
    pushes_repeated: u64,
    pushes_per_second: f64,
    server_cpu_microseconds_per_push: f64,
    load_cpu_microseconds_per_push: f64,
    commits_per_push: f64,
    syncs_per_push: f64,
    verification_cpu_microseconds: f64,
    ratio_cpu_per_push_to_verification: f64,
    /// The bound on it.
    bound_ratio_cpu_per_push_to_verification: f64,
    live: Live,
    /// The number of the server's connections to the service.
    connections: usize,
    server_rss_bytes: u64,
}

/// Starts and their pushes.
#[derive(Debug, Serialize)]
struct Live {
    pushes: u64,
    errors: u64,
    first_error: Option<String>,
    pushes_per_second: f64,
    /// From the start's beginning, or its planned time, until its push arrived.
    start_to_push_p50_milliseconds: f64,
    start_to_push_p99_milliseconds: f64,
    start_to_push_p99_9_milliseconds: f64,
    start_to_push_max_milliseconds: f64,
    server_cpu_microseconds_per_start_and_push: f64,
    /// For devices without a push address.
    server_cpu_microseconds_per_start_alone: f64,
    starts_alone_per_second: f64,
}

impl PushReport {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench, far below 2^52")]
    pub(super) fn new(
        bench: &Bench,
        ledger_file_system: String,
        verification: Duration,
        found: &PushFound,
    ) -> Self {
        let drained = &found.drained;
        let of_a_push = |count: f64| round(count / drained.pushes.max(1) as f64);
        let cpu = of_a_push(micros(drained.used.cpu));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            ledger_file_system,
            seconds: bench.seconds,
            concurrency: bench.concurrency,
            devices: bench.devices,
            tls: bench.tls == Tls::On,
            rate_starts_per_second: bench.rate,
            pushes: drained.pushes,
            pushes_repeated: drained.repeated,
            pushes_per_second: round(drained.pushes as f64 / drained.elapsed.as_secs_f64()),
            server_cpu_microseconds_per_push: cpu,
            load_cpu_microseconds_per_push: of_a_push(micros(drained.own_cpu)),
            commits_per_push: of_a_push(drained.used.commits as f64),
            syncs_per_push: of_a_push(drained.used.syncs as f64),
            verification_cpu_microseconds: round(micros(verification)),
            ratio_cpu_per_push_to_verification: round(cpu / micros(verification)),
            bound_ratio_cpu_per_push_to_verification: VERIFICATIONS,
            live: Live::of(&found.pushed, &found.bare),
            connections: found.connections,
            server_rss_bytes: found.server_memory,
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let live = &self.live;
        let mut entries = vec![
            (
                "pushes",
                format!(
                    "{} to a service that was unavailable, {:.0} a second, {} connection(s), {} requests besides",
                    self.pushes, self.pushes_per_second, self.connections, self.pushes_repeated
                ),
            ),
            (
                "of a push",
                format!(
                    "{:.0} µs of server CPU, {:.0} µs of the load's, {} commits, {} syncs",
                    self.server_cpu_microseconds_per_push,
                    self.load_cpu_microseconds_per_push,
                    self.commits_per_push,
                    self.syncs_per_push
                ),
            ),
            (
                "CPU of a push",
                format!(
                    "{} × one P-256 verification ({} µs); the bound is {}",
                    self.ratio_cpu_per_push_to_verification,
                    self.verification_cpu_microseconds,
                    self.bound_ratio_cpu_per_push_to_verification
                ),
            ),
            (
                "live",
                format!(
                    "{} starts with their pushes, {:.0} a second, {} errors",
                    live.pushes, live.pushes_per_second, live.errors
                ),
            ),
            (
                "start to push",
                format!(
                    "p50 {} ms, p99 {} ms, p99.9 {} ms, at most {} ms",
                    live.start_to_push_p50_milliseconds,
                    live.start_to_push_p99_milliseconds,
                    live.start_to_push_p99_9_milliseconds,
                    live.start_to_push_max_milliseconds
                ),
            ),
            (
                "of a start",
                format!(
                    "{:.0} µs of server CPU with its push, {:.0} µs without a push",
                    live.server_cpu_microseconds_per_start_and_push,
                    live.server_cpu_microseconds_per_start_alone
                ),
            ),
            ("ledger", format!("on {}", self.ledger_file_system)),
            ("server memory", format!("{} MiB", self.server_rss_bytes / 1024 / 1024)),
        ];
        if let Some(error) = &live.first_error {
            entries.push(("first error", error.clone()));
        }
        text::list(&entries)
    }
}

impl Live {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench, far below 2^52")]
    fn of(pushed: &Measured, bare: &Measured) -> Self {
        let latency = &pushed.counts.latency;
        let each = |measured: &Measured| {
            round(micros(measured.used.cpu) / measured.counts.latency.len().max(1) as f64)
        };
        let a_second = |measured: &Measured| {
            round(measured.counts.latency.len() as f64 / measured.elapsed.as_secs_f64())
        };
        let at = |quantile| millis(latency.value_at_quantile(quantile));
        let first_error = [pushed, bare].into_iter().find_map(|one| one.counts.first_error.clone());
        Self {
            pushes: latency.len(),
            errors: pushed.counts.errors + bare.counts.errors,
            first_error,
            pushes_per_second: a_second(pushed),
            start_to_push_p50_milliseconds: at(0.5),
            start_to_push_p99_milliseconds: at(0.99),
            start_to_push_p99_9_milliseconds: at(0.999),
            start_to_push_max_milliseconds: millis(latency.max()),
            server_cpu_microseconds_per_start_and_push: each(pushed),
            server_cpu_microseconds_per_start_alone: each(bare),
            starts_alone_per_second: a_second(bare),
        }
    }
}
