//! Invalid requests: each gets a clear error in the dialect's own format, and changes nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_device::{Code, DeclineReason, Error};
use countersign_wire::body::{Finish, Signature};
use countersign_wire::jws::{self, Call};
use countersign_wire::phone::Phone;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, read, run, until};

/// Sends a start unchanged, and returns the answer.
async fn sent(server: &TestServer, token: &str, content_type: &str, body: String) -> (u16, Value) {
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", server.address);
    let call = server.http.post(url).bearer_auth(token).header("content-type", content_type);
    let (status, body) = read(call.body(body).send().await.unwrap()).await;
    assert_eq!(body["subSystem"], 5, "it is not in KOBIL's envelope: {body}");
    (status.as_u16(), body)
}

#[tokio::test]
async fn a_body_that_is_none_is_refused_in_kobils_envelope() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let token = server.token().await;
    let whole = payment("x").to_string();
    for (content_type, body, status) in [
        ("multipart/form-data; boundary=x", "--x--", 415),
        ("application/x-www-form-urlencoded", "a=b", 415),
        ("text/plain", &whole, 415),
        ("application/json", "", 400),
        ("application/json", "null", 400),
        ("application/json", "[]", 400),
        ("application/json", "{", 400),
        ("application/json", "{\"transactionId\":\"\u{0}\"}", 400),
        ("application/json", &"[".repeat(100_000), 400),
        ("application/json", &format!("{{\"a\":{}", "[".repeat(100_000)), 400),
        ("application/json", &format!("{{\"x\":\"{}\"}}", "x".repeat(300_000)), 413),
    ] {
        let (got, answer) = sent(&server, &token, content_type, body.to_owned()).await;
        assert_eq!(got, status, "{content_type} {}: {answer}", &body[..body.len().min(40)]);
    }
    let mut long = payment("long");
    long["signatureMessage"] = json!("é".repeat(40_000));
    let (status, answer) = sent(&server, &token, "application/json", long.to_string()).await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["message"].as_str().unwrap().starts_with("signatureMessage must be"),
        "{answer}"
    );
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed, json!([]), "something was started");
}

#[tokio::test]
async fn a_token_holds_for_its_tenant_only_and_not_for_long() {
    let server = TestServer::configured("[tokens]\nlifetime_seconds = 1\n");
    server.user("jane");
    server.cli(&["tenant", "create", "other"]).unwrap();
    server.cli(&["user", "create", "jane", "--tenant", "other"]).unwrap();
    let token = server.token().await;
    let start = async |tenant: &str, authorization: Option<String>| {
        let url =
            format!("{}/auth/realms/{tenant}/v3_user/digitaniumsignature/jane", server.address);
        let mut call = server.http.post(url).json(&payment("x"));
        if let Some(authorization) = authorization {
            call = call.header("authorization", authorization);
        }
        read(call.send().await.unwrap()).await
    };
    let unauthorized = (
        StatusCode::UNAUTHORIZED,
        json!({"message": "HTTP 401 Unauthorized", "status": "Unauthorized", "subSystem": 5}),
    );
    for authorization in
        [None, Some("Bearer".into()), Some("Bearer x.y.z".into()), Some(format!("Basic {token}"))]
    {
        assert_eq!(start("acme", authorization).await, unauthorized);
    }
    assert_eq!(start("other", Some(format!("Bearer {token}"))).await, unauthorized);
    assert_eq!(start("nowhere", Some(format!("Bearer {token}"))).await.0, StatusCode::NOT_FOUND);
    until("the end of the token", async || {
        let (status, _) = start("acme", Some(format!("Bearer {token}"))).await;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
}

#[tokio::test]
async fn guessing_a_clients_secret_ends_in_429() {
    let server = TestServer::configured("[tokens]\nfailed_tries_per_minute = 3\n");
    let url = format!("{}/auth/realms/acme//protocol/openid-connect/token/", server.address);
    let url = url.replace("acme//", "acme/");
    let guess = async |secret: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &server.client.0),
            ("client_secret", secret),
        ];
        let form = form.map(|(name, value)| format!("{name}={value}")).join("&");
        let call =
            server.http.post(&url).header("content-type", "application/x-www-form-urlencoded");
        read(call.body(form).send().await.unwrap()).await
    };
    for _ in 0..3 {
        let (status, body) = guess("wrong").await;
        assert_eq!((status.as_u16(), &body["error"]), (401, &json!("invalid_client")));
    }
    assert_eq!(guess("wrong").await.0.as_u16(), 429);
    // A right guess must not bypass the limit.
    assert_eq!(guess(&server.client.1).await.0.as_u16(), 429);
    // Another client of this address has a limit of its own, and so has this client at another
    // address.
    let other = server.cli(&["client", "create", "Other", "--tenant", "acme"]).unwrap();
    let other = ["client_id", "client_secret"].map(|name| other[name].as_str().unwrap().to_owned());
    assert_eq!(server.token_answer(&server.http, &other[0], &other[1]).await.0.as_u16(), 200);
    let elsewhere = server.http_from([127, 0, 0, 2]);
    let (id, secret) = &server.client;
    let (status, body) = server.token_answer(&elsewhere, id, secret).await;
    assert_eq!((status.as_u16(), &body["token_type"]), (200, &json!("Bearer")));
}

