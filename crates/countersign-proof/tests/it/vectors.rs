//! CMS messages of `docs/vectors/cms.json`, which `examples/cms_vectors.rs` generates: each gets
//! the verdict of the file, and OpenSSL accepts every accepted one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_proof::ber::element;
use countersign_proof::{BadProof, Expected, Proof, Roots, Signer, cms};
use serde_json::Value;

use crate::openssl::{openssl, pem};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/cms.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Verifies a case's message with the case's own values, or else the file's.
fn verify(all: &Value, case: &Value) -> Result<Proof, BadProof> {
    let own = |name| case.get(name).unwrap_or(&all[name]);
    let now = own("now").as_u64().unwrap();
    let chain: Vec<_> = all["chain"].as_array().unwrap().iter().map(bytes).collect();
    let roots = Roots::new([bytes(&all["tenant_ca"]).as_slice()])?;
    let signer = Signer::new(&bytes(&all["certificate"]), &chain, &roots, now)?;
    let expected = Expected {
        transaction: hex::decode(text(all, "transaction")).unwrap().try_into().unwrap(),
        content: &bytes(own("content")),
        media_type: text(all, "media_type"),
    };
    cms::verify(&bytes(&case["cms"]), &expected, &signer, now)
}

#[test]
fn every_accepted_vector_is_accepted_by_openssl_too() {
    let all = vectors();
    let cases = all["accepted"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    let dir = tempfile::tempdir().unwrap();
    let root = pem("CERTIFICATE", &bytes(&all["tenant_ca"]));
    std::fs::write(dir.path().join("ca.pem"), root).unwrap();
    let arguments = format!(
        "cms -verify -cades -binary -inform DER -in message -CAfile ca.pem -attime {}",
        all["now"]
    );
    for case in cases {
        let name = text(case, "name");
        let proof = verify(&all, case).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!(proof.evidence(), bytes(&case["der"]), "{name}");
        for message in [&case["cms"], &case["der"]] {
            std::fs::write(dir.path().join("message"), bytes(message)).unwrap();
            let content = openssl(dir.path(), &arguments);
            assert_eq!(content.as_ref(), Ok(&bytes(&all["content"])), "{name}");
        }
    }
}

#[test]
fn every_refused_vector_is_refused_for_its_reason() {
    let all = vectors();
    let cases = all["refused"].as_array().unwrap();
    assert_eq!(cases.len(), 54);
    for case in cases {
        let reason = verify(&all, case).map(|_| ()).map_err(name);
        assert_eq!(reason, Err(text(case, "reason").to_owned()), "{}", text(case, "name"));
    }
}

#[test]
fn the_first_vector_has_the_signed_attributes_of_the_file() {
    let all = vectors();
    let set = bytes(&all["signed_attributes"]);
    let tagged = [&[0xa0], &set[1..]].concat();
    assert_eq!(set, element(0x31, &set[3..]), "one SET");
    let message = bytes(&all["accepted"][0]["cms"]);
    assert!(message.windows(tagged.len()).any(|window| window == tagged));
    let roots = Roots::new([bytes(&all["tenant_ca"]).as_slice()]).unwrap();
    let inspected = cms::inspect_when_signed(&message, &roots).unwrap();
    assert_eq!(Some(inspected.signing_time), all["signing_time"].as_u64());
}

/// The name of a reason in the file: `AttributeMissing(MimeType)` is "attribute missing:
/// mime-type".
pub(crate) fn name(reason: BadProof) -> String {
    match reason {
        BadProof::AttributeMissing(attribute) => format!("attribute missing: {attribute}"),
        BadProof::AttributeRepeated(attribute) => format!("attribute repeated: {attribute}"),
        BadProof::AttributeMalformed(attribute) => format!("attribute malformed: {attribute}"),
        BadProof::AttributeUnknown(_) => "attribute unknown".to_owned(),
        BadProof::Encoding(reason) => format!("encoding: {}", words(&format!("{reason:?}"))),
        reason => words(&format!("{reason:?}")),
    }
}

fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}
