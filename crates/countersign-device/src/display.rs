//! Makes untrusted text safe for a terminal: no character moves the cursor, reverses the line, or
//! is invisible.
//!
//! Such a character is shown as its number, for example `⟨U+202E⟩`. The signed bytes never change;
//! only the display does. The set of characters follows from their properties in the Unicode
//! Character Database, so that characters of later versions are covered too.

use core::fmt::Write as _;

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, ExtendedPictographic,
    GeneralCategory, JoiningType, PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Zero width non-joiner and joiner.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// Variation selectors for the text and the emoji presentation (UTS #51 §1.4.3).
const PRESENTATIONS: [char; 2] = ['\u{fe0e}', '\u{fe0f}'];
/// The mark that makes a keycap of a digit, `#` or `*`.
const KEYCAP: char = '\u{20e3}';
/// The blanks that people write between words and within numbers. All other blanks have widths for
/// layout.
const BLANKS: [char; 5] = [' ', '\u{a0}', '\u{2009}', '\u{202f}', '\u{3000}'];
/// Characters that are blank in every font and have no property that says so: a Braille pattern
/// without dots, a musical note without a head, two hieroglyphs and a filler.
const BLANK_SYMBOLS: [char; 5] = ['\u{2800}', '\u{1d159}', '\u{13441}', '\u{13442}', '\u{16fe4}'];

/// One line: a line break in `text` is shown as its number too.
#[must_use]
pub fn line(text: &str) -> String {
    visible(text, false)
}

/// Text of several lines: `\n` and `\r\n` break a line, and no other character does.
#[must_use]
pub fn text(text: &str) -> String {
    visible(text, true)
}

/// JSON with the same value, in which these characters are escaped (RFC 8259 §7): they can be in
/// strings only. Line breaks and tabs between the values stay.
#[must_use]
pub fn json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    each(json, |letter, is_shown| {
        if is_shown || matches!(letter, '\n' | '\t') {
            return shown.push(letter);
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            write!(shown, "\\u{unit:04x}").expect("writing to a string never fails");
        }
    });
    shown
}

fn visible(text: &str, breaks: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let plain;
    let text = if breaks && text.contains("\r\n") {
        plain = text.replace("\r\n", "\n");
        &plain
    } else {
        text
    };
    each(text, |letter, is_shown| {
        if is_shown || (breaks && letter == '\n') {
            return shown.push(letter);
        }
        write!(shown, "⟨U+{:04X}⟩", u32::from(letter)).expect("writing to a string never fails");
    });
    shown
}

/// Calls `sink` for every character, with whether it can be shown unchanged in its context.
fn each(text: &str, mut sink: impl FnMut(char, bool)) {
    let mut before = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_shown = match letter {
            ' '..='~' => true,
            joiner if JOINERS.contains(&joiner) => before.is_some_and(takes_joiner),
            selector if PRESENTATIONS.contains(&selector) => {
                let is_keycap = letters.peek() == Some(&KEYCAP);
                before.is_some_and(|base| has_presentations(base, is_keycap))
            }
            other => !deceives(other),
        };
        sink(letter, is_shown);
        before = is_shown.then_some(letter);
    }
}

/// Returns whether a character deceives the reader: controls, direction marks, characters without
/// width or without a defined appearance, line and paragraph separators, and blanks of unusual
/// width.
fn deceives(letter: char) -> bool {
    use GeneralCategory as Category;
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter);
    let by_category = match CodePointMapData::<Category>::new().get(letter) {
        Category::Control
        | Category::LineSeparator
        | Category::ParagraphSeparator
        | Category::PrivateUse
        | Category::Surrogate => true,
        // An exception is the sign before an Arabic number, a visible format character.
        Category::Format => !CodePointSetData::new::<PrependedConcatenationMark>().contains(letter),
        Category::SpaceSeparator => !BLANKS.contains(&letter),
        _ => false,
    };
    is_ignorable || by_category || BLANK_SYMBOLS.contains(&letter)
}

/// Returns whether a joiner after `base` changes the appearance, so that it is not invisible: after
/// a virama, in a cursive script, and in a sequence of emoji (RFC 5892, appendix A.1 and A.2).
fn takes_joiner(base: char) -> bool {
    let joins = !matches!(
        CodePointMapData::<JoiningType>::new().get(base),
        JoiningType::NonJoining | JoiningType::Transparent | JoiningType::JoinCausing
    );
    let is_virama = CodePointMapData::<CanonicalCombiningClass>::new().get(base)
        == CanonicalCombiningClass::Virama;
    let is_emoji = CodePointSetData::new::<ExtendedPictographic>().contains(base)
        || ('\u{1f3fb}'..='\u{1f3ff}').contains(&base)
        || base == PRESENTATIONS[1];
    joins || is_virama || is_emoji
}

