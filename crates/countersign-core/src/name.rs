//! The permitted characters of names of users, clients, devices, and labels.
//!
//! No character of a name is invisible or changes how other characters are shown. Names that differ
//! only in how Unicode writes the same character are one name. Two different names may still look
//! alike, because letters of several scripts do (UTS #39).

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

use crate::limits::NAME_BYTES_MAX;

/// The text is not a permitted name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

const NOT_A_NAME: BadName =
    BadName("a name is 1 to 255 bytes of visible characters, with no blank at its ends");

/// The normal form of a name: Unicode's normalization form C (UAX #15).
///
/// # Errors
/// Refuses a name that is empty or longer than [`NAME_BYTES_MAX`], a blank at either end, and any
/// character for which [`is_plain`] is false.
pub fn normal_form(text: &str) -> Result<Cow<'_, str>, BadName> {
    let is_ascii = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let name = if is_ascii {
        Cow::Borrowed(text)
    } else {
        // Check the length first, so that no long text is normalized.
        if text.len() > NAME_BYTES_MAX || !text.chars().all(is_plain) {
            return Err(NOT_A_NAME);
        }
        ComposingNormalizerBorrowed::new_nfc().normalize(text)
    };
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && (is_ascii || name.chars().all(is_plain));
    is_good.then_some(name).ok_or(NOT_A_NAME)
}

/// Normalizes all names.
///
/// # Errors
/// As [`normal_form`], for the first name that it refuses.
pub fn normalize(names: &mut [String]) -> Result<(), BadName> {
    for name in names {
        if let Cow::Owned(normal) = normal_form(name)? {
            *name = normal;
        }
    }
    Ok(())
}

/// A text to show beside names, which is not a search key. Characters that a name may not have are
/// removed, and at most [`NAME_BYTES_MAX`] bytes are kept. The result may be empty.
#[must_use]
pub fn cleaned(text: &str) -> String {
    let plain: String =
        text.chars().take(NAME_BYTES_MAX).filter(|letter| is_plain(*letter)).collect();
    let mut normal = ComposingNormalizerBorrowed::new_nfc().normalize(plain.trim()).into_owned();
    normal.truncate(normal.floor_char_boundary(NAME_BYTES_MAX));
    normal
}

/// Whether a name may contain a character: it is assigned, has a shape of its own, and is no blank
/// other than U+0020.
///
/// Refused are the general categories Cc, Cf, Cn, Co, Cs, Zl, Zp, and Zs but for U+0020; the
/// characters with the property `Default_Ignorable_Code_Point`, such as U+034F, U+115F, U+3164 and
/// the variation selectors; and U+2800, a braille cell without a dot (Unicode Character Database,
/// UAX #44).
#[must_use]
pub fn is_plain(letter: char) -> bool {
    const BLANK_BRAILLE: char = '\u{2800}';
    if letter.is_ascii() {
        return !letter.is_ascii_control();
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(letter);
    let has_shape = !matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Unassigned
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
    );
    has_shape
        && letter != BLANK_BRAILLE
        && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_scripts_are_kept_as_they_are() {
        for name in
            ["jane", "Jane Doe", "o'brien", "J\u{fc}rgen", "日本 太郎", "Ἀθηνᾶ", "שרה", "مريم"]
        {
            assert_eq!(normal_form(name).as_deref(), Ok(name), "{name}");
        }
    }

    #[test]
    fn two_ways_of_writing_one_letter_are_one_name() {
        let composed = normal_form("J\u{fc}rgen").unwrap();
        assert_eq!(normal_form("Ju\u{308}rgen").unwrap(), composed);
        assert_eq!(normal_form(&composed).unwrap(), composed);
        // U+212B ANGSTROM SIGN is a second encoding of the letter U+00C5.
        assert_eq!(normal_form("\u{212b}sa"), normal_form("\u{c5}sa"));
    }

    #[test]
    fn a_name_has_no_invisible_character_and_none_that_moves_others() {
        let unseen = [
            '\0',
            '\t',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{180f}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2066}',
            '\u{2800}',
            '\u{3000}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fff9}',
            '\u{fff0}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{378}',
            '\u{10ffff}',
        ];
        for letter in unseen {
            for name in [format!("an{letter}n"), format!("{letter}ann"), format!("ann{letter}")] {
                assert!(normal_form(&name).is_err(), "U+{:04X}", u32::from(letter));
            }
        }
    }

    #[test]
    fn characters_that_a_name_may_not_have_are_removed_from_a_cleaned_text() {
        assert_eq!(
            cleaned(" Ann\u{2019}s phone \u{202e}\u{1f4f1}\u{fe0f}\n"),
            "Ann\u{2019}s phone \u{1f4f1}"
        );
        assert_eq!(cleaned("\u{200b}\u{feff} "), "");
        assert!(cleaned(&"\u{958}".repeat(NAME_BYTES_MAX)).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn a_name_has_no_blank_at_its_ends_and_is_of_bounded_length() {
        for bad in ["", " ", " lead", "trail ", "\u{3000}wide", "ann\u{a0}"] {
            assert!(normal_form(bad).is_err(), "{bad:?}");
        }
        assert!(normal_form(&"a".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(normal_form(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
        // U+0958 is three bytes and its normal form is six.
        assert!(normal_form(&"\u{958}".repeat(NAME_BYTES_MAX / 3)).is_err());
    }
}