#[tokio::test]
async fn secrets_guessed_at_once_get_no_more_answers_than_the_limit() {
    let server = TestServer::configured("[tokens]\nfailed_tries_per_minute = 3\n");
    let (id, secret) = &server.client;
    let wrong = (0..24).map(|nth| format!("wrong-{nth}"));
    let guesses = wrong.chain([secret.clone()]).map(async |secret: String| {
        server.token_answer(&server.http, id, &secret).await.0.as_u16()
    });
    let answers = futures_util::future::join_all(guesses).await;
    let told = answers.iter().filter(|status| **status == 401).count();
    assert_eq!(told, 3, "{answers:?}");
    assert_eq!(server.token_answer(&server.http, id, secret).await.0.as_u16(), 429);
}

#[tokio::test]
async fn guessing_api_keys_ends_in_429_for_the_right_one_too_and_elsewhere_in_nothing() {
    let server = TestServer::configured("[tokens]\nfailed_tries_per_minute = 3\n");
    let made = server.cli(&["key", "create", "--tenant", "acme", "--kind", "front-end"]).unwrap();
    let right = made["api_key"].as_str().unwrap().to_owned();
    let call = async |http: &reqwest::Client, key: Option<&str>| {
        let mut call =
            http.post(format!("{}/rest/v2/provisioning/getServerTime", server.numeric_address()));
        if let Some(key) = key {
            call = call.basic_auth("app", Some(key));
        }
        call.json(&json!({})).send().await.unwrap().status().as_u16()
    };
    for _ in 0..9 {
        assert_eq!(call(&server.http, None).await, 401, "a call without a key is not counted");
    }
    for _ in 0..3 {
        assert_eq!(call(&server.http, Some("wrong")).await, 401);
    }
    assert_eq!(call(&server.http, Some("wrong")).await, 429);
    assert_eq!(call(&server.http, Some(&right)).await, 429);
    assert_eq!(call(&server.http_from([127, 0, 0, 2]), Some(&right)).await, 200);
}

