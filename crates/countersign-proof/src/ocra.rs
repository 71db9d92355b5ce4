//! OCRA (RFC 6287): codes from a shared key over a question, short enough to type or compare.
//!
//! [`Suite`] is the whole algorithm; [`code`] and [`pin_proof`] are the two uses of the device
//! protocol. A code reveals nothing about its key. But the server holds the same key and could make
//! the code itself, so a code convinces the server and no third party.

use core::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};

use crate::proof::Proof;

/// The length of an encoded question, in bytes (RFC 6287 §5.1).
const QUESTION_BYTES: usize = 128;

/// The suite of [`pin_proof`].
const PIN_SUITE: &str = "OCRA-1:HOTP-SHA256-0:QH64-PSHA256";

/// Proves the PIN at a take: the whole HMAC of `OCRA-1:HOTP-SHA256-0:QH64-PSHA256`, in lower-case
/// hex. The question is the hex of SHA-256(id ‖ 0x00 ‖ "take"); the PIN input is the digest that
/// the server holds.
///
/// The question's 64 digits are 32 bytes, and RFC 6287 §5.1 pads them at the *end* with zero bytes
/// to 128. Zero digits of output mean that the HMAC is not truncated (§5.2).
#[must_use]
pub fn pin_proof(code_key: &[u8; 32], pin_digest: &[u8; 32], transaction: [u8; 16]) -> String {
    let question = question(transaction, &[b"take"]);
    let inputs = Inputs { question: &question, pin: Some(pin_digest), ..Inputs::default() };
    let suite: Suite = PIN_SUITE.parse().expect("PIN_SUITE follows RFC 6287");
    suite.code(code_key, &inputs).expect("the inputs match the suite")
}

/// Returns whether `given` is the result of [`pin_proof`], in constant time.
#[must_use]
pub fn check_pin_proof(
    code_key: &[u8; 32],
    pin_digest: &[u8; 32],
    transaction: [u8; 16],
    given: &str,
) -> bool {
    let right = pin_proof(code_key, pin_digest, transaction);
    verify_slices_are_equal(right.as_bytes(), given.as_bytes()).is_ok()
}

/// Signs content with a short code: `OCRA-1:HOTP-SHA256-8:QH64`, or with the policy's number of
/// `digits`. The question is the hex of SHA-256(id ‖ 0x00 ‖ media type ‖ 0x00 ‖ content).
///
/// # Errors
/// Refuses fewer than 6 digits and more than 10.
pub fn code(
    code_key: &[u8; 32],
    digits: u8,
    transaction: [u8; 16],
    media_type: &str,
    content: &[u8],
) -> Result<String, BadOcra> {
    if !(6..=10).contains(&digits) {
        return Err(BadOcra::Suite);
    }
    let question = question(transaction, &[media_type.as_bytes(), content]);
    let suite: Suite = format!("OCRA-1:HOTP-SHA256-{digits}:QH64").parse()?;
    suite.code(code_key, &Inputs { question: &question, ..Inputs::default() })
}

/// Returns whether `given` is the result of [`code`] for the same arguments, in constant time.
///
/// # Errors
/// As [`code`].
pub fn check_code(
    code_key: &[u8; 32],
    digits: u8,
    transaction: [u8; 16],
    media_type: &str,
    content: &[u8],
    given: &str,
) -> Result<bool, BadOcra> {
    let right = code(code_key, digits, transaction, media_type, content)?;
    Ok(verify_slices_are_equal(right.as_bytes(), given.as_bytes()).is_ok())
}

/// Verifies a code over content and returns the proof that a holder of the code key signed it.
/// `None` if the code is wrong.
///
/// # Errors
/// As [`code`].
pub fn verify(
    code_key: &[u8; 32],
    digits: u8,
    transaction: [u8; 16],
    media_type: &str,
    content: &[u8],
    given: &[u8],
) -> Result<Option<Proof>, BadOcra> {
    let given = str::from_utf8(given).unwrap_or_default();
    let right = check_code(code_key, digits, transaction, media_type, content, given)?;
    let digest = digest::digest(&digest::SHA256, content);
    let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok(right.then(|| Proof::new(transaction, digest, None, given.as_bytes().to_vec())))
}

