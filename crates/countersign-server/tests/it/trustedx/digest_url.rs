//! A `digest_url` that the server fetches itself: only from allowed hosts, and compared with the
//! digest that the device signed.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::body::Use;
use serde_json::{Value, json};

use super::{DOCUMENT, Shop, finish, id, openssl_digest, put};
use crate::receiver::{Act, Authority, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::TestServer;

/// The DER of a PEM, as base64.
fn der(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn told(digest: &[u8], algorithm: &str) -> Act {
    let answer = json!({"digest_value": BASE64.encode(digest), "digest_algorithm": algorithm});
    Act::Body(answer.to_string().into())
}

/// A host with a given answer, and a server that may fetch from it, or may not.
struct Fixture {
    host: Receiver,
    says: Arc<Mutex<Act>>,
    server: TestServer,
    test_device: TestDevice,
    body: Value,
}

impl Fixture {
    async fn set(allowed: &str) -> Self {
        let says = Arc::new(Mutex::new(Act::Never));
        let authority = Authority::new();
        let answer = Arc::clone(&says);
        let host = Receiver::new(&authority, move |_, _| answer.lock().unwrap().clone()).await;
        let address = format!("localhost:{}", host.address.port());
        let allowed = allowed.replace("HOST", &address);
        let server = TestServer::configured(&format!(
            "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\n[trustedx]\nfetch_hosts = [{allowed}]\n"
        ));
        server.user("jane");
        let test_device = TestDevice::enrolled(&server, "jane", None).await;
        let body = json!({
            "input": {
                "digest_url": format!("https://{address}/digest"),
                "root_certs": [der(&authority.pem)],
            },
            "sign_identities": [{"labels": ["test"]}],
        });
        Self { host, says, server, test_device, body }
    }

    /// Signs a digest and finishes; returns the status and the process.
    async fn signs(&self, digest: &[u8]) -> (u16, Value) {
        let shop = Shop::new(&self.server).await;
        let process = id(&shop.creates(DOCUMENT, &self.body).await);
        let identity = self.test_device.phone().identity(Use::Digest).unwrap();
        let mut body = finish(identity, "ecdsa-sha256", digest);
        body["digest_value"] = json!(BASE64.encode(digest));
        let path = format!("/signatures/{process}/finish");
        let (status, answer) = put(&self.server, self.test_device.phone(), &path, &body).await;
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
    let mut fixture = Fixture::set("\"acme=HOST\"").await;
    let (own, other) = (openssl_digest("sha256", b"own"), openssl_digest("sha256", b"other"));
    fixture.says(told(&own, "sha256"));
    assert_eq!(fixture.signs(&own).await.0, 200);
    let (status, answer) = fixture.signs(&other).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_signature")), "{answer}");
    fixture.says(told(&own, "sha512"));
    assert_eq!(fixture.signs(&own).await.0, 400, "of another algorithm");
    // A digest from the application is checked in the same way.
    let only_told = fixture.body.clone();
    fixture.body["input"]["digest_value"] = json!(BASE64.encode(&other));
    fixture.body["input"]["digest_algorithm"] = json!("sha256");
    fixture.says(told(&own, "sha256"));
    assert_eq!(fixture.signs(&other).await.0, 400, "both were given, and they differ");
    fixture.body = only_told;
    for call in 0..4 {
        assert!(fixture.host.next().await.line.starts_with("GET /digest "), "{call}");
    }
    // With any other answer, no signature is accepted, and the device may try again.
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
        fixture.says(odd.clone());
        let (status, answer) = fixture.signs(&own).await;
        assert_eq!((status, &answer["error"]), (503, &json!("server_error")), "{odd:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_allowed_for_the_tenant_is_not_asked() {
    let mut fixture =
        Fixture::set("\"other=HOST\", \"acme=localhost\", \"acme=docs.example\"").await;
    let own = openssl_digest("sha256", b"own");
    assert_eq!(fixture.signs(&own).await.0, 200, "the device's word stands");
    assert!(!fixture.host.has_more(), "it was asked");
}

#[tokio::test]
async fn a_host_is_trusted_by_the_given_certificates_only() {
    let mut fixture = Fixture::set("\"acme=HOST\"").await;
    let own = openssl_digest("sha256", b"own");
    fixture.says(told(&own, "sha256"));
    for roots in [json!([]), json!([der(&Authority::new().pem)])] {
        fixture.body["input"]["root_certs"] = roots;
        assert_eq!(fixture.signs(&own).await.0, 503);
    }
    assert!(!fixture.host.has_more(), "it was asked");
}
