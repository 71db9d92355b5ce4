//! The links of a process: which device may end it, with which body, and how often.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{KeyKind, Source};
use countersign_wire::body::Use;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::join;

use super::{
    DOCUMENT, PREFIX, RAW, Shop, TRANSACTION, finish, id, look, openssl_digest, proof, put, raw,
    signs, transaction, until,
};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, read};

const DATA: &str = "<p>Pay 5 €?</p>";

/// Finishes by a link; returns the status and the body.
async fn finishes(
    server: &TestServer,
    test_device: &TestDevice,
    process: &str,
    body: &Value,
) -> (u16, Value) {
    let path = format!("/signatures/{process}/finish");
    let (status, answer) = put(server, test_device.phone(), &path, body).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_process_is_failed_or_cancelled_with_the_devices_words() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    for (link, body, result) in [
        ("fail", json!({"value": "no key"}), json!({"status": "failed", "value": "no key"})),
        ("fail", Value::Null, json!({"status": "failed"})),
        ("cancel", json!({"value": "not now"}), json!({"status": "canceled", "value": "not now"})),
        ("cancel", json!({}), json!({"status": "canceled"})),
    ] {
        let created = shop.creates(TRANSACTION, &transaction()).await;
        let address = created["links"][link].as_str().unwrap();
        let path = address.split_once(PREFIX).unwrap().1;
        let (status, ended) = put(&server, jane.phone(), path, &body).await;
        assert_eq!(status, StatusCode::OK, "{ended}");
        assert_eq!(ended["signature"]["result"], result);
        assert_eq!(shop.result(&id(&created)).await, (StatusCode::OK, result.clone()));
        // The same request gets the same answer; any other is too late.
        assert_eq!(put(&server, jane.phone(), path, &body).await, (status, ended));
        let other = put(&server, jane.phone(), path, &json!({"value": "something else"})).await;
        assert_eq!(other.0, StatusCode::CONFLICT);
        assert_eq!(signs(&server, jane.phone(), &id(&created), DATA).await.0, StatusCode::CONFLICT);
        assert_eq!(shop.result(&id(&created)).await.1, result);
    }
    // Plain text is accepted as well.
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let path = format!("/signatures/{process}/cancel");
    let token = proof(jane.phone(), "PUT", &path, "nein".as_bytes());
    let call = server.http.put(format!("{}{PREFIX}{path}", server.address)).bearer_auth(token);
    let (_, ended) = read(call.body("nein").send().await.unwrap()).await;
    assert_eq!(ended["signature"]["result"], json!({"status": "canceled", "value": "nein"}));
}

#[tokio::test]
async fn of_two_finishes_at_once_one_counts() {
    let server = TestServer::new();
    server.user("jane");
    let first = TestDevice::enrolled(&server, "jane", None).await;
    let second = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    for _ in 0..5 {
        let process = id(&shop.creates(TRANSACTION, &transaction()).await);
        let (one, other) = join!(
            signs(&server, first.phone(), &process, DATA),
            signs(&server, second.phone(), &process, DATA)
        );
        let statuses = [one.0.as_u16(), other.0.as_u16()];
        assert!(statuses == [200, 409] || statuses == [409, 200], "{statuses:?}");
        let won = if statuses[0] == 200 { (&first, one.1) } else { (&second, other.1) };
        let (_, result) = shop.result(&process).await;
        assert_eq!(result, won.1["signature"]["result"]);
        let device = result["sign_identity"]["device_id"].as_str().unwrap();
        assert_eq!(device, won.0.phone().device_id.to_string());
    }
}

#[tokio::test]
async fn the_same_finish_again_is_answered_again_and_another_is_not() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let identity = jane.phone().identity(Use::Content).unwrap();
    let digest = openssl_digest("sha256", DATA.as_bytes());
    let body = finish(identity, "ecdsa-sha256", &digest);
    let (status, ended) = finishes(&server, &jane, &process, &body).await;
    assert_eq!(status, 200, "{ended}");
    assert_eq!(finishes(&server, &jane, &process, &body).await, (200, ended));
    // ECDSA signatures differ each time.
    let other = finish(identity, "ecdsa-sha256", &digest);
    assert_ne!(other["value"], body["value"]);
    assert_eq!(finishes(&server, &jane, &process, &other).await.0, 409);
}

