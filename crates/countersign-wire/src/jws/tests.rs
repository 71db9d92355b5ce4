use serde_json::Value;

use super::*;
use crate::vectors::{Refused, read};

#[derive(Deserialize)]
struct Vectors {
    auth_key: PrivateJwk,
    device: DeviceName,
    origins: Vec<String>,
    calls: Vec<CallVector>,
    refused: Vec<Refused>,
    hello: HelloVector,
    enrolment: EnrolmentVector,
}

#[derive(Deserialize)]
struct CallVector {
    name: String,
    method: String,
    path: String,
    body: String,
    now: u64,
    token: String,
    header: String,
    claims: String,
}

#[derive(Deserialize)]
struct HelloVector {
    nonce: String,
    token: String,
    header: String,
    claims: String,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct EnrolmentVector {
    body: String,
    token: String,
    header: String,
    claims: String,
    refused: Vec<Refused>,
}

impl Vectors {
    fn read() -> Self {
        read(include_str!("../../../../docs/vectors/tokens.json"))
    }

    fn verify(&self, token: &str, call: &CallVector) -> Result<Proven, BadToken> {
        let now = Duration::from_secs(call.now);
        let key = self.auth_key.public().verifying();
        verify_call(token, &key, &self.device, &self.origins, call.call(), now)
    }

    fn verify_hello(&self, token: &str) -> Result<(), BadToken> {
        let (key, nonce) = (self.auth_key.public().verifying(), &self.hello.nonce);
        verify_hello(token, &key, &self.device, &self.origins, nonce)
    }

    fn verify_enrolment(&self, token: &str) -> Result<(), BadToken> {
        let key = self.auth_key.public().verifying();
        verify_enrolment(token, &key, self.enrolment.body.as_bytes())
    }
}

impl CallVector {
    fn call(&self) -> Call<'_> {
        Call { method: &self.method, path: &self.path, body: self.body.as_bytes() }
    }
}

/// The first two parts of a token, as values.
fn parts(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| crate::encoding::from_base64url(part).unwrap());
    [(); 2].map(|()| serde_json::from_slice(&parts.next().unwrap()).unwrap())
}

#[track_caller]
fn check(refused: Vec<Refused>, verify: impl Fn(&str) -> Result<(), BadToken>) {
    assert!(!refused.is_empty());
    for Refused { name, token, error } in refused {
        let expected = match error.as_str() {
            "malformed" => BadToken::Malformed,
            "other type" => BadToken::OtherType,
            "other device" => BadToken::OtherDevice,
            "bad signature" => BadToken::BadSignature,
            "other method" => BadToken::OtherMethod,
            "other address" => BadToken::OtherAddress,
            "other body" => BadToken::OtherBody,
            "other nonce" => BadToken::OtherNonce,
            "stale" => BadToken::Stale,
            other => panic!("no such error: {other}"),
        };
        assert_eq!(verify(&token), Err(expected), "{name}");
    }
}

#[test]
fn calls_are_verified_as_the_specification_says() {
    let vectors = Vectors::read();
    assert_eq!(vectors.calls.len(), 2);
    for call in &vectors.calls {
        let proven = vectors.verify(&call.token, call).expect(&call.name);
        assert_eq!(proven.jti, "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!(proven.issued_at, Duration::from_secs(vectors.calls[0].now));
        assert_eq!(device_of_call(&call.token), Ok(vectors.device.clone()));
        assert_eq!(
            parts(&call.token),
            [&call.header, &call.claims].map(|text| read::<Value>(text))
        );
    }
}

#[test]
fn every_vector_of_a_token_that_does_not_match_its_call_is_refused() {
    let mut vectors = Vectors::read();
    let refused = core::mem::take(&mut vectors.refused);
    assert_eq!(refused.len(), 27);
    check(refused, |token| vectors.verify(token, &vectors.calls[0]).map(|_| ()));
}

#[test]
fn hellos_are_verified_as_the_specification_says() {
    let mut vectors = Vectors::read();
    assert_eq!(vectors.verify_hello(&vectors.hello.token), Ok(()));
    let hello = &vectors.hello;
    assert_eq!(parts(&hello.token), [&hello.header, &hello.claims].map(|text| read::<Value>(text)));
    let refused = core::mem::take(&mut vectors.hello.refused);
    check(refused, |token| vectors.verify_hello(token));
}

#[test]
fn enrolments_are_verified_as_the_specification_says() {
    let mut vectors = Vectors::read();
    assert_eq!(vectors.verify_enrolment(&vectors.enrolment.token), Ok(()));
    let enrolment = &vectors.enrolment;
    let written = [&enrolment.header, &enrolment.claims].map(|text| read::<Value>(text));
    assert_eq!(parts(&enrolment.token), written);
    let refused = core::mem::take(&mut vectors.enrolment.refused);
    check(refused, |token| vectors.verify_enrolment(token));
}

#[test]
fn a_signed_token_has_the_specifications_header_and_claims() {
    let vectors = Vectors::read();
    let (key, device, origin) = (&vectors.auth_key, &vectors.device, &vectors.origins[0]);
    let call = &vectors.calls[0];
    let token = sign_call(key, device, origin, call.call(), Duration::from_secs(call.now));
    let mut expected: [Value; 2] = [&call.header, &call.claims].map(|text| read::<Value>(text));
    let [header, claims] = parts(&token);
    assert_ne!(expected[1]["jti"], claims["jti"], "each token has its own jti");
    expected[1]["jti"] = claims["jti"].clone();
    assert_eq!([header, claims], expected);
    assert!(vectors.verify(&token, call).is_ok());

    let token = sign_hello(key, device, origin, &vectors.hello.nonce);
    assert_eq!(parts(&token)[1], read::<Value>(&vectors.hello.claims));
    assert_eq!(vectors.verify_hello(&token), Ok(()));

    let token = sign_enrolment(key, vectors.enrolment.body.as_bytes());
    assert_eq!(parts(&token)[0], read::<Value>(&vectors.enrolment.header));
    assert_eq!(vectors.verify_enrolment(&token), Ok(()));
}

#[test]
fn a_call_is_valid_for_sixty_seconds_before_and_after_its_time() {
    let vectors = Vectors::read();
    let call = &vectors.calls[0];
    let at = |millis: u64| {
        let (key, origins) = (vectors.auth_key.public().verifying(), &vectors.origins);
        let now = Duration::from_millis(millis);
        verify_call(&call.token, &key, &vectors.device, origins, call.call(), now).map(|_| ())
    };
    let issued = call.now * 1000;
    assert_eq!(at(issued - 60_000), Ok(()));
    assert_eq!(at(issued - 60_001), Err(BadToken::Stale));
    assert_eq!(at(issued + 60_999), Ok(()));
    assert_eq!(at(issued + 61_000), Err(BadToken::Stale));
    assert_eq!(at(0), Err(BadToken::Stale));
}

#[test]
fn an_overlong_token_is_refused_before_decoding() {
    let token = "e".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(device_of_call(&token), Err(BadToken::Malformed));
}
