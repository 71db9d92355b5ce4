//! The report of the bench, for people and for programs. The JSON's names contain their units.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::dialect::Name;
use crate::idle::Idle;
use crate::tally::Measured;
use crate::text;

/// The parameters of the run.
pub(super) struct Asked {
    pub(super) dialect: Name,
    pub(super) seconds: u64,
    pub(super) concurrency: u32,
    pub(super) devices: u32,
    pub(super) tls: bool,
    pub(super) rate: Option<u32>,
}

/// The measured figures.
pub(super) struct Found {
    /// The figures of the chosen dialect.
    pub(super) measured: Measured,
    /// The figures of KOBIL's, in turns with it, if another dialect was chosen.
    pub(super) kobil: Option<Measured>,
    pub(super) handshakes: Handshakes,
    pub(super) server_memory: u64,
}

/// Connected devices: TCP, TLS, and for KOBIL's WebSocket the authentication.
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
    dialect: &'static str,
    seconds: u64,
    concurrency: u32,
    devices: u32,
    tls: bool,
    /// Only for an open loop.
    rate_cycles_per_second: Option<u32>,
    #[serde(flatten)]
    figures: Figures,
    verification_cpu_microseconds: f64,
    ratio_cpu_per_cycle_to_verification: f64,
    /// KOBIL's cycles in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    kobil: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_cpu_per_cycle_to_kobil: Option<f64>,
    /// The bound on the cost of a cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cpu_microseconds_per_cycle: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_cpu_per_cycle_to_bound: Option<f64>,
    server_rss_bytes: u64,
    handshakes: u32,
    handshakes_per_second: f64,
    handshake_server_cpu_microseconds: f64,
    idle: Option<Idle>,
}

/// The figures of one dialect's cycles.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) cycles: u64,
    errors: u64,
    first_error: Option<String>,
    pub(super) cycles_per_second: f64,
    latency_p50_milliseconds: f64,
    latency_p99_milliseconds: f64,
    latency_p99_9_milliseconds: f64,
    latency_max_milliseconds: f64,
    /// From the device's sending of its signature to the application's answer.
    completion_to_answer_p50_milliseconds: f64,
    completion_to_answer_p99_milliseconds: f64,
    /// From the device's confirmation to the application's answer.
    acknowledgement_to_answer_p50_milliseconds: f64,
    acknowledgement_to_answer_p99_milliseconds: f64,
    pub(super) server_cpu_microseconds_per_cycle: f64,
    load_cpu_microseconds_per_cycle: f64,
    commits_per_cycle: f64,
    syncs_per_cycle: f64,
    /// Only for an application that polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    polls_per_cycle: Option<f64>,
}

