//! Requests to create or list activation codes.

use countersign_core::time::Timestamp;
use countersign_wire::code::ActivationCode;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use countersign_http::json_members::{BadBody, bad, object, optional};

/// A request to create a code.
#[derive(Debug)]
pub struct NewCode {
    /// The code; `None` to generate one.
    pub code: Option<ActivationCode>,
    /// The expiry; `None` for the configured lifetime.
    pub not_after: Option<Timestamp>,
    /// Whether the code is left out of lists.
    pub secret: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActivationFields {
    activation_code: Option<Box<RawValue>>,
    activation_not_after: Option<Box<RawValue>>,
    secret: Option<Box<RawValue>>,
}

impl NewCode {
    /// Parses the body of the request.
    ///
    /// # Errors
    /// Names the first invalid member.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        let fields: ActivationFields = object(body)?;
        let code: Option<String> = optional(fields.activation_code, "activationCode", "a string")?;
        let code = match code.filter(|code| !code.is_empty()) {
            None => None,
            Some(code) => match ActivationCode::parse(&code) {
                Ok(code) => Some(code),
                Err(_) => bad("activationCode", "1 to 128 bytes without control characters")?,
            },
        };
        let secret: Option<bool> = optional(fields.secret, "secret", "true or false")?;
        let not_after = moment(fields.activation_not_after)?;
        Ok(Self { code, not_after, secret: secret.unwrap_or(false) })
    }
}

/// Epoch seconds, in a string or as a number. `None` if the member is absent or empty.
fn moment(raw: Option<Box<RawValue>>) -> Result<Option<Timestamp>, BadBody> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ActivationSeconds {
        Number(u64),
        Text(String),
    }

    const FIELD: &str = "activationNotAfter";
    const WHAT: &str = "epoch seconds, in a string";
    let seconds = match optional(raw, FIELD, WHAT)? {
        None => return Ok(None),
        Some(ActivationSeconds::Text(text)) if text.is_empty() => return Ok(None),
        Some(ActivationSeconds::Number(number)) => Some(number),
        Some(ActivationSeconds::Text(text)) => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        }
    };
    match seconds.and_then(|seconds: u64| seconds.checked_mul(1_000)) {
        Some(milliseconds) => Ok(Some(Timestamp(milliseconds))),
        None => bad(FIELD, WHAT),
    }
}

/// The parameters of the query. QR codes of both types contain the same here: the data for
/// enrolment.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct ActivationRequest {
    /// Whether `responseQrType` asks for a QR code.
    pub qr_type: bool,
    /// Whether `qrCode` asks for a QR code.
    pub qr_code: bool,
}

impl ActivationRequest {
    /// Parses the query of the request.
    ///
    /// # Errors
    /// Names the first invalid parameter.
    pub fn of(uri: &Uri) -> Result<Self, BadBody> {
        let mut asked = Self::default();
        let query = uri.query().unwrap_or("").as_bytes();
        for (name, value) in url::form_urlencoded::parse(query) {
            match (&*name, &*value) {
                ("responseQrType", "mpower" | "normal") => asked.qr_type = true,
                ("responseQrType", "") | ("qrCode", "false" | "") => {}
                ("responseQrType", _) => bad("responseQrType", "mpower or normal")?,
                ("qrCode", "true") => asked.qr_code = true,
                ("qrCode", _) => bad("qrCode", "true or false")?,
                _ => {}
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<NewCode, BadBody> {
        NewCode::parse(body.as_bytes())
    }

    #[test]
    fn a_moment_is_a_string_or_a_number_and_may_be_left_out() {
        let not_after = |body: &str| parse(body).unwrap().not_after;
        for none in ["{}", r#"{"activationNotAfter":null}"#, r#"{"activationNotAfter":""}"#] {
            assert_eq!(not_after(none), None, "{none}");
        }
        for some in [r#"{"activationNotAfter":"17"}"#, r#"{"activationNotAfter":17}"#] {
            assert_eq!(not_after(some), Some(Timestamp(17_000)), "{some}");
        }
        for wrong in ["-1", "1.5", r#""1e3""#, r#""soon""#, "[]", "99999999999999999999", "true"] {
            let BadBody(sentence) =
                parse(&format!(r#"{{"activationNotAfter":{wrong}}}"#)).unwrap_err();
            assert!(sentence.starts_with("activationNotAfter must be "), "{sentence}");
        }
    }

    #[test]
    fn every_field_of_a_wrong_type_is_refused_by_name() {
        for (field, wrong) in [
            ("activationCode", "1"),
            ("activationCode", r#""a\nb""#),
            ("secret", r#""yes""#),
            ("secret", "0"),
        ] {
            let BadBody(sentence) = parse(&format!(r#"{{"{field}":{wrong}}}"#)).unwrap_err();
            assert!(sentence.starts_with(&format!("{field} must be ")), "{sentence}");
        }
        assert!(parse(&format!(r#"{{"activationCode":"{}"}}"#, "x".repeat(129))).is_err());
        let generated = parse(r#"{"activationCode":"","secret":null}"#).unwrap();
        assert!(generated.code.is_none() && !generated.secret);
    }

    #[test]
    fn the_query_asks_for_what_there_is() {
        let asked = |query: &str| ActivationRequest::of(&format!("/x?{query}").parse().unwrap());
        assert_eq!(asked(""), Ok(ActivationRequest::default()));
        assert_eq!(
            asked("responseQrType=mpower"),
            Ok(ActivationRequest { qr_type: true, qr_code: false })
        );
        let both = ActivationRequest { qr_type: true, qr_code: true };
        assert_eq!(asked("qrCode=true&responseQrType=normal&a=b"), Ok(both));
        assert!(asked("responseQrType=svg").is_err());
        assert!(asked("qrCode=1").is_err());
    }
}
