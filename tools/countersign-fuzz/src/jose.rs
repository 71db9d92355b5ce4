//! Signed tokens and sealed messages: nobody here has a key, so what is accepted is what was made.

use std::sync::LazyLock;
use std::time::Duration;

use countersign_wire::id::DeviceName;
use countersign_wire::jwe::{self as seals, secrets};
use countersign_wire::jwk::{PrivateJwk, VerifyingKey};
use countersign_wire::jws::{self as tokens, Call};
use countersign_wire::secret::PayloadKey;
use serde_json::Value;

use crate::vectors;

struct Tokens {
    vectors: Value,
    key: VerifyingKey,
    device: DeviceName,
    origins: Vec<String>,
}

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let vectors = vectors::read(include_str!("../../../docs/vectors/tokens.json"));
    let key = vectors["auth_key"].clone();
    let key: PrivateJwk = serde_json::from_value(key).expect("the vectors' key is one");
    Tokens {
        key: key.public().verifying(),
        device: vectors::text(&vectors, "device").parse().expect("a device's name"),
        origins: serde_json::from_value(vectors["origins"].clone()).expect("texts"),
        vectors,
    }
});

/// A token that is accepted has the very header and claims of one that was made. Its signature may
/// be written otherwise: (r, -s) is as good as (r, s) in ECDSA.
pub fn jws(bytes: &[u8]) {
    let Ok(token) = core::str::from_utf8(bytes) else { return };
    let Tokens { vectors, key, device, origins } = &*TOKENS;
    let claimed = |token: &str| token.rsplit_once('.').map(|(claimed, _)| claimed.to_owned());
    let same = |made: &str| assert_eq!(claimed(token), claimed(made), "nobody made this one");
    let _ = tokens::device_of_call(token);
    for made in vectors::list(vectors, "calls") {
        let (method, path) = (vectors::text(made, "method"), vectors::text(made, "path"));
        let call = Call { method, path, body: vectors::text(made, "body").as_bytes() };
        let now = Duration::from_secs(made["now"].as_u64().expect("a time"));
        if tokens::verify_call(token, key, device, origins, call, now).is_ok() {
            same(vectors::text(made, "token"));
            assert_eq!(tokens::device_of_call(token).as_ref(), Ok(device));
        }
    }
    let hello = &vectors["hello"];
    let nonce = vectors::text(hello, "nonce");
    if tokens::verify_hello(token, key, device, origins, nonce).is_ok() {
        same(vectors::text(hello, "token"));
    }
    let enrolment = &vectors["enrolment"];
    let body = vectors::text(enrolment, "body").as_bytes();
    if tokens::verify_enrolment(token, key, body).is_ok() {
        same(vectors::text(enrolment, "token"));
    }
}

static SEALED: LazyLock<(Value, PayloadKey)> = LazyLock::new(|| {
    let vectors = vectors::read(include_str!("../../../docs/vectors/sealed.json"));
    let key = serde_json::from_value(vectors["payload_key"].clone()).expect("a key");
    (vectors, key)
});

static SECRETS: LazyLock<(Value, PrivateJwk)> = LazyLock::new(|| {
    let vectors = vectors::read(include_str!("../../../docs/vectors/secrets.json"));
    let key = serde_json::from_value(vectors["seal_key"].clone()).expect("a key");
    (vectors, key)
});

/// A sealed message that opens is, byte for byte, one that was sealed, if for somebody else.
pub fn jwe(bytes: &[u8]) {
    let Ok(sealed) = core::str::from_utf8(bytes) else { return };
    let (vectors, key) = &*SEALED;
    if let Ok((device, purpose)) = seals::peek(sealed)
        && seals::open(key, &device, purpose, sealed).is_ok()
    {
        let lists = ["cases", "refused"].map(|name| vectors::list(vectors, name));
        let made = |case: &Value| vectors::text(case, "jwe") == sealed;
        assert!(lists.concat().iter().any(made), "nobody sealed this one");
    }
    let (vectors, key) = &*SECRETS;
    let device = vectors::text(vectors, "device").parse().expect("a device's name");
    if secrets::open(key, &device, sealed).is_ok() {
        // Whoever has the public key may seal; a fuzzer that finds out how may have this assertion.
        assert_eq!(sealed, vectors::text(vectors, "jwe"), "nobody sealed this one");
    }
}
