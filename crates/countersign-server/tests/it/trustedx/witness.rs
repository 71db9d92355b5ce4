//! A `digest_url` that the server asks itself: of hosts that are allowed only, and held against what the
//! device signed.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::body::Use;
use serde_json::{Value, json};

use super::{DOCUMENT, Shop, finish, id, openssl_digest, put};
use crate::house::House;
use crate::person::Person;
use crate::receiver::{Act, Authority, Receiver};

/// The DER in a PEM, as base64.
fn der(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn told(digest: &[u8], algorithm: &str) -> Act {
    let answer = json!({"digest_value": BASE64.encode(digest), "digest_algorithm": algorithm});
    Act::Body(answer.to_string().into())
}

/// A host that says what it is told to, and a house that may ask it, or not.
struct Stage {
    host: Receiver,
    says: Arc<Mutex<Act>>,
    house: House,
    person: Person,
    body: Value,
}

impl Stage {
    async fn set(allowed: &str) -> Self {
        let says = Arc::new(Mutex::new(Act::Never));
        let authority = Authority::new();
        let answer = Arc::clone(&says);
        let host = Receiver::new(&authority, move |_, _| answer.lock().unwrap().clone()).await;
        let address = format!("localhost:{}", host.address.port());
        let allowed = allowed.replace("HOST", &address);
        let house = House::configured(&format!(
            "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\n[trustedx]\nfetch_hosts = [{allowed}]\n"
        ));
        house.user("jane");
        let person = Person::enrolled(&house, "jane", None).await;
        let body = json!({
            "input": {
                "digest_url": format!("https://{address}/digest"),
                "root_certs": [der(&authority.pem)],
            },
            "sign_identities": [{"labels": ["test"]}],
        });
        Self { host, says, house, person, body }
    }

    /// Signs a digest and reports it; the status, and what the process then is.
    async fn signs(&self, digest: &[u8]) -> (u16, Value) {
        let shop = Shop::new(&self.house).await;
        let process = id(&shop.creates(DOCUMENT, &self.body).await);
        let identity = self.person.phone().identity(Use::Digest).unwrap();
        let mut body = finish(identity, "ecdsa-sha256", digest);
        body["digest_value"] = json!(BASE64.encode(digest));
        let path = format!("/signatures/{process}/finish");
        let (status, answer) = put(&self.house, self.person.phone(), &path, &body).await;
        let (_, result) = shop.result(&process).await;
        assert_eq!(status.is_success(), result["status"] == "finished", "{answer} {result}");
        (status.as_u16(), answer)
    }

    fn says(&self, act: Act) {
        *self.says.lock().unwrap() = act;
    }
}

#[tokio::test]
async fn what_was_signed_is_what_an_allowed_host_says() {
    let mut stage = Stage::set("\"acme=HOST\"").await;
    let (own, other) = (openssl_digest("sha256", b"own"), openssl_digest("sha256", b"other"));
    stage.says(told(&own, "sha256"));
    assert_eq!(stage.signs(&own).await.0, 200);
    let (status, answer) = stage.signs(&other).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_signature")), "{answer}");
    stage.says(told(&own, "sha512"));
    assert_eq!(stage.signs(&own).await.0, 400, "of another algorithm");
    // One that the application gave is no better.
    let only_told = stage.body.clone();
    stage.body["input"]["digest_value"] = json!(BASE64.encode(&other));
    stage.body["input"]["digest_algorithm"] = json!("sha256");
    stage.says(told(&own, "sha256"));
    assert_eq!(stage.signs(&other).await.0, 400, "both were given, and they differ");
    stage.body = only_told;
    for call in 0..4 {
        assert!(stage.host.next().await.line.starts_with("GET /digest "), "{call}");
    }
    // Whatever else it does, nothing is accepted, and the device may try again.
    let long = json!({"digest_value": "x".repeat(10_000), "digest_algorithm": "sha256"});
    for odd in [
        Act::Answer("302 Found\r\nLocation: /elsewhere"),
        Act::Answer("500 Internal Server Error"),
        Act::Body("{}".into()),
        Act::Body(long.to_string().into()),
        Act::HalfWay,
        Act::Flood,
        Act::Never,
    ] {
        stage.says(odd.clone());
        let (status, answer) = stage.signs(&own).await;
        assert_eq!((status, &answer["error"]), (503, &json!("server_error")), "{odd:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_allowed_for_the_tenant_is_not_asked() {
    let mut stage = Stage::set("\"other=HOST\", \"acme=localhost\", \"acme=docs.example\"").await;
    let own = openssl_digest("sha256", b"own");
    assert_eq!(stage.signs(&own).await.0, 200, "the device's word stands");
    assert!(!stage.host.has_more(), "it was asked");
}

#[tokio::test]
async fn a_host_is_trusted_by_the_given_certificates_only() {
    let mut stage = Stage::set("\"acme=HOST\"").await;
    let own = openssl_digest("sha256", b"own");
    stage.says(told(&own, "sha256"));
    for roots in [json!([]), json!([der(&Authority::new().pem)])] {
        stage.body["input"]["root_certs"] = roots;
        assert_eq!(stage.signs(&own).await.0, 503);
    }
    assert!(!stage.host.has_more(), "it was asked");
}
