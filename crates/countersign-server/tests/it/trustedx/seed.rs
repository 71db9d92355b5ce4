//! Compares the served resource with the vendor's page: `representations.txt` quotes its
//! representations; each member there is served with its type and in its place, and no other member
//! is.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::body::Use;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    DOCUMENT, RAW, Shop, TRANSACTION, finish, id, openssl_digest, put, raw, signs, transaction,
};
use crate::test_device::TestDevice;
use crate::test_server::TestServer;

/// The type of a member.
#[derive(Clone, Debug)]
enum Shape {
    Text,
    /// Another representation of the page, by its name there.
    Other(String),
    /// Any value.
    Open,
    List(Box<Shape>),
    Members(Vec<(String, Shape)>),
}

/// Parses a representation: JSON whose values are types in braces.
struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    fn next(&mut self) -> char {
        while self.0.next_if(|c| c.is_whitespace()).is_some() {}
        self.0.next().unwrap()
    }

    fn peek(&mut self) -> char {
        while self.0.next_if(|c| c.is_whitespace()).is_some() {}
        *self.0.peek().unwrap()
    }

    fn until(&mut self, end: char) -> String {
        let mut text = String::new();
        loop {
            match self.0.next().unwrap() {
                c if c == end => return text,
                c => text.push(c),
            }
        }
    }

    fn shape(&mut self) -> Shape {
        match self.next() {
            '"' => {
                self.until('"');
                Shape::Text
            }
            '[' => {
                let inner = self.shape();
                assert_eq!(self.next(), ']');
                Shape::List(Box::new(inner))
            }
            '{' if self.peek() == '"' => {
                let mut members = Vec::new();
                loop {
                    assert_eq!(self.next(), '"');
                    let name = self.until('"');
                    assert_eq!(self.next(), ':');
                    members.push((name, self.shape()));
                    match self.next() {
                        ',' => {}
                        '}' => return Shape::Members(members),
                        other => panic!("{other}"),
                    }
                }
            }
            '{' => match self.until('}').trim() {
                "string" => Shape::Text,
                "..." => Shape::Open,
                name => Shape::Other(name.to_owned()),
            },
            other => panic!("{other}"),
        }
    }
}

fn representations() -> BTreeMap<String, Shape> {
    let text = include_str!("representations.txt");
    let parts = text.split("## ").filter(|part| !part.is_empty());
    let read = |part: &str| {
        let (name, text) = part.split_once('\n').unwrap();
        (name.trim().to_owned(), Reader(text.chars().peekable()).shape())
    };
    parts.map(read).collect()
}

/// The members that were served, by path.
#[derive(Default)]
struct Served(BTreeMap<String, usize>);

impl Served {
    /// Checks that a value has only the members of the page. Members may be absent, and are in the
    /// page's order.
    fn look(&mut self, path: &str, value: &Value, shape: &Shape, input: &Shape) {
        *self.0.entry(path.to_owned()).or_default() += 1;
        let named = representations();
        match shape {
            Shape::Text => assert!(value.is_string(), "{path}: {value}"),
            Shape::Open => assert!(value.is_object(), "{path}: {value}"),
            Shape::List(inner) => {
                for each in value.as_array().unwrap_or_else(|| panic!("{path}: {value}")) {
                    self.look(&format!("{path}[]"), each, inner, input);
                }
            }
            Shape::Members(members) => {
                let object = value.as_object().unwrap_or_else(|| panic!("{path}: {value}"));
                for (name, each) in object {
                    let known = members.iter().find(|(known, _)| known == name);
                    let (_, shape) = known.unwrap_or_else(|| panic!("{path} has {name}"));
                    self.look(&format!("{path}.{name}"), each, shape, input);
                }
            }
            Shape::Other(name) => match name.as_str() {
                "InputData" => self.look(path, value, input, input),
                "SignIdentitySelectorDetails" => {
                    self.look(path, value, &named["details of a selector"], input);
                }
                "DeviceType" => self.look(path, value, &named["device type"], input),
                "SignIdentity" => super::identities::is_sign_identity(value, true),
                other => panic!("{other}"),
            },
        }
    }
}

/// All paths of a shape; those of an input are under the name of its kind.
fn paths(path: &str, shape: &Shape, into: &mut Vec<String>) {
    into.push(path.to_owned());
    let named = representations();
    match shape {
        Shape::Text | Shape::Open => {}
        Shape::List(inner) => paths(&format!("{path}[]"), inner, into),
        Shape::Members(members) => {
            for (name, shape) in members {
                paths(&format!("{path}.{name}"), shape, into);
            }
        }
        Shape::Other(name) => match name.as_str() {
            "InputData" => {
                for input in ["input of a document", "input of a transaction", "input of raw data"]
                {
                    paths(path, &named[input], into);
                }
            }
            "SignIdentitySelectorDetails" => paths(path, &named["details of a selector"], into),
            "DeviceType" => paths(path, &named["device type"], into),
            _ => {}
        },
    }
}

/// The members of a process that `docs/trustedx.md` names.
fn members_of_the_page() -> BTreeSet<String> {
    let page = include_str!("../../../../../docs/trustedx.md");
    let (_, section) = page.split_once("\n### Members of a process\n").unwrap();
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(member, _)| member.to_owned()).collect()
}

const CONFIGURATION: &str = r#"
[[trustedx.device_types]]
id = "phone"
notifications_service_id = "fcm"
wakeup_uri_scheme = "mobileid"
verification_policy = "urn:example:policy:1"
server_configuration = { theme = "dark" }
"#;

