//! The members of a JSON object from a caller, each parsed separately, so that a refusal can name
//! the member.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The body is not as required; a sentence for the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadBody(pub String);

/// A member whose value is not yet parsed; `None` if it is absent or `null`.
pub type Member = Option<Box<RawValue>>;

/// Parses a body that is an object with these members. Other members are ignored; a member that
/// occurs twice is refused.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(BadBody("The body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|error| BadBody(format!("The body is not JSON: {error}")))
}

/// Parses a required member; `what` describes the allowed values.
pub fn required<T: DeserializeOwned>(raw: Member, field: &str, what: &str) -> Result<T, BadBody> {
    optional(raw, field, what)?
        .ok_or_else(|| BadBody(format!("{field} is required: it must be {what}")))
}

/// Parses an optional member.
pub fn optional<T: DeserializeOwned>(
    raw: Member,
    field: &str,
    what: &str,
) -> Result<Option<T>, BadBody> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(value) => Ok(Some(value)),
        Err(_) if has_lone_surrogate(raw.get()) => Err(BadBody(format!(
            "{field} has half of a character, a lone surrogate such as \\ud83d: write both halves, \
             such as \\ud83d\\ude00"
        ))),
        Err(_) => bad(field, what),
    }
}

/// Whether an escape of JSON is half of a character beyond U+FFFF, without its other half
/// (RFC 8259, section 8.2).
fn has_lone_surrogate(json: &str) -> bool {
    let mut escapes = json.split('\\');
    escapes.next();
    let mut high = false;
    let mut skip = false;
    for escape in escapes {
        if std::mem::take(&mut skip) {
            // The second of two backslashes, which is text.
            if high {
                return true;
            }
            continue;
        }
        skip = escape.is_empty();
        let unit = escape
            .strip_prefix('u')
            .and_then(|rest| rest.get(..4))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        match unit {
            Some(0xdc00..=0xdfff) if high => high = false,
            Some(0xdc00..=0xdfff) => return true,
            _ if high => return true,
            // Its other half must be the next thing.
            Some(0xd800..=0xdbff) if escape.len() > 5 => return true,
            Some(0xd800..=0xdbff) => high = true,
            _ => {}
        }
    }
    high
}

/// Refuses a member, and describes the allowed values.
pub fn bad<T>(field: &str, what: &str) -> Result<T, BadBody> {
    Err(BadBody(format!("{field} must be {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<String>, BadBody> {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        optional(Some(raw), "message", "a string")
    }

    #[test]
    fn half_of_a_character_is_called_that_and_everything_else_is_no_string() {
        for half in [r#""\ud83d""#, r#""\ude00""#, r#""a\ud83d b""#, r#""\ud83d\ud83d\ude00""#] {
            let BadBody(sentence) = read(half).unwrap_err();
            assert!(
                sentence.starts_with("message has half of a character, a lone surrogate"),
                "{half}"
            );
        }
        for (other, sentence) in
            [("5", "message must be a string"), ("[]", "message must be a string")]
        {
            assert_eq!(read(other), Err(BadBody(sentence.to_owned())));
        }
        assert_eq!(read(r#""\ud83d\ude00""#), Ok(Some("\u{1f600}".to_owned())));
        assert_eq!(read(r#""\\ud83d""#), Ok(Some(r"\ud83d".to_owned())));
        assert!(!has_lone_surrogate(r#""\\ud83d""#) && has_lone_surrogate(r#""\\\ud83d""#));
        assert!(!has_lone_surrogate(r#""\u00e9\n\ud83d\ude00 x""#));
    }
}