#[tokio::test]
async fn a_user_is_not_buried_in_requests() {
    let server = TestServer::configured("[transactions]\nopen_per_user_max = 2\n");
    server.user("jane");
    let _phone = TestDevice::enrolled(&server, "jane", None).await;
    let start = async |reference: &str| {
        let mut request = payment(reference);
        request["callbackUrl"] = json!("https://shop.example/");
        server.start_signature("jane", &request).await
    };
    assert_eq!(start("1").await.0.as_u16(), 200);
    assert_eq!(start("2").await.0.as_u16(), 200);
    let (status, body) = start("3").await;
    assert_eq!((status.as_u16(), &body["status"]), (429, &json!("TOO_MANY_REQUESTS")));
    assert_eq!(server.cancel("jane", "1").await.0.as_u16(), 200);
    assert_eq!(start("3").await.0.as_u16(), 200);
    assert_eq!(server.cancel("jane", "nothing").await.0.as_u16(), 404);
    assert_eq!(server.cancel("nobody", "2").await.1["status"], "USER_NOT_FOUND");
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A device call that is made by hand.
async fn device_call(
    server: &TestServer,
    token: &str,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut call =
        server.http.request(method, format!("{}{path}", server.address)).bearer_auth(token);
    if let Some(body) = body {
        call = call.header("content-type", "application/json").body(body.to_string());
    }
    let (status, body) = read(call.send().await.unwrap()).await;
    (status.as_u16(), body)
}

fn signed(phone: &Phone, origin: &str, path: &str, body: &str, at: Duration) -> String {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let call = Call { method, path, body: body.as_bytes() };
    jws::sign_call(&phone.auth_key, &phone.device_name().unwrap(), origin, call, at)
}

/// RFC 6750, section 3.1.
#[tokio::test]
async fn a_device_with_a_wrong_token_is_told_so_and_one_without_is_asked_for_one() {
    let server = TestServer::new();
    let asked = "Bearer realm=\"countersign\"";
    let wrong = "Bearer realm=\"countersign\", error=\"invalid_token\"";
    let links = "/trustedx-resources/esigp/v1/signatures/00000000000000000000000000000001/finish";
    for (authorization, of_channel) in [
        (None, asked),
        (Some("Basic eDp5"), asked),
        (Some("Bearer x"), wrong),
        (Some("Bearer a.b.c"), wrong),
    ] {
        for (method, path) in [(Method::GET, "/device/v1/offers"), (Method::PUT, links)] {
            let call = server.http.request(method, format!("{}{path}", server.address));
            let call = call.header("content-type", "application/json");
            let call = match authorization {
                Some(authorization) => call.header("authorization", authorization),
                None => call,
            };
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{authorization:?} {path}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            let challenge = challenge.replace("trustedx", "countersign");
            assert_eq!(challenge, of_channel, "{authorization:?} {path}");
            let body = answer.text().await.unwrap();
            assert!(path == links || body.contains("\"server_time\":"), "{body}");
        }
    }
}

#[tokio::test]
async fn a_devices_proof_is_for_one_call_and_one_time() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let bob = TestDevice::enrolled(&server, "jane", None).await;
    let (phone, path, origin) = (jane.phone(), "/device/v1/offers", server.address.as_str());
    let token = signed(phone, origin, path, "", now());
    assert_eq!(device_call(&server, &token, path, None).await, (200, json!({"offers": []})));
    let (status, body) = device_call(&server, &token, path, None).await;
    assert_eq!((status, &body["error"]), (401, &json!("unauthorised")), "replayed");
    assert!(body["server_time"].is_u64(), "{body}");

    let mut thief = phone.clone();
    thief.auth_key = bob.phone().auth_key.clone();
    for (what, token) in [
        ("another key", signed(&thief, origin, path, "", now())),
        ("another path", signed(phone, origin, "/device/v1/pin", "", now())),
        ("another server", signed(phone, "https://elsewhere.example", path, "", now())),
        ("too old", signed(phone, origin, path, "", now().saturating_sub(Duration::from_secs(90)))),
        ("too new", signed(phone, origin, path, "", now() + Duration::from_secs(90))),
        ("another body", signed(phone, origin, path, "{}", now())),
        ("none", String::from("x")),
    ] {
        assert_eq!(device_call(&server, &token, path, None).await.0, 401, "{what}");
    }
}

#[tokio::test]
async fn a_device_token_from_before_a_restart_is_refused_after_it() {
    let mut server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let (phone, path) = (jane.phone(), "/device/v1/offers");
    let call =
        async |server: &TestServer, token: &str| device_call(server, token, path, None).await.0;
    let used = signed(phone, &server.address, path, "", now());
    let unused = signed(phone, &server.address, path, "", now());
    assert_eq!(call(&server, &used).await, 200);
    server.crash();
    assert_eq!(call(&server, &used).await, 401, "it was used before the restart");
    assert_eq!(call(&server, &unused).await, 401, "the server cannot know that it was not used");
    let new = signed(phone, &server.address, path, "", now());
    assert_eq!(call(&server, &new).await, 200);
}

