//! The output of a command on standard output.

use std::io::{self, Write as _};

use countersign_device::display;
use serde::Serialize;

/// Prints `value` as JSON, or `text` for people. Control characters in names and content cannot act
/// on a terminal; therefore `text` must not contain colours.
///
/// # Errors
/// If standard output cannot be written, except if its reader has closed it.
pub(super) fn print(
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    line(terminal_safe(json, value, text)?.trim_end_matches('\n'))
}

fn terminal_safe(
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<String> {
    if json {
        return Ok(display::json(&serde_json::to_string_pretty(value)?));
    }
    Ok(display::text(&text()))
}

/// Prints one line, or several lines of one text.
///
/// # Errors
/// As [`print`].
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        // `countersign … | head` has read all that it needs.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An error with its causes, without repetition, safe for a terminal.
pub(super) fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors repeat their cause in their own text.
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    display::text(&sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_acts_on_a_terminal_however_it_is_printed() {
        let name = "ann\u{202e}\u{1b}[2J";
        let text = || format!("User {name} is made.\nNext");
        let said = terminal_safe(false, &name, text).unwrap();
        assert_eq!(said, "User ann⟨U+202E⟩⟨U+001B⟩[2J is made.\nNext");
        assert_eq!(terminal_safe(true, &name, text).unwrap(), r#""ann\u202e\u001b[2J""#);
    }

    #[test]
    fn each_cause_is_said_once_and_moves_no_cursor() {
        let error = anyhow::anyhow!("no such file\u{1b}[2J");
        let error = error.context("phone.json: no such file\u{1b}[2J").context("it failed");
        let sentence = sentence(&error);
        assert_eq!(sentence, "it failed: phone.json: no such file⟨U+001B⟩[2J");
    }
}
