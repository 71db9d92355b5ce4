//! OCRA against `docs/vectors/ocra.json`: RFC 6287 appendix C, and the two uses of the device
//! protocol.

use countersign_proof::ocra::{
    BadOcra, Inputs, Suite, check_code, check_pin_proof, code, pin_proof,
};
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/ocra.json");
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all[section].as_array().unwrap().clone()
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap()
}

fn bytes<const N: usize>(vector: &Value, name: &str) -> [u8; N] {
    hex::decode(text(vector, name)).unwrap().try_into().unwrap()
}

#[test]
fn every_code_of_rfc_6287_appendix_c_comes_out() {
    let vectors = vectors("rfc6287");
    assert_eq!(vectors.len(), 70);
    for vector in &vectors {
        let pin = vector["pin"].as_str().map(|pin| hex::decode(pin).unwrap());
        let inputs = Inputs {
            counter: vector["counter"].as_u64(),
            question: text(vector, "question"),
            pin: pin.as_deref(),
            session: None,
            timestamp: vector["timestamp"].as_u64(),
        };
        let suite: Suite = text(vector, "suite").parse().unwrap();
        let key = hex::decode(text(vector, "key")).unwrap();
        assert_eq!(suite.code(&key, &inputs).unwrap(), text(vector, "code"), "{vector}");
    }
}

#[test]
fn pin_proofs_are_as_published() {
    let vectors = vectors("pin_proof");
    assert!(!vectors.is_empty());
    for vector in &vectors {
        let (key, pin) = (bytes(vector, "code_key"), bytes(vector, "pin_digest"));
        let (transaction, proof) = (bytes(vector, "transaction"), text(vector, "proof"));
        assert_eq!(pin_proof(&key, &pin, transaction), proof);
        assert!(check_pin_proof(&key, &pin, transaction, proof));

        let other = |change: fn(&mut [u8])| {
            let mut bytes = pin;
            change(&mut bytes);
            bytes
        };
        assert!(!check_pin_proof(&key, &other(|pin| pin[31] ^= 1), transaction, proof));
        assert!(!check_pin_proof(&other(|key| key[0] ^= 1), &pin, transaction, proof));
        assert!(!check_pin_proof(&key, &pin, [0; 16], proof));
        assert!(!check_pin_proof(&key, &pin, transaction, &proof[..63]));
        assert!(!check_pin_proof(&key, &pin, transaction, &proof.to_uppercase()));
        assert!(!check_pin_proof(&key, &pin, transaction, ""));
    }
}

#[test]
fn short_signatures_are_as_published() {
    let vectors = vectors("code");
    assert!(!vectors.is_empty());
    for vector in &vectors {
        let key = bytes(vector, "code_key");
        let digits = u8::try_from(vector["digits"].as_u64().unwrap()).unwrap();
        let transaction = bytes(vector, "transaction");
        let (media_type, content) = (text(vector, "media_type"), text(vector, "content"));
        let right = text(vector, "code");
        let made = code(&key, digits, transaction, media_type, content.as_bytes());
        assert_eq!(made.unwrap(), right);
        let check = |transaction, media_type, content: &[u8]| {
            check_code(&key, digits, transaction, media_type, content, right).unwrap()
        };
        assert!(check(transaction, media_type, content.as_bytes()));
        assert!(!check([0; 16], media_type, content.as_bytes()));
        assert!(!check(transaction, "text/html", content.as_bytes()));
        assert!(!check(transaction, media_type, b"something else"));
    }
}

#[test]
fn a_code_has_six_to_ten_digits() {
    for digits in [0, 4, 5, 11] {
        assert_eq!(code(&[0; 32], digits, [0; 16], "a/b", b""), Err(BadOcra::Suite));
    }
}

#[test]
fn suites_of_another_form_are_refused() {
    for bad in [
        "",
        "OCRA-1",
        "OCRA-2:HOTP-SHA1-6:QN08",
        "OCRA-1:HOTP-MD5-6:QN08",
        "OCRA-1:HOTP-SHA1-3:QN08",
        "OCRA-1:HOTP-SHA1-11:QN08",
        "OCRA-1:HOTP-SHA1-06:QN08",
        "OCRA-1:HOTP-SHA1-6:",
        "OCRA-1:HOTP-SHA1-6:C",
        "OCRA-1:HOTP-SHA1-6:QX08",
        "OCRA-1:HOTP-SHA1-6:QN8",
        "OCRA-1:HOTP-SHA1-6:QN03",
        "OCRA-1:HOTP-SHA1-6:QN65",
        "OCRA-1:HOTP-SHA1-6:QN+8",
        "OCRA-1:HOTP-SHA1-6:QN08-C",
        "OCRA-1:HOTP-SHA1-6:QN08-PMD5",
        "OCRA-1:HOTP-SHA1-6:QN08-S64",
        "OCRA-1:HOTP-SHA1-6:QN08-S513",
        "OCRA-1:HOTP-SHA1-6:QN08-T60S",
        "OCRA-1:HOTP-SHA1-6:QN08-T1D",
        "OCRA-1:HOTP-SHA1-6:QN08-T",
        "OCRA-1:HOTP-SHA1-6:QN08-Té",
        "OCRA-1:HOTP-SHA1-6:QN08-T1M-T1M",
    ] {
        assert_eq!(bad.parse::<Suite>(), Err(BadOcra::Suite), "{bad}");
    }
}

#[test]
fn inputs_are_exactly_those_that_the_suite_names() {
    let suite: Suite = "OCRA-1:HOTP-SHA256-8:C-QH08-PSHA256-S064-T30S".parse().unwrap();
    let right = Inputs {
        counter: Some(1),
        question: "00ff",
        pin: Some(&[1; 32]),
        session: Some(&[2; 64]),
        timestamp: Some(3),
    };
    assert!(suite.code(&[7; 32], &right).is_ok());
    for wrong in [
        Inputs { counter: None, ..right },
        Inputs { pin: None, ..right },
        Inputs { pin: Some(&[1; 20]), ..right },
        Inputs { session: None, ..right },
        Inputs { session: Some(&[2; 65]), ..right },
        Inputs { timestamp: None, ..right },
    ] {
        assert_eq!(suite.code(&[7; 32], &wrong), Err(BadOcra::Inputs));
    }
    for question in ["", "0g", "é", &"0".repeat(257)] {
        let wrong = Inputs { question, ..right };
        assert_eq!(suite.code(&[7; 32], &wrong), Err(BadOcra::Question));
    }
}

#[test]
fn a_question_is_padded_at_its_end_and_a_session_at_its_front() {
    let suite: Suite = "OCRA-1:HOTP-SHA256-8:QH08-S004".parse().unwrap();
    let code = |question, session: &[u8]| {
        suite.code(&[7; 32], &Inputs { question, session: Some(session), ..Inputs::default() })
    };
    assert_eq!(code("abc", &[1]), code("abc0", &[0, 0, 0, 1]));
    assert_ne!(code("abc", &[1]), code("0abc", &[1]));
    assert_ne!(code("abc", &[1]), code("abc", &[1, 0, 0, 0]));
}