#[tokio::test]
async fn every_property_of_the_vendors_page_is_served_and_no_other() {
    let server = TestServer::configured(CONFIGURATION);
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let named = representations();
    let service = json!({"id": "s-1", "name": "A service", "domain": "elsewhere"});
    let ca = std::fs::read(server.tenant_ca()).unwrap();
    let ca: String =
        String::from_utf8(ca).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let digest = openssl_digest("sha256", b"a document");
    let held = jane.phone().identity(Use::Digest).unwrap();
    let selectors = json!([
        {"labels": ["test"], "device_id": jane.phone().device_id.to_string(), "type": "pki:x509",
         "details": {"certificate": BASE64.encode(&held.certificate)}},
        {"id": held.id},
    ]);

    let mut body = transaction();
    body["input"]["service"] = service.clone();
    body["input"]["digest_algorithm"] = json!("sha256");
    let of_transaction = shop.creates(TRANSACTION, &body).await;
    signs(&server, jane.phone(), &id(&of_transaction), "<p>Pay 5 €?</p>").await;

    let mut input = json!({
        "service": service, "digest_url": "https://docs.example/digest",
        "digest_value": BASE64.encode(&digest), "digest_algorithm": "sha256",
        "root_certs": [ca], "data_info": {"html": "PGI+WDwvYj4="},
    });
    let body = json!({"input": input, "sign_identities": selectors});
    let of_raw = shop.creates(RAW, &body).await;
    assert_eq!(of_raw["input"], input);
    assert_eq!(of_raw["sign_identity_selectors"][0], selectors[0]);
    let path = format!("/signatures/{}/finish", id(&of_raw));
    let (status, answer) =
        put(&server, jane.phone(), &path, &finish(held, "ecdsa-sha256", &digest)).await;
    assert_eq!(status, 200, "{answer}");

    let info = input.as_object_mut().unwrap().remove("data_info").unwrap();
    input["document_info"] = info;
    input["document_url"] = json!("https://docs.example/1.pdf");
    input["document_alias"] = json!("Contract");
    let body = json!({"input": input, "sign_identities": selectors});
    let of_document = shop.creates(DOCUMENT, &body).await;
    assert_eq!(of_document["input"], input);
    let path = format!("/signatures/{}/fail", id(&of_document));
    put(&server, jane.phone(), &path, &json!({"value": "no"})).await;

    let mut served = Served::default();
    for (created, input) in [
        (&of_document, "input of a document"),
        (&of_transaction, "input of a transaction"),
        (&of_raw, "input of raw data"),
    ] {
        let path = format!("/signatures/{}", id(created));
        let (_, answer) = shop.get(&path).await;
        served.look("", &answer["signature"], &named["process"], &named[input]);
        let (_, result) = shop.get(&format!("{path}/result")).await;
        assert_eq!(result, answer["signature"]["result"]);
        served.look("", created, &named["process"], &named[input]);
        assert_eq!(shop.call(Method::DELETE, &path, None).await.1, answer);
    }
    let mut expected = Vec::new();
    paths("", &named["process"], &mut expected);
    assert!(expected.len() > 60, "the page is read whole");
    let inputs: BTreeSet<String> =
        served.0.keys().filter(|path| path.starts_with(".input.")).cloned().collect();
    let mut members: BTreeSet<String> = expected
        .iter()
        .filter(|path| !path.is_empty() && !path.ends_with("[]") && !inputs.contains(*path))
        .map(|path| path[1..].to_owned())
        .collect();
    members.extend(["result.digest_value", "result.digest_algorithm"].map(str::to_owned));
    assert_eq!(members_of_the_page(), members, "docs/trustedx.md");
    let missing: Vec<_> = expected.iter().filter(|path| !served.0.contains_key(*path)).collect();
    assert!(missing.is_empty(), "never served: {missing:?}");
}

#[tokio::test]
async fn what_depends_on_the_end_is_there_when_it_should_be() {
    let server = TestServer::configured(CONFIGURATION);
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let names = |value: &Value| {
        value.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>())
    };
    let open = shop.creates(TRANSACTION, &transaction()).await;
    assert!(open.get("result").is_none(), "an open one has no result");
    assert_eq!(open["domain"], "acme");
    let (_, ended) = signs(&server, jane.phone(), &id(&open), "<p>Pay 5 €?</p>").await;
    let result = &ended["signature"]["result"];
    let all = ["status", "value", "signature_algorithm", "sign_identity", "device_type"];
    let mut all = all.map(str::to_owned).to_vec();
    all.sort();
    let mut found = names(result).unwrap();
    found.sort();
    assert_eq!(found, all);
    assert_eq!(
        result["device_type"],
        json!({
            "id": "phone", "notifications_service_id": "fcm", "wakeup_uri_scheme": "mobileid",
            "verification_policy": "urn:example:policy:1",
            "application": {"id": "", "version": ""}, "server_configuration": {"theme": "dark"},
        })
    );
    for (link, status) in [("fail", "failed"), ("cancel", "canceled")] {
        let created = shop.creates(TRANSACTION, &transaction()).await;
        let path = format!("/signatures/{}/{link}", id(&created));
        let (_, ended) = put(&server, jane.phone(), &path, &Value::Null).await;
        assert_eq!(ended["signature"]["result"], json!({"status": status}));
    }
    let mut given = transaction();
    given["input"]["digest_algorithm"] = json!("sha512");
    assert!(open["input"].get("digest_algorithm").is_none(), "it was not sent");
    let given = shop.creates(TRANSACTION, &given).await;
    assert_eq!(given["input"]["digest_algorithm"], "sha512");
    let digest = openssl_digest("sha256", b"x");
    let bare = shop.creates(RAW, &raw(&digest, "sha256")).await;
    assert_eq!(names(&bare["input"]).unwrap().len(), 2, "{}", bare["input"]);
}
