//! Colours, if the user wants them.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};

use clap::ValueEnum;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Adds colours, or leaves text unchanged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(super) fn new(color: Color) -> Self {
        Self(match color {
            Color::Auto => io::stdout().is_terminal() && !countersign_config::refuses_colours(),
            Color::Always => true,
            Color::Never => false,
        })
    }

    pub(super) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    pub(super) fn good(self, text: impl Display) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: impl Display) -> String {
        self.with("31", text)
    }

    /// ECMA-48, section 8.3.117: select graphic rendition.
    fn with(self, rendition: &str, text: impl Display) -> String {
        if self.0 { format!("\u{1b}[{rendition}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_text_is_left_as_it_is() {
        assert_eq!(Paint::new(Color::Never).good("✓"), "✓");
        assert_eq!(Paint::new(Color::Always).good("✓"), "\u{1b}[32m✓\u{1b}[0m");
    }
}
