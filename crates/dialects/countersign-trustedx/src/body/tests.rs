use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as PADDED;
use countersign_core::device::{About, Device, DeviceStatus, Identity, Usage};
use countersign_core::id::DeviceId;
use countersign_core::limits::{DOCUMENT_BYTES_MAX, SELECTORS_MAX};
use countersign_core::secret::Secret;
use countersign_core::selector::{HeldIdentity, Selector};
use countersign_core::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SHA256: [u8; 32] = [7; 32];

fn parse(kind: ProcessKind, body: &Value) -> Result<Create, BadBody> {
    Create::parse(kind, body.to_string().as_bytes(), false)
}

fn transaction() -> Value {
    json!({
        "input": {"data": "<p>Pay 5 €?</p>", "service": {"id": "s", "name": "S", "domain": "d"}},
        "sign_identities": [{"labels": ["test"]}],
        "notify": true,
    })
}

fn raw() -> Value {
    json!({
        "input": {
            "digest_value": PADDED.encode(SHA256),
            "digest_algorithm": "sha256",
            "data_info": {"html": "="},
        },
        "sign_identities": [{"id": "000102030405060708090a0b0c0d0e0f"}],
    })
}

/// A body with one member changed; `null` removes it.
fn with(mut body: Value, path: &str, value: Value) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

#[track_caller]
fn refused(kind: ProcessKind, body: &Value, begins: &str) {
    let BadBody(sentence) = parse(kind, body).expect_err("it is refused");
    assert!(sentence.starts_with(begins), "{body}: {sentence}");
}

fn a_certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn html_is_signed_as_it_was_received() {
    let create = parse(ProcessKind::Transaction, &transaction()).unwrap();
    assert_eq!(create.content.media_type, MediaType::Html);
    assert_eq!(create.content.bytes, "<p>Pay 5 €?</p>".as_bytes());
    assert_eq!((create.operation, create.hash), (Operation::Sign, None));
    assert!(create.notify && create.user.is_none() && create.document.is_none());
    let login = parse(ProcessKind::Authentication, &transaction()).unwrap();
    assert_eq!(login.operation, Operation::Login);
    let scripted = with(transaction(), "/input/data", json!("<script>alert(1)</script>"));
    let scripted = parse(ProcessKind::Transaction, &scripted).unwrap();
    assert_eq!(scripted.content.bytes, b"<script>alert(1)</script>");
}

#[test]
fn a_digest_is_of_its_algorithms_length() {
    for (hash, length) in [("sha256", 32), ("sha384", 48), ("sha512", 64)] {
        for given in [0, 20, 31, 32, 33, 48, 64] {
            let body = with(raw(), "/input/digest_algorithm", json!(hash));
            let value = PADDED.encode(vec![7; given]);
            let body = with(body, "/input/digest_value", json!(value));
            let read = parse(ProcessKind::Raw, &body);
            assert_eq!(read.is_ok(), given == length, "{given} bytes as {hash}");
        }
    }
}

#[test]
fn a_digest_may_have_line_breaks_as_mime_writes_it() {
    let digest: Vec<u8> = (0..64).collect();
    let text = PADDED.encode(&digest);
    let (first, rest) = text.split_at(76);
    for written in
        [format!("{first}\r\n{rest}"), format!("{first}\n{rest}\n"), format!(" {first} {rest} ")]
    {
        let body = with(raw(), "/input/digest_algorithm", json!("sha512"));
        let body = with(body, "/input/digest_value", json!(written));
        assert_eq!(parse(ProcessKind::Raw, &body).unwrap().content.bytes, digest, "{written:?}");
    }
    // A line break does not hide hexadecimal digits.
    let hex = "0123456789abcdef".repeat(4);
    let body = with(raw(), "/input/digest_algorithm", json!("sha384"));
    let body = with(body, "/input/digest_value", json!(format!("{}\n{}", &hex[..32], &hex[32..])));
    refused(ProcessKind::Raw, &body, "input.digest_value must be base64 of the ");
}

