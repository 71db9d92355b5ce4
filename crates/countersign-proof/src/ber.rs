//! BER to DER, for messages from signers that stream.
//!
//! Only the *framing* is normalised: indefinite and over-long lengths become minimal ones, and an
//! OCTET STRING sent in segments becomes one. Values and the order of every SET are left unchanged,
//! because signed bytes must stay the bytes that were signed. The normalised message is what is
//! verified, stored and returned.
//!
//! Some forms are refused rather than normalised, because no signer of ours needs them and two
//! readers could read them differently: bytes after the end, an end-of-contents mark where none is
//! due, tags in several bytes, and any other string or primitive type in constructed form. Section
//! numbers are those of X.690.

/// The longest message that is read, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of elements. A CMS with its certificates needs about fourteen levels.
pub const DEPTH_MAX: usize = 32;
/// The most elements of a message, not counting end-of-contents marks.
pub const ELEMENTS_MAX: usize = 16 * 1024;

const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const CLASS_BITS: u8 = 0xc0;
const NUMBER_BITS: u8 = 0x1f;
const END_OF_CONTENTS: [u8; 2] = [0, 0];

/// The reason for which a message is not readable BER.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadBer {
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("the message is too long")]
    TooLong,
    /// The elements nest deeper than [`DEPTH_MAX`].
    #[error("the message is nested too deep")]
    TooDeep,
    /// The message has more elements than [`ELEMENTS_MAX`].
    #[error("the message has too many elements")]
    TooMany,
    /// The message ends inside an element.
    #[error("the message is cut short")]
    Truncated,
    /// Bytes follow the one element that a message is.
    #[error("bytes follow the end of the message")]
    Trailing,
    /// A tag does not belong in a CMS, or has a form that its type does not allow.
    #[error("the message has an element of an unexpected kind")]
    Tag,
    /// A length is reserved, or is indefinite on a primitive element.
    #[error("the message has an element of an unreadable length")]
    Length,
    /// An end-of-contents mark appears and no indefinite length is open.
    #[error("the message has an end mark where none is due")]
    EndOfContents,
    /// A segmented string contains an element that is not a segment.
    #[error("the message has a string in segments of another kind")]
    Segments,
}

/// Rewrites the framing of one BER element as DER. DER is returned unchanged.
///
/// # Errors
/// Refuses an element that exceeds a bound of this module, and the forms that the module's text
/// lists.
pub fn to_der(ber: &[u8]) -> Result<Vec<u8>, BadBer> {
    if ber.len() > MESSAGE_BYTES_MAX {
        return Err(BadBer::TooLong);
    }
    let mut der = Vec::with_capacity(ber.len());
    let mut rest = ber;
    Normaliser { elements_left: ELEMENTS_MAX }.element(&mut rest, 0, &mut der)?;
    if rest.is_empty() { Ok(der) } else { Err(BadBer::Trailing) }
}

/// Encodes one DER element around `content`. `tag` is one identifier octet.
///
/// # Panics
/// If the tag has several octets, or the content has 4 GiB or more.
#[must_use]
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = Vec::with_capacity(content.len() + 6);
    append(&mut der, tag, content);
    der
}

fn append(der: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let open = Open::of(der, tag, content.len());
    der.extend_from_slice(content);
    open.close(der);
}

/// An element whose content is not yet written. Its length is reserved before the content, so that
/// bytes that are already DER are not moved again at each enclosing level.
struct Open {
    content_at: usize,
    length_octets: usize,
}

impl Open {
    /// Begins an element whose content is expected to have `likely` bytes.
    fn of(der: &mut Vec<u8>, tag: u8, likely: usize) -> Self {
        assert_ne!(tag & NUMBER_BITS, NUMBER_BITS, "tags of one octet");
        der.push(tag);
        let length = Length::of(likely);
        der.extend_from_slice(length.octets());
        Self { content_at: der.len(), length_octets: length.octets().len() }
    }

    /// Ends the element. Its content is everything that was appended since it began.
    fn close(self, der: &mut Vec<u8>) {
        let length = Length::of(der.len() - self.content_at);
        let written = self.content_at - self.length_octets..self.content_at;
        if length.octets() != &der[written.clone()] {
            der.splice(written, length.octets().iter().copied());
        }
    }
}

/// A length in its minimal form (10.1).
struct Length {
    octets: [u8; 5],
    from: usize,
}

impl Length {
    fn of(length: usize) -> Self {
        let [a, b, c, d] = u32::try_from(length).expect("content below 4 GiB").to_be_bytes();
        let (octets, from) = match length {
            0..0x80 => ([0, 0, 0, 0, d], 4),
            0x80..0x100 => ([0, 0, 0, 0x81, d], 3),
            0x100..0x1_0000 => ([0, 0, 0x82, c, d], 2),
            0x1_0000..0x100_0000 => ([0, 0x83, b, c, d], 1),
            _ => ([0x84, a, b, c, d], 0),
        };
        Self { octets, from }
    }