#[tokio::test]
async fn a_device_that_does_not_match_ends_nothing() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let joe = TestDevice::enrolled(&server, "joe", None).await;
    let spare = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let mut body = transaction();
    body["sign_identities"] = json!([{"device_id": jane.phone().device_id.to_string()}]);
    let process = id(&shop.creates(TRANSACTION, &body).await);
    for stranger in [&joe, &spare] {
        assert_eq!(signs(&server, stranger.phone(), &process, DATA).await.0, StatusCode::GONE);
        for path in ["fail", "cancel"].map(|link| format!("/signatures/{process}/{link}")) {
            let answer = put(&server, stranger.phone(), &path, &Value::Null).await;
            assert_eq!(answer.0, StatusCode::GONE, "{path}");
        }
        let looked = look(&server, stranger.phone(), &format!("/signatures/{process}")).await;
        assert_eq!(looked.0, StatusCode::GONE);
    }
    let (status, seen) = look(&server, jane.phone(), &format!("/signatures/{process}")).await;
    assert_eq!((status.as_u16(), &seen["signature"]["input"]["data"]), (200, &json!(DATA)));
    assert_eq!(signs(&server, jane.phone(), &process, DATA).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_signature_that_does_not_hold_ends_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let other = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let own = jane.phone().identity(Use::Content).unwrap();
    let for_digests = jane.phone().identity(Use::Digest).unwrap();
    let others = other.phone().identity(Use::Content).unwrap();
    let digest = openssl_digest("sha256", DATA.as_bytes());
    let elsewhere = openssl_digest("sha256", b"<p>Pay 500 \xe2\x82\xac?</p>");
    let good = finish(own, "ecdsa-sha256", &digest);
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let by_anothers_key = {
        let mut body = finish(others, "ecdsa-sha256", &digest);
        body["sign_identity"] = good["sign_identity"].clone();
        body
    };
    for (what, body, status) in [
        ("over another text", finish(own, "ecdsa-sha256", &elsewhere), 400),
        ("by another key", by_anothers_key, 400),
        ("by another device's identity", finish(others, "ecdsa-sha256", &digest), 403),
        ("by an identity for digests", finish(for_digests, "ecdsa-sha256", &digest), 403),
        (
            "of another hash",
            finish(own, "ecdsa-sha512", &openssl_digest("sha512", DATA.as_bytes())),
            400,
        ),
        ("of another scheme", with("signature_algorithm", json!("rsa-sha256")), 400),
        ("of no algorithm", with("signature_algorithm", Value::Null), 400),
        ("of an unknown algorithm", with("signature_algorithm", json!("ed25519")), 400),
        (
            "with a bit more",
            with(
                "value",
                json!(BASE64.encode(
                    [BASE64.decode(good["value"].as_str().unwrap()).unwrap(), vec![0]].concat(),
                )),
            ),
            400,
        ),
        ("that is none", with("value", json!("AQID")), 400),
        ("that is no base64", with("value", json!("?")), 400),
        ("by nobody", with("sign_identity", json!({"id": "0".repeat(32)})), 403),
        ("over a digest that it names", with("digest_value", json!(BASE64.encode(&digest))), 400),
    ] {
        let (got, answer) = finishes(&server, &jane, &process, &body).await;
        assert_eq!(got, status, "{what}: {answer}");
        assert!(answer["error_description"].is_string(), "{what}: {answer}");
    }
    assert_eq!(finishes(&server, &jane, &process, &good).await.0, 200, "it was still open");
}

