//! Members that several bodies have: texts, certificates, base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use countersign_http::json_members::{BadBody, Member, bad, optional};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Base64 as callers write it: the standard alphabet, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 that may have line breaks and blanks in it, as MIME's has (RFC 2045, section
/// 6.8).
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(unbroken(text).as_bytes()).ok()
}

/// Base64 without its line breaks and blanks.
pub(super) fn unbroken(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        text.chars().filter(|c| !c.is_ascii_whitespace()).collect()
    } else {
        text.into()
    }
}

/// A certificate's DER, from base64.
pub(super) fn certificate(text: &str) -> Option<Vec<u8>> {
    let der = decode_base64(text)?;
    Certificate::from_der(&der).is_ok().then_some(der)
}

/// A text of at most so many bytes.
pub(super) fn text_of(raw: Member, field: &str, most: usize) -> Result<Option<String>, BadBody> {
    let what = format!("a string of at most {most} bytes");
    match optional::<String>(raw, field, &what)? {
        Some(text) if text.len() > most => bad(field, &what),
        text => Ok(text),
    }
}
