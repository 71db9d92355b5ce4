//! The demo's output: numbered steps, each with its result and its duration.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::cli::answer;
use crate::cli::device::said::DeviceEvent;
use crate::cli::paint::Paint;

const TITLE_COLUMNS: usize = 30;
const DETAIL_COLUMNS: usize = 36;
/// The indentation of lines below the titles.
const INDENT: &str = "      ";

/// The terminal, or another standard output.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) paint: Paint,
    /// Whether a line may be overwritten, so that a running step is shown before it is done.
    live: bool,
    steps: u8,
}

impl Terminal {
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, live: io::stdout().is_terminal(), steps: 0 }
    }

    /// Shows a step while it runs, and its result.
    ///
    /// # Errors
    /// The step's own error; the step is shown as failed, and the caller reports the error.
    pub(super) async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        self.steps += 1;
        self.running(title);
        let began = Instant::now();
        let outcome = work.await;
        if let Ok(done) = &outcome {
            let (mark, detail) = (self.paint.good("✓"), detail(done));
            self.done(&mark, title, &detail, Some(began.elapsed()))?;
        } else {
            let mark = self.paint.bad("✗");
            self.done(&mark, title, "", None)?;
        }
        outcome
    }

    /// Shows a step whose end the caller detects.
    pub(super) fn began(&mut self, title: &str, detail: &str) -> anyhow::Result<()> {
        self.steps += 1;
        let mark = self.paint.dim("→");
        self.done(&mark, title, detail, None)
    }

    /// Shows that a step succeeded after `took`.
    pub(super) fn succeeded(
        &mut self,
        title: &str,
        detail: &str,
        took: Duration,
    ) -> anyhow::Result<()> {
        self.steps += 1;
        let mark = self.paint.good("✓");
        self.done(&mark, title, detail, Some(took))
    }

    /// Shows an event of the phone.
    pub(super) fn phone(&self, said: &DeviceEvent) -> anyhow::Result<()> {
        let lines = said.lines(self.paint);
        let apart = lines.len() > 1;
        if apart {
            answer::line("")?;
        }
        lines.iter().try_for_each(|line| answer::line(&format!("{INDENT}{line}")))?;
        if apart { answer::line("") } else { Ok(()) }
    }

    fn running(&self, title: &str) {
        if self.live {
            let number = self.steps;
            let _ = write!(io::stdout(), "  {number:>2} {} {title} …", self.paint.dim("·"));
            let _ = io::stdout().flush();
        }
    }

    fn done(
        &self,
        mark: &str,
        title: &str,
        detail: &str,
        took: Option<Duration>,
    ) -> anyhow::Result<()> {
        // ECMA-48: moves the cursor to the beginning of the line, and erases the line.
        let over = if self.live { "\r\u{1b}[2K" } else { "" };
        let number = self.paint.dim(format!("{:>2}", self.steps));
        let took = took.map(|took| self.paint.dim(format!("{:>8}", spoken(took))));
        let line = match took {
            Some(took) => {
                format!("{title:TITLE_COLUMNS$} {detail:DETAIL_COLUMNS$} {took}")
            }
            None => format!("{title:TITLE_COLUMNS$} {detail}"),
        };
        answer::line(format!("{over}  {number} {mark} {line}").trim_end())
    }
}

/// Prints lines unchanged, indented.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn lines(lines: &[String]) -> anyhow::Result<()> {
    lines.iter().try_for_each(|line| {
        let indent = if line.is_empty() { "" } else { INDENT };
        answer::line(&format!("{indent}{line}"))
    })
}

/// A duration in words.
fn spoken(took: Duration) -> String {
    match took.as_millis() {
        0..10 => format!("{:.1} ms", took.as_secs_f64() * 1_000.0),
        millis @ 10..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_to_read() {
        assert_eq!(spoken(Duration::from_micros(1_720)), "1.7 ms");
        assert_eq!(spoken(Duration::from_millis(999)), "999 ms");
        assert_eq!(spoken(Duration::from_secs(1)), "1.0 s");
        assert_eq!(spoken(Duration::from_millis(12_340)), "12.3 s");
    }
}
