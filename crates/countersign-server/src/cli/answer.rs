//! What a command prints on standard output.

use std::io::{self, Write as _};

use countersign_device::display;
use serde::Serialize;

/// Prints `value` as JSON, or for people what `text` says. No name or content in either acts on a
/// terminal: `text` must not hold colours.
///
/// # Errors
/// When standard output takes no more, except where whoever read it has gone away.
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

/// An error with its causes, each said once, safe for a terminal.
pub(super) fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors name their cause themselves.
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