#[test]
fn hexadecimal_digits_are_no_digest() {
    let hex = "0123456789abcdef".repeat(4);
    // As text it is base64 of 48 bytes; encoded it has 64.
    for (hash, value) in [
        ("sha256", hex.clone()),
        ("sha384", hex.clone()),
        ("sha384", hex.to_uppercase()),
        ("sha256", PADDED.encode(&hex)),
        ("sha512", PADDED.encode(&hex)),
        ("sha256", PADDED.encode("0123456789abcdef".repeat(2))),
    ] {
        let body = with(raw(), "/input/digest_algorithm", json!(hash));
        let body = with(body, "/input/digest_value", json!(value));
        refused(ProcessKind::Raw, &body, "input.digest_value must be base64 of the ");
    }
}

#[test]
fn a_digest_is_given_or_learnt() {
    let none = with(raw(), "/input/digest_value", Value::Null);
    refused(ProcessKind::Raw, &none, "input must be given a digest_value or a digest_url");
    refused(ProcessKind::Document, &none, "input must be given a digest_value or a digest_url");
    let learnt = with(none, "/input/digest_url", json!("https://docs.example/1"));
    let learnt = parse(ProcessKind::Raw, &learnt).unwrap();
    assert!(learnt.content.bytes.is_empty());
    assert_eq!(learnt.document.unwrap().hash, Some(Hash::Sha256));
    let unnamed = with(raw(), "/input/digest_algorithm", Value::Null);
    refused(ProcessKind::Raw, &unnamed, "input.digest_algorithm must be given");
    let both = with(raw(), "/input/digest_url", json!("https://docs.example/1"));
    let both = parse(ProcessKind::Raw, &both).unwrap();
    assert_eq!(both.content.bytes, SHA256);
    assert!(both.document.unwrap().digest_url.is_some());
}

#[test]
fn sha1_is_for_tenants_that_allow_it() {
    let body = with(raw(), "/input/digest_algorithm", json!("sha1"));
    let body = with(body, "/input/digest_value", json!(PADDED.encode([7; 20])));
    refused(ProcessKind::Raw, &body, "input.digest_algorithm must be sha256, sha384 or sha512");
    let allowed = Create::parse(ProcessKind::Raw, body.to_string().as_bytes(), true).unwrap();
    assert_eq!(allowed.hash, Some(Hash::Sha1));
    for unknown in ["md5", "SHA256", "sha-256", ""] {
        for (kind, body) in [(ProcessKind::Raw, raw()), (ProcessKind::Transaction, transaction())] {
            let body = with(body, "/input/digest_algorithm", json!(unknown));
            refused(kind, &body, "input.digest_algorithm must be one of sha1, ");
        }
    }
}

#[test]
fn root_certs_are_certificates() {
    let der = a_certificate();
    let given = |certs: Value| {
        let body = with(raw(), "/input/digest_url", json!("https://docs.example/1"));
        with(body, "/input/root_certs", certs)
    };
    let text = PADDED.encode(&der);
    let lines = format!("{}\r\n{}\n", &text[..64], &text[64..]);
    let read = parse(ProcessKind::Raw, &given(json!([text, lines]))).unwrap();
    assert_eq!(read.document.unwrap().root_certs, [der.clone(), der.clone()]);
    let longer: Vec<u8> = der.iter().copied().chain([0]).collect();
    for none in [
        json!(["AQID"]),
        json!(["?"]),
        json!([""]),
        json!([PADDED.encode(longer)]),
        json!([1]),
        json!("x"),
        json!(vec![&text; 17]),
        json!([text, "AQID"]),
    ] {
        refused(ProcessKind::Raw, &given(none), "input.root_certs must be at most 16 certificates");
    }
}

#[test]
fn addresses_are_https_and_carry_no_password() {
    for bad in ["http://docs.example/", "docs.example", "https://a:b@docs.example/", "ftp://a/", ""]
    {
        for (field, kind) in [
            ("digest_url", ProcessKind::Raw),
            ("digest_url", ProcessKind::Document),
            ("document_url", ProcessKind::Document),
        ] {
            let body = with(raw(), &format!("/input/{field}"), json!(bad));
            refused(kind, &body, &format!("input.{field} must be "));
        }
    }
    // Members that the call does not use are ignored.
    assert!(parse(ProcessKind::Raw, &with(raw(), "/input/document_url", json!("x"))).is_ok());
}

