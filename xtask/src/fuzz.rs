//! `cargo xtask fuzz`: the targets of `fuzz/` under libFuzzer, guided by coverage.
//!
//! No tool needs to be installed: without a sanitizer, the flags that `cargo fuzz` would pass are
//! flags of the stable compiler. Our own code has no `unsafe` for a sanitizer to check.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::machine;
use crate::step::{Step, Tally, heading};

/// The flags that make LLVM count edges and comparisons for libFuzzer.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";
/// The longest input, in bytes. Longer ones take more time and find nothing more.
const INPUT_BYTES_MAX: usize = 8 * 1024;
/// The time in seconds after which an input is a finding.
const INPUT_SECONDS_MAX: u64 = 5;
/// The memory in MiB above which a target is a finding.
const MEMORY_MIB_MAX: usize = 1024;

/// The parameters of a fuzzing run.
pub(crate) struct Fuzzing {
    /// The time for each target.
    pub(crate) seconds: u64,
    /// Whether new inputs are added to the committed corpora.
    pub(crate) keep: bool,
    /// The targets; all of them if the list is empty.
    pub(crate) targets: Vec<String>,
}

impl Fuzzing {
    /// Builds the targets and runs each, which is one check. As many run at once as there are
    /// cores.
    pub(crate) fn run(self, root: &Path) -> anyhow::Result<Tally> {
        let known = targets(root)?;
        for target in &self.targets {
            ensure!(
                known.contains(target),
                "there is no target `{target}`; the targets are {known:?}"
            );
        }
        let host = machine::host()?;
        let mut build = Command::new("cargo");
        build.args(["build", "--quiet", "--release", "--bins", "--locked", "--target", &host]);
        build.arg("--manifest-path").arg(root.join("fuzz/Cargo.toml"));
        build.arg("--target-dir").arg(root.join("target/fuzz"));
        build.env("RUSTFLAGS", COVERAGE).current_dir(root);
        let mut total = Step::new("fuzz targets", build).check();
        if total.failed > 0 {
            return Ok(total);
        }

        let wanted =
            known.iter().filter(|one| self.targets.is_empty() || self.targets.contains(one));
        let wanted: Vec<&String> = wanted.collect();
        let programs = root.join("target/fuzz").join(host).join("release");
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        heading("fuzz");
        let run = |target: &str| self.run_one(root, &programs, target);
        for some in wanted.chunks(at_once) {
            let runs: Vec<_> = thread::scope(|scope| {
                let runs: Vec<_> = some.iter().map(|one| scope.spawn(|| run(one))).collect();
                runs.into_iter().map(|run| run.join().expect("the thread does not panic")).collect()
            });
            for run in runs {
                total += run?;
            }
        }
        Ok(total)
    }

    /// Runs one target from its corpus. New inputs stay in `target/` for the next run.
    fn run_one(&self, root: &Path, programs: &Path, target: &str) -> anyhow::Result<Tally> {
        let corpus = root.join("fuzz/corpus").join(target);
        let found = root.join("target/fuzz/corpus").join(target);
        let crashes = root.join("target/fuzz/crashes").join(target);
        for directory in [&found, &crashes] {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let output = libfuzzer(&programs.join(target), &crashes)
            .arg(format!("-max_total_time={}", self.seconds))
            .args([&found, &corpus])
            .output()
            .with_context(|| format!("the target `{target}` does not start"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success();
        if passed {
            println!("   {target}: {}", last_line(&said));
        } else {
            println!("{}\n   {target}: FAILED, see above", tail(&said, 60));
        }
        if passed && self.keep {
            merge(programs, target, &corpus, &found)?;
        }
        Ok(Tally::one(passed))
    }
}

/// Replaces the committed corpus by a small set of inputs with the coverage of both directories.
fn merge(programs: &Path, target: &str, corpus: &Path, found: &Path) -> anyhow::Result<()> {
    let merged = found.with_extension("merged");
    let _ = std::fs::remove_dir_all(&merged); // From an interrupted merge.
    std::fs::create_dir_all(&merged)?;
    let mut command = Command::new(programs.join(target));
    // Compares edges only, so that the committed corpus stays small.
    command.args(["-set_cover_merge=1", "-use_counters=0"]);
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    let output = command.args([&merged, &corpus.to_owned(), &found.to_owned()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(corpus)?;
    std::fs::create_dir(corpus)?;
    for file in std::fs::read_dir(&merged)? {
        let file = file?;
        std::fs::copy(file.path(), corpus.join(file.file_name()))?;
    }
    Ok(std::fs::remove_dir_all(&merged)?)
}

fn libfuzzer(program: &Path, crashes: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-timeout={}", Duration::from_secs(INPUT_SECONDS_MAX).as_secs()));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}")).arg("-print_final_stats=0");
    command
}

/// The names of the targets, from their files.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    let files = std::fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let paths: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
    let name = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = paths.iter().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// The last line of libFuzzer's output: the number of runs and their speed.
fn last_line(said: &str) -> &str {
    said.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or("done")
}

fn tail(said: &str, lines: usize) -> String {
    let all: Vec<&str> = said.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_binary_and_a_corpus() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = targets(root).unwrap();
        assert!(targets.len() >= 10, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            let corpus = std::fs::read_dir(root.join("fuzz/corpus").join(&target));
            assert!(corpus.unwrap().count() > 0, "{target} has an empty corpus");
        }
    }

    #[test]
    fn the_last_line_has_the_number_of_runs() {
        let said = "#2 INITED\nDone 5 runs in 1 second(s)\nstat: 1\n";
        assert_eq!(last_line(said), "Done 5 runs in 1 second(s)");
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
    }
}
