//! Requests that change an identity, parsed into types once.

use countersign_core::limits::REASON_BYTES_MAX;
use countersign_core::name::normal_form;
use serde::Deserialize;

use crate::members::text_of;
use crate::selector::labels;
use countersign_http::json_members::{BadBody, Member, bad, object, required};

/// A new status of an identity.
#[derive(Debug, Eq, PartialEq)]
pub struct StatusChange {
    /// Whether the identity may sign.
    pub enabled: bool,
    /// At most [`REASON_BYTES_MAX`] bytes; empty if none is given.
    pub reason: String,
}

#[derive(Deserialize)]
pub(crate) struct IdentityFields {
    status: Member,
    value: Member,
    reason: Member,
}

#[derive(Deserialize)]
pub(crate) struct LabelsFields {
    labels: Member,
}

impl StatusChange {
    /// Reads `{"value", "reason"?}`, in a member `status` or bare.
    ///
    /// # Errors
    /// [`BadBody`] names the first member that cannot be read.
    pub fn parse(body: &[u8]) -> Result<Self, BadBody> {
        const WHAT: &str = "enabled or disabled";
        let mut fields: IdentityFields = object(body)?;
        if let Some(inner) = fields.status.take() {
            fields = object(inner.get().as_bytes())?;
        }
        let enabled = match required::<String>(fields.value, "value", WHAT)?.as_str() {
            "enabled" => true,
            "disabled" => false,
            _ => return bad("value", WHAT),
        };
        let reason = text_of(fields.reason, "reason", REASON_BYTES_MAX)?.unwrap_or_default();
        Ok(Self { enabled, reason })
    }
}

/// Reads `{"labels": […]}`.
///
/// # Errors
/// [`BadBody`] names the member that cannot be read.
pub fn read_labels(body: &[u8]) -> Result<Vec<String>, BadBody> {
    let fields: LabelsFields = object(body)?;
    let labels = labels(fields.labels, "labels")?;
    if let Some(bad) = labels.iter().find_map(|label| normal_form(label).err()) {
        return Err(BadBody(format!("labels: {bad}")));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_bare_or_in_a_member() {
        for body in [
            r#"{"value":"disabled","reason":"lost"}"#,
            r#"{"status":{"value":"disabled","reason":"lost"}}"#,
        ] {
            let expected = StatusChange { enabled: false, reason: "lost".to_owned() };
            assert_eq!(StatusChange::parse(body.as_bytes()), Ok(expected), "{body}");
        }
        for (body, member) in [
            ("{}", "value is required"),
            (r#"{"value":"on"}"#, "value must be"),
            (r#"{"value":"enabled","reason":1}"#, "reason must be"),
            (r#"{"status":"enabled"}"#, "The body must be"),
        ] {
            let BadBody(sentence) = StatusChange::parse(body.as_bytes()).unwrap_err();
            assert!(sentence.starts_with(member), "{body}: {sentence}");
        }
    }
}
