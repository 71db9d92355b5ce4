//! Text from a stranger, on a terminal: nothing in it moves the cursor, turns the line round or hides.
//!
//! A character that would do so is shown as its number, such as `⟨U+202E⟩`. What is signed is never
//! changed: this is for the eye only.

use core::fmt::Write as _;

/// One line: a line break in `text` is shown as a number, too.
#[must_use]
pub fn line(text: &str) -> String {
    visible(text, false)
}

/// Text of several lines: `\n` and `\r\n` break a line, and are all that does.
#[must_use]
pub fn text(text: &str) -> String {
    visible(text, true)
}

fn visible(text: &str, breaks: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' if breaks && letters.peek() == Some(&'\n') => {}
            '\n' if breaks => shown.push('\n'),
            letter if deceives(letter) => {
                write!(shown, "⟨U+{:04X}⟩", u32::from(letter)).expect("a string takes any text");
            }
            letter => shown.push(letter),
        }
    }
    shown
}

/// Controls, breaks, marks of direction (UAX #9, section 2) and what takes no room. The joiners U+200C
/// and U+200D stay: some scripts cannot be written without them.
fn deceives(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(text("Pay 5\u{1b}[2K\rPay 9"), "Pay 5⟨U+001B⟩[2K⟨U+000D⟩Pay 9");
        assert_eq!(text("\u{9b}1A\u{7}\u{8}\t"), "⟨U+009B⟩1A⟨U+0007⟩⟨U+0008⟩⟨U+0009⟩");
    }

    #[test]
    fn nothing_turns_a_line_round() {
        let spoofed = "to \u{202e}boB\u{202c} and \u{2067}x\u{2069}\u{200f}";
        let shown = "to ⟨U+202E⟩boB⟨U+202C⟩ and ⟨U+2067⟩x⟨U+2069⟩⟨U+200F⟩";
        assert_eq!(text(spoofed), shown);
    }

    #[test]
    fn nothing_hides() {
        assert_eq!(line("a\u{200b}b\u{feff}\u{e0041}"), "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+E0041⟩");
    }

    #[test]
    fn only_text_has_lines() {
        assert_eq!(text("a\r\nb\nc\u{2028}d"), "a\nb\nc⟨U+2028⟩d");
        assert_eq!(line("a\r\nb"), "a⟨U+000D⟩⟨U+000A⟩b");
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let written = "Überweisung an Zoë: 5 €, سلام, می\u{200c}خواهم, 👩\u{200d}🚀, 漢字";
        assert_eq!(text(written), written);
    }
}
