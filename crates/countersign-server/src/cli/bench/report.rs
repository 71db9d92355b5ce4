//! What the bench found, for people and for programs. The JSON's names carry their units.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use super::idle::Idle;
use super::load::Measured;
use crate::cli::table;

/// What was asked for.
pub(super) struct Asked {
    pub(super) seconds: u64,
    pub(super) concurrency: u32,
    pub(super) devices: u32,
    pub(super) tls: bool,
    pub(super) rate: Option<u32>,
}

/// Devices that connected: TCP, TLS, WebSocket, and the proof of who they are.
pub(super) struct Handshakes {
    pub(super) count: u32,
    pub(super) elapsed: Duration,
    pub(super) server_cpu: Duration,
}

/// The figures.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    processor: String,
    processors: usize,
    ledger_file_system: String,
    seconds: u64,
    concurrency: u32,
    devices: u32,
    tls: bool,
    /// Of an open loop.
    rate_cycles_per_second: Option<u32>,
    cycles: u64,
    errors: u64,
    first_error: Option<String>,
    cycles_per_second: f64,
    latency_p50_milliseconds: f64,
    latency_p99_milliseconds: f64,
    latency_p99_9_milliseconds: f64,
    latency_max_milliseconds: f64,
    server_cpu_microseconds_per_cycle: f64,
    verification_cpu_microseconds: f64,
    ratio_cpu_per_cycle_to_verification: f64,
    load_cpu_microseconds_per_cycle: f64,
    commits_per_cycle: f64,
    syncs_per_cycle: f64,
    server_rss_bytes: u64,
    handshakes: u32,
    handshakes_per_second: f64,
    handshake_server_cpu_microseconds: f64,
    idle: Option<Idle>,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench, far below 2^52")]
    pub(super) fn new(
        asked: &Asked,
        ledger_file_system: String,
        verification: Duration,
        handshakes: &Handshakes,
        measured: &Measured,
        idle: Option<Idle>,
    ) -> Self {
        let cycles = measured.latency.len();
        let of_a_cycle = |count: f64| round(count / cycles.max(1) as f64);
        let latency = |quantile| millis(measured.latency.value_at_quantile(quantile));
        let (cpu, one) = (of_a_cycle(micros(measured.used.cpu)), micros(verification));
        let count = f64::from(handshakes.count);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            ledger_file_system,
            seconds: asked.seconds,
            concurrency: asked.concurrency,
            devices: asked.devices,
            tls: asked.tls,
            rate_cycles_per_second: asked.rate,
            cycles,
            errors: measured.errors,
            first_error: measured.first_error.clone(),
            cycles_per_second: round(cycles as f64 / measured.elapsed.as_secs_f64()),
            latency_p50_milliseconds: latency(0.5),
            latency_p99_milliseconds: latency(0.99),
            latency_p99_9_milliseconds: latency(0.999),
            latency_max_milliseconds: millis(measured.latency.max()),
            server_cpu_microseconds_per_cycle: cpu,
            verification_cpu_microseconds: round(one),
            ratio_cpu_per_cycle_to_verification: round(cpu / one),
            load_cpu_microseconds_per_cycle: of_a_cycle(micros(measured.own_cpu)),
            commits_per_cycle: of_a_cycle(measured.used.commits as f64),
            syncs_per_cycle: of_a_cycle(measured.used.syncs as f64),
            server_rss_bytes: measured.server_memory,
            handshakes: handshakes.count,
            handshakes_per_second: round(count / handshakes.elapsed.as_secs_f64()),
            handshake_server_cpu_microseconds: round(micros(handshakes.server_cpu) / count),
            idle,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut entries = vec![
            ("cycles", format!("{} in {} s, {} errors", self.cycles, self.seconds, self.errors)),
            ("cycles a second", format!("{:.0}", self.cycles_per_second)),
            (
                "latency",
                format!(
                    "p50 {} ms, p99 {} ms, p99.9 {} ms, at most {} ms",
                    self.latency_p50_milliseconds,
                    self.latency_p99_milliseconds,
                    self.latency_p99_9_milliseconds,
                    self.latency_max_milliseconds
                ),
            ),
            (
                "server CPU",
                format!(
                    "{:.0} µs a cycle: {} × one P-256 verification ({} µs)",
                    self.server_cpu_microseconds_per_cycle,
                    self.ratio_cpu_per_cycle_to_verification,
                    self.verification_cpu_microseconds
                ),
            ),
            ("load CPU", format!("{:.0} µs a cycle", self.load_cpu_microseconds_per_cycle)),
            (
                "ledger",
                format!(
                    "{} commits and {} syncs a cycle, on {}",
                    self.commits_per_cycle, self.syncs_per_cycle, self.ledger_file_system
                ),
            ),
            ("server memory", format!("{} MiB", self.server_rss_bytes / 1024 / 1024)),
            (
                "handshakes",
                format!(
                    "{} devices, {:.0} a second, {:.0} µs of server CPU each",
                    self.handshakes,
                    self.handshakes_per_second,
                    self.handshake_server_cpu_microseconds
                ),
            ),
        ];
        if let Some(idle) = &self.idle {
            let (devices, each) = (idle.devices, idle.server_rss_bytes_per_device);
            entries.push(("idle devices", format!("{devices}, {each} bytes of memory each")));
        }
        if let Some(error) = &self.first_error {
            entries.push(("first error", error.clone()));
        }
        table::list(&entries)
    }
}

fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = known.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "minutes at the most")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// Three decimal places are more than a bench can tell.
fn round(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
