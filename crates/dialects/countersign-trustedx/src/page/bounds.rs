//! The types, bounds, defaults and calls in the tables of bodies, compared with the parsers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::limits::{
    CALLBACK_URL_BYTES_MAX, CONTENT_BYTES_MAX, DOCUMENT_BYTES_MAX, LABELS_PER_IDENTITY_MAX,
    NAME_BYTES_MAX, REASON_BYTES_MAX, SELECTORS_MAX, SIGNATURE_BYTES_MAX,
};
use countersign_http::json_members::BadBody;
use countersign_proof::raw::Hash;
use serde_json::{Value, json};

use super::*;
use crate::body::{Create, ProcessKind, ROOT_CERTS_MAX};
use crate::identity::body::{StatusChange, read_labels};
use crate::links::body::{Finish, words};

const CREATION: &str = "### Members of a creation";
const CHANGE: &str = "### Members of a change of an identity";
const LINK: &str = "### Members of a link's body";
const KINDS: [(&str, ProcessKind); 4] = [
    ("raw", ProcessKind::Raw),
    ("transaction", ProcessKind::Transaction),
    ("document", ProcessKind::Document),
    ("authentication", ProcessKind::Authentication),
];

fn parse(kind: ProcessKind, body: &Value) -> Result<Create, BadBody> {
    Create::parse(kind, body.to_string().as_bytes(), false)
}

/// The kinds of process that use a member, by the last column of its row.
fn users(calls: &str) -> impl Iterator<Item = (&'static str, ProcessKind, bool)> {
    KINDS.into_iter().map(move |(name, kind)| {
        (name, kind, calls == "all" || calls.split(", ").any(|call| call == name))
    })
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    BASE64.encode(rcgen::CertificateParams::default().self_signed(&key).unwrap().der())
}

/// A body with every member, which each of the calls accepts.
fn whole() -> Value {
    let certificate = certificate();
    json!({
        "input": {
            "service": {"id": "s", "name": "S", "domain": "d"},
            "data": "<p>Pay?</p>",
            "digest_algorithm": "sha256",
            "digest_value": BASE64.encode([7; 32]),
            "digest_url": "https://shop.example/digest",
            "document_url": "https://shop.example/document",
            "document_alias": "Lease",
            "document_info": {"html": "="},
            "data_info": {"html": "="},
            "root_certs": [certificate],
        },
        "sign_identities": [{
            "id": "000102030405060708090a0b0c0d0e0f",
            "labels": ["main"],
            "device_id": "000102030405060708090a0b0c0d0e0f",
            "type": "pki:x509",
            "details": {"certificate": certificate},
        }],
        "user_id": "jane",
        "notify": true,
    })
}

/// The body with another value of one member; `null` counts as absent.
fn with(mut body: Value, member: &str, value: Value) -> Value {
    let mut at = &mut body;
    for name in member.split('.') {
        at = match name.strip_suffix("[]") {
            Some(name) => &mut at[name][0],
            None => &mut at[name],
        };
    }
    *at = value;
    body
}

/// Values that are not of this type, as the page names it.
fn of_other_types(kind: &str) -> Vec<Value> {
    match kind {
        "object" => vec![json!(1), json!("text"), json!([])],
        "string" => vec![json!(1), json!(true), json!([]), json!({})],
        "base64" => vec![json!(1), json!([]), json!({}), json!("?")],
        "boolean" => vec![json!(1), json!("true"), json!({})],
        "array of base64" => vec![json!(1), json!("text"), json!({}), json!([1]), json!(["?"])],
        "array of strings" | "array of selectors" => {
            vec![json!(1), json!("text"), json!({}), json!([1])]
        }
        other => panic!("the page has a type that no test knows: {other}"),
    }
}

