//! What is run by hand and by CI: `cargo xtask test` and `cargo xtask tidy`.

mod machine;
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
    /// Everything that must hold: format, lints, house rules, every test, and the demo.
    Test,
    /// The house rules alone.
    Tidy,
}

fn main() -> anyhow::Result<ExitCode> {
    let root = root();
    let all_passed = match Command::parse() {
        Command::Test => suite::run(&root)?,
        Command::Tidy => tidy::run(&root)?.failed == 0,
    };
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace").to_owned()
}
