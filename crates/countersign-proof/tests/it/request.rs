//! Certificate requests and key proofs against `docs/vectors/key-proofs.json`, which Python's
//! `cryptography` made.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_proof::{BadProof, Request, check_key_proof};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/key-proofs.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The statement of a case, as `docs/device-protocol.md` specifies it.
fn statement(case: &Value) -> Vec<u8> {
    let named = |member: &str| case[member].as_str();
    let (occasion, subject) = match (named("user"), named("identity")) {
        (Some(user), _) => ("enrolment", user),
        (None, Some(identity)) => ("renewal", identity),
        (None, None) => ("addition", named("device").unwrap()),
    };
    let texts = [
        "countersign identity",
        occasion,
        case["tenant"].as_str().unwrap(),
        subject,
        case["use"].as_str().unwrap(),
    ];
    let mut statement = Vec::new();
    for text in texts {
        statement.extend_from_slice(text.as_bytes());
        statement.push(0xff);
    }
    let auth_key = hex::decode(case["auth_key"].as_str().unwrap()).unwrap();
    for hashed in [auth_key, bytes(&case["csr"])] {
        statement.extend_from_slice(&countersign_proof::raw::Hash::Sha256.of(&hashed));
    }
    statement
}

#[test]
fn every_accepted_proof_is_by_the_key_of_its_request() {
    let all = vectors();
    let cases = all["accepted"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let request = Request::parse(&bytes(&case["csr"])).unwrap();
        assert_eq!(hex::encode(request.key_digest()), case["key_digest"].as_str().unwrap());
        assert_eq!(hex::encode(statement(case)), case["statement"].as_str().unwrap());
        request.check_proof(&statement(case), &bytes(&case["proof"])).unwrap();
    }
}

#[test]
fn a_new_key_is_proved_by_the_key_of_the_present_certificate_too() {
    let all = vectors();
    let case = &all["accepted"][7];
    let certificate = bytes(&case["present_certificate"]);
    let (own, present) = (bytes(&case["proof"]), bytes(&case["present_proof"]));
    assert_eq!(check_key_proof(&certificate, &statement(case), &present), Ok(()));
    let refused = check_key_proof(&certificate, &statement(case), &own);
    assert_eq!(refused, Err(BadProof::Signature), "it is the new key's");
    let other = check_key_proof(&certificate, &statement(&all["accepted"][6]), &present);
    assert_eq!(other, Err(BadProof::Signature), "it is over another statement");
    assert_eq!(check_key_proof(b"none", b"", &present), Err(BadProof::Certificate));
    assert_eq!(countersign_proof::validity(&certificate), Ok((1_767_225_600, 1_861_920_000)));
}

#[test]
fn every_refused_proof_is_refused() {
    let all = vectors();
    let cases = all["refused"].as_array().unwrap();
    assert_eq!(cases.len(), 13);
    for case in cases {
        let checked = Request::parse(&bytes(&case["csr"]))
            .and_then(|request| request.check_proof(&statement(case), &bytes(&case["proof"])));
        assert_eq!(checked, Err(BadProof::Signature), "{}: {}", case["name"], case["why"]);
    }
}

/// The reason for refusing a P-256 request of the vectors with its key in another encoding. Its
/// signature is wrong then, but the encoding is refused first.
fn respelt(from: &[u8], to: &[u8]) -> BadProof {
    let mut request = bytes(&vectors()["accepted"][0]["csr"]);
    let at = request.windows(from.len()).position(|window| window == from).unwrap();
    request.splice(at..at + from.len(), to.iter().copied());
    Request::parse(&request).unwrap_err()
}

#[test]
fn a_second_spelling_of_a_key_is_refused() {
    // The BIT STRING of the point. A hybrid point (X9.62 §4.3.6) has the same length.
    for hybrid in [6, 7] {
        assert_eq!(respelt(&[0x03, 0x42, 0x00, 0x04], &[0x03, 0x42, 0x00, hybrid]), BadProof::Key);
    }
    // An over-long length is not DER.
    let request = bytes(&vectors()["accepted"][0]["csr"]);
    let padded = [&[0x30, 0x83, 0x00], &request[2..]].concat();
    assert_eq!(Request::parse(&padded).unwrap_err(), BadProof::Request);
}

#[test]
fn a_request_with_trailing_bytes_or_another_version_is_refused() {
    let request = bytes(&vectors()["accepted"][0]["csr"]);
    let longer = [request.as_slice(), &[0]].concat();
    assert_eq!(Request::parse(&longer).unwrap_err(), BadProof::Request);
    assert_eq!(respelt(&[0x02, 0x01, 0x00], &[0x02, 0x01, 0x01]), BadProof::Request);
    let long = vec![0x30; countersign_proof::REQUEST_BYTES_MAX + 1];
    assert_eq!(Request::parse(&long).unwrap_err(), BadProof::Request);
    for end in 0..request.len() {
        assert!(Request::parse(&request[..end]).is_err(), "{end}");
    }
}
