//! Across dialects: another dialect's transaction is finished through a link, and a process on the
//! device's own channel.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::DeclineReason;
use countersign_device::cms::{self, SigningKey};
use countersign_wire::body::Use;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::join;

use super::{
    RAW, Shop, TRANSACTION, finish, id, look, openssl_digest, put, raw, transaction, until,
};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, openssl_verifies, payment};

const MESSAGE: &str = "Pay 5 € to Ann?";

/// A finish with a CMS over the payment's message.
fn cms_over(test_device: &TestDevice, process: &str, message: &str) -> Value {
    let id = u128::from_str_radix(process, 16).unwrap().to_be_bytes();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let identity = test_device.phone().identity(Use::Content).unwrap();
    let key = SigningKey::from_pem(&identity.key).unwrap();
    let (bytes, media_type) = (message.as_bytes(), "text/plain; charset=utf-8");
    let signed = cms::sign(bytes, media_type, id, now, &identity.certificate, &[], &key).unwrap();
    json!({"value": BASE64.encode(signed), "sign_identity": {"id": identity.id}})
}

/// The id of the transaction with this reference, once it exists.
async fn started(server: &TestServer, reference: &str) -> String {
    until("the start", async || {
        let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
        let found = listed.as_array().unwrap().iter().find(|row| row["reference"] == reference)?;
        Some(found["id"].as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test]
async fn what_kobils_call_started_is_finished_through_a_link_with_a_cms() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let links = async {
        let process = started(&server, "order-1").await;
        let path = format!("/signatures/{process}/finish");
        // It does not accept a raw signature, and another text does not match.
        let identity = jane.phone().identity(Use::Content).unwrap();
        let bare = finish(identity, "ecdsa-sha256", &openssl_digest("sha256", MESSAGE.as_bytes()));
        for bad in [bare, cms_over(&jane, &process, "Pay 500 € to Ann?")] {
            let (status, answer) = put(&server, jane.phone(), &path, &bad).await;
            assert_eq!((status.as_u16(), &answer["error"]), (400, &json!("invalid_signature")));
        }
        // Another dialect's open transaction is taken there, and not read here.
        let (status, _) = look(&server, jane.phone(), &format!("/signatures/{process}")).await;
        assert_eq!(status, StatusCode::GONE);
        let body = cms_over(&jane, &process, MESSAGE);
        let (status, ended) = put(&server, jane.phone(), &path, &body).await;
        assert_eq!(status, StatusCode::OK, "{ended}");
        assert_eq!(ended["signature"]["result"]["value"], body["value"]);
        assert_eq!(put(&server, jane.phone(), &path, &body).await, (status, ended.clone()));
        // The `self` of what was answered is served.
        let address = ended["signature"]["self"].as_str().unwrap();
        let (_, path) = address.split_once("/esigp/v1").unwrap();
        assert_eq!(look(&server, jane.phone(), path).await, (status, ended.clone()));
        body
    };
    let request = payment("order-1");
    let (answer, body) = join!(server.start_signature("jane", &request), links);
    let (status, answer) = answer;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("OK")), "{answer}");
    assert_eq!(answer["data"]["signature"], body["value"]);
    let message = BASE64.decode(answer["data"]["signature"].as_str().unwrap()).unwrap();
    assert_eq!(openssl_verifies(&message, &server.tenant_ca()), MESSAGE.as_bytes());
}

#[tokio::test]
async fn what_kobils_call_started_is_cancelled_and_failed_through_links() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    for (link, code) in [("cancel", "USER_CANCEL"), ("fail", "INTERNAL_ERROR")] {
        let request = payment(link);
        let ends = async {
            let process = started(&server, link).await;
            put(&server, jane.phone(), &format!("/signatures/{process}/{link}"), &Value::Null).await
        };
        let ((_, answer), (status, ended)) = join!(server.start_signature("jane", &request), ends);
        assert_eq!(status, StatusCode::OK, "{ended}");
        assert_eq!(answer["data"]["resultCode"], code);
        // It was never taken, so its content is not shown.
        assert_eq!(ended["signature"]["input"], json!({}));
    }
}

#[tokio::test]
async fn what_asks_for_a_pin_is_not_finished_without_one() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let mut request = payment("order-1");
    request["pinRequired"] = json!(true);
    let links = async {
        let process = started(&server, "order-1").await;
        let path = format!("/signatures/{process}/finish");
        let body = cms_over(&jane, &process, MESSAGE);
        let (status, answer) = put(&server, jane.phone(), &path, &body).await;
        assert_eq!((status.as_u16(), &answer["error"]), (403, &json!("access_denied")));
        jane.opens(Some("2580")).await.unwrap();
        let (status, answer) = put(&server, jane.phone(), &path, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    let ((_, answer), ()) = join!(server.start_signature("jane", &request), links);
    assert_eq!(answer["status"], "OK", "{answer}");
}

#[tokio::test]
async fn what_is_started_here_is_taken_and_finished_on_the_devices_own_channel() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    for (path, body, content) in [
        (TRANSACTION, transaction(), "<p>Pay 5 €?</p>".as_bytes().to_vec()),
        (RAW, raw(&openssl_digest("sha256", b"x"), "sha256"), openssl_digest("sha256", b"x")),
    ] {
        let process = id(&shop.creates(path, &body).await);
        let shown = jane.signs().await;
        assert_eq!((shown.client(), shown.bytes()), ("Shop", content.as_slice()));
        let (status, result) = shop.result(&process).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(result["status"], "finished");
        assert_eq!(result["signature_algorithm"], "ecdsa-sha256");
        let signature = BASE64.decode(result["value"].as_str().unwrap()).unwrap();
        let certificate = result["sign_identity"]["details"]["certificate"].as_str().unwrap();
        let certificate = BASE64.decode(certificate).unwrap();
        let digest = if path == RAW { content } else { openssl_digest("sha256", &content) };
        assert!(super::openssl_verifies(&certificate, "sha256", &digest, &signature));
    }
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let offer = jane.device.next_offer().await.unwrap();
    jane.device.decline(offer.id, DeclineReason::User).await.unwrap();
    assert_eq!(shop.result(&process).await.1, json!({"status": "canceled"}));
}
