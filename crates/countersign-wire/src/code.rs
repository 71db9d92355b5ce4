//! Activation codes, and what they prove without travelling.
//!
//! The header `Countersign-Code-Mac` of an enrolment and of its answer is base64url HMAC-SHA256 over the
//! body's bytes, under a key that HKDF-SHA256 makes of the code. So whoever ends TLS in between can
//! neither learn the code nor put in keys of its own.

use core::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::encoding::{from_base64url, to_base64url};
use crate::jwe::derive;
use crate::limits::CODE_BYTES_MAX;
use crate::secret::fill_random;

/// The header that carries a MAC, on the request and on the answer.
pub const HEADER: &str = "Countersign-Code-Mac";

/// Crockford's base32: no letter in it is taken for a digit or for another letter.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a generated code, 5 bits each: 80 bits.
const GENERATED_LETTERS: usize = 16;

/// An activation code, as it was made or typed.
///
/// Two codes are the same if their [`plain`](Self::plain) forms are; the MACs are made of that form.
#[derive(Clone)]
pub struct ActivationCode(Zeroizing<String>);

/// What a MAC is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The body of the request: made by the device.
    Request,
    /// The body of the answer: made by the server.
    Answer,
}

/// The text cannot be an activation code.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an activation code: 1 to 128 bytes without control characters, and not only dashes")]
pub struct BadCode;

impl ActivationCode {
    /// Makes one of 80 random bits: four groups of four letters, such as `7K2M-Q0XR-ZV4C-9HTD`.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; GENERATED_LETTERS]);
        fill_random(&mut *bytes);
        let mut text = Zeroizing::new(String::new());
        for (place, byte) in bytes.iter().enumerate() {
            if place != 0 && place % 4 == 0 {
                text.push('-');
            }
            // 256 is a multiple of 32: each letter is as likely as any other.
            text.push(char::from(LETTERS[usize::from(byte % 32)]));
        }
        Self(text)
    }

    /// Takes what somebody made or typed.
    ///
    /// # Errors
    /// Refuses what is too long, holds control characters, or has nothing but blanks and dashes.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let code = Self(Zeroizing::new(text.to_owned()));
        let refused = text.len() > CODE_BYTES_MAX || text.chars().any(char::is_control);
        if refused || code.plain().is_empty() { Err(BadCode) } else { Ok(code) }
    }

    /// The code as it was made or typed: to be shown to the one who hands it out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code as it is compared and used: without blanks and dashes, ASCII letters in capitals, `O`
    /// as `0`, `I` and `L` as `1`. So it may be read out, and typed in any way that a person would.
    #[must_use]
    pub fn plain(&self) -> Zeroizing<String> {
        let mut plain = Zeroizing::new(String::with_capacity(self.0.len()));
        for letter in self.0.chars() {
            match letter.to_ascii_uppercase() {
                ' ' | '-' => {}
                'O' => plain.push('0'),
                'I' | 'L' => plain.push('1'),
                letter => plain.push(letter),
            }
        }
        plain
    }

    /// The MAC over a body's bytes, as the header carries it.
    #[must_use]
    pub fn mac(&self, side: Side, body: &[u8]) -> String {
        to_base64url(hmac::sign(&self.key(side), body))
    }

    /// Checks a header's MAC, in constant time.
    #[must_use]
    pub fn check(&self, side: Side, body: &[u8], mac: &str) -> bool {
        // 43 letters are 32 bytes; nothing longer is decoded.
        let mac = if mac.len() == 43 { from_base64url(mac) } else { None };
        mac.is_some_and(|mac| hmac::verify(&self.key(side), body, &mac).is_ok())
    }

    fn key(&self, side: Side) -> hmac::Key {
        let info: &[u8] = match side {
            Side::Request => b"countersign enrol",
            Side::Answer => b"countersign enrolled",
        };
        hmac::Key::new(hmac::HMAC_SHA256, &*derive(self.plain().as_bytes(), info))
    }
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
    fn a_code_may_be_typed_as_a_person_would() {
        let mac = code("10A0-BCDE").mac(Side::Request, b"body");
        for typed in ["10a0bcde", "IoaO bcdE", " 1-0-A-0-B-C-D-E ", "lOa0-bcde"] {
            assert!(code(typed).check(Side::Request, b"body", &mac), "{typed}");
        }
        assert!(!code("10A0-BCDF").check(Side::Request, b"body", &mac));
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
    fn a_generated_code_has_four_groups_of_clear_letters() {
        let code = ActivationCode::generate();
        let groups: Vec<_> = code.as_str().split('-').collect();
        assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [4; 4]);
        assert!(groups.concat().bytes().all(|letter| LETTERS.contains(&letter)));
        assert_eq!(*code.plain(), groups.concat(), "a generated code is its own plain form");
        assert_ne!(code.as_str(), ActivationCode::generate().as_str());
    }

    #[test]
    fn no_code_is_empty_endless_or_seen_in_debug() {
        for bad in ["", " ", "-- -", "a\nb", &"x".repeat(129)] {
            assert_eq!(ActivationCode::parse(bad).err(), Some(BadCode), "{bad:?}");
        }
        assert_eq!(format!("{:?}", code("SECRET")), "ActivationCode(…)");
    }

    #[test]
    fn codes_and_macs_are_as_the_specification_says() {
        #[derive(serde::Deserialize)]
        struct Vectors {
            code: String,
            typed: Vec<String>,
            plain: String,
            request_key: String,
            answer_key: String,
            request_body: String,
            request_mac: String,
            answer_body: String,
            answer_mac: String,
            own: Vec<Own>,
        }
        #[derive(serde::Deserialize)]
        struct Own {
            code: String,
            plain: String,
            request_mac: String,
        }
        let vectors: Vectors =
            crate::vectors::read(include_str!("../../../docs/vectors/codes.json"));
        let (request, answer) = (vectors.request_body.as_bytes(), vectors.answer_body.as_bytes());
        for typed in vectors.typed.iter().chain([&vectors.code]) {
            let code = code(typed);
            assert_eq!(*code.plain(), vectors.plain, "{typed}");
            assert_eq!(code.mac(Side::Request, request), vectors.request_mac, "{typed}");
            assert!(code.check(Side::Answer, answer, &vectors.answer_mac), "{typed}");
        }
        for (info, key) in [
            ("countersign enrol", vectors.request_key),
            ("countersign enrolled", vectors.answer_key),
        ] {
            assert_eq!(hex::encode(*derive(vectors.plain.as_bytes(), info.as_bytes())), key);
        }
        for own in vectors.own {
            assert_eq!(*code(&own.code).plain(), own.plain);
            assert_eq!(code(&own.code).mac(Side::Request, request), own.request_mac);
        }
    }
}