/// The numbers of a cell, which may have commas in them.
fn numbers(cell: &str) -> Vec<usize> {
    let cell = cell.replace(',', "\u{0}");
    let joined = cell.replace("\u{0} ", " ").replace('\u{0}', "");
    // The names of algorithms and schemes have digits, too.
    let plain: String = joined.split('`').step_by(2).collect();
    plain.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The words in backticks of a cell.
fn words_of(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_member_of_a_creation_has_its_type_at_the_calls_that_use_it_and_is_ignored_at_the_others() {
    for (name, kind) in KINDS {
        parse(kind, &whole()).unwrap_or_else(|BadBody(sentence)| panic!("{name}: {sentence}"));
    }
    for row in rows(CREATION) {
        let [member, kind, _, _, calls] = row[..] else { panic!("{row:?}") };
        for wrong in of_other_types(kind) {
            let body = with(whole(), member, wrong.clone());
            for (name, process, is_used) in users(calls) {
                let refused = parse(process, &body).is_err();
                assert_eq!(refused, is_used, "{member}: {wrong} at {name}");
            }
        }
    }
}

/// A value of so many bytes or elements.
type Sized = fn(usize) -> Value;

fn text(bytes: usize) -> Value {
    "a".repeat(bytes).into()
}

fn url(bytes: usize) -> Value {
    format!("{:a<bytes$}", "https://shop.example/").into()
}

fn certificates(count: usize) -> Value {
    vec![certificate(); count].into()
}

fn selectors(count: usize) -> Value {
    vec![json!({}); count].into()
}

fn labels(count: usize) -> Value {
    vec!["a"; count].into()
}

fn one_label(bytes: usize) -> Value {
    vec![text(bytes)].into()
}

const BOUNDS: [(&str, usize, Sized); 16] = [
    ("input.service.id", NAME_BYTES_MAX, text),
    ("input.service.name", NAME_BYTES_MAX, text),
    ("input.service.domain", NAME_BYTES_MAX, text),
    ("input.data", CONTENT_BYTES_MAX, text),
    ("input.digest_url", CALLBACK_URL_BYTES_MAX, url),
    ("input.document_url", CALLBACK_URL_BYTES_MAX, url),
    ("input.document_alias", NAME_BYTES_MAX, text),
    ("input.document_info.html", CONTENT_BYTES_MAX, text),
    ("input.data_info.html", CONTENT_BYTES_MAX, text),
    ("input.root_certs", ROOT_CERTS_MAX, certificates),
    ("sign_identities", SELECTORS_MAX, selectors),
    ("sign_identities[].id", NAME_BYTES_MAX, text),
    ("sign_identities[].labels", LABELS_PER_IDENTITY_MAX, labels),
    ("sign_identities[].labels", NAME_BYTES_MAX, one_label),
    ("sign_identities[].device_id", NAME_BYTES_MAX, text),
    ("user_id", NAME_BYTES_MAX, text),
];

#[test]
fn each_bound_of_a_creation_is_the_parsers() {
    let rows = rows(CREATION);
    let row_of = |member: &str| rows.iter().find(|row| row[0] == member).expect("a row");
    for (member, most, value) in BOUNDS {
        let row = row_of(member);
        let bounds = match row[2].strip_prefix("as ") {
            Some(other) => row_of(&format!("input.{}", other.trim_matches('`')))[2],
            None => row[2],
        };
        assert!(numbers(bounds).contains(&most), "{member}: {most} is not in: {bounds}");
        for (name, kind, is_used) in users(row[4]) {
            let of = |count| parse(kind, &with(whole(), member, value(count)));
            match of(most) {
                Ok(_) => {}
                // There is less room for everything together.
                Err(BadBody(sentence)) => {
                    assert!(is_used && most > DOCUMENT_BYTES_MAX, "{member} at {name}: {sentence}");
                    assert!(sentence.starts_with("input must be smaller"), "{member}: {sentence}");
                }
            }
            let Err(BadBody(sentence)) = of(most + 1) else {
                assert!(!is_used, "{member} has no bound at {name}");
                continue;
            };
            assert!(is_used && !sentence.contains("smaller"), "{member} at {name}: {sentence}");
        }
    }
    for row in &rows {
        let is_known = BOUNDS.iter().any(|(member, ..)| *member == row[0]);
        assert!(is_known || numbers(row[2]).is_empty(), "no test holds {row:?}");
    }
    let kib = DOCUMENT_BYTES_MAX / 1024;
    assert!(PAGE.contains(&format!("of one process have room for {kib} KiB together.")));
}

#[test]
fn the_values_that_a_creation_accepts_are_those_of_the_page() {
    let rows = rows(CREATION);
    let bounds = |member: &str| rows.iter().find(|row| row[0] == member).expect("a row")[2];
    let named: BTreeSet<_> = words_of(bounds("input.digest_algorithm")).into_iter().collect();
    assert_eq!(named, Hash::ALL.map(Hash::as_str).into_iter().collect());
    for hash in Hash::ALL {
        let digest = BASE64.encode(vec![7; hash.length()]);
        let body = with(whole(), "input.digest_value", digest.into());
        let body = with(body, "input.digest_algorithm", hash.as_str().into());
        for sha1 in [false, true] {
            let read = Create::parse(ProcessKind::Raw, body.to_string().as_bytes(), sha1);
            assert_eq!(read.is_ok(), sha1 || hash != Hash::Sha1, "{hash}");
        }
    }
    for kind in words_of(bounds("sign_identities[].type")) {
        let body = with(whole(), "sign_identities[].type", kind.into());
        assert!(parse(ProcessKind::Raw, &body).is_ok(), "{kind}");
    }
    let other = with(whole(), "sign_identities[].type", "pki".into());
    assert!(parse(ProcessKind::Raw, &other).is_err());
    for (member, wrong) in [
        ("input.data", json!("")),
        ("input.digest_url", json!("http://shop.example/")),
        ("input.digest_url", json!("https://jane@shop.example/")),
        ("input.digest_url", json!("https://:secret@shop.example/")),
        ("input.digest_value", json!(BASE64.encode([7; 20]))),
        ("input.digest_value", json!(BASE64.encode([b'7'; 32]))),
        ("input.root_certs", json!([BASE64.encode([7; 32])])),
        ("sign_identities[].details.certificate", json!(BASE64.encode([7; 32]))),
    ] {
        let row = rows.iter().find(|row| row[0] == member).expect("a row");
        for (name, kind, is_used) in users(row[4]) {
            let refused = parse(kind, &with(whole(), member, wrong.clone())).is_err();
            assert_eq!(refused, is_used, "{member}: {wrong} at {name}");
        }
    }
}

#[test]
fn what_a_creation_needs_is_what_the_page_says() {
    let rows = rows(CREATION);
    for row in &rows {
        let [member, _, _, absent, calls] = row[..] else { panic!("{row:?}") };
        let without = with(whole(), member, Value::Null);
        // Another member, beside this one, on which it depends.
        let beside = |name: &str| match member.rsplit_once('.') {
            Some((parent, _)) => format!("{parent}.{name}"),
            None => name.to_owned(),
        };
        let with_other = absent.split_once("refused with ").map(|(_, rest)| words_of(rest)[0]);
        let needed = absent.ends_with("is needed").then(|| words_of(absent)[0]);
        for (name, kind, is_used) in users(calls).filter(|(.., is_used)| *is_used) {
            let depends = with_other.is_some_and(|other| {
                let row = rows.iter().find(|row| row[0] == beside(other)).expect("a row");
                users(row[4]).any(|(user, _, is_used)| user == name && is_used)
            });
            let refused = absent.starts_with("refused") || depends;
            assert_eq!(parse(kind, &without).is_err(), refused, "{member}, {name}: {is_used}");
            if let Some(other) = with_other {
                let neither = with(without.clone(), &beside(other), Value::Null);
                assert!(parse(kind, &neither).is_ok(), "{member} and {other}, {name}");
            }
            if let Some(other) = needed {
                let neither = with(without.clone(), &beside(other), Value::Null);
                assert!(parse(kind, &neither).is_err(), "{member} or {other}, {name}");
            }
        }
    }
    let default = rows.iter().find(|row| row[0] == "notify").expect("a row")[3];
    let without = parse(ProcessKind::Raw, &with(whole(), "notify", Value::Null)).unwrap();
    assert_eq!(default, format!("`{}`", without.notify));
}

/// A change of an identity with this value of a member.
fn change(member: &str, value: &Value) -> Result<Value, BadBody> {
    if member == "labels" {
        return read_labels(json!({"labels": value}).to_string().as_bytes()).map(Value::from);
    }
    let body = with(json!({"value": "enabled"}), member, value.clone());
    let read = StatusChange::parse(body.to_string().as_bytes())?;
    Ok(read.reason.into())
}

#[test]
fn the_columns_of_a_change_of_an_identity_are_the_parsers() {
    let reason = ("reason", REASON_BYTES_MAX, text as Sized);
    let labels: [(_, _, Sized); 2] =
        [("labels", LABELS_PER_IDENTITY_MAX, labels), ("labels", NAME_BYTES_MAX, one_label)];
    for row in rows(CHANGE) {
        let [member, kind, bounds, absent] = row[..] else { panic!("{row:?}") };
        for wrong in of_other_types(kind) {
            assert!(change(member, &wrong).is_err(), "{member}: {wrong}");
        }
        let held: Vec<_> =
            labels.iter().chain([&reason]).filter(|(held, ..)| *held == member).collect();
        let most: Vec<usize> = held.iter().map(|(_, most, _)| *most).collect();
        assert_eq!(numbers(bounds), most, "{member}");
        for (_, most, value) in held {
            assert!(change(member, &value(*most)).is_ok(), "{member}");
            assert!(change(member, &value(most + 1)).is_err(), "{member}");
        }
        let without = change(member, &Value::Null);
        assert_eq!(without.is_err(), absent == "refused", "{member}");
        match (absent, without) {
            ("empty", Ok(left)) => assert_eq!(left, ""),
            ("none", Ok(left)) => assert_eq!(left, json!([])),
            _ => {}
        }
    }
    for value in ["enabled", "disabled"] {
        assert!(rows(CHANGE).iter().any(|row| words_of(row[2]).contains(&value)), "{value}");
        assert!(change("value", &value.into()).is_ok());
    }
}

#[test]
fn the_columns_of_a_links_body_are_the_parsers() {
    let whole = json!({
        "value": "AQID", "signature_algorithm": "ecdsa-sha256",
        "sign_identity": {"id": "000102030405060708090a0b0c0d0e0f"}, "digest_value": "AAE=",
    });
    let finish = |member: &str, value| {
        Finish::parse(with(whole.clone(), member, value).to_string().as_bytes())
    };
    for row in rows(LINK) {
        let [member, kind, bounds, absent, _] = row[..] else { panic!("{row:?}") };
        for wrong in of_other_types(kind.split(';').next().unwrap()) {
            assert!(finish(member, wrong.clone()).is_err(), "{member}: {wrong}");
        }
        let refused = finish(member, Value::Null).is_err();
        assert_eq!(refused, ["refused", "refused; no words"].contains(&absent), "{member}");
        let held: &[usize] = match member {
            "value" => &[1, SIGNATURE_BYTES_MAX, REASON_BYTES_MAX],
            "sign_identity.id" => &[32],
            _ => &[],
        };
        assert_eq!(numbers(bounds), held, "{member}");
    }
    let signature = |bytes| finish("value", BASE64.encode(vec![7; bytes]).into());
    assert!(signature(0).is_err() && signature(1).is_ok());
    assert!(signature(SIGNATURE_BYTES_MAX).is_ok() && signature(SIGNATURE_BYTES_MAX + 1).is_err());
    let said = |value: Value| words(json!({ "value": value }).to_string().as_bytes());
    assert_eq!(said(text(REASON_BYTES_MAX + 1)).map(Value::from), Ok(text(REASON_BYTES_MAX)));
    assert!(said(json!(1)).is_err());
    assert_eq!(said(Value::Null), Ok(String::new()));
    assert!(finish("sign_identity.id", "0".repeat(32).into()).is_ok());
    assert!(finish("sign_identity.id", "0".repeat(31).into()).is_err());
}