fn has_presentations(base: char, is_keycap: bool) -> bool {
    CodePointSetData::new::<Emoji>().contains(base) && (!base.is_ascii() || is_keycap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_moves_the_cursor() {
        assert_eq!(text("Pay 5\u{1b}[2K\rPay 9"), "Pay 5⟨U+001B⟩[2K⟨U+000D⟩Pay 9");
        assert_eq!(text("\u{9b}1A\u{7}\u{8}\t"), "⟨U+009B⟩1A⟨U+0007⟩⟨U+0008⟩⟨U+0009⟩");
    }

    #[test]
    fn no_character_reverses_a_line() {
        let spoofed = "to \u{202e}boB\u{202c} and \u{2067}x\u{2069}\u{200f}";
        let shown = "to ⟨U+202E⟩boB⟨U+202C⟩ and ⟨U+2067⟩x⟨U+2069⟩⟨U+200F⟩";
        assert_eq!(text(spoofed), shown);
    }

    #[test]
    fn nothing_hides() {
        assert_eq!(line("a\u{200b}b\u{feff}\u{e0041}"), "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+E0041⟩");
    }

    #[test]
    fn every_character_without_width_is_shown_as_its_number() {
        let ranges = [
            ('\u{180b}', '\u{180f}'),
            ('\u{1bca0}', '\u{1bca3}'),
            ('\u{1d173}', '\u{1d17a}'),
            ('\u{fff0}', '\u{fffb}'),
            ('\u{fe00}', '\u{fe0f}'),
            ('\u{2800}', '\u{2800}'),
            ('\u{3164}', '\u{3164}'),
            ('\u{115f}', '\u{1160}'),
            ('\u{17b4}', '\u{17b5}'),
            ('\u{200b}', '\u{200f}'),
            ('\u{2000}', '\u{2008}'),
            ('\u{e000}', '\u{f8ff}'),
            ('\u{e0000}', '\u{e0fff}'),
        ];
        let examples = ranges.into_iter().flat_map(|(first, last)| first..=last);
        // The property itself, instead of a list of characters.
        let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        let all =
            ('\0'..=char::MAX).filter(|letter| ignorable.contains(*letter) || letter.is_control());
        let mut tried = 0;
        for letter in examples.chain(all) {
            let hex = format!("{:04X}", u32::from(letter));
            assert_eq!(line(&format!("a{letter}b")), format!("a⟨U+{hex}⟩b"));
            tried += 1;
        }
        assert!(tried > 4_000, "{tried}");
    }

    #[test]
    fn joiners_and_presentations_stay_only_if_they_change_the_appearance() {
        for kept in ["❤\u{fe0f}", "1\u{fe0f}\u{20e3}", "👨🏽\u{200d}⚖\u{fe0f}", "क\u{94d}\u{200d}ष"]
        {
            assert_eq!(line(kept), kept);
        }
        assert_eq!(line("pay\u{200d}pal"), "pay⟨U+200D⟩pal");
        assert_eq!(line("10\u{fe0f}0"), "10⟨U+FE0F⟩0");
        assert_eq!(line("ب\u{200c}\u{200c}ب"), "ب\u{200c}⟨U+200C⟩ب");
        assert_eq!(line("\u{200c}"), "⟨U+200C⟩");
        assert_eq!(line("x\u{fe0f}\u{200d}y"), "x⟨U+FE0F⟩⟨U+200D⟩y");
    }

    #[test]
    fn only_text_has_lines() {
        assert_eq!(text("a\r\nb\nc\u{2028}d"), "a\nb\nc⟨U+2028⟩d");
        assert_eq!(line("a\r\nb"), "a⟨U+000D⟩⟨U+000A⟩b");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a\u{202e}": ["\u{e0041}\n", "é\u{a0}€"]});
        for written in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = json(&written);
            assert_eq!(line(&shown.replace('\n', "")), shown.replace('\n', ""));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
        assert_eq!(json("\"\u{202e}\""), r#""\u202e""#);
    }

    #[test]
    fn ordinary_text_stays_unchanged() {
        let written =
            "Überweisung an Zoë: 5 €, 1\u{202f}000, سلام, می\u{200c}خواهم, 👩\u{200d}🚀, 漢字";
        assert_eq!(text(written), written);
    }
}
