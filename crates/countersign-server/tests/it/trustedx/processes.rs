//! The life of a process, as its application sees it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::KeyKind;
use countersign_wire::body::Use;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use super::{
    AUTHENTICATION, DOCUMENT, RAW, Shop, TRANSACTION, finish, id, openssl_digest, openssl_verifies,
    put, raw, signs, transaction, until,
};
use crate::receiver::{Authority, OK, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, read};

#[tokio::test]
async fn an_application_gets_a_signature_over_what_the_person_was_shown() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let url = format!("{}{}{TRANSACTION}", server.address, super::PREFIX);
    let call = server.http.post(url).bearer_auth(&shop.token).json(&transaction());
    let answer = call.send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let (status, created) = read(answer).await;
    assert_eq!(status, StatusCode::CREATED);
    let created = &created["signature"];
    assert_eq!(created["self"], json!(location));
    assert_eq!(created["operation_type"], "sign:commitment:transaction");
    assert_eq!(created["input"], json!({"data": "<p>Pay 5 €?</p>"}));
    assert_eq!(
        created["service"],
        json!({"id": server.client.0, "name": "Shop", "domain": "acme"})
    );
    assert_eq!(created["result"], Value::Null);
    let process = id(created);
    assert_eq!(shop.get(&format!("/signatures/{process}")).await.1["signature"], *created);
    let (status, pending) = shop.result(&process).await;
    assert_eq!((status.as_u16(), &pending["error"]), (404, &json!("pending")));

    let (status, ended) = signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await;
    assert_eq!(status, StatusCode::OK, "{ended}");
    let (status, result) = shop.result(&process).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(result, ended["signature"]["result"]);
    assert_eq!(result, shop.get(&format!("/signatures/{process}")).await.1["signature"]["result"]);
    assert_eq!(result["status"], "finished");
    assert_eq!(result["signature_algorithm"], "ecdsa-sha256");
    let signature = BASE64.decode(result["value"].as_str().unwrap()).unwrap();
    let certificate = result["sign_identity"]["details"]["certificate"].as_str().unwrap();
    let certificate = BASE64.decode(certificate).unwrap();
    let digest = openssl_digest("sha256", "<p>Pay 5 €?</p>".as_bytes());
    assert!(openssl_verifies(&certificate, "sha256", &digest, &signature));
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(
        (&listed[0]["dialect"], &listed[0]["state"]),
        (&json!("trustedx"), &json!("finished"))
    );
}

#[tokio::test]
async fn every_algorithm_signs_a_digest_that_was_given() {
    let server = TestServer::configured("[trustedx]\nsha1_tenants = [\"acme\"]\n");
    let shop = Shop::new(&server).await;
    for (user, key, scheme) in [("ec", KeyKind::P256, "ecdsa"), ("rsa", KeyKind::Rsa2048, "rsa")] {
        server.user(user);
        let test_device = TestDevice::with_key(&server, user, None, key).await;
        let identity = test_device.phone().identity(Use::Digest).unwrap();
        for hash in ["sha1", "sha256", "sha384", "sha512"] {
            let digest = openssl_digest(hash, b"a document");
            let mut body = raw(&digest, hash);
            body["user_id"] = json!(user);
            let process = id(&shop.creates(RAW, &body).await);
            let algorithm = format!("{scheme}-{hash}");
            let body = finish(identity, &algorithm, &digest);
            let path = format!("/signatures/{process}/finish");
            let (status, answer) = put(&server, test_device.phone(), &path, &body).await;
            assert_eq!(status, StatusCode::OK, "{algorithm}: {answer}");
            let result = &answer["signature"]["result"];
            assert_eq!(result["signature_algorithm"], algorithm);
            assert_eq!(result["value"], body["value"]);
            let signature = BASE64.decode(result["value"].as_str().unwrap()).unwrap();
            assert!(openssl_verifies(&identity.certificate, hash, &digest, &signature));
        }
    }
}

#[tokio::test]
async fn a_document_is_signed_by_its_digest_and_a_login_as_a_transaction_is() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let digest = openssl_digest("sha256", b"%PDF-1.7");
    let mut body = raw(&digest, "sha256");
    body["input"]["document_alias"] = json!("Contract");
    body["input"]["document_info"] = json!({"html": "PGI+Q29udHJhY3Q8L2I+"});
    let created = shop.creates(DOCUMENT, &body).await;
    assert_eq!(created["operation_type"], "sign:commitment:document");
    assert_eq!(created["input"], body["input"]);
    let identity = jane.phone().identity(Use::Digest).unwrap();
    let path = format!("/signatures/{}/finish", id(&created));
    let body = finish(identity, "ecdsa-sha256", &digest);
    assert_eq!(put(&server, jane.phone(), &path, &body).await.0, StatusCode::OK);

    let login = shop.creates(AUTHENTICATION, &transaction()).await;
    assert_eq!(login["operation_type"], "authentication");
    let (status, _) = signs(&server, jane.phone(), &id(&login), "<p>Pay 5 €?</p>").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_deleted_was_cancelled_and_is_known_no_more() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let path = format!("/signatures/{process}");
    let (status, deleted) = shop.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(deleted["signature"]["result"], json!({"status": "canceled"}));
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/result")),
        (Method::DELETE, path.clone()),
    ] {
        assert_eq!(shop.call(method, &path, None).await.0, StatusCode::GONE);
    }
    let (status, answer) = signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await;
    assert_eq!(status, StatusCode::GONE, "{answer}");
    for link in ["fail", "cancel"] {
        let (status, answer) =
            put(&server, jane.phone(), &format!("{path}/{link}"), &Value::Null).await;
        assert_eq!(status, StatusCode::GONE, "{answer}");
    }

    // An ended process can be deleted as well; its evidence stays.
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    assert_eq!(signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await.0, StatusCode::OK);
    let path = format!("/signatures/{process}");
    let (status, deleted) = shop.call(Method::DELETE, &path, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(deleted["signature"]["result"]["status"], "finished");
    assert_eq!(shop.result(&process).await.0, StatusCode::GONE);
    let shown = server.cli(&["transaction", "show", &process, "--tenant", "acme"]).unwrap();
    assert_eq!(shown["state"], "finished");
}