fn question(transaction: [u8; 16], parts: &[&[u8]]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&transaction);
    for part in parts {
        hash.update(&[0]);
        hash.update(part);
    }
    hex::encode(hash.finish())
}

/// The reason for which a code cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadOcra {
    /// The text is not a suite of RFC 6287 §6.
    #[error("this is not an OCRA suite")]
    Suite,
    /// The suite names an input that is absent, or does not name one that is present.
    #[error("the inputs are not the ones that the suite names")]
    Inputs,
    /// The question does not have the suite's form, or is too long.
    #[error("the question is not of the form that the suite names")]
    Question,
}

/// The inputs of a code besides the suite: exactly those that the suite names.
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// C, the counter.
    pub counter: Option<u64>,
    /// Q, in the suite's form: decimal, hex or text. The questions of two sides are concatenated.
    pub question: &'a str,
    /// P: the PIN's digest by the suite's algorithm.
    pub pin: Option<&'a [u8]>,
    /// S: at most as long as the suite allows.
    pub session: Option<&'a [u8]>,
    /// T: the time since the Unix epoch, in the suite's time steps.
    pub timestamp: Option<u64>,
}

/// An `OCRASuite` (RFC 6287 §6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suite {
    text: String,
    hash: OcraHash,
    /// 0 for the whole HMAC, otherwise 4 to 10.
    digits: u8,
    counter: bool,
    question: Question,
    pin: Option<OcraHash>,
    session_bytes: Option<usize>,
    timestamp: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum OcraHash {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Question {
    Alphanumeric,
    Numeric,
    Hexadecimal,
}

impl Suite {
    /// Computes the code over `inputs` (RFC 6287 §5).
    ///
    /// # Errors
    /// Refuses inputs that differ from the ones that the suite names.
    pub fn code(&self, key: &[u8], inputs: &Inputs<'_>) -> Result<String, BadOcra> {
        let algorithm = match self.hash {
            OcraHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            OcraHash::Sha256 => hmac::HMAC_SHA256,
            OcraHash::Sha512 => hmac::HMAC_SHA512,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), &self.data(inputs)?);
        Ok(truncate(tag.as_ref(), self.digits))
    }

    /// `DataInput`: suite ‖ 0x00 ‖ C ‖ Q ‖ P ‖ S ‖ T, without the inputs that the suite does not
    /// name.
    fn data(&self, inputs: &Inputs<'_>) -> Result<Vec<u8>, BadOcra> {
        let named = self.counter == inputs.counter.is_some()
            && self.pin.map(OcraHash::length) == inputs.pin.map(<[u8]>::len)
            && self.session_bytes.is_some() == inputs.session.is_some()
            && self.timestamp == inputs.timestamp.is_some();
        if !named {
            return Err(BadOcra::Inputs);
        }
        let mut data = self.text.clone().into_bytes();
        data.push(0);
        data.extend(inputs.counter.map(u64::to_be_bytes).into_iter().flatten());
        let question = self.question.encode(inputs.question).ok_or(BadOcra::Question)?;
        let filler = QUESTION_BYTES.checked_sub(question.len()).ok_or(BadOcra::Question)?;
        data.extend(question);
        data.resize(data.len() + filler, 0);
        data.extend(inputs.pin.into_iter().flatten());
        if let (Some(length), Some(session)) = (self.session_bytes, inputs.session) {
            // Padded at the front, unlike the question (RFC 6287 appendix A).
            let filler = length.checked_sub(session.len()).ok_or(BadOcra::Inputs)?;
            data.resize(data.len() + filler, 0);
            data.extend_from_slice(session);
        }
        data.extend(inputs.timestamp.map(u64::to_be_bytes).into_iter().flatten());
        Ok(data)
    }
}

/// Truncates an HMAC to the suite's digits (RFC 4226 §5.3). For 0 digits, returns all of it in hex.
fn truncate(tag: &[u8], digits: u8) -> String {
    if digits == 0 {
        return hex::encode(tag);
    }
    let offset = usize::from(tag[tag.len() - 1] & 0x0f);
    let chosen = tag[offset..offset + 4].try_into().expect("four bytes");
    let number = u64::from(u32::from_be_bytes(chosen) & 0x7fff_ffff);
    format!("{:0width$}", number % 10_u64.pow(digits.into()), width = usize::from(digits))
}

