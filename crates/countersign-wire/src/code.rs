//! Activation codes, and what they prove without travelling.
//!
//! The header `Countersign-Code-Mac` of an enrolment and of its answer is base64url HMAC-SHA256
//! over the SHA-256 of the body's bytes, under a key that HKDF-SHA256 makes of the code. So whoever
//! ends TLS in between can neither learn the code nor put in keys of its own.
//!
//! The MAC is over the digest and not over the body, so that a server which tries a MAC with many
//! codes takes the same time for a short body and for a long one.
//!
//! A code is its bytes, exactly as it was made. What a person may type otherwise is read by the
//! device ([`ActivationCode::typed`]), before anything is computed.

use core::fmt;

use aws_lc_rs::{digest, hmac};
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

/// An activation code, exactly as it was made.
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
#[error("not an activation code: 1 to 128 bytes without control characters")]
pub struct BadCode;

impl ActivationCode {
    /// Makes one of 80 random bits: sixteen letters, such as `7K2MQ0XRZV4C9HTD`.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; GENERATED_LETTERS]);
        fill_random(&mut *bytes);
        // 256 is a multiple of 32: each letter is as likely as any other.
        let letters = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        let mut text = Zeroizing::new(String::with_capacity(GENERATED_LETTERS));
        text.extend(letters);
        Self(text)
    }

    /// Takes what somebody made, or what a machine read, and changes none of it.
    ///
    /// # Errors
    /// Refuses what is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let refused =
            text.is_empty() || text.len() > CODE_BYTES_MAX || text.chars().any(char::is_control);
        if refused { Err(BadCode) } else { Ok(Self(Zeroizing::new(text.to_owned()))) }
    }

    /// Takes what a person typed. A generated code may be read out, and typed in small letters,
    /// with blanks and dashes, `O` for `0`, and `I` or `L` for `1`: it is then what it was made as.
    /// Anything else is a code that somebody chose, and stays as it was typed.
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

    /// The code as it was made: to be shown to the one who hands it out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code to be shown to people: a generated one in four groups, such as
    /// `7K2M-Q0XR-ZV4C-9HTD`, which [`typed`](Self::typed) reads; any other as it is.
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

    /// The MAC for a body, as the header carries it.
    #[must_use]
    pub fn mac(&self, side: Side, body: &[u8]) -> String {
        to_base64url(hmac::sign(&self.key(side), &sha256(body)))
    }

    /// Checks a header's MAC for a body, in constant time.
    #[must_use]
    pub fn check(&self, side: Side, body: &[u8], mac: &str) -> bool {
        self.check_digest(side, &sha256(body), mac)
    }

    /// The same for a body with this SHA-256. Takes as long whether the MAC is well-formed or not.
    #[must_use]
    pub fn check_digest(&self, side: Side, digest: &[u8; 32], mac: &str) -> bool {
        // 43 letters are 32 bytes; nothing longer is decoded.
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

/// Whether a text has the form of a generated code, as it is made.
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
    fn a_generated_code_may_be_typed_as_a_person_would() {
        let made = "10A0BCDE10A0BCDE";
        for text in
            ["10a0-bcde-10a0-bcde", "IoaO bcdE LOAO bcde", " 1-0-A-0-B-C-D-E 10A0BCDE ", made]
        {
            assert_eq!(ActivationCode::typed(text).unwrap().as_str(), made, "{text}");
        }
    }

    #[test]
    fn what_is_no_generated_code_stays_as_it_was_typed() {
        for text in ["10A0-BCDE", "10a0-bcde-10a0-bcdu", "10A0BCDE10A0BCDE0", "- -", "ÄÖ", "ol"] {
            assert_eq!(ActivationCode::typed(text).unwrap().as_str(), text);
            assert_eq!(*code(text).grouped(), text);
        }
        let turkish = "ı0a0-bcde-10a0-bcde"; // a capital of its own is an I, but no ASCII one
        assert_eq!(ActivationCode::typed(turkish).unwrap().as_str(), turkish);
    }

    #[test]
    fn a_mac_is_made_with_the_very_bytes_of_the_code() {
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
    fn no_code_is_empty_endless_or_seen_in_debug() {
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
