//! `cargo xtask sim`: runs the simulation of `countersign-sim` over many seeds, with lines of
//! progress.
//!
//! It runs the same tests as `cargo test`, optimised, with other seeds, a portion at a time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

/// The number of seeds between two lines of progress.
const PORTION: u64 = 2_000;

/// Runs `seeds` seeds from `first` on, half of them with each of the two tests. Returns whether all
/// passed.
pub(crate) fn run(root: &Path, first: u64, seeds: u64) -> anyhow::Result<bool> {
    let program = build(root)?;
    let begun = Instant::now();
    let mut done = 0;
    while done < seeds {
        let portion = PORTION.min(seeds - done);
        if !simulate(root, &program, first + done / 2, portion.div_ceil(2))? {
            println!("seeds from {} on: FAILED, see above", first + done / 2);
            return Ok(false);
        }
        done += portion;
        let seconds = begun.elapsed().as_secs().max(1);
        let (rate, left) = (done / seconds, (seeds - done) * seconds / done);
        println!("{done} of {seeds} seeds in {seconds} s, {rate} a second, {left} s to go");
    }
    println!("simulation: {done} seeds, no failure");
    Ok(true)
}

/// Builds the tests of `countersign-sim` optimised, and returns their program.
fn build(root: &Path) -> anyhow::Result<String> {
    let output = Command::new("cargo")
        .args(["test", "--release", "--package", "countersign-sim", "--test", "it", "--no-run"])
        .arg("--message-format=json")
        .current_dir(root)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start")?;
    ensure!(output.status.success(), "the simulation does not build");
    let said = String::from_utf8(output.stdout)?;
    let program = said.lines().find_map(executable);
    Ok(program.context("cargo does not print the program's path")?.to_owned())
}

/// The program in a line of cargo's output, if the line has one.
fn executable(line: &str) -> Option<&str> {
    line.split_once("\"executable\":\"")?.1.split_once('"').map(|(program, _)| program)
}

/// Runs both tests with `each` seeds. Prints their output only if one fails.
fn simulate(root: &Path, program: &str, first: u64, each: u64) -> anyhow::Result<bool> {
    let output = Command::new(program)
        .arg("invariant")
        .env("SIM_FIRST", first.to_string())
        .env("SIM_SEEDS", each.to_string())
        .current_dir(root.join("tools/countersign-sim"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{program} does not start"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("test result: ok. 2 passed");
    if !passed {
        println!("{said}");
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_output() {
        let line = r#"{"reason":"compiler-artifact","executable":"/a/it-1","fresh":true}"#;
        assert_eq!(executable(line), Some("/a/it-1"));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","executable":null}"#), None);
    }
}