impl Question {
    fn encode(self, question: &str) -> Option<Vec<u8>> {
        match self {
            Self::Alphanumeric => {
                let fits = !question.is_empty() && question.bytes().all(|b| b.is_ascii_graphic());
                fits.then(|| question.as_bytes().to_vec())
            }
            Self::Numeric => from_hex(&decimal_to_hex(question)?),
            Self::Hexadecimal => from_hex(question),
        }
    }
}

/// Decodes hex. Digits are padded at the end, so an odd last digit is the upper half of its byte.
fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len() > 2 * QUESTION_BYTES {
        return None;
    }
    let filler = if digits.len().is_multiple_of(2) { "" } else { "0" };
    hex::decode(format!("{digits}{filler}")).ok()
}

/// A number's hex digits without leading zeros, as a `BigInteger` prints them in RFC 6287 appendix
/// A.
fn decimal_to_hex(decimal: &str) -> Option<String> {
    if decimal.is_empty() || decimal.len() > 2 * QUESTION_BYTES {
        return None;
    }
    let mut nibbles = vec![0_u32]; // least significant first
    for digit in decimal.chars() {
        let mut carry = digit.to_digit(10)?;
        for nibble in &mut nibbles {
            carry += *nibble * 10;
            *nibble = carry % 16;
            carry /= 16;
        }
        if carry > 0 {
            nibbles.push(carry);
        }
    }
    Some(nibbles.iter().rev().filter_map(|nibble| char::from_digit(*nibble, 16)).collect())
}

impl OcraHash {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            "SHA512" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The digest's length in bytes.
    fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Suite {
    type Err = BadOcra;

    fn from_str(text: &str) -> Result<Self, BadOcra> {
        parse(text).ok_or(BadOcra::Suite)
    }
}

fn parse(text: &str) -> Option<Suite> {
    let (function, inputs) = text.strip_prefix("OCRA-1:HOTP-")?.split_once(':')?;
    let (hash, digits) = function.split_once('-')?;
    let digits = match digits {
        "0" | "4" | "5" | "6" | "7" | "8" | "9" | "10" => digits.parse().ok()?,
        _ => return None,
    };
    let mut inputs = inputs.split('-').peekable();
    let counter = inputs.next_if_eq(&"C").is_some();
    let question = question_form(inputs.next()?)?;
    let pin = match inputs.next_if(|input| input.starts_with('P')) {
        Some(input) => Some(OcraHash::parse(&input[1..])?),
        None => None,
    };
    let session_bytes = match inputs.next_if(|input| input.starts_with('S')) {
        Some(input) if input.len() == 4 => Some(number(&input[1..], 1..=512)?),
        Some(_) => return None,
        None => None,
    };
    let timestamp = match inputs.next() {
        Some(input) => step_is_right(input.strip_prefix('T')?).then_some(true)?,
        None => false,
    };
    if inputs.next().is_some() {
        return None;
    }
    let hash = OcraHash::parse(hash)?;
    let text = text.to_owned();
    Some(Suite { text, hash, digits, counter, question, pin, session_bytes, timestamp })
}

/// `QFxx`: the form, and the maximum length of one side's question, 4 to 64 characters.
fn question_form(input: &str) -> Option<Question> {
    let (form, length) = input.split_at_checked(2)?;
    if length.len() != 2 {
        return None;
    }
    number(length, 4..=64)?;
    match form {
        "QA" => Some(Question::Alphanumeric),
        "QN" => Some(Question::Numeric),
        "QH" => Some(Question::Hexadecimal),
        _ => None,
    }
}

/// `G`: 1 to 59 seconds or minutes, or 0 to 48 hours.
fn step_is_right(step: &str) -> bool {
    let Some((count, unit)) = step.split_at_checked(step.len().saturating_sub(1)) else {
        return false;
    };
    match unit {
        "S" | "M" => number(count, 1..=59).is_some(),
        "H" => number(count, 0..=48).is_some(),
        _ => false,
    }
}

fn number(digits: &str, allowed: core::ops::RangeInclusive<usize>) -> Option<usize> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && allowed.contains(number))
}
