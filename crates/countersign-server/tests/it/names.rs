//! Names of users: every door reads both spellings of a letter as one name, and refuses what cannot
//! be seen.

use countersign_wire::body::Use;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment};
use crate::trustedx::{Shop, TRANSACTION, id, signs, transaction};

/// The same name, composed and decomposed (UAX #15).
const COMPOSED: &str = "J\u{fc}rgen";
const DECOMPOSED: &str = "Ju\u{308}rgen";

#[tokio::test]
async fn every_door_finds_a_user_by_either_spelling() {
    let server = TestServer::new();
    server.user(DECOMPOSED);
    let listed = server.cli(&["user", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed[0]["user"], COMPOSED);
    // A device, enrolled under the other spelling.
    let phone = TestDevice::enrolled(&server, DECOMPOSED, None).await;
    assert!(phone.phone().identity(Use::Content).is_some());
    let shop = Shop::new(&server).await;
    for name in [COMPOSED, DECOMPOSED] {
        let mut body = transaction();
        body["user_id"] = json!(name);
        let process = id(&shop.creates(TRANSACTION, &body).await);
        let (status, answer) = signs(&server, phone.phone(), &process, "<p>Pay 5 €?</p>").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let mut request = payment(name);
        request["callbackUrl"] = json!("https://shop.example/");
        let (status, answer) = server.start_signature(name, &request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
}

#[tokio::test]
async fn a_process_for_a_name_that_cannot_be_seen_whole_is_refused() {
    let server = TestServer::new();
    let shop = Shop::new(&server).await;
    for name in
        ["ann\u{a0}", " lead", "trail ", "\u{3000}wide", "a\u{202e}b", "a\u{7}b", "a\u{115f}"]
    {
        let mut body = transaction();
        body["user_id"] = json!(name);
        let (status, answer) = shop.call(Method::POST, TRANSACTION, Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name:?}");
        assert_eq!(answer["error_description"], "user_id must be the name of a user", "{name:?}");
    }
}