#[test]
fn what_is_shown_of_a_document_fits_a_message() {
    let shown =
        |bytes: usize| with(raw(), "/input/document_info", json!({"html": "x".repeat(bytes)}));
    assert!(parse(ProcessKind::Document, &shown(DOCUMENT_BYTES_MAX)).is_ok());
    assert!(parse(ProcessKind::Document, &shown(DOCUMENT_BYTES_MAX + 1)).is_err());
    let read = parse(ProcessKind::Document, &shown(1)).unwrap().document.unwrap();
    assert_eq!(read.html.as_deref(), Some("x"), "a document's own, not the data's");
}

#[test]
fn every_member_of_a_wrong_type_is_refused_by_name() {
    for (kind, body, members) in [
        (ProcessKind::Transaction, transaction(), &["data", "service", "digest_algorithm"][..]),
        (
            ProcessKind::Document,
            raw(),
            &[
                "digest_url",
                "digest_value",
                "document_url",
                "document_alias",
                "document_info",
                "root_certs",
            ],
        ),
        (ProcessKind::Raw, raw(), &["data_info"]),
    ] {
        for member in members {
            for wrong in [json!(1.5), json!([[1]]), json!(true)] {
                let body = with(body.clone(), &format!("/input/{member}"), wrong);
                refused(kind, &body, &format!("input.{member} "));
            }
        }
    }
    for (member, wrong) in [
        ("input", json!([])),
        ("notify", json!("yes")),
        ("user_id", json!(7)),
        ("user_id", json!("")),
        ("sign_identities", json!({})),
        ("sign_identities", json!([1])),
    ] {
        refused(
            ProcessKind::Transaction,
            &with(transaction(), &format!("/{member}"), wrong),
            member,
        );
    }
    for missing in [json!({}), json!([]), json!(null)] {
        assert!(parse(ProcessKind::Transaction, &missing).is_err());
    }
}

fn selectors(each: Value) -> Result<Vec<super::super::selector::SelectorQuery>, BadBody> {
    parse(ProcessKind::Transaction, &with(transaction(), "/sign_identities", each)).map(|c| c.asked)
}

#[test]
fn a_selectors_conditions_are_read() {
    let der = a_certificate();
    let certificate = PADDED.encode(&der);
    let read = selectors(json!([
        {"id": "000102030405060708090a0b0c0d0e0f"},
        {"labels": ["a", "b"], "device_id": "7", "type": "pki_x509", "details": {"certificate": certificate}},
        {},
    ]))
    .unwrap();
    let conditions: Vec<_> = read.iter().map(|asked| asked.selector.clone().unwrap()).collect();
    let id = "000102030405060708090a0b0c0d0e0f".parse().ok();
    let device = DeviceId::try_from(7).ok();
    let labels = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(conditions[0], Selector { id, ..Selector::default() });
    assert_eq!(conditions[1], Selector { id: None, labels, device, certificate: Some(der) });
    assert_eq!(conditions[2], Selector::default());
}

#[test]
fn details_need_a_type_and_a_device() {
    for (bad, begins) in [
        (json!([{"details": {}}]), "sign_identities[0] must be given a type and a device_id"),
        (json!([{"details": {}, "type": "pki:x509"}]), "sign_identities[0] must be given"),
        (json!([{}, {"details": {}, "device_id": "7"}]), "sign_identities[1] must be given"),
        (json!([{"type": "pgp"}]), "sign_identities[0].type must be pki:x509"),
        (json!([{"labels": "a"}]), "sign_identities[0].labels must be "),
        (json!([{"labels": ["a".repeat(256)]}]), "sign_identities[0].labels must be "),
        (json!([{"device_id": 7}]), "sign_identities[0].device_id must be "),
        (
            json!([{"device_id": "7", "type": "pki:x509", "details": {"certificate": "AQID"}}]),
            "sign_identities[0].details.certificate must be ",
        ),
        (json!(vec![json!({}); SELECTORS_MAX + 1]), "sign_identities must be an array of at most"),
    ] {
        let BadBody(sentence) = selectors(bad.clone()).expect_err("it is refused");
        assert!(sentence.starts_with(begins), "{bad}: {sentence}");
    }
    assert!(selectors(json!([{"details": {}, "type": "pki:x509", "device_id": "7"}])).is_ok());
}