#[tokio::test]
async fn another_client_and_another_tenant_know_nothing_of_it() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    server.cli(&["tenant", "create", "other"]).unwrap();
    for (name, tenant) in [("Bank", "acme"), ("Shop", "other")] {
        let client = server.cli(&["client", "create", name, "--tenant", tenant]).unwrap();
        let field = |name: &str| client[name].as_str().unwrap().to_owned();
        let client = (field("client_id"), field("client_secret"));
        let token = super::oauth::token_at(&server, tenant, &client, "").await;
        let token = token.1["access_token"].as_str().unwrap().to_owned();
        let stranger = Shop { server: &server, token };
        for (method, path) in [
            (Method::GET, format!("/signatures/{process}")),
            (Method::GET, format!("/signatures/{process}/result")),
            (Method::DELETE, format!("/signatures/{process}")),
        ] {
            let (status, answer) = stranger.call(method, &path, None).await;
            assert_eq!((status.as_u16(), &answer["error"]), (410, &json!("gone")), "{name}");
        }
    }
    for nothing in ["x", "000102030405060708090a0b0c0d0e0f", "%20", "..%2f"] {
        assert_eq!(shop.result(nothing).await.0, StatusCode::GONE, "{nothing}");
    }
    assert_eq!(shop.result(&process).await.0, StatusCode::NOT_FOUND, "it is untouched");
}

#[tokio::test]
async fn a_result_can_be_waited_for() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let begun = Instant::now();
    let path = format!("/signatures/{process}/result?timeoutMs=300");
    assert_eq!(shop.get(&path).await.0, StatusCode::NOT_FOUND);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let path = format!("/signatures/{process}/result?timeoutMs=20000");
    let waiting = async {
        let begun = Instant::now();
        (shop.get(&path).await, begun.elapsed())
    };
    let (((status, result), waited), _) =
        join!(waiting, signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>"));
    assert_eq!((status.as_u16(), &result["status"]), (200, &json!("finished")));
    assert!(waited < Duration::from_secs(15), "it was told when it ended");
    assert_eq!(
        shop.get(&format!("/signatures/{process}/result?timeoutMs=x")).await.0.as_u16(),
        400
    );
}

#[tokio::test]
async fn a_process_that_nobody_answers_fails_in_its_time() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let path = format!("{TRANSACTION}?expiresInMs=700");
    let process = id(&shop.creates(&path, &transaction()).await);
    let result = until("the end", async || {
        let (status, result) = shop.result(&process).await;
        (status == StatusCode::OK).then_some(result)
    })
    .await;
    assert_eq!(result, json!({"status": "failed", "value": "nobody signed in time"}));
    let (status, answer) = signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_the_same_process() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let start = async |key: &str, body: &Value| {
        let url = format!("{}{}{TRANSACTION}", server.address, super::PREFIX);
        let call = server.http.post(url).bearer_auth(&shop.token).header("idempotency-key", key);
        read(call.json(body).send().await.unwrap()).await
    };
    let (status, first) = start("order-1", &transaction()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(start("order-1", &transaction()).await, (status, first.clone()));
    let (_, other) = start("order-2", &transaction()).await;
    assert_ne!(other["signature"]["id"], first["signature"]["id"]);
    let mut changed = transaction();
    changed["input"]["data"] = json!("<p>Pay 6 €?</p>");
    let (status, answer) = start("order-1", &changed).await;
    assert_eq!((status.as_u16(), &answer["error"]), (409, &json!("conflict")), "{answer}");
}

#[tokio::test]
async fn a_result_is_called_back_once_it_is_there() {
    let certificates = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = certificates.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let server = TestServer::configured(&format!(
        "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"{}\"\n",
        ca.display()
    ));
    let mut receiver = Receiver::new(&authority, |_, _| OK).await;
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let url = receiver.url().replace('?', "%3F").replace('=', "%3D");
    let path = format!("{TRANSACTION}?callbackUrl={url}");
    let process = id(&shop.creates(&path, &transaction()).await);
    let (_, ended) = signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await;
    let body: Value = serde_json::from_slice(&receiver.next().await.body).unwrap();
    assert_eq!(body["id"], json!(process));
    assert_eq!(body["result"]["value"], ended["signature"]["result"]["value"]);
    assert_eq!(body["result"]["status"], "finished");
}
