//! The commands for developers and CI: `cargo xtask test`, `tidy`, `sim`, `fuzz` and
//! `deploy`.

mod deploy;
mod fuzz;
mod machine;
mod sim;
mod step;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// The commands for developers and CI.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Run every check: format, lints, tidy, all tests, other implementations, and the demo.
    Test,
    /// Check the rules of STYLE.md alone.
    Tidy,
    /// Run the simulation over more seeds than the tests do.
    Sim {
        /// The number of seeds.
        #[arg(long, default_value_t = 1_000_000)]
        seeds: u64,
        /// The first seed. A failing seed is named; run it alone with `--seeds 1`.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Run the fuzz targets, guided by coverage, from their committed corpora.
    Fuzz {
        /// The time for each target, in seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Add new inputs to the committed corpora, as few as keep the coverage.
        #[arg(long)]
        keep: bool,
        /// The targets; all of them if no name is given.
        targets: Vec<String>,
    },
    /// Make the Debian package.
    Deb(deploy::Packaging),
    /// Make the container image, as an OCI layout.
    Image(deploy::Packaging),
    /// Make both, and try them: install, run, upgrade, remove.
    Deploy(deploy::Packaging),
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
        Command::Deb(packaging) => packaging.deb(&root).map(|()| true)?,
        Command::Image(packaging) => packaging.image(&root).map(|()| true)?,
        Command::Deploy(packaging) => packaging.deploy(&root)?.failed == 0,
    };
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is in the workspace").to_owned()
}
