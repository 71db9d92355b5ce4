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
        Err(_) => bad(field, what),
    }
}

/// Refuses a member, and describes the allowed values.
pub fn bad<T>(field: &str, what: &str) -> Result<T, BadBody> {
    Err(BadBody(format!("{field} must be {what}")))
}
