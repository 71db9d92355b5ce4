//! What is run by hand and by CI: `cargo xtask test`, `tidy`, `sim` and `fuzz`.

mod fuzz;
mod machine;
mod sim;
mod step;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// What is run by hand and by CI.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Everything that must hold: format, lints, house rules, every test, fuzzing for a while, and
    /// the demo.
    Test,
    /// The house rules alone.
    Tidy,
    /// The simulation, over more seeds than a test takes.
    Sim {
        /// The number of seeds.
        #[arg(long, default_value_t = 1_000_000)]
        seeds: u64,
        /// The first of them. A failing seed is named.
        /// To run it alone, give it here with `--seeds 1`.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// The fuzz targets, guided by coverage, from their committed corpora.
    Fuzz {
        /// For how long each is run.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Brings what was found into the committed corpora, as little as holds the same coverage.
        #[arg(long)]
        keep: bool,
        /// The targets; all of them, where none is named.
        targets: Vec<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let root = root();
    let all_passed = match Command::parse() {
        Command::Test => suite::run(&root)?,
        Command::Tidy => tidy::run(&root)?.failed == 0,
        Command::Sim { seeds, first } => sim::run(&root, first, seeds)?,
        Command::Fuzz { seconds, keep, targets } => {
            let fuzzing = fuzz::Fuzzing { seconds, keep, targets };
            fuzzing.run(&root)?.failed == 0
        }
    };
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace").to_owned()
}
