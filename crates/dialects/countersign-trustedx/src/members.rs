//! Members that several bodies have: texts, certificates, base64.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use countersign_http::json_members::{BadBody, Member, bad, optional};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Base64 as callers write it: the standard alphabet, padded or not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A certificate's DER, from base64 that may have line breaks in it.
pub(super) fn certificate(text: &str) -> Option<Vec<u8>> {
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = BASE64.decode(plain).ok()?;
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
