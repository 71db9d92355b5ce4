use proptest::prelude::*;

use super::*;
use crate::body::{Algorithm, Content, Document, Form, PinChange, Push, Text};
use crate::vectors::{Refused, read, unhex};

#[derive(Deserialize)]
struct Vectors {
    payload_key: PayloadKey,
    to_device_key: PayloadKey,
    to_server_key: PayloadKey,
    cases: Vec<Case>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    purpose: String,
    device: DeviceName,
    id: Option<TransactionId>,
    iv: String,
    plaintext: String,
    jwe: String,
}

impl Case {
    fn purpose(&self) -> Purpose {
        match (self.purpose.as_str(), self.id) {
            ("content", Some(id)) => Purpose::Content(id),
            ("pin", None) => Purpose::Pin,
            ("notification", None) => Purpose::Notification,
            ("information", Some(id)) => Purpose::Information(id),
            other => panic!("no such purpose: {other:?}"),
        }
    }
}

fn vectors() -> Vectors {
    read(include_str!("../../../../docs/vectors/sealed.json"))
}

#[test]
fn messages_are_sealed_as_the_specification_says() {
    let vectors = vectors();
    assert_eq!(vectors.cases.len(), 5);
    for case in &vectors.cases {
        let (purpose, iv) = (case.purpose(), unhex(&case.iv));
        let key = &vectors.payload_key;
        let sealed = seal_with(key, &case.device, purpose, case.plaintext.as_bytes(), iv);
        assert_eq!(sealed, case.jwe, "{}", case.name);
        assert_eq!(peek(&sealed), Ok((case.device.clone(), purpose)), "{}", case.name);
        let opened = open(key, &case.device, purpose, &case.jwe).expect(&case.name);
        assert_eq!(opened.as_slice(), case.plaintext.as_bytes(), "{}", case.name);
    }
}

#[test]
fn the_two_directions_have_keys_of_their_own() {
    let vectors = vectors();
    let id = TransactionId([0; 16]);
    let key = |purpose| *direction_key(&vectors.payload_key, purpose);
    assert_eq!(key(Purpose::Content(id)), *vectors.to_device_key.as_bytes());
    assert_eq!(key(Purpose::Pin), *vectors.to_server_key.as_bytes());
    assert_eq!(key(Purpose::Information(id)), *vectors.to_server_key.as_bytes());
    assert_eq!(key(Purpose::Notification), *vectors.to_server_key.as_bytes());
}

#[test]
fn every_vector_that_is_not_a_sealed_message_is_refused() {
    let vectors = vectors();
    let (device, purpose) = (&vectors.cases[0].device, vectors.cases[0].purpose());
    assert_eq!(vectors.refused.len(), 19);
    for Refused { name, token, error } in vectors.refused {
        let expected = match error.as_str() {
            "malformed" => BadSealed::Malformed,
            "other label" => BadSealed::OtherLabel,
            "closed" => BadSealed::Closed,
            other => panic!("no such error: {other}"),
        };
        let found = open(&vectors.payload_key, device, purpose, &token);
        assert_eq!(found.err(), Some(expected), "{name}");
    }
}

#[test]
fn the_sealed_examples_contain_valid_bodies() {
    let cases = vectors().cases;
    let content: Content = serde_json::from_str(&cases[0].plaintext).unwrap();
    assert_eq!(String::from_utf8(content.bytes).unwrap(), "Pay 5 € to Ann?");
    let change: PinChange = serde_json::from_str(&cases[1].plaintext).unwrap();
    assert_eq!(change.version, 1);
    assert!(change.proof.is_none());
    let push: Push = serde_json::from_str(&cases[3].plaintext).unwrap();
    assert_eq!(push.provider, "fcm");
    let content: Content = serde_json::from_str(&cases[4].plaintext).unwrap();
    assert_eq!(content.forms, [Form::Code, Form::Cms]);
    assert_eq!(content.algorithms, [Algorithm::EcdsaSha256, Algorithm::RsaSha256]);
    assert_eq!(content.identities.map(|ids| ids.len()), Some(1));
}

