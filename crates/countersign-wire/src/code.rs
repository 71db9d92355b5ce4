//! Activation codes, and the MAC that proves a code without sending it.
//!
//! The header `Countersign-Code-Mac` of an enrolment and of its answer is base64url HMAC-SHA256
//! over the SHA-256 of the body's bytes, under a key that HKDF-SHA256 derives from the code. So a
//! proxy that terminates TLS can neither learn the code nor insert its own keys.
//!
//! The MAC is over the digest and not over the body, so that a server that compares a MAC with many
//! codes takes the same time for a short body and for a long one.
//!
//! A code is compared byte for byte. The device maps other spellings that a user may type
//! ([`ActivationCode::typed`]) before it computes a MAC.

use core::fmt;

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};
use crate::jwe::derive;
use crate::limits::CODE_BYTES_MAX;
use crate::secret::fill_random;

/// The header for a MAC, on the request and on the answer.
pub const HEADER: &str = "Countersign-Code-Mac";

/// Crockford's base32. It has no letter that looks like a digit or another letter.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The length of a generated code: letters of 5 bits each, 80 bits in all.
const GENERATED_LETTERS: usize = 16;

/// An activation code, exactly as it was made.
#[derive(Clone)]
pub struct ActivationCode(Zeroizing<String>);

/// The message that a MAC covers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The body of the request: made by the device.
    Request,
    /// The body of the answer: made by the server.
    Answer,
}

/// The text is not a valid activation code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an activation code: 1 to 128 bytes without control characters")]
pub struct BadCode;

