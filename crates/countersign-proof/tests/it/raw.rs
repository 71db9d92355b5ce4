//! Raw signatures by OpenSSL in `docs/vectors/raw.json`: each gets the verdict of the file, and
//! OpenSSL verifies the stored evidence.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_proof::raw::{self, Algorithm, Hash, Subject};
use countersign_proof::{BadProof, Proof, Roots, Signer, public_key};
use serde_json::Value;

use crate::forger::{ANN, CONTENT, NOW, Person, TENANT, TRANSACTION};
use crate::openssl::{openssl, pem};
use crate::vectors::name;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/raw.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Verifies a case over `subject`, at the case's time or the file's.
fn verify(all: &Value, case: &Value, subject: Subject<'_>) -> Result<Proof, BadProof> {
    let signers = all["signers"].as_array().unwrap();
    let described = signers.iter().find(|signer| signer["name"] == case["signer"]).unwrap();
    let chain: Vec<_> = described["chain"].as_array().unwrap().iter().map(bytes).collect();
    let roots = Roots::new([bytes(&all["tenant_ca"]).as_slice()])?;
    // A cached signer's validity is checked again.
    let verified_at = all["now"].as_u64().unwrap();
    let now = case.get("now").map_or(verified_at, |now| now.as_u64().unwrap());
    let signer = Signer::new(&bytes(&described["certificate"]), &chain, &roots, verified_at)?;
    let algorithm = case["algorithm"].as_str().unwrap().parse().unwrap();
    raw::verify(&bytes(&case["signature"]), algorithm, subject, TRANSACTION, &signer, now)
}

#[test]
fn every_accepted_vector_is_a_proof_over_the_text_and_over_its_digest() {
    let all = vectors();
    let text = all["text"].as_str().unwrap();
    let cases = all["accepted"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    let mut algorithms = std::collections::HashSet::new();
    for case in cases {
        let algorithm: Algorithm = case["algorithm"].as_str().unwrap().parse().unwrap();
        algorithms.insert(algorithm);
        let proof = verify(&all, case, Subject::Text(text)).unwrap();
        assert_eq!(proof.evidence(), bytes(&case["signature"]));
        assert_eq!(proof.transaction(), TRANSACTION);
        let kept = proof.raw().unwrap();
        assert_eq!((kept.algorithm, &kept.digest), (algorithm, &None));

        let digest = hex(&all["digests"][algorithm.hash().as_str()]);
        let proof = verify(&all, case, Subject::Digest(&digest)).unwrap();
        assert_eq!(proof.raw().unwrap().digest.as_deref(), Some(digest.as_slice()));
    }
    assert_eq!(algorithms.len(), Algorithm::ALL.len());
}

#[test]
fn every_refused_vector_is_refused_for_its_reason() {
    let all = vectors();
    let cases = all["refused"].as_array().unwrap();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let digest = case.get("digest").map(hex);
        let subject = match &digest {
            Some(digest) => Subject::Digest(digest),
            None => Subject::Text(all["text"].as_str().unwrap()),
        };
        let reason = verify(&all, case, subject).map(|_| ()).map_err(name);
        assert_eq!(reason, Err(case["reason"].as_str().unwrap().to_owned()), "{}", case["name"]);
    }
}

#[test]
fn every_accepted_vector_is_refused_over_every_other_digest_and_by_every_other_signer() {
    let all = vectors();
    for case in all["accepted"].as_array().unwrap() {
        let algorithm: Algorithm = case["algorithm"].as_str().unwrap().parse().unwrap();
        let mut digest = hex(&all["digests"][algorithm.hash().as_str()]);
        // Only early bytes: if a digest is longer than the curve's order, ECDSA signs its first
        // bits.
        for at in [0, 19] {
            digest[at] ^= 1;
            let outcome = verify(&all, case, Subject::Digest(&digest)).map(|_| ());
            assert_eq!(outcome, Err(BadProof::Signature), "{case}");
            digest[at] ^= 1;
        }
        for signer in all["signers"].as_array().unwrap() {
            let mut moved = case.clone();
            moved["signer"] = signer["name"].clone();
            let outcome = verify(&all, &moved, Subject::Digest(&digest));
            assert_eq!(outcome.is_ok(), signer["name"] == case["signer"], "{case}");
        }
    }
}