    fn octets(&self) -> &[u8] {
        &self.octets[self.from..]
    }
}

struct Normaliser {
    elements_left: usize,
}

impl Normaliser {
    /// Reads one element from the front of `rest` and appends it to `der`.
    fn element(&mut self, rest: &mut &[u8], depth: usize, der: &mut Vec<u8>) -> Result<(), BadBer> {
        if rest.starts_with(&END_OF_CONTENTS) {
            return Err(BadBer::EndOfContents);
        }
        self.count(depth)?;
        let tag = tag(rest)?;
        let length = length(rest)?;
        if tag & CONSTRUCTED == 0 {
            append(der, tag, take(rest, length.ok_or(BadBer::Length)?)?);
            return Ok(());
        }

        let likely = length.unwrap_or_default().min(rest.len());
        if tag == OCTET_STRING | CONSTRUCTED {
            let open = Open::of(der, OCTET_STRING, likely);
            self.segments(rest, length, depth + 1, der)?;
            open.close(der);
        } else {
            let open = Open::of(der, tag, likely);
            let mut inner = Inner::open(rest, length)?;
            while inner.more()? {
                self.element(inner.rest(), depth + 1, der)?;
            }
            open.close(der);
        }
        Ok(())
    }

    /// Appends the segments of an OCTET STRING (8.7.3). A segment may consist of segments itself.
    fn segments(
        &mut self,
        rest: &mut &[u8],
        length: Option<usize>,
        depth: usize,
        der: &mut Vec<u8>,
    ) -> Result<(), BadBer> {
        let mut inner = Inner::open(rest, length)?;
        while inner.more()? {
            self.count(depth)?;
            let rest = inner.rest();
            let tag = tag(rest)?;
            let length = self::length(rest)?;
            if tag == OCTET_STRING {
                der.extend_from_slice(take(rest, length.ok_or(BadBer::Length)?)?);
            } else if tag == OCTET_STRING | CONSTRUCTED {
                self.segments(rest, length, depth + 1, der)?;
            } else {
                return Err(BadBer::Segments);
            }
        }
        Ok(())
    }

    fn count(&mut self, depth: usize) -> Result<(), BadBer> {
        if depth >= DEPTH_MAX {
            return Err(BadBer::TooDeep);
        }
        self.elements_left = self.elements_left.checked_sub(1).ok_or(BadBer::TooMany)?;
        Ok(())
    }
}

/// The rest of a constructed element: a number of bytes, or up to an end-of-contents mark (8.1.5).
enum Inner<'r, 'a> {
    Definite(&'a [u8]),
    Indefinite(&'r mut &'a [u8]),
}

impl<'r, 'a> Inner<'r, 'a> {
    fn open(rest: &'r mut &'a [u8], length: Option<usize>) -> Result<Self, BadBer> {
        Ok(match length {
            Some(length) => Self::Definite(take(rest, length)?),
            None => Self::Indefinite(rest),
        })
    }

    fn rest(&mut self) -> &mut &'a [u8] {
        match self {
            Self::Definite(rest) => rest,
            Self::Indefinite(rest) => rest,
        }
    }

    /// Returns whether another element follows. Consumes the end-of-contents mark.
    fn more(&mut self) -> Result<bool, BadBer> {
        match self {
            Self::Definite(rest) => Ok(!rest.is_empty()),
            Self::Indefinite(rest) if rest.starts_with(&END_OF_CONTENTS) => {
                take(rest, END_OF_CONTENTS.len())?;
                Ok(false)
            }
            Self::Indefinite(_) => Ok(true),
        }
    }
}

fn tag(rest: &mut &[u8]) -> Result<u8, BadBer> {
    let tag = take(rest, 1)?[0];
    let form_fits = match tag {
        // Reserved tag numbers (8.1.2, 8.1.5), and the types that are always constructed.
        _ if tag & NUMBER_BITS == NUMBER_BITS => false,
        0x00 | 0x10 | 0x11 => false,
        SEQUENCE | SET => true,
        _ if tag & CLASS_BITS == 0 && tag & CONSTRUCTED != 0 => tag == OCTET_STRING | CONSTRUCTED,
        _ => true,
    };
    if form_fits { Ok(tag) } else { Err(BadBer::Tag) }
}

