//! Bodies that devices send to the links of a process, parsed into types once.

use countersign_core::id::IdentityId;
use countersign_core::limits::{REASON_BYTES_MAX, SIGNATURE_BYTES_MAX};
use countersign_proof::raw::Algorithm;
use serde::Deserialize;

use crate::members::decode_base64;
use countersign_http::json_members::{BadBody, Member, bad, object, optional, required};

#[derive(Deserialize)]
pub(crate) struct FinishFields {
    value: Member,
    signature_algorithm: Member,
    sign_identity: Member,
    digest_value: Member,
}

#[derive(Deserialize)]
pub(crate) struct LinkFields {
    id: Member,
}

#[derive(Deserialize)]
pub(crate) struct Words {
    value: Member,
}

/// A signature from a device.
#[derive(Debug)]
pub struct Finish {
    /// 1 to [`SIGNATURE_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
    /// The algorithm that the body names.
    pub algorithm: Option<Algorithm>,
    /// The identity that the body names.
    pub identity: Option<IdentityId>,
    /// The digest that was signed, if the body contains it.
    pub digest: Option<Vec<u8>>,
}

impl Finish {
    /// Reads the body of `…/finish`.
    ///
    /// # Errors
    /// [`BadBody`] names the first member that cannot be read.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let FinishFields { value, signature_algorithm, sign_identity, digest_value } =
            object(body)?;
        let value: String = required(value, "value", "base64")?;
        let value = match decode_base64(&value) {
            Some(value) if (1..=SIGNATURE_BYTES_MAX).contains(&value.len()) => value,
            _ => return bad("value", &format!("base64 of 1 to {SIGNATURE_BYTES_MAX} bytes")),
        };
        let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        let named: Option<String> = optional(signature_algorithm, "signature_algorithm", &all)?;
        let algorithm = named.map(|name| name.parse::<Algorithm>()).transpose();
        let Ok(algorithm) = algorithm else { return bad("signature_algorithm", &all) };
        let digest: Option<String> = optional(digest_value, "digest_value", "base64")?;
        let digest = match digest {
            Some(text) => match decode_base64(&text) {
                Some(digest) => Some(digest),
                None => return bad("digest_value", "base64"),
            },
            None => None,
        };
        Ok(Self { value, algorithm, identity: identity(sign_identity)?, digest })
    }
}

/// The identity that signed, if it is named.
fn identity(raw: Member) -> Result<Option<IdentityId>, BadBody> {
    const FIELD: &str = "sign_identity";
    let what = "an object with an id";
    let Some(raw) = raw else { return Ok(None) };
    let fields: LinkFields = match serde_json::from_str(raw.get()) {
        Ok(fields) if raw.get().starts_with('{') => fields,
        _ => return bad(FIELD, what),
    };
    let id: String = required(fields.id, "sign_identity.id", "an identity's id")?;
    match id.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => bad("sign_identity.id", "an identity's id"),
    }
}

/// The text with an end that is not a signature: `{"value"}`, a plain text, or nothing. A longer
/// text is cut off rather than refused, because the end matters more.
///
/// # Errors
/// [`BadBody`] for an object that cannot be read.
pub fn words(body: &[u8]) -> Result<String, BadBody> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let said = if text.starts_with('{') {
        let Words { value } = object(body)?;
        optional(value, "value", "a string")?.unwrap_or_default()
    } else {
        text.to_owned()
    };
    let mut end = said.len().min(REASON_BYTES_MAX);
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    Ok(said[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_as_json_as_text_or_not_at_all() {
        for (body, said) in [
            ("", ""),
            (" no thanks\n", "no thanks"),
            (r#"{"value":"no thanks"}"#, "no thanks"),
            ("{}", ""),
            (r#"{"value":null}"#, ""),
            (r#""quoted""#, r#""quoted""#),
        ] {
            assert_eq!(words(body.as_bytes()), Ok(said.to_owned()), "{body}");
        }
        assert!(words(b"{").is_err() && words(br#"{"value":1}"#).is_err());
        let long = "€".repeat(REASON_BYTES_MAX);
        let kept = words(long.as_bytes()).unwrap();
        assert!(kept.len() <= REASON_BYTES_MAX && kept.len() > REASON_BYTES_MAX - 3);
    }

    #[test]
    fn a_finish_is_base64_by_a_known_algorithm() {
        let parse = |body: &str| Finish::parse(body.as_bytes());
        let whole = r#"{"value":"AQID","signature_algorithm":"ecdsa-sha256",
            "sign_identity":{"id":"000102030405060708090a0b0c0d0e0f"},"digest_value":"AAE="}"#;
        let read = parse(whole).unwrap();
        assert_eq!((read.value, read.digest), (vec![1, 2, 3], Some(vec![0, 1])));
        let broken = parse(r#"{"value":"AQ\r\nID\n","digest_value":"A\nAE="}"#).unwrap();
        assert_eq!((broken.value, broken.digest), (vec![1, 2, 3], Some(vec![0, 1])));
        for (body, member) in [
            ("{}", "value"),
            (r#"{"value":""}"#, "value"),
            (r#"{"value":"?"}"#, "value"),
            (r#"{"value":"AQID","signature_algorithm":"ecdsa-md5"}"#, "signature_algorithm"),
            (r#"{"value":"AQID","sign_identity":"x"}"#, "sign_identity"),
            (r#"{"value":"AQID","sign_identity":{"id":"x"}}"#, "sign_identity.id"),
            (r#"{"value":"AQID","digest_value":"?"}"#, "digest_value"),
        ] {
            let BadBody(sentence) = parse(body).unwrap_err();
            assert!(sentence.starts_with(member), "{sentence}");
        }
    }
}