/// Signs with the key alone, as a device does, and verifies the stored evidence with OpenSSL.
#[test]
fn the_stored_evidence_of_a_raw_signature_is_enough_for_openssl() {
    let text = str::from_utf8(CONTENT).unwrap();
    for (person, algorithm) in [
        (Person::of(&rcgen::PKCS_ECDSA_P256_SHA256), Algorithm::Ecdsa(Hash::Sha256)),
        (Person::of(&rcgen::PKCS_ECDSA_P384_SHA384), Algorithm::Ecdsa(Hash::Sha384)),
        (Person::of(&rcgen::PKCS_RSA_SHA256), Algorithm::RsaPkcs1(Hash::Sha256)),
    ] {
        let signature = rcgen::SigningKey::sign(&person.key, CONTENT).unwrap();
        let signer = person.signer();
        let subject = Subject::Text(text);
        let proof = raw::verify(&signature, algorithm, subject, TRANSACTION, &signer, NOW).unwrap();
        let (kept, hash) = (proof.raw().unwrap(), algorithm.hash().as_str());
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("signed", CONTENT);
        write("signature", proof.evidence());
        write("own.pem", pem("CERTIFICATE", &kept.certificate).as_bytes());
        write("ca.pem", pem("CERTIFICATE", &TENANT.root).as_bytes());
        let chain: String = kept.chain.iter().map(|one| pem("CERTIFICATE", one)).collect();
        write("chain.pem", chain.as_bytes());
        openssl(dir.path(), "verify -CAfile ca.pem -untrusted chain.pem own.pem").unwrap();
        let public = openssl(dir.path(), "x509 -in own.pem -noout -pubkey").unwrap();
        write("public.pem", &public);
        let verify = format!("dgst -{hash} -verify public.pem -signature signature signed");
        openssl(dir.path(), &verify).unwrap();
    }
}

#[test]
fn a_signers_key_length_is_known_for_rsa_only() {
    let bits = |algorithm| Person::of(algorithm).signer().rsa_bits();
    assert_eq!(bits(&rcgen::PKCS_RSA_SHA256), Some(2048));
    assert_eq!(bits(&rcgen::PKCS_ECDSA_P256_SHA256), None);
}

#[test]
fn a_certificates_public_key_is_its_keys() {
    let key = public_key(&ANN.certificate).unwrap();
    assert_eq!(key, rcgen::PublicKeyData::der_bytes(&ANN.key));
    assert_eq!(public_key(&ANN.certificate[1..]), Err(BadProof::Certificate));
}

#[test]
fn a_raw_proof_recognises_its_own_bytes_and_debug_hides_them() {
    let signature = rcgen::SigningKey::sign(&ANN.key, CONTENT).unwrap();
    let subject = Subject::Text(str::from_utf8(CONTENT).unwrap());
    let (algorithm, signer) = (Algorithm::Ecdsa(Hash::Sha256), ANN.signer());
    let proof = raw::verify(&signature, algorithm, subject, TRANSACTION, &signer, NOW).unwrap();
    assert!(proof.repeats(&signature));
    assert!(!proof.repeats(&[&signature[..], &[0]].concat()));
    assert!(!proof.repeats(b""));
    let recorded = Proof::recorded_raw(
        proof.transaction(),
        proof.content_digest(),
        proof.signer().unwrap(),
        proof.evidence().to_vec(),
        proof.raw().unwrap().clone(),
    );
    assert_eq!(recorded, proof);
    let shown = format!("{proof:?}");
    assert!(shown.contains("Ecdsa(Sha256)"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &signature[..4])), "{shown}");
}
