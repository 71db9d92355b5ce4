//! Invalid requests: each gets a status and `{"error", "error_description"}`, and changes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{DOCUMENT, PREFIX, RAW, Shop, TRANSACTION, id, openssl_digest, raw, transaction};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, read};

#[tokio::test]
async fn a_digest_that_is_none_is_refused() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let digest = openssl_digest("sha256", b"x");
    let hex = hex::encode(&digest);
    let with = |name: &str, value: Value| {
        let mut body = raw(&digest, "sha256");
        body["input"][name] = value;
        body
    };
    for (body, member) in [
        (with("digest_value", json!(hex)), "input.digest_value"),
        (with("digest_value", json!(BASE64.encode(&hex))), "input.digest_value"),
        (with("digest_value", json!(BASE64.encode(&digest[1..]))), "input.digest_value"),
        (with("digest_value", json!("?")), "input.digest_value"),
        (with("digest_value", Value::Null), "input must be given"),
        (with("digest_algorithm", json!("sha512")), "input.digest_value"),
        (with("digest_algorithm", json!("md5")), "input.digest_algorithm"),
        (with("digest_algorithm", json!("sha1")), "input.digest_algorithm"),
        (with("digest_algorithm", Value::Null), "input.digest_algorithm"),
        (with("root_certs", json!(["AQID"])), "input.root_certs"),
        (with("digest_url", json!("http://docs.example/")), "input.digest_url"),
    ] {
        for path in [RAW, DOCUMENT] {
            let (status, error, sentence) = shop.refused(path, &body).await;
            assert_eq!((status, error.as_str()), (400, "invalid_request"), "{body}");
            assert!(sentence.starts_with(member), "{sentence}");
        }
    }
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed, json!([]), "something was started");
}

#[tokio::test]
async fn processes_beyond_the_clients_rate_are_answered_with_429() {
    let server = TestServer::configured("[transactions]\nstarts_per_client_per_second = 1\n");
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let body = transaction();
    let url = format!("{}{PREFIX}{TRANSACTION}", server.address);
    let calls = (0..60).map(|_| server.http.post(&url).bearer_auth(&shop.token).json(&body).send());
    let answers = join_all(calls).await.into_iter().map(Result::unwrap);
    let (refused, answered): (Vec<_>, Vec<_>) =
        answers.partition(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
    assert!(answered.len() >= 10, "{} were within the burst", answered.len());
    assert!(answered.iter().any(|answer| answer.status() == StatusCode::CREATED));
    assert!(!refused.is_empty());
    for answer in refused {
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait));
        let body = read(answer).await.1;
        assert_eq!(body["error"], "too_many_requests");
        assert!(body["error_description"].as_str().unwrap().contains("quota"), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_none_is_refused() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let whole = transaction().to_string();
    let sent = async |content_type: &str, body: String| {
        let call = server.http.post(format!("{}{PREFIX}{TRANSACTION}", server.address));
        let call = call.bearer_auth(&shop.token).header("content-type", content_type).body(body);
        let (status, answer) = read(call.send().await.unwrap()).await;
        assert!(answer["error"].is_string() && answer["error_description"].is_string(), "{answer}");
        status.as_u16()
    };
    for (content_type, body, status) in [
        ("text/plain", whole.clone(), 415),
        ("application/x-www-form-urlencoded", "a=b".into(), 415),
        ("application/json", String::new(), 400),
        ("application/json", "null".into(), 400),
        ("application/json", "[]".into(), 400),
        ("application/json", whole[..whole.len() - 1].to_owned(), 400),
        ("application/json", "{\"input\":{},\"input\":{}}".into(), 400),
        ("application/json", format!("{{\"a\":{}", "[".repeat(100_000)), 400),
        ("application/json", format!("{{\"input\":{{\"data\":{}", "[".repeat(100_000)), 400),
        ("application/json", format!("{{\"x\":\"{}\"}}", "x".repeat(300_000)), 413),
        ("application/json", json!({"input": {"data": "x".repeat(70_000)}}).to_string(), 400),
        ("application/json", json!({"input": {"data": ""}}).to_string(), 400),
    ] {
        assert_eq!(
            sent(content_type, body.clone()).await,
            status,
            "{}",
            &body[..body.len().min(40)]
        );
    }
}

#[tokio::test]
async fn html_that_tries_to_script_is_kept_signed_and_given_back_as_it_was() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let data = "<svg onload=alert(1)><script>alert('\u{202e}x')</script>\u{0}<p>Pay?";
    let mut body = transaction();
    body["input"]["data"] = json!(data);
    let created = shop.creates(TRANSACTION, &body).await;
    assert_eq!(created["input"]["data"], data);
    let (status, answer) = super::signs(&server, jane.phone(), &id(&created), data).await;
    assert_eq!(status.as_u16(), 200, "{answer}");
}

#[tokio::test]
async fn addresses_and_methods_that_are_none_say_so() {
    let server = TestServer::new();
    let shop = Shop::new(&server).await;
    for (method, path, status) in [
        (Method::POST, "/signatures", 404),
        (Method::GET, "/signatures/device/raw", 405),
        (Method::POST, "/signatures/x", 405),
        (Method::GET, "/signatures/x/finish", 405),
        (Method::PUT, "/signatures/x/sign", 404),
        (Method::POST, "/sign_identities", 405),
        (Method::GET, "/sign_identities/x/status", 405),
        (Method::GET, "/nothing", 404),
        (Method::GET, "", 404),
    ] {
        let (got, answer) = shop.call(method.clone(), path, None).await;
        assert_eq!(got.as_u16(), status, "{method} {path}");
        assert!(answer["error"].is_string() && answer["error_description"].is_string(), "{answer}");
    }
}