#[tokio::test]
async fn a_signature_is_over_the_digest_that_was_asked_for() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let identity = jane.phone().identity(Use::Digest).unwrap();
    let (asked, other) = (openssl_digest("sha256", b"asked"), openssl_digest("sha256", b"other"));
    let process = id(&shop.creates(RAW, &raw(&asked, "sha256")).await);
    let over_other = finish(identity, "ecdsa-sha256", &other);
    let mut reported = over_other.clone();
    reported["digest_value"] = json!(BASE64.encode(&other));
    for body in [over_other, reported] {
        let (status, answer) = finishes(&server, &jane, &process, &body).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_signature")), "{answer}");
    }
    let mut reported = finish(identity, "ecdsa-sha256", &asked);
    reported["digest_value"] = json!(BASE64.encode(&asked));
    assert_eq!(finishes(&server, &jane, &process, &reported).await.0, 200);

    // If only a URL was given, the device reports the digest that it fetched.
    let mut learnt = raw(&asked, "sha256");
    learnt["input"]["digest_value"] = Value::Null;
    learnt["input"]["digest_url"] = json!("https://docs.example/digest");
    let process = id(&shop.creates(DOCUMENT, &learnt).await);
    let mut body = finish(identity, "ecdsa-sha256", &other);
    assert_eq!(finishes(&server, &jane, &process, &body).await.0, 400, "it does not say which");
    body["digest_value"] = json!(BASE64.encode(&asked));
    assert_eq!(finishes(&server, &jane, &process, &body).await.0, 400, "it is another one");
    body["digest_value"] = json!(BASE64.encode(&other));
    let (status, ended) = finishes(&server, &jane, &process, &body).await;
    assert_eq!(status, 200, "{ended}");
}

#[tokio::test]
async fn an_identity_that_was_disabled_or_locked_out_signs_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let spare = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let identity = &jane.phone().identity(Use::Content).unwrap().id;
    let path = format!("/sign_identities/{identity}/status");
    let disabled = json!({"value": "disabled", "reason": "lost"});
    let (status, _) = shop.call(reqwest::Method::PUT, &path, Some(&disabled)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, answer) = signs(&server, jane.phone(), &process, DATA).await;
    assert_eq!((status.as_u16(), &answer["error"]), (403, &json!("access_denied")), "{answer}");
    let enabled = json!({"status": {"value": "enabled"}});
    shop.call(reqwest::Method::PUT, &path, Some(&enabled)).await;
    let device = jane.phone().device_id.to_string();
    server.cli(&["device", "lock", &device, "--tenant", "acme"]).unwrap();
    let (status, answer) = signs(&server, jane.phone(), &process, DATA).await;
    assert_eq!((status.as_u16(), &answer["error"]), (403, &json!("access_denied")), "{answer}");
    assert_eq!(signs(&server, spare.phone(), &process, DATA).await.0, StatusCode::OK);
}

