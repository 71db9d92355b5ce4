//! The members of a JSON object that a caller sent, each looked at on its own, so that a refusal
//! can name it.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The body does not say what it should; a sentence for the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadBody(pub String);

/// A member whose value has not been looked at. `null` is none.
pub type Member = Option<Box<RawValue>>;

/// A body that is an object of these members. Others are ignored; one that is given twice is
/// refused.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(BadBody("The body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map_err(|error| BadBody(format!("The body is not JSON: {error}")))
}

/// A member that must be there; `what` says what it may be.
pub fn required<T: DeserializeOwned>(raw: Member, field: &str, what: &str) -> Result<T, BadBody> {
    optional(raw, field, what)?
        .ok_or_else(|| BadBody(format!("{field} is required: it must be {what}")))
}

/// A member that may be left out.
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

/// Says what a member may be instead.
pub fn bad<T>(field: &str, what: &str) -> Result<T, BadBody> {
    Err(BadBody(format!("{field} must be {what}")))
}