#[tokio::test]
async fn a_signature_counts_for_what_it_is_over_and_by_whom() {
    let server = TestServer::configured("[transactions]\nopen_per_user_max = 9\n");
    server.user("jane");
    server.user("eve");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut tablet = TestDevice::enrolled(&server, "jane", None).await;
    let mut eve = TestDevice::enrolled(&server, "eve", None).await;
    for reference in ["one", "two"] {
        let mut request = payment(reference);
        request["callbackUrl"] = json!("https://shop.example/");
        assert_eq!(server.start_signature("jane", &request).await.0.as_u16(), 200);
    }
    let (_, one) = jane.opens(None).await.unwrap();
    let (_, two) = jane.opens(None).await.unwrap();
    let phone = jane.phone().clone();
    let content = &phone.identities[0];
    let cms = |identity: &countersign_wire::phone::PhoneIdentity,
               id: countersign_device::TransactionId,
               bytes: &[u8]| {
        let key = countersign_device::cms::SigningKey::from_pem(&identity.key).unwrap();
        let (certificate, chain) = (&identity.certificate, &identity.chain);
        let media_type = "text/plain; charset=utf-8";
        countersign_device::cms::sign(
            bytes,
            media_type,
            id.0,
            now().as_secs(),
            certificate,
            chain,
            &key,
        )
        .unwrap()
    };
    let finish = async |who: &Phone,
                        id: countersign_device::TransactionId,
                        identity: &str,
                        value: Vec<u8>| {
        let signature = Signature::Cms { identity: identity.into(), algorithm: None, value };
        let body = serde_json::to_value(Finish { id, signature, match_code: None }).unwrap();
        let path = format!("/device/v1/transactions/{id}/finish");
        let token = signed(who, &server.address, &path, &body.to_string(), now());
        let (status, body) = device_call(&server, &token, &path, Some(&body)).await;
        format!("{status} {}", body["error"].as_str().or(body["state"].as_str()).unwrap())
    };

    let good = cms(content, one.id(), one.bytes());
    let of_two = cms(content, two.id(), two.bytes());
    assert_eq!(finish(&phone, one.id(), &content.id, of_two.clone()).await, "422 bad_signature");
    let other_words = cms(content, one.id(), b"Pay 6 \xe2\x82\xac to Ann?");
    assert_eq!(finish(&phone, one.id(), &content.id, other_words).await, "422 bad_signature");
    let digest = &phone.identities[1];
    let by_digest = cms(digest, one.id(), one.bytes());
    assert_eq!(finish(&phone, one.id(), &digest.id, by_digest.clone()).await, "422 wrong_identity");
    assert_eq!(finish(&phone, one.id(), &content.id, by_digest).await, "422 bad_signature");
    // Another device's certificate of the same tenant, and of the same user.
    let tablets = tablet.phone().identities[0].clone();
    let by_tablet = cms(&tablets, one.id(), one.bytes());
    assert_eq!(finish(&phone, one.id(), &content.id, by_tablet.clone()).await, "422 bad_signature");
    assert_eq!(finish(&phone, one.id(), &tablets.id, by_tablet).await, "422 wrong_identity");
    // A device that has not taken it, and a device of another user.
    let untaken = cms(&tablets, one.id(), one.bytes());
    assert_eq!(finish(tablet.phone(), one.id(), &tablets.id, untaken).await, "409 not_taken");
    let eves = eve.phone().identities[0].clone();
    let by_eve = cms(&eves, one.id(), one.bytes());
    assert_eq!(finish(eve.phone(), one.id(), &eves.id, by_eve).await, "404 not_found");
    let raw = json!({"id": one.id(), "signature": {"form": "raw", "algorithm": "ecdsa-sha256", "identity": content.id, "value": "AAAA"}});
    let path = format!("/device/v1/transactions/{}/finish", one.id());
    let token = signed(&phone, &server.address, &path, &raw.to_string(), now());
    let (status, body) = device_call(&server, &token, &path, Some(&raw)).await;
    assert_eq!((status, &body["error"]), (422, &json!("wrong_form")));
    for broken in [
        json!({}),
        json!({"id": one.id(), "signature": 5}),
        json!({"id": two.id(), "signature": raw["signature"]}),
    ] {
        let token = signed(&phone, &server.address, &path, &broken.to_string(), now());
        assert_eq!(device_call(&server, &token, &path, Some(&broken)).await.0, 400, "{broken}");
    }
    assert_eq!(server.transaction("one")["state"], "taken", "something of that was taken for good");

    // The valid signature, twice; then another one.
    assert_eq!(finish(&phone, one.id(), &content.id, good.clone()).await, "200 finished");
    assert_eq!(finish(&phone, one.id(), &content.id, good).await, "200 finished");
    let another = cms(content, one.id(), one.bytes());
    assert_eq!(finish(&phone, one.id(), &content.id, another).await, "409 ended");
    let gone = eve.device.decline(one.id(), DeclineReason::User).await.unwrap_err();
    assert_eq!(gone.code(), Some(Code::NotFound), "{gone}");
    tablet.device.close().await;
}