/// After a first call the device's key is cached, but its status is not.
#[tokio::test]
async fn a_device_that_is_known_is_refused_as_soon_as_it_or_its_user_may_not() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let spare = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let device = jane.phone().device_id.to_string();
    let first = id(&shop.creates(TRANSACTION, &transaction()).await);
    assert_eq!(signs(&server, jane.phone(), &first, DATA).await.0, StatusCode::OK);
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let refused = async || {
        let looked = look(&server, jane.phone(), &format!("/signatures/{process}")).await;
        let signed = signs(&server, jane.phone(), &process, DATA).await;
        for (status, answer) in [looked, signed] {
            assert_eq!((status.as_u16(), &answer["error"]), (403, &json!("access_denied")));
        }
    };
    for (noun, name) in [("device", device.as_str()), ("user", "jane")] {
        server.cli(&[noun, "lock", name, "--tenant", "acme"]).unwrap();
        refused().await;
        server.cli(&[noun, "unlock", name, "--tenant", "acme"]).unwrap();
        let looked = look(&server, jane.phone(), &format!("/signatures/{process}")).await;
        assert_eq!(looked.0, StatusCode::OK);
    }
    // Another tenant's device with that number is another device.
    server.cli(&["tenant", "create", "other"]).unwrap();
    let path = format!("{PREFIX}/signatures/{process}/cancel");
    let mut phone = jane.phone().clone();
    phone.tenant = "other".parse().unwrap();
    let token = super::proof_of(&phone, "PUT", &path, b"");
    let call = server.http.put(format!("{}{path}", server.address)).bearer_auth(token);
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let path = format!("v3_device/{device}");
    assert_eq!(server.call(reqwest::Method::DELETE, &path, None).await.0, StatusCode::OK);
    refused().await;
    assert_eq!(signs(&server, spare.phone(), &process, DATA).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_certificate_that_has_expired_signs_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let authority = {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority");
        let key = KeyPair::generate().unwrap();
        let root = server.path().join("authority.pem");
        std::fs::write(&root, params.self_signed(&key).unwrap().pem()).unwrap();
        server.cli(&["tenant", "trust", "acme", "--root", root.to_str().unwrap()]).unwrap();
        Issuer::new(params, key)
    };
    let expires = SystemTime::now() + Duration::from_secs(3);
    let mut params = CertificateParams::default();
    params.not_before = (expires - Duration::from_hours(1)).into();
    params.not_after = expires.into();
    params.distinguished_name.push(DnType::CommonName, "jane");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    let source = Source::Brought { key: key.serialize_pem().into(), certificates: certificate };
    let brought = jane.device.add_identity(Use::Content, &[], &source).await.unwrap();
    let label = ["identity", "label", &brought, "--tenant", "acme", "--label", "brief"];
    server.cli(&label).unwrap();
    let shop = Shop::new(&server).await;
    let mut body = transaction();
    body["sign_identities"] = json!([{"labels": ["brief"]}]);
    let process = id(&shop.creates(TRANSACTION, &body).await);
    until("the end of the certificate", async || {
        // A certificate is valid to the very end of its last second (RFC 5280, section 4.1.2.5).
        (SystemTime::now() > expires + Duration::from_secs(1)).then_some(())
    })
    .await;
    let own = jane.phone().identities.iter().find(|one| one.id == brought).unwrap();
    let body = finish(own, "ecdsa-sha256", &openssl_digest("sha256", DATA.as_bytes()));
    let (status, answer) = finishes(&server, &jane, &process, &body).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_signature")), "{answer}");
    assert!(answer["error_description"].as_str().unwrap().ends_with("has expired"), "{answer}");
    assert_eq!(shop.result(&process).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_link_is_for_proofs_by_a_device_made_for_this_very_call() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let path = format!("/signatures/{process}/cancel");
    let call = async |token: Option<&str>, body: &'static str| {
        let mut call = server.http.put(format!("{}{PREFIX}{path}", server.address)).body(body);
        if let Some(token) = token {
            call = call.bearer_auth(token);
        }
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(call(None, "").await, (401, String::new()));
    let others = proof(jane.phone(), "PUT", "/signatures/x/cancel", b"");
    let (method, over) =
        (proof(jane.phone(), "POST", &path, b""), proof(jane.phone(), "PUT", &path, b"x"));
    for bad in [shop.token.as_str(), "x", &others, &method, &over] {
        let (status, body) = call(Some(bad), "").await;
        assert_eq!(status, 401, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"], "invalid_token");
        assert!(body["server_time"].is_u64(), "{body}");
    }
    let good = proof(jane.phone(), "PUT", &path, b"");
    assert_eq!(call(Some(&good), "").await.0, 200);
    assert_eq!(call(Some(&good), "").await.0, 401, "a proof is good once");
}

#[tokio::test]
async fn keys_of_every_kind_that_raw_signatures_have_sign() {
    let server = TestServer::new();
    let shop = Shop::new(&server).await;
    for (user, key, algorithm) in [
        ("p256", KeyKind::P256, "ecdsa-sha256"),
        ("p384", KeyKind::P384, "ecdsa-sha384"),
        ("rsa", KeyKind::Rsa2048, "rsa-sha512"),
    ] {
        server.user(user);
        let test_device = TestDevice::with_key(&server, user, None, key).await;
        let hash = algorithm.split_once('-').unwrap().1;
        let mut body = transaction();
        body["input"]["digest_algorithm"] = json!(hash);
        body["user_id"] = json!(user);
        let created = shop.creates(TRANSACTION, &body).await;
        assert_eq!(created["input"]["digest_algorithm"], hash);
        let identity = test_device.phone().identity(Use::Content).unwrap();
        let body = finish(identity, algorithm, &openssl_digest(hash, DATA.as_bytes()));
        let (status, answer) = finishes(&server, &test_device, &id(&created), &body).await;
        assert_eq!(status, 200, "{answer}");
    }
}