/// Reads a length; `None` is the indefinite form (8.1.3).
fn length(rest: &mut &[u8]) -> Result<Option<usize>, BadBer> {
    let first = take(rest, 1)?[0];
    match first {
        0..0x80 => Ok(Some(usize::from(first))),
        0x80 => Ok(None),
        // More octets than any allowed length needs, even with leading zeros.
        0x89.. => Err(BadBer::Length),
        _ => {
            let octets = take(rest, usize::from(first & 0x7f))?;
            let length = octets.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet));
            usize::try_from(length).map(Some).map_err(|_| BadBer::Length)
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], BadBer> {
    let (taken, left) = rest.split_at_checked(length).ok_or(BadBer::Truncated)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(ber: &str, expected: Result<&str, BadBer>) {
        let outcome = to_der(&hex::decode(ber).unwrap());
        assert_eq!(outcome, expected.map(|der| hex::decode(der).unwrap()));
    }

    #[test]
    fn der_is_returned_unchanged() {
        check("30090402abcd3103020101", Ok("30090402abcd3103020101"));
    }

    #[test]
    fn indefinite_lengths_become_definite_ones_at_every_level() {
        check(
            "308031800201010000a0800500000000 00".replace(' ', "").as_str(),
            Ok("30093103020101a0020500"),
        );
    }

    #[test]
    fn over_long_lengths_become_minimal_ones() {
        check("30840000000402810101", Ok("3003020101"));
        check("30880000000000000003058100", Ok("30020500"));
    }

    #[test]
    fn segments_become_one_string_even_when_they_nest() {
        check(
            "24800402aabb2480040109040000000400 0000".replace(' ', "").as_str(),
            Ok("0403aabb09"),
        );
        check("24060401010401 02".replace(' ', "").as_str(), Ok("04020102"));
    }

    #[test]
    fn a_segment_of_another_kind_is_refused() {
        check("2480040101020102 0000".replace(' ', "").as_str(), Err(BadBer::Segments));
    }

    #[test]
    fn other_types_have_no_constructed_form() {
        for tag in ["21", "22", "23", "26", "2c", "33", "37"] {
            check(&format!("{tag}03040101"), Err(BadBer::Tag));
        }
        check("1003020101", Err(BadBer::Tag));
        check("1f8101020101", Err(BadBer::Tag));
        check("0001ff", Err(BadBer::Tag));
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        check("30030201010201", Err(BadBer::Trailing));
        check("30800201010000ff", Err(BadBer::Trailing));
        check("30800201010000020102", Err(BadBer::Trailing));
        check("300702010100000500", Err(BadBer::EndOfContents));
        check("0000", Err(BadBer::EndOfContents));
    }

    #[test]
    fn a_truncated_message_is_refused() {
        for ber in ["", "30", "3005020101", "3080020101", "0482", "2480040101"] {
            check(ber, Err(BadBer::Truncated));
        }
        check("308002010100", Err(BadBer::Tag)); // half of an end-of-contents mark
    }

    #[test]
    fn reserved_and_primitive_indefinite_lengths_are_refused() {
        check("04800000", Err(BadBer::Length));
        check("04ff00", Err(BadBer::Length));
        check("0489000000000000000001ff", Err(BadBer::Length));
    }

    #[test]
    fn every_bound_holds() {
        let deep = [0x30, 0x80].repeat(DEPTH_MAX + 1);
        assert_eq!(to_der(&deep), Err(BadBer::TooDeep));
        let deep = [0x24, 0x80].repeat(DEPTH_MAX + 1);
        assert_eq!(to_der(&deep), Err(BadBer::TooDeep));
        let many = element(SEQUENCE, &[5, 0].repeat(ELEMENTS_MAX));
        assert_eq!(to_der(&many), Err(BadBer::TooMany));
        let most = element(SEQUENCE, &[5, 0].repeat(ELEMENTS_MAX - 1));
        assert_eq!(to_der(&most), Ok(most.clone()));
        assert_eq!(to_der(&vec![0; MESSAGE_BYTES_MAX + 1]), Err(BadBer::TooLong));
    }

    #[test]
    fn lengths_are_minimal_at_every_step() {
        for (length, head) in [
            (0x7f, "047f"),
            (0x80, "048180"),
            (0xff, "0481ff"),
            (0x100, "04820100"),
            (0xffff, "0482ffff"),
            (0x1_0000, "0483010000"),
        ] {
            assert!(hex::encode(element(0x04, &vec![0; length])).starts_with(head));
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_equals_normalising_once(ber in proptest::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(der) = to_der(&ber) {
                prop_assert_eq!(to_der(&der), Ok(der.clone()));
                prop_assert!(der.len() <= ber.len() + 4 * ELEMENTS_MAX);
            }
        }

        #[test]
        fn every_form_of_framing_becomes_the_same_der(parts in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let mut streamed = vec![0x30, 0x80, 0x24, 0x80];
            for part in &parts {
                streamed.extend(element(0x04, part));
            }
            streamed.extend([0; 4]);
            let plain = element(0x30, &element(0x04, &parts.concat()));
            prop_assert_eq!(to_der(&streamed), Ok(plain));
        }
    }
}
