//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::dialect::Name;

/// The file name of the server's program.
const SERVER: &str = "countersign";

/// Measures cycles a second, their latency and their cost, on this machine.
///
/// Starts the server as a process of its own, on a ledger of its own, with its default
/// configuration. A cycle is a signature from the application's call to its answer: started, shown,
/// signed, verified and durable. With another dialect than KOBIL's, KOBIL's cycle is measured too,
/// in turns with it.
#[derive(Debug, Parser)]
#[command(name = "countersign-bench", version, max_term_width = 100)]
pub(crate) struct Bench {
    /// Whose calls make a cycle
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dialect: Name,
    /// How long to measure each dialect
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Cycles in flight at once, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) concurrency: u32,
    /// Distinct devices of each dialect, each of another user and with a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) devices: u32,
    /// Measure the memory that so many idle devices take, too, in a server of their own
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) idle: u32,
    /// Measure pushes instead of cycles: what one costs the server, and how soon it comes, to a
    /// service of Apple's rules that the bench runs
    #[arg(long, conflicts_with_all = ["dialect", "idle"])]
    pub(crate) push: bool,
    /// With --push: how many pushes the service is queued when it comes back
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "push", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) queued: u32,
    /// With TLS, or with plain HTTP as behind a proxy that ends TLS
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tls: Tls,
    /// Begin so many cycles a second, whatever becomes of them, and count each one's latency from
    /// when it was to begin [default: each cycle begins when another one ends]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// The server's program [default: `countersign` in this program's own directory]
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Write the figures to a file, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to make the ledger, which goes afterwards: the disk counts [default: a temporary
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Whether the server speaks TLS itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Tls {
    /// Under a certificate authority of its own, as it does by default
    #[default]
    On,
    /// Plain HTTP, which the server speaks behind a proxy only
    Off,
}

impl Bench {
    /// The server's program.
    ///
    /// # Errors
    /// Says how to build it if it is not there.
    pub(crate) fn server(&self) -> anyhow::Result<PathBuf> {
        let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name(SERVER));
        let program = self.server.clone().map_or_else(beside, Ok)?;
        ensure!(
            program.is_file(),
            "there is no server at {}: build it with `cargo build --profile dist -p countersign-server`, \
             or name its program with --server",
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
    fn no_two_flags_contradict_each_other_and_each_has_a_help_text() {
        let mut command = Bench::command();
        command.build();
        command.clone().debug_assert();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "`{}` has none", argument.get_id());
        }
    }

    #[test]
    fn the_flags_that_the_documents_name_are_accepted() {
        for line in [
            "--seconds 5 --concurrency 8 --devices 100 --idle 1000 --tls off --rate 50 --json f",
            "--dialect onespan --seconds 4 --json f",
            "--push --queued 300 --server s --data d",
        ] {
            let words = std::iter::once("countersign-bench").chain(line.split_whitespace());
            if let Err(error) = Bench::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_refused_with_how_to_build_it() {
        let bench = Bench::try_parse_from(["countersign-bench", "--server", "no-such-program"]);
        let error = bench.unwrap().server().unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("cargo build"), "{error}");
    }
}
