//! TrustedX's bodies: what is asked to be signed.

#[path = "../../../crates/countersign-server/src/surface/trustedx/body.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod body;
#[path = "../../../crates/countersign-server/src/surface/trustedx/selector.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod selector;

use countersign_core::limits::{CONTENT_BYTES_MAX, SELECTORS_MAX};
use countersign_core::terms::MediaType;
use countersign_proof::raw::Hash;

use self::body::{Create, Kind};

/// The first byte says which call, and whether SHA-1 is allowed; the rest is its body. What is read can be
/// shown, and signed by what may sign it.
pub fn trustedx(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let all = [Kind::Raw, Kind::Transaction, Kind::Document, Kind::Authentication];
    let (kind, sha1) = (all[usize::from(which % 4)], which & 4 != 0);
    let Ok(create) = Create::parse(kind, body, sha1) else { return };
    assert!(sha1 || create.hash != Some(Hash::Sha1), "SHA-1 is where it is allowed");
    assert!(create.asked.len() <= SELECTORS_MAX);
    for asked in &create.asked {
        let shown = serde_json::to_vec(&asked.shown).expect("it is plain JSON");
        let again: selector::Shown =
            serde_json::from_slice(&shown).expect("what is written is read");
        assert_eq!(serde_json::to_vec(&again).expect("it is plain JSON"), shown);
    }
    let content = &create.content;
    let Some(document) = &create.document else {
        assert_eq!(content.media_type, MediaType::Html);
        assert!((1..=CONTENT_BYTES_MAX).contains(&content.bytes.len()));
        assert!(core::str::from_utf8(&content.bytes).is_ok(), "what is signed can be shown");
        return;
    };
    assert_eq!(content.media_type, MediaType::Digest);
    assert!(document.fits(), "it can be sent to a device");
    assert_eq!(document.hash, create.hash);
    if content.bytes.is_empty() {
        assert!(document.digest_url.is_some(), "a digest is given or can be learnt");
    } else {
        assert_eq!(Some(content.bytes.len()), create.hash.map(Hash::length));
        assert!(!content.bytes.iter().all(u8::is_ascii_hexdigit), "hex is no digest");
    }
    for url in [&document.digest_url, &document.document_url].into_iter().flatten() {
        let url = url::Url::parse(url).expect("it was read as one");
        assert!(url.scheme() == "https" && url.username().is_empty() && url.password().is_none());
    }
}