impl ActivationCode {
    /// Generates a code of 80 random bits: sixteen letters, such as `7K2MQ0XRZV4C9HTD`.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; GENERATED_LETTERS]);
        fill_random(&mut *bytes);
        // 256 is a multiple of 32, so every letter is equally likely.
        let letters = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        let mut text = Zeroizing::new(String::with_capacity(GENERATED_LETTERS));
        text.extend(letters);
        Self(text)
    }

    /// Takes a code that an administrator chose or a machine read, unchanged.
    ///
    /// # Errors
    /// Refuses a text that is empty, too long, or contains control characters.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let refused =
            text.is_empty() || text.len() > CODE_BYTES_MAX || text.chars().any(char::is_control);
        if refused { Err(BadCode) } else { Ok(Self(Zeroizing::new(text.to_owned()))) }
    }

    /// Takes a code that a user typed. A generated code may be typed in small letters, with blanks
    /// and dashes, with `O` for `0`, and with `I` or `L` for `1`; the result is then the generated
    /// code. Every other text is a code that an administrator chose, and stays unchanged.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn typed(text: &str) -> Result<Self, BadCode> {
        let typed = Self::parse(text)?;
        let mut made = Zeroizing::new(String::with_capacity(text.len()));
        made.extend(text.chars().filter(|letter| !matches!(letter, ' ' | '-')).map(|letter| {
            match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                letter => letter,
            }
        }));
        Ok(if is_generated(&made) { Self(made) } else { typed })
    }

    /// The code, to show to the administrator who hands it out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code in a form for people: a generated one in four groups, such as
    /// `7K2M-Q0XR-ZV4C-9HTD`, which [`typed`](Self::typed) reads; any other unchanged.
    #[must_use]
    pub fn grouped(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len() + 3));
        for (place, letter) in self.0.chars().enumerate() {
            if place != 0 && place % 4 == 0 && is_generated(&self.0) {
                text.push('-');
            }
            text.push(letter);
        }
        text
    }

    /// The MAC of a body, as the header's value.
    #[must_use]
    pub fn mac(&self, side: Side, body: &[u8]) -> String {
        to_base64url(hmac::sign(&self.key(side), &sha256(body)))
    }

    /// Checks a header's MAC of a body, in constant time.
    #[must_use]
    pub fn check(&self, side: Side, body: &[u8], mac: &str) -> bool {
        self.check_digest(side, &sha256(body), mac)
    }

    /// As [`check`](Self::check), for a body with this SHA-256. Takes the same time for a malformed
    /// MAC.
    #[must_use]
    pub fn check_digest(&self, side: Side, digest: &[u8; 32], mac: &str) -> bool {
        // 43 letters encode 32 bytes; other lengths are not decoded.
        let mac = if mac.len() == 43 { from_base64url(mac) } else { None };
        hmac::verify(&self.key(side), digest, mac.as_deref().unwrap_or_default()).is_ok()
    }

    fn key(&self, side: Side) -> hmac::Key {
        let info: &[u8] = match side {
            Side::Request => b"countersign enrol",
            Side::Answer => b"countersign enrolled",
        };
        hmac::Key::new(hmac::HMAC_SHA256, &*derive(self.0.as_bytes(), info))
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Returns whether a text has exactly the form of a generated code.
fn is_generated(text: &str) -> bool {
    text.len() == GENERATED_LETTERS && text.bytes().all(|letter| LETTERS.contains(&letter))
}

impl fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> ActivationCode {
        ActivationCode::parse(text).unwrap()
    }

    #[test]
    fn a_generated_code_is_read_from_every_usual_spelling() {
        let made = "10A0BCDE10A0BCDE";
        for text in
            ["10a0-bcde-10a0-bcde", "IoaO bcdE LOAO bcde", " 1-0-A-0-B-C-D-E 10A0BCDE ", made]
        {
            assert_eq!(ActivationCode::typed(text).unwrap().as_str(), made, "{text}");
        }
    }

    #[test]
    fn a_chosen_code_stays_as_it_was_typed() {
        for text in ["10A0-BCDE", "10a0-bcde-10a0-bcdu", "10A0BCDE10A0BCDE0", "- -", "ÄÖ", "ol"] {
            assert_eq!(ActivationCode::typed(text).unwrap().as_str(), text);
            assert_eq!(*code(text).grouped(), text);
        }
        let turkish = "ı0a0-bcde-10a0-bcde"; // its capital is I, but it is not ASCII
        assert_eq!(ActivationCode::typed(turkish).unwrap().as_str(), turkish);
    }

    #[test]
    fn a_mac_depends_on_the_exact_bytes_of_the_code() {
        let mac = code("10A0BCDE10A0BCDE").mac(Side::Request, b"body");
        for other in
            ["10a0bcde10a0bcde", "10A0-BCDE-10A0-BCDE", "10A0BCDE10A0BCDE ", "1OA0BCDE10A0BCDE"]
        {
            assert!(!code(other).check(Side::Request, b"body", &mac), "{other}");
        }
    }

    #[test]
    fn a_mac_is_good_for_one_body_and_one_side() {
        let code = code("any of one's own, ÄÖ");
        let mac = code.mac(Side::Request, b"body");
        assert!(code.check(Side::Request, b"body", &mac));
        assert!(!code.check(Side::Answer, b"body", &mac));
        assert!(!code.check(Side::Request, b"bodY", &mac));
        for bad in ["", &mac[1..], &format!("{mac}="), &format!("A{mac}")] {
            assert!(!code.check(Side::Request, b"body", bad), "{bad}");
        }
    }

    #[test]
    fn a_generated_code_is_sixteen_clear_letters_and_is_shown_in_groups() {
        let code = ActivationCode::generate();
        assert_eq!(code.as_str().len(), 16);
        assert!(code.as_str().bytes().all(|letter| LETTERS.contains(&letter)));
        let shown = code.grouped();
        let groups: Vec<_> = shown.split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [4; 4]);
        assert_eq!(ActivationCode::typed(&shown).unwrap().as_str(), code.as_str());
        assert_ne!(code.as_str(), ActivationCode::generate().as_str());
    }

    #[test]
    fn empty_and_overlong_codes_are_refused_and_debug_hides_a_code() {
        for bad in ["", "a\nb", "\u{85}", &"x".repeat(129)] {
            assert_eq!(ActivationCode::parse(bad).err(), Some(BadCode), "{bad:?}");
            assert_eq!(ActivationCode::typed(bad).err(), Some(BadCode), "{bad:?}");
        }
        assert_eq!(code(&"x".repeat(128)).as_str().len(), 128);
        assert_eq!(format!("{:?}", code("SECRET")), "ActivationCode(…)");
    }

    #[test]
    fn codes_and_macs_are_as_the_specification_says() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            request_body: String,
            answer_body: String,
            request_sha256: String,
            answer_sha256: String,
            codes: Vec<Case>,
            typed: Vec<Typed>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            code: String,
            grouped: String,
            request_key: String,
            request_mac: String,
            answer_key: String,
            answer_mac: String,
        }
        #[derive(serde::Deserialize)]
        struct Typed {
            text: String,
            code: String,
        }
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/codes.json"));
        assert_eq!((vectors.codes.len(), vectors.typed.len()), (6, 12));
        let (request, answer) = (vectors.request_body.as_bytes(), vectors.answer_body.as_bytes());
        assert_eq!(hex::encode(sha256(request)), vectors.request_sha256);
        assert_eq!(hex::encode(sha256(answer)), vectors.answer_sha256);
        for case in vectors.codes {
            let code = code(&case.code);
            assert_eq!(*code.grouped(), case.grouped);
            let key = |info: &[u8]| hex::encode(*derive(case.code.as_bytes(), info));
            assert_eq!(key(b"countersign enrol"), case.request_key, "{}", case.code);
            assert_eq!(key(b"countersign enrolled"), case.answer_key, "{}", case.code);
            assert_eq!(code.mac(Side::Request, request), case.request_mac, "{}", case.code);
            assert!(code.check(Side::Answer, answer, &case.answer_mac), "{}", case.code);
        }
        for Typed { text, code } in vectors.typed {
            assert_eq!(ActivationCode::typed(&text).unwrap().as_str(), code, "{text}");
        }
    }
}
