//! What a command prints on standard output.

use std::io::{self, Write as _};

use serde::Serialize;

/// Prints `value` as JSON, or for people what `text` says.
///
/// # Errors
/// When standard output takes no more, except where whoever read it has gone away.
pub(super) fn print(
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(value)? } else { text() };
    line(text.trim_end_matches('\n'))
}

/// Prints one line, or several that are one text.
///
/// # Errors
/// As [`print`].
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        // `countersign … | head` has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
