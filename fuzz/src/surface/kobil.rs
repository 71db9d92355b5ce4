//! KOBIL's bodies.

#[path = "../../../crates/countersign-server/src/surface/kobil/body.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod body;

use countersign_core::limits::CONTENT_BYTES_MAX;
use countersign_core::terms::MediaType;
use countersign_wire::statement::Statement;

use self::body::{Cancel, Start};

/// A start that is read can be shown, signed, and told from every other one.
pub fn kobil(bytes: &[u8]) {
    let (jane, joe) = ("jane".parse().expect("a name"), "joe".parse().expect("a name"));
    if let Ok(start) = Start::parse(bytes, &jane) {
        let again = Start::parse(bytes, &jane).expect("it was read before");
        assert_eq!(again.reference, start.reference, "the same request is the same");
        let other = Start::parse(bytes, &joe).expect("it was read before");
        assert_ne!(other.reference.request, start.reference.request, "another user's is another");
        let content = &start.content;
        assert!((1..=CONTENT_BYTES_MAX).contains(&content.bytes.len()));
        if content.media_type == MediaType::Statement {
            assert!(Statement::parse(&content.bytes).is_ok(), "what is signed can be shown");
        } else {
            assert!(core::str::from_utf8(&content.bytes).is_ok(), "what is signed can be shown");
        }
        assert!(start.callback.is_none_or(|callback| callback.url.starts_with("https://")));
    }
    let _ = Cancel::parse(bytes);
}
