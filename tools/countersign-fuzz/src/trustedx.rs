//! TrustedX's bodies: what is asked to be signed, what devices send to links, an identity's new
//! status.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_core::limits::{
    CONTENT_BYTES_MAX, LABELS_PER_IDENTITY_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX, SELECTORS_MAX,
    SIGNATURE_BYTES_MAX,
};
use countersign_core::spec::MediaType;
use countersign_http::json_members::BadBody;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_trustedx::body::{Create, ProcessKind};
use countersign_trustedx::identity::body::{StatusChange, read_labels};
use countersign_trustedx::links::body::{Finish, words};
use countersign_trustedx::selector::SelectorView;

/// The first byte says which call, and whether SHA-1 is allowed; the rest is its body. What is read
/// can be shown, and signed by what may sign it.
pub fn trustedx(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let all = [
        ProcessKind::Raw,
        ProcessKind::Transaction,
        ProcessKind::Document,
        ProcessKind::Authentication,
    ];
    let (kind, sha1) = (all[usize::from(which % 4)], which & 4 != 0);
    let Ok(create) = Create::parse(kind, body, sha1) else { return };
    assert!(sha1 || create.hash != Some(Hash::Sha1), "SHA-1 is where it is allowed");
    assert!(create.asked.len() <= SELECTORS_MAX);
    for asked in &create.asked {
        let shown = serde_json::to_vec(&asked.shown).expect("it is plain JSON");
        let again: SelectorView = serde_json::from_slice(&shown).expect("what is written is read");
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

/// The first byte says which link; the rest is its body. What is read fits into what is kept, and a
/// signature that is read has the same meaning when it is written again.
pub fn trustedx_link(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        match words(body) {
            Ok(said) => assert!(said.len() <= REASON_BYTES_MAX),
            Err(BadBody(sentence)) => assert!(!sentence.is_empty()),
        }
        return;
    }
    let read = match Finish::parse(body) {
        Ok(read) => read,
        Err(BadBody(sentence)) => return assert!(!sentence.is_empty()),
    };
    assert!((1..=SIGNATURE_BYTES_MAX).contains(&read.value.len()));
    let written = serde_json::json!({
        "value": STANDARD.encode(&read.value),
        "signature_algorithm": read.algorithm.map(Algorithm::as_str),
        "sign_identity": read.identity.map(|id| serde_json::json!({"id": id.to_string()})),
        "digest_value": read.digest.as_ref().map(|digest| STANDARD.encode(digest)),
    });
    let again = Finish::parse(written.to_string().as_bytes()).expect("what is written is read");
    assert_eq!((again.value, again.digest), (read.value, read.digest));
    assert_eq!((again.algorithm, again.identity), (read.algorithm, read.identity));
}

/// The first byte says which call; the rest is its body. Labels that are read are few and short; a
/// status that is read fits into what is kept, and is the same whether it is bare or in a member.
pub fn trustedx_identity(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        match read_labels(body) {
            Ok(labels) => {
                assert!(labels.len() <= LABELS_PER_IDENTITY_MAX);
                assert!(labels.iter().all(|label| label.len() <= NAME_BYTES_MAX));
            }
            Err(BadBody(sentence)) => assert!(!sentence.is_empty()),
        }
        return;
    }
    let change = match StatusChange::parse(body) {
        Ok(change) => change,
        Err(BadBody(sentence)) => return assert!(!sentence.is_empty()),
    };
    assert!(change.reason.len() <= REASON_BYTES_MAX);
    let value = if change.enabled { "enabled" } else { "disabled" };
    let bare = serde_json::json!({"value": value, "reason": change.reason});
    let inside = serde_json::json!({"status": bare});
    for written in [bare, inside] {
        let again = StatusChange::parse(written.to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&change), "{written}");
    }
}