/// The server accepts documents of at most 60 KiB, all parts together.
#[test]
fn the_largest_document_fits_a_sealed_message() {
    let vectors = vectors();
    let id = TransactionId([0xff; 16]);
    let device = DeviceName::new(&"t".repeat(63), vectors.cases[0].device.device()).unwrap();
    let content = Content {
        id,
        client: "c".repeat(crate::limits::NAME_BYTES_MAX),
        media_type: "application/vnd.countersign.digest+json".to_owned(),
        bytes: vec![7; crate::limits::DIGEST_BYTES_MAX],
        forms: vec![Form::Raw],
        algorithms: vec![Algorithm::EcdsaSha256; 9],
        identities: Some(vec!["f".repeat(32); 8]),
        code_digits: None,
        document: Some(Document {
            digest_algorithm: Some("sha512".to_owned()),
            // The worst case for a text: base64 makes four letters of three bytes.
            html: Some(Text("\u{1f}".repeat(60 * 1024))),
            ..Document::default()
        }),
    };
    let plaintext = serde_json::to_vec(&content).unwrap();
    let sealed = seal(&vectors.payload_key, &device, Purpose::Content(id), &plaintext);
    assert!(sealed.len() <= SEALED_BYTES_MAX, "{}", sealed.len());
}

#[test]
fn the_largest_content_fits_a_sealed_message() {
    let vectors = vectors();
    let id = TransactionId([0xff; 16]);
    let device = DeviceName::new(&"t".repeat(63), vectors.cases[0].device.device()).unwrap();
    let content = Content {
        id,
        client: "c".repeat(crate::limits::NAME_BYTES_MAX),
        media_type: "m".repeat(255),
        bytes: vec![7; crate::limits::CONTENT_BYTES_MAX],
        forms: vec![Form::Code, Form::Cms],
        algorithms: vec![Algorithm::EcdsaSha256; 9],
        identities: Some(vec!["f".repeat(32); 8]),
        code_digits: Some(10),
        document: None,
    };
    let plaintext = serde_json::to_vec(&content).unwrap();
    let sealed = seal(&vectors.payload_key, &device, Purpose::Content(id), &plaintext);
    let opened = open(&vectors.payload_key, &device, Purpose::Content(id), &sealed).unwrap();
    assert_eq!(opened.as_slice(), plaintext);
    assert_eq!(
        open(
            &vectors.payload_key,
            &device,
            Purpose::Content(id),
            &"x".repeat(SEALED_BYTES_MAX + 1)
        ),
        Err(BadSealed::Malformed),
    );
}

proptest! {
    #[test]
    fn every_message_opens_as_it_was_sealed(
        key: [u8; 32],
        id: [u8; 16],
        device in 1..=i64::MAX as u64,
        plaintext: Vec<u8>,
        which in 0..4_usize,
    ) {
        let key = PayloadKey::from(&key);
        let device = DeviceName::new("bank", crate::id::DeviceId::new(device).unwrap()).unwrap();
        let id = TransactionId(id);
        let information = Purpose::Information(id);
        let purpose =
            [Purpose::Content(id), Purpose::Pin, information, Purpose::Notification][which];
        let sealed = seal(&key, &device, purpose, &plaintext);
        let opened = open(&key, &device, purpose, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext);
        prop_assert_eq!(peek(&sealed), Ok((device, purpose)));
    }

    #[test]
    fn no_message_with_a_bit_flipped_opens(plaintext: Vec<u8>, place: prop::sample::Index, bit in 0..8_u8) {
        let key = PayloadKey::from(&[7; 32]);
        let device: DeviceName = "bank/1".parse().unwrap();
        let purpose = Purpose::Content(TransactionId([3; 16]));
        let mut sealed = seal(&key, &device, purpose, &plaintext).into_bytes();
        let place = place.index(sealed.len());
        sealed[place] ^= 1_u8 << bit;
        // Only UTF-8 reaches `open`.
        if let Ok(sealed) = String::from_utf8(sealed) {
            prop_assert!(open(&key, &device, purpose, &sealed).is_err());
        }
    }
}
