//! KOBIL's bodies.

use countersign_core::limits::{CONTENT_BYTES_MAX, PROFILE_BYTES_MAX};
use countersign_core::spec::MediaType;
use countersign_kobil::activations::body::{ActivationRequest, NewCode};
use countersign_kobil::body::{Cancel, Start};
use countersign_kobil::users::body::{NewUser, Profile};
use countersign_wire::statement::Statement;
use http::Uri;

/// A start that was read can be shown and signed, and differs from every other one.
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

/// The first byte says what is asked for: a person, a code, a list of codes; the rest asks.
pub fn kobil_people(bytes: &[u8]) {
    let Some((which, asked)) = bytes.split_first() else { return };
    match which % 3 {
        0 => {
            let Ok(new) = NewUser::parse(asked) else { return };
            assert!(new.profile.len() <= PROFILE_BYTES_MAX);
            assert_eq!(new.name.as_str(), new.name.as_str().trim(), "an address names them");
            let kept: Profile = serde_json::from_str(&new.profile).expect("what is kept is read");
            let again = serde_json::to_string(&kept).expect("a profile is plain JSON");
            assert_eq!(again, new.profile, "and kept as it is");
        }
        1 => {
            if let Ok(Some(code)) = NewCode::parse(asked).map(|new| new.code) {
                assert!((1..=128).contains(&code.as_str().len()));
            }
        }
        _ => {
            if let Ok(uri) = Uri::try_from(asked) {
                let _ = ActivationRequest::of(&uri);
            }
        }
    }
}
