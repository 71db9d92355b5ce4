//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::dialect::Name;
use crate::ledger::Kind;

/// The file name of the server's program.
const SERVER: &str = "countersign";

/// Measure cycles a second, their latency and their cost, on this machine
///
/// Starts the server as a separate process, with a new ledger and the default configuration. A
/// cycle is a signature from the application's call to its answer: started, shown, signed, verified
/// and durable. With another dialect than KOBIL's, KOBIL's cycle is measured too, in turns with it.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version, max_term_width = 100)]
pub(crate) struct Bench {
    /// The dialect whose cycle is measured
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dialect: Name,
    /// The ledger. With PostgreSQL, SQLite's cycle is measured too, in turns with it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) ledger: Kind,
    /// With --ledger postgres: the nodes that share the ledger. Applications call the first one,
    /// and devices are connected to the last one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) nodes: u32,
    /// The time to measure each dialect, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Cycles in progress at once, each on its own connection
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) concurrency: u32,
    /// Devices for each dialect, each of its own user and with its own connection
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) devices: u32,
    /// Also measure the memory of this many idle devices, in a separate server
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) idle: u32,
    /// With --idle: also hold this many callers, for each of whom a device is connected, and
    /// measure their memory
    #[arg(long, value_name = "N", default_value_t = 0, requires = "idle", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) held: u32,
    /// With --idle: then kill the server, start it again, and measure until all devices are back
    #[arg(long, requires = "idle")]
    pub(crate) restart: bool,
    /// Measure pushes instead of cycles: the server's cost for each, and the time until it arrives
    /// at a push service inside the bench that follows Apple's rules
    #[arg(long, conflicts_with_all = ["dialect", "idle", "held", "restart"])]
    pub(crate) push: bool,
    /// With --push: the number of pushes that are queued while the service is away
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "push", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) queued: u32,
    /// TLS by the server, or plain HTTP as behind a proxy that terminates TLS
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tls: Tls,
    /// Begin this many cycles a second, independently of their ends, and measure each latency from
    /// the planned beginning [default: a cycle begins when another one ends]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// The server's program [default: `countersign` in the directory of this program]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The directory in which the ledger is created and afterwards removed; its disk affects the
    /// figures [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Whether the server itself speaks TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Tls {
    /// TLS with the server's own certificate authority, the default of a server
    #[default]
    On,
    /// Plain HTTP, as behind a proxy
    Off,
}

impl Bench {
    /// The server's program.
    ///
    /// # Errors
    /// If it does not exist; the message tells how to build it.
    pub(crate) fn server(&self) -> anyhow::Result<PathBuf> {
        let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name(SERVER));
        let program = self.server.clone().map_or_else(beside, Ok)?;
        ensure!(
            program.is_file(),
            "the server's program {} does not exist: build it with `cargo build --profile dist -p countersign-server`, \
             or give its path with --server",
            program.display()
        );
        Ok(program)
    }

    /// Writes the figures to the file that `--json` names.
    pub(crate) fn write_json(&self, report: &impl Serialize) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(report)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_conflict_and_each_has_a_help_text() {
        let mut command = Bench::command();
        command.build();
        command.clone().debug_assert();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "`{}` has no help text", argument.get_id());
        }
    }

    #[test]
    fn the_flags_in_the_documents_are_accepted() {
        for line in [
            "--seconds 5 --concurrency 8 --devices 100 --idle 1000 --tls off --rate 50 --json f",
            "--idle 1000 --held 500 --restart",
            "--dialect onespan --seconds 4 --json f",
            "--push --queued 300 --server s --data d",
            "--ledger sqlite --dialect onespan",
            "--ledger postgres --nodes 2 --rate 300 --json f",
        ] {
            let words = std::iter::once("countersign-bench").chain(line.split_whitespace());
            if let Err(error) = Bench::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_missing_server_is_an_error_that_tells_how_to_build_it() {
        let bench = Bench::try_parse_from(["countersign-bench", "--server", "no-such-program"]);
        let error = bench.unwrap().server().unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("cargo build"), "{error}");
    }
}
