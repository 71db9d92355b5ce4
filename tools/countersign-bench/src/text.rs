//! The report as text, on standard output.

use std::io::{self, Write as _};

use countersign_device::display;

/// Names and their values, one a line.
pub(crate) fn list(entries: &[(&str, String)]) -> String {
    let length = |name: &str| name.chars().count();
    let width = entries.iter().map(|(name, _)| length(name)).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("{name}{}  {}", " ".repeat(width - length(name)), display::line(value))
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints a text.
///
/// # Errors
/// If standard output fails, unless its reader has closed it.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_line_for_each_name() {
        let text = list(&[("id", "1".to_owned()), ("reason", "a\nb".to_owned())]);
        assert_eq!(text, "id      1\nreason  a⟨U+000A⟩b");
    }
}
