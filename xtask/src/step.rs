//! One step of the suite: a command that prints to the terminal, and its counts.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::ops::AddAssign;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The number of checks that passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// The count of one check.
    pub(crate) fn one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    /// The sum of the test runners' last lines: `test result: ok. 3 passed; 0 failed; …`.
    fn of_runners(output: &str) -> Self {
        let mut tally = Self::default();
        for line in output.lines().filter(|line| line.starts_with("test result: ")) {
            let count = |what: &str| -> Option<u64> {
                line.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.parse().ok())
            };
            tally.passed += count(" passed").unwrap_or(0);
            tally.failed += count(" failed").unwrap_or(0);
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Prints the heading of a step.
pub(crate) fn heading(name: &str) {
    println!("\n── {name} {}", "─".repeat(70_usize.saturating_sub(name.chars().count())));
}

/// A command with a name.
pub(crate) struct Step {
    name: &'static str,
    command: Command,
    within: Option<Duration>,
}

impl Step {
    pub(crate) fn new(name: &'static str, command: Command) -> Self {
        Self { name, command, within: None }
    }

    /// Stops the command after this time.
    pub(crate) fn within(self, within: Duration) -> Self {
        Self { within: Some(within), ..self }
    }

    /// Runs the command as one check.
    pub(crate) fn check(self) -> Tally {
        self.check_and_keep().0
    }

    /// Runs the command as one check, and returns its output.
    pub(crate) fn check_and_keep(self) -> (Tally, String) {
        let (passed, output) = self.run();
        (Tally::one(passed), output)
    }

    /// Runs the command, and counts the checks of its test runners. A failure that no runner
    /// counted, such as a failed build or a killed runner, counts as one.
    pub(crate) fn check_tests(self) -> Tally {
        let (passed, output) = self.run();
        let mut tally = Tally::of_runners(&output);
        if tally.failed == 0 && (!passed || tally.passed == 0) {
            tally.failed = 1;
        }
        tally
    }

    fn run(mut self) -> (bool, String) {
        heading(self.name);
        let begun = Instant::now();
        let (passed, output) = match self.stream() {
            Ok(ended) => ended,
            Err(error) => {
                let program = self.command.get_program().display();
                println!("{program} does not start: {error}");
                (false, String::new())
            }
        };
        let verdict = if passed { "passed" } else { "FAILED" };
        println!("   {} {verdict} in {:.1} s", self.name, begun.elapsed().as_secs_f64());
        (passed, output)
    }

    fn stream(&mut self) -> std::io::Result<(bool, String)> {
        if self.within.is_some() {
            self.command.process_group(0); // So that its children can be killed too.
        }
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let group = format!("-{}", child.id());
        let stdout = child.stdout.take().expect("the output is piped");
        let (done, until_done) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            if let Some(within) = self.within {
                scope.spawn(move || {
                    if until_done.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
                        println!("   still running after {} s: ended", within.as_secs());
                        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
                    }
                });
            }
            let output = copy_lines(stdout);
            drop(done);
            Ok((child.wait()?.success(), output?))
        })
    }
}

/// Prints a command's output as it arrives, and returns it.
fn copy_lines(from: impl Read) -> std::io::Result<String> {
    let mut lines = BufReader::new(from);
    let (mut line, mut output) = (Vec::new(), String::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}"); // Captured in tests, so that their counts are not counted again.
        output.push_str(&text);
        line.clear();
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Step {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Step::new("a test's step", command)
    }

    #[test]
    fn the_counts_of_all_runners_are_summed() {
        let script = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured';
                      echo 'test result: FAILED. 4 passed; 2 failed; 0 ignored'; exit 101";
        assert_eq!(shell(script).check_tests(), Tally { passed: 7, failed: 2 });
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_is_a_failure() {
        let script = "echo 'test result: ok. 3 passed; 0 failed'; exit 101";
        assert_eq!(shell(script).check_tests(), Tally { passed: 3, failed: 1 });
        assert_eq!(shell("exit 101").check_tests(), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn tests_that_were_not_found_are_a_failure() {
        assert_eq!(shell("exit 0").check_tests(), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn a_missing_command_is_a_failure() {
        let step = Step::new("a test's step", Command::new("no-such-program-anywhere"));
        assert_eq!(step.check(), Tally::one(false));
    }

    #[test]
    fn a_step_that_hangs_is_stopped() {
        let step = shell("tail -f /dev/null; true").within(Duration::from_millis(50));
        assert_eq!(step.check(), Tally::one(false));
    }
}
