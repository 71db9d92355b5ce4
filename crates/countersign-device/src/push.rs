//! Reads the payload of a push, from any service.
//!
//! ```
//! use countersign_device::push::{Wake, read};
//!
//! let wake = read(br#"{"aps":{"alert":{"body":"Sign?"}},"countersign":{"key":"0123456789","expires_at":1795296000000}}"#)?;
//! assert!(matches!(wake, Wake::Fetch(fetch) if fetch.key == "0123456789"));
//! # Ok::<(), countersign_device::push::NotAPush>(())
//! ```
//!
//! A push is not authenticated. Its sender can only make the device poll; the shown content comes
//! from the server.

use serde_json::Value;

pub use countersign_wire::body::{Push, PushAnswer, PushState};
pub use countersign_wire::push::Fetch;
pub use countersign_wire::webpush::{Keys, Subscription};

/// The action that a push requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wake {
    /// Fetch this transaction before it expires.
    Fetch(Fetch),
    /// Poll for open transactions.
    Look,
}

/// The payload is not a push of Countersign's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not a push of Countersign's")]
pub struct NotAPush;

/// Reads a push: Apple's `userInfo`, Google's `data`, or the plaintext of a Web Push message
/// ([`Keys::open`]), each as JSON.
///
/// # Errors
/// [`NotAPush`] if the payload is not a JSON object, or its `countersign` member is malformed.
pub fn read(payload: &[u8]) -> Result<Wake, NotAPush> {
    let payload: Value = serde_json::from_slice(payload).map_err(|_| NotAPush)?;
    let payload = payload.as_object().ok_or(NotAPush)?;
    let fetch = match payload.get("countersign") {
        None => return Ok(Wake::Look),
        // Google's values are texts.
        Some(Value::String(text)) => serde_json::from_str(text),
        Some(object) => serde_json::from_value(object.clone()),
    };
    fetch.map(Wake::Fetch).map_err(|_| NotAPush)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_push_has_the_same_meaning_from_every_service() {
        let fetch = Fetch { key: "0123456789".into(), expires_at: Duration::from_secs(7) };
        let inside = r#"{"key":"0123456789","expires_at":7000}"#;
        let google = serde_json::json!({"countersign": inside, "text": "Look"}).to_string();
        for payload in [
            format!(r#"{{"aps":{{"content-available":1}},"countersign":{inside}}}"#),
            format!(r#"{{"countersign":{inside},"text":"Look"}}"#),
            google,
        ] {
            assert_eq!(read(payload.as_bytes()), Ok(Wake::Fetch(fetch.clone())), "{payload}");
        }
        assert_eq!(read(b"{}"), Ok(Wake::Look));
        assert_eq!(read(br#"{"aps":{"alert":{"body":"Look"}}}"#), Ok(Wake::Look));
        for wrong in ["", "[]", "7", r#"{"countersign":7}"#, r#"{"countersign":"x"}"#] {
            assert_eq!(read(wrong.as_bytes()), Err(NotAPush), "{wrong}");
        }
    }
}