#[test]
fn what_nobody_is_called_matches_nobody() {
    for nobody in [json!({"id": "x"}), json!({"device_id": "-1"}), json!({"device_id": "0"})] {
        assert_eq!(selectors(json!([nobody])).unwrap()[0].selector, None, "{nobody}");
    }
}

#[test]
fn selectors_are_shown_as_they_were_sent_but_for_an_id() {
    let sent = json!({"labels": ["a"], "device_id": "7", "type": "pki_x509", "details": {}});
    let read = selectors(json!([sent, {}, {"id": "000102030405060708090a0b0c0d0e0f"}])).unwrap();
    let shown = |nth: usize| serde_json::to_value(&read[nth].shown).unwrap();
    assert_eq!(shown(0), sent);
    assert_eq!(shown(1), json!({"labels": []}));
    let mut by_id = read[2].clone();
    let HeldIdentity { device, identity } = held();
    by_id.show_by(&device, &identity);
    assert_eq!(
        serde_json::to_value(&by_id.shown).unwrap(),
        json!({"labels": [], "device_id": "7", "type": "pki:x509", "details": {"certificate": "AQID"}})
    );
}

fn held() -> HeldIdentity {
    let identity = Identity {
        id: "000102030405060708090a0b0c0d0e0f".parse().unwrap(),
        usage: Usage::Content,
        certificate: vec![1, 2, 3],
        chain: Vec::new(),
        valid_until: Timestamp(0),
        imported: false,
        renewal: None,
        labels: vec!["a".into()],
        proposed_labels: vec!["b".into()],
        enabled: true,
        status_reason: String::new(),
    };
    let device = Device {
        tenant: "acme".parse().unwrap(),
        id: DeviceId::try_from(7).unwrap(),
        user: "jane".parse().unwrap(),
        serial_number: "CSN0000001-1".parse().unwrap(),
        status: DeviceStatus::Active,
        tenant_locked: false,
        auth_key: [0; 65],
        payload_key: Secret::copied(&[0; 32]),
        code_key: Secret::copied(&[0; 32]),
        pin: None,
        identities: vec![identity.clone()],
        about: About::default(),
        push: countersign_core::push::Push::None,
        enrolled_at: Timestamp(0),
    };
    HeldIdentity { device: device.into(), identity }
}

/// Any JSON with members that the calls know, and others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..70).prop_map(|bytes| PADDED.encode(bytes).into()),
        prop::sample::select(vec![
            "sha1",
            "sha256",
            "sha512",
            "https://a.example/",
            "pki:x509",
            "7"
        ])
        .prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "input",
            "data",
            "digest_url",
            "digest_value",
            "digest_algorithm",
            "root_certs",
            "html",
            "document_info",
            "data_info",
            "document_url",
            "document_alias",
            "service",
            "id",
            "labels",
            "sign_identities",
            "device_id",
            "type",
            "details",
            "certificate",
            "notify",
            "user_id",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_read_can_be_shown_and_signed(
        input in any_json(),
        selectors in any_json(),
        hash in prop::sample::select(vec!["sha1", "sha256", "sha384", "sha512", "md5"]),
        digest in prop::collection::vec(any::<u8>(), 0..70),
        sha1 in any::<bool>(),
    ) {
        let mut input = input;
        if let Some(members) = input.as_object_mut() {
            members.insert("digest_value".into(), PADDED.encode(&digest).into());
            members.insert("digest_algorithm".into(), hash.into());
            members.entry("data").or_insert("<p>x</p>".into());
        }
        let body = json!({"input": input, "sign_identities": selectors}).to_string();
        for kind in [ProcessKind::Raw, ProcessKind::Transaction, ProcessKind::Document, ProcessKind::Authentication] {
            let Ok(create) = Create::parse(kind, body.as_bytes(), sha1) else { continue };
            prop_assert!(sha1 || create.hash != Some(Hash::Sha1));
            prop_assert!(create.asked.len() <= SELECTORS_MAX);
            if let Some(document) = &create.document {
                prop_assert!(document.fits());
                let length = create.content.bytes.len();
                let expected = create.hash.map(Hash::length);
                prop_assert!(Some(length) == expected || document.digest_url.is_some());
            } else {
                prop_assert!((1..=CONTENT_BYTES_MAX).contains(&create.content.bytes.len()));
                prop_assert!(str::from_utf8(&create.content.bytes).is_ok());
            }
        }
    }
}