impl Report {
    pub(super) fn new(
        asked: &Asked,
        ledger_file_system: String,
        verification: Duration,
        found: &Found,
        idle: Option<Idle>,
    ) -> Self {
        let figures = Figures::of(&found.measured);
        let kobil = found.kobil.as_ref().map(Figures::of);
        let (cpu, one) = (figures.server_cpu_microseconds_per_cycle, micros(verification));
        let kobil_cpu = kobil.as_ref().map(|kobil| kobil.server_cpu_microseconds_per_cycle);
        let bound = kobil_cpu.and_then(|kobil| asked.dialect.bound(kobil, one));
        let handshakes = &found.handshakes;
        let count = f64::from(handshakes.count);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            ledger_file_system,
            dialect: asked.dialect.as_str(),
            seconds: asked.seconds,
            concurrency: asked.concurrency,
            devices: asked.devices,
            tls: asked.tls,
            rate_cycles_per_second: asked.rate,
            verification_cpu_microseconds: round(one),
            ratio_cpu_per_cycle_to_verification: round(cpu / one),
            ratio_cpu_per_cycle_to_kobil: kobil_cpu.map(|kobil| round(cpu / kobil)),
            bound_cpu_microseconds_per_cycle: bound.map(round),
            ratio_cpu_per_cycle_to_bound: bound.map(|bound| round(cpu / bound)),
            figures,
            kobil,
            server_rss_bytes: found.server_memory,
            handshakes: handshakes.count,
            handshakes_per_second: round(count / handshakes.elapsed.as_secs_f64()),
            handshake_server_cpu_microseconds: round(micros(handshakes.server_cpu) / count),
            idle,
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut entries = self.figures.entries();
        let (ratio, one) =
            (self.ratio_cpu_per_cycle_to_verification, self.verification_cpu_microseconds);
        let mut cpu = format!("{ratio} × one P-256 verification ({one} µs)");
        if let Some(ratio) = self.ratio_cpu_per_cycle_to_kobil {
            cpu = format!("{cpu}, {ratio} × KOBIL's");
        }
        let bound = self.bound_cpu_microseconds_per_cycle.zip(self.ratio_cpu_per_cycle_to_bound);
        if let Some((bound, ratio)) = bound {
            cpu = format!("{cpu}, {ratio} × the bound ({bound} µs)");
        }
        entries.extend([
            ("CPU of a cycle", cpu),
            ("ledger", format!("on {}", self.ledger_file_system)),
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
        ]);
        if let Some(idle) = &self.idle {
            let (devices, each) = (idle.devices, idle.server_rss_bytes_per_device);
            entries.push(("idle devices", format!("{devices}, {each} bytes of memory each")));
            entries.extend(idle.at_limits());
        }
        let mut text = text::list(&entries);
        if let Some(kobil) = &self.kobil {
            text = format!(
                "{text}\n\nKOBIL's cycle in the same run:\n\n{}",
                text::list(&kobil.entries())
            );
        }
        text
    }
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench, far below 2^52")]
    pub(super) fn of(measured: &Measured) -> Self {
        let counts = &measured.counts;
        let cycles = counts.latency.len();
        let of_a_cycle = |count: f64| round(count / cycles.max(1) as f64);
        let at =
            |histogram: &Histogram<u64>, quantile| millis(histogram.value_at_quantile(quantile));
        Self {
            cycles,
            errors: counts.errors,
            first_error: counts.first_error.clone(),
            cycles_per_second: round(cycles as f64 / measured.elapsed.as_secs_f64()),
            latency_p50_milliseconds: at(&counts.latency, 0.5),
            latency_p99_milliseconds: at(&counts.latency, 0.99),
            latency_p99_9_milliseconds: at(&counts.latency, 0.999),
            latency_max_milliseconds: millis(counts.latency.max()),
            completion_to_answer_p50_milliseconds: at(&counts.completion, 0.5),
            completion_to_answer_p99_milliseconds: at(&counts.completion, 0.99),
            acknowledgement_to_answer_p50_milliseconds: at(&counts.acknowledgement, 0.5),
            acknowledgement_to_answer_p99_milliseconds: at(&counts.acknowledgement, 0.99),
            server_cpu_microseconds_per_cycle: of_a_cycle(micros(measured.used.cpu)),
            load_cpu_microseconds_per_cycle: of_a_cycle(micros(measured.own_cpu)),
            commits_per_cycle: of_a_cycle(measured.used.commits as f64),
            syncs_per_cycle: of_a_cycle(measured.used.syncs as f64),
            polls_per_cycle: (counts.polls > 0).then(|| of_a_cycle(counts.polls as f64)),
        }
    }

    /// The rows for people.
    pub(super) fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![
            (
                "cycles",
                format!(
                    "{}, {:.0} a second, {} errors",
                    self.cycles, self.cycles_per_second, self.errors
                ),
            ),
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
                "completion to answer",
                format!(
                    "p50 {} ms, p99 {} ms; once acknowledged p50 {} ms, p99 {} ms",
                    self.completion_to_answer_p50_milliseconds,
                    self.completion_to_answer_p99_milliseconds,
                    self.acknowledgement_to_answer_p50_milliseconds,
                    self.acknowledgement_to_answer_p99_milliseconds
                ),
            ),
            (
                "of a cycle",
                format!(
                    "{:.0} µs of server CPU, {:.0} µs of the load's, {} commits, {} syncs",
                    self.server_cpu_microseconds_per_cycle,
                    self.load_cpu_microseconds_per_cycle,
                    self.commits_per_cycle,
                    self.syncs_per_cycle
                ),
            ),
        ];
        if let Some(polls) = self.polls_per_cycle {
            entries.push(("polls of a cycle", polls.to_string()));
        }
        if let Some(error) = &self.first_error {
            entries.push(("first error", error.clone()));
        }
        entries
    }
}

pub(super) fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = known.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a few minutes at most")]
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// Rounds to three decimal places, more than the bench's precision.
pub(super) fn round(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}
