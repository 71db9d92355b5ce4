//! Calls of a device that are not as the protocol says: each refusal has the page's body, and names
//! what is wrong.

use countersign_wire::limits::FRAME_BYTES_MAX;
use countersign_wire::phone::Phone;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, read};
use crate::trustedx::proof_of;

const ID: &str = "0123456789abcdef0123456789abcdef";

/// Asks for the offers with this query.
async fn offers(server: &TestServer, phone: &Phone, query: &str) -> (StatusCode, Value) {
    let path = "/device/v1/offers";
    let token = proof_of(phone, "GET", path, b"");
    let call = server.http.get(format!("{}{path}{query}", server.address)).bearer_auth(token);
    read(call.send().await.unwrap()).await
}

/// Takes a transaction with this body.
async fn take(server: &TestServer, phone: &Phone, body: String) -> (StatusCode, Value) {
    let path = format!("/device/v1/transactions/{ID}/take");
    let token = proof_of(phone, "POST", &path, body.as_bytes());
    let call = server.http.post(format!("{}{path}", server.address)).bearer_auth(token);
    read(call.header("content-type", "application/json").body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn a_call_that_is_not_as_the_page_says_is_refused_by_its_member_or_parameter() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let phone = jane.phone();
    assert_eq!(offers(&server, phone, "?wait=0").await, (StatusCode::OK, json!({"offers": []})));
    for (query, named) in [
        ("?wait=x", "`wait` is a whole number of seconds, 0 to 60"),
        ("?wait=0&weight=1", "the address takes the parameters `wait` and `request_key`"),
        ("?wait=0&wait=0", "`wait` occurs twice"),
    ] {
        let (status, refused) = offers(&server, phone, query).await;
        let message = format!("the request is not understood: {named}");
        let body = json!({"error": "bad_request", "message": message});
        assert_eq!((status, refused), (StatusCode::BAD_REQUEST, body), "{query}");
    }
    for (body, named) in [
        (json!({}), "`id` is missing"),
        (json!({"id": ID, "pin": "2580"}), "`pin` is not a member of this call"),
        (json!({"id": ID.replace('0', "1")}), "`id` is not the one of the address"),
    ] {
        let (status, refused) = take(&server, phone, body.to_string()).await;
        let message = format!("the request is not understood: {named}");
        assert_eq!((status.as_u16(), &refused["message"]), (400, &json!(message)), "{body}");
    }
}

#[tokio::test]
async fn a_devices_body_of_132_kib_is_read_and_a_longer_one_is_too_large() {
    assert_eq!(FRAME_BYTES_MAX, 132 * 1024);
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let body = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    let (status, refused) = take(&server, jane.phone(), body(FRAME_BYTES_MAX)).await;
    assert_eq!((status.as_u16(), &refused["error"]), (400, &json!("bad_request")), "{refused}");
    let (status, refused) = take(&server, jane.phone(), body(FRAME_BYTES_MAX + 1)).await;
    let whole = json!({"error": "too_large", "message": refused["message"]});
    assert_eq!((status.as_u16(), &refused), (413, &whole));
}

#[tokio::test]
async fn a_phone_that_scanned_the_uri_trusts_the_servers_own_authority_and_no_other() {
    let server = TestServer::new();
    server.user("jane");
    let create = ["activation", "create", "jane", "--tenant", "acme"];
    let made = server.cli(&[&create[..], &["--server", &server.address]].concat()).unwrap();
    let uri = made["uri"].as_str().unwrap();
    let (start, ca) = uri.split_once("&ca=").unwrap();
    let file = |name: &str| server.path().join(name).to_str().unwrap().to_owned();
    let enrols = |uri: &str, out: &str| {
        let mut enrol = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
        let output = enrol.args(["device", "enrol", "--uri", uri, "--out", out]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let other = if ca.starts_with('A') { "B" } else { "A" };
    let refused = enrols(&format!("{start}&ca={other}{}", &ca[1..]), &file("no.json"));
    assert!(!refused.0 && refused.1.contains("an authority that is not trusted"), "{refused:?}");
    let enrolled = enrols(uri, &file("phone.json"));
    assert!(enrolled.0, "{enrolled:?}");
    let kept: Value = serde_json::from_slice(&std::fs::read(file("phone.json")).unwrap()).unwrap();
    let ours = std::fs::read_to_string(server.data().join("tls/ca.pem")).unwrap();
    let bare = |pem: &str| pem.split_whitespace().collect::<String>();
    assert_eq!(bare(kept["server_ca"].as_str().unwrap()), bare(&ours));
    // The device works with it.
    let phone = TestDevice::opened(file("phone.json").into());
    assert_eq!(offers(&server, phone.phone(), "?wait=0").await.0, StatusCode::OK);
}