#[tokio::test]
async fn a_chain_to_another_tenants_authority_signs_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    server.cli(&["tenant", "create", "other"]).unwrap();
    let other_ca = run(&server.data(), &["ca", "export", "--tenant", "other", "--json"]).unwrap();
    let mine = server.cli(&["ca", "export", "--tenant", "acme"]).unwrap();
    assert_ne!(other_ca, mine);
    // The same names with another key, as another authority would issue them.
    let request = payment("other-ca");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let (_, shown) = jane.opens(None).await.unwrap();
        let identity = jane.phone().identities[0].clone();
        let forged = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&forged).unwrap();
        let key = countersign_device::cms::SigningKey::from_pem(&forged.serialize_pem()).unwrap();
        let value = countersign_device::cms::sign(
            shown.bytes(),
            shown.media_type(),
            shown.id().0,
            now().as_secs(),
            certificate.der(),
            &[],
            &key,
        )
        .unwrap();
        let signature = Signature::Cms { identity: identity.id, algorithm: None, value };
        let body = Finish { id: shown.id(), signature, match_code: None };
        let body = serde_json::to_value(body).unwrap();
        let path = format!("/device/v1/transactions/{}/finish", shown.id());
        let token = signed(jane.phone(), &server.address, &path, &body.to_string(), now());
        let (status, said) = device_call(&server, &token, &path, Some(&body)).await;
        assert_eq!((status, &said["error"]), (422, &json!("bad_signature")));
        jane.device.approve(&shown, None).await.unwrap();
    });
    assert_eq!(answer.1["status"], "OK");
}

#[tokio::test]
async fn a_device_of_another_tenant_sees_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("ours");
    request["callbackUrl"] = json!("https://shop.example/");
    server.start_signature("jane", &request).await;
    let (_, shown) = jane.opens(None).await.unwrap();
    server.cli(&["tenant", "create", "other"]).unwrap();
    let mut stranger = jane.phone().clone();
    stranger.tenant = "other".into();
    let path = "/device/v1/offers";
    let token = signed(&stranger, &server.address, path, "", now());
    assert_eq!(device_call(&server, &token, path, None).await.0, 401);
    let done = jane.device.fail(shown.id(), "internal").await;
    assert!(done.is_ok(), "{done:?}");
    let ended = jane.device.approve(&shown, None).await.unwrap_err();
    assert_eq!(ended.code(), Some(Code::Ended), "{ended}");
    let Error::Refused { body, .. } = ended else { panic!("{ended}") };
    assert_eq!(body.state, Some(countersign_wire::body::State::Failed));
}
