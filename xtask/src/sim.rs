//! `cargo xtask sim`: the simulation of `countersign-sim`, over many seeds, with a line of progress.
//!
//! It is the very test that `cargo test` runs, built for speed, and told other seeds a portion at a time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

/// Seeds that are run before the next line is printed. Fewer than some hundreds would not make everything
/// come about that the test asks for.
const PORTION: u64 = 2_000;
const LEAST: u64 = 300;

/// Runs so many seeds from `first` on, half of them of either test; answers whether nothing was found.
pub(crate) fn run(root: &Path, first: u64, seeds: u64) -> anyhow::Result<bool> {
    if !cargo(root, &["--no-run"]).status().context("cargo does not start")?.success() {
        return Ok(false);
    }
    let begun = Instant::now();
    let mut done = 0;
    while done < seeds {
        let mut portion = PORTION.min(seeds - done);
        if seeds - done - portion < LEAST {
            portion = seeds - done;
        }
        if !simulate(root, first + done / 2, portion.div_ceil(2))? {
            println!("seeds from {} on: FAILED, see above", first + done / 2);
            return Ok(false);
        }
        done += portion;
        let seconds = begun.elapsed().as_secs().max(1);
        let (rate, left) = (done / seconds, (seeds - done) * seconds / done);
        println!("{done} of {seeds} seeds in {seconds} s, {rate} a second, {left} s to go");
    }
    println!("simulation: {done} seeds, nothing found");
    Ok(true)
}

/// Runs both tests with `each` seeds, and is silent unless one fails.
fn simulate(root: &Path, first: u64, each: u64) -> anyhow::Result<bool> {
    let output = cargo(root, &["--", "invariant"])
        .env("SIM_FIRST", first.to_string())
        .env("SIM_SEEDS", each.to_string())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let ran = said.contains("test result: ok. 2 passed");
    if !output.status.success() || !ran {
        println!("{said}");
    }
    Ok(output.status.success() && ran)
}

fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--release", "--quiet", "--package", "countersign-sim", "--test", "it"]);
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    command
}
