//! Signing identities: which ones an application finds and may change, and how selectors find them.

use countersign_wire::body::Use;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{RAW, Shop, TRANSACTION, id, openssl_digest, raw, signs, transaction};
use crate::test_device::TestDevice;
use crate::test_server::{ALL_ROLES, TestServer, credentials};

/// Checks the format of the vendor's page on identities; in a list, without details.
#[track_caller]
pub(super) fn is_sign_identity(value: &Value, whole: bool) {
    let names = |value: &Value| {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    let details = if whole { " details" } else { "" };
    let expected =
        format!("access description{details} device_id domain id labels links self status type");
    let mut expected: Vec<_> = expected.split(' ').collect();
    expected.sort_unstable();
    assert_eq!(names(value), expected.join(" "));
    for text in ["id", "self", "description", "type", "device_id", "domain"] {
        assert!(value[text].is_string(), "{text}: {value}");
    }
    assert!(value["labels"].as_array().unwrap().iter().all(Value::is_string));
    let access = value["access"].as_array().unwrap();
    assert!(access.iter().all(|one| names(one) == "permissions user_id"), "{value}");
    if whole {
        assert_eq!(names(&value["details"]), "activation_mode certificate public_key");
    }
    for link in value["links"].as_object().unwrap().values() {
        assert!(link["auth"]["oauth2"]["scopes"][0].is_string(), "{link}");
    }
    assert_eq!(names(&value["status"]), "reason value");
}

/// The ids in a list.
async fn listed(shop: &Shop<'_>, query: &str) -> Vec<String> {
    let (status, list) = shop.get(&format!("/sign_identities{query}")).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let list = list["sign_identities"].as_array().unwrap();
    for one in list {
        is_sign_identity(one, false);
    }
    list.iter().map(id).collect()
}

#[tokio::test]
async fn a_list_gives_what_meets_every_condition() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let joe = TestDevice::enrolled(&server, "joe", None).await;
    let shop = Shop::new(&server).await;
    let of = |test_device: &TestDevice| -> Vec<String> {
        test_device.phone().identities.iter().map(|one| one.id.clone()).collect()
    };
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(listed(&shop, "").await), sorted([of(&jane), of(&joe)].concat()));
    assert_eq!(sorted(listed(&shop, "?user_id=jane").await), sorted(of(&jane)));
    let device = joe.phone().device_id;
    assert_eq!(sorted(listed(&shop, &format!("?device_id={device}")).await), sorted(of(&joe)));
    assert!(listed(&shop, &format!("?device_id={device}&user_id=jane")).await.is_empty());
    assert_eq!(listed(&shop, "?labels=test&domain=acme").await.len(), 4);
    for none in
        ["?domain=other", "?labels=test,vip", "?user_id=nobody", "?device_id=x", "?device_id=7"]
    {
        assert!(listed(&shop, none).await.is_empty(), "{none}");
    }
    let marked = jane.phone().identity(Use::Content).unwrap();
    let labels = json!({"labels": ["vip", "test"]});
    let path = format!("/sign_identities/{}/labels", marked.id);
    assert_eq!(shop.call(Method::PUT, &path, Some(&labels)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(listed(&shop, "?labels=test,vip").await, [marked.id.as_str()]);
    let hidden = json!({"labels": ["v\u{202e}ip"]});
    let (status, _) = shop.call(Method::PUT, &path, Some(&hidden)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(listed(&shop, "?labels=test,vip").await, [marked.id.as_str()]);
}

#[tokio::test]
async fn an_identity_is_shown_disabled_enabled_and_deleted() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let own = jane.phone().identity(Use::Content).unwrap();
    let path = format!("/sign_identities/{}", own.id);
    let (status, shown) = shop.get(&path).await;
    assert_eq!(status, StatusCode::OK);
    let shown = &shown["identity"];
    is_sign_identity(shown, true);
    assert_eq!(shown["access"], json!([{"user_id": "jane", "permissions": ["use"]}]));
    assert_eq!(shown["status"], json!({"value": "enabled", "reason": ""}));
    assert!(shown["self"].as_str().unwrap().ends_with(&path));
    assert!(shown["details"]["public_key"].as_str().unwrap().len() > 100);

    let status_path = format!("{path}/status");
    let off = json!({"value": "disabled", "reason": "lost"});
    assert_eq!(shop.call(Method::PUT, &status_path, Some(&off)).await.0, StatusCode::NO_CONTENT);
    let (_, shown) = shop.get(&path).await;
    assert_eq!(shown["identity"]["status"], json!({"value": "disabled", "reason": "lost"}));
    let (status, error, _) = shop.refused(TRANSACTION, &transaction()).await;
    assert_eq!((status, error.as_str()), (400, "invalid_request"), "nobody could sign");
    for bad in [json!({}), json!({"value": "off"}), json!({"value": 1}), json!([])] {
        let (status, answer) = shop.call(Method::PUT, &status_path, Some(&bad)).await;
        assert_eq!((status.as_u16(), &answer["error"]), (400, &json!("invalid_request")));
    }
    let on = json!({"status": {"value": "enabled"}});
    assert_eq!(shop.call(Method::PUT, &status_path, Some(&on)).await.0, StatusCode::NO_CONTENT);
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);

    let (status, deleted) = shop.call(Method::DELETE, &path, None).await;
    assert_eq!((status, &deleted["identity"]["id"]), (StatusCode::OK, &json!(own.id)));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(shop.call(method, &path, None).await.0, StatusCode::GONE);
    }
    assert_eq!(signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await.0.as_u16(), 403);
    for nothing in ["x", "000102030405060708090a0b0c0d0e0f"] {
        assert_eq!(shop.get(&format!("/sign_identities/{nothing}")).await.0, StatusCode::GONE);
    }
}

#[tokio::test]
async fn a_result_keeps_the_identity_as_it_was_when_it_signed() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let own = jane.phone().identity(Use::Content).unwrap();
    let (_, shown) = shop.get(&format!("/sign_identities/{}", own.id)).await;
    signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await;
    let (_, result) = shop.result(&process).await;
    assert_eq!(result["sign_identity"], shown["identity"]);

    let identity = format!("/sign_identities/{}", own.id);
    let labels = json!({"labels": ["other"]});
    let relabelled = shop.call(Method::PUT, &format!("{identity}/labels"), Some(&labels)).await;
    assert_eq!(relabelled.0, StatusCode::NO_CONTENT);
    assert_eq!(shop.result(&process).await.1, result, "with other labels now");
    assert_eq!(shop.call(Method::DELETE, &identity, None).await.0, StatusCode::OK);
    assert_eq!(shop.result(&process).await.1, result, "without the identity");
    let device = jane.phone().device_id.to_string();
    server.cli(&["device", "delete", &device, "--tenant", "acme"]).unwrap();
    assert_eq!(shop.result(&process).await.1, result, "without the device");
    let (_, resource) = shop.get(&format!("/signatures/{process}")).await;
    assert_eq!(resource["signature"]["result"], result);
}

#[tokio::test]
async fn selectors_are_alternatives_and_their_conditions_hold_together() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let joe = TestDevice::enrolled(&server, "joe", None).await;
    let shop = Shop::new(&server).await;
    let (content, digest) =
        [Use::Content, Use::Digest].map(|usage| jane.phone().identity(usage).unwrap()).into();
    let device = jane.phone().device_id.to_string();
    let certificate = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&content.certificate)
    };
    let by = async |selectors: Value, user: Option<&str>| {
        let mut body = transaction();
        body["sign_identities"] = selectors;
        body["user_id"] = json!(user);
        let (status, answer) = shop.call(Method::POST, TRANSACTION, Some(&body)).await;
        (status.as_u16(), answer)
    };
    for fits in [
        json!([{"id": content.id}]),
        json!([{"device_id": device}]),
        json!([{"labels": ["test"], "device_id": device}]),
        json!([{"device_id": device, "type": "pki:x509", "details": {"certificate": certificate}}]),
        json!([{"labels": ["none"]}, {"id": content.id}]),
        json!([{"id": "x"}, {"id": content.id}]),
        json!([{"id": digest.id}, {"id": content.id}]),
    ] {
        let (status, answer) = by(fits.clone(), None).await;
        assert_eq!(status, 201, "{fits}: {answer}");
    }
    for nobody in [
        json!([{"labels": ["none"]}]),
        json!([{"labels": ["test", "none"]}]),
        json!([{"id": content.id, "labels": ["none"]}]),
        json!([{"id": content.id, "device_id": joe.phone().device_id.to_string()}]),
        json!([{"id": "x"}]),
        json!([{"device_id": "7"}]),
        json!([{"id": digest.id}]),
        json!([]),
        json!([{}]),
    ] {
        let (status, answer) = by(nobody.clone(), None).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{nobody}");
        assert_eq!(answer["error_description"], "no enabled signing identity matches", "{nobody}");
    }
    let (status, answer) = by(json!([{"labels": ["test"]}]), None).await;
    assert_eq!(status, 400);
    assert!(answer["error_description"].as_str().unwrap().contains("several users"), "{answer}");
    let (status, answer) = by(json!([{"labels": ["test"]}]), Some("joe")).await;
    assert_eq!(status, 201);
    let process = id(&answer["signature"]);
    assert_eq!(signs(&server, jane.phone(), &process, "<p>Pay 5 €?</p>").await.0.as_u16(), 410);
    assert_eq!(signs(&server, joe.phone(), &process, "<p>Pay 5 €?</p>").await.0.as_u16(), 200);
    assert_eq!(by(json!([]), Some("joe")).await.0, 201);
    for (selectors, user) in
        [(json!([{"id": content.id}]), "joe"), (json!([{"labels": ["test"]}]), "nobody")]
    {
        let (status, answer) = by(selectors, Some(user)).await;
        assert_eq!(status, 400);
        assert_eq!(answer["error_description"], "no enabled signing identity matches");
    }
}

#[tokio::test]
async fn another_tenants_identity_matches_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let own = jane.phone().identity(Use::Content).unwrap();
    server.cli(&["tenant", "create", "other"]).unwrap();
    let create = ["client", "create", "Shop", "--tenant", "other"];
    let client = credentials(&server.cli(&[&create, &ALL_ROLES[..]].concat()).unwrap());
    let (_, token) = super::oauth::token_at(&server, "other", &client, "").await;
    let token = token["access_token"].as_str().unwrap().to_owned();
    let stranger = Shop { server: &server, token };
    let mut body = transaction();
    for selectors in [json!([{"id": own.id}]), json!([{"labels": ["test"]}])] {
        body["sign_identities"] = selectors;
        let (status, _, sentence) = stranger.refused(TRANSACTION, &body).await;
        assert_eq!((status, sentence.as_str()), (400, "no enabled signing identity matches"));
    }
    body["user_id"] = json!("jane");
    assert_eq!(stranger.refused(TRANSACTION, &body).await.0, 400);
    assert!(listed(&stranger, "").await.is_empty());
    let path = format!("/sign_identities/{}", own.id);
    assert_eq!(stranger.get(&path).await.0, StatusCode::GONE);
    assert_eq!(stranger.call(Method::DELETE, &path, None).await.0, StatusCode::GONE);
    let off = json!({"value": "disabled"});
    let put = stranger.call(Method::PUT, &format!("{path}/status"), Some(&off)).await;
    assert_eq!(put.0, StatusCode::GONE);
    let shop = Shop::new(&server).await;
    assert_eq!(shop.get(&path).await.1["identity"]["status"]["value"], "enabled");
}

#[tokio::test]
async fn an_identity_has_one_use() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let mut body = raw(&openssl_digest("sha256", b"x"), "sha256");
    body["sign_identities"] = json!([{"id": jane.phone().identity(Use::Content).unwrap().id}]);
    let (status, _, sentence) = shop.refused(RAW, &body).await;
    assert_eq!((status, sentence.as_str()), (400, "no enabled signing identity matches"));
    body["sign_identities"] = json!([{"id": jane.phone().identity(Use::Digest).unwrap().id}]);
    shop.creates(RAW, &body).await;
}

#[tokio::test]
async fn a_device_learns_what_it_may_sign_with() {
    let server = TestServer::configured(
        "[[trustedx.device_types]]\nid = \"phone\"\nverification_policy = \"urn:example:1\"\n\
         digest_algorithm = \"sha512\"\n",
    );
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let created = shop.creates(TRANSACTION, &transaction()).await;
    let template = created["device_configuration_url"].as_str().unwrap();
    let path = template.split_once(super::PREFIX).unwrap().1;
    let path = path.replace("{device_type}", "phone");
    let (status, own) = super::look(&server, jane.phone(), &path).await;
    assert_eq!(status, StatusCode::OK, "{own}");
    assert_eq!(shop.get(&path).await.1, own, "an application is told the same");
    let policy = &own["signature_policy"];
    assert_eq!(policy["id"], "urn:example:1");
    assert_eq!(policy["default_digest_algorithm"], "sha512");
    assert_eq!(policy["rsa_key_bits_min"], 2048);
    let algorithms = policy["signature_algorithms"].to_string();
    assert!(algorithms.contains("ecdsa-sha256") && !algorithms.contains("sha1"), "{algorithms}");
    let nobody = server.http.get(format!("{}{}{path}", server.address, super::PREFIX));
    assert_eq!(nobody.send().await.unwrap().status().as_u16(), 401);

    // HTML without a named algorithm is hashed as the device's type says.
    let identity = jane.phone().identity(Use::Content).unwrap();
    let finish = |hash: &str| {
        let digest = openssl_digest(hash, "<p>Pay 5 €?</p>".as_bytes());
        super::finish(identity, &format!("ecdsa-{hash}"), &digest)
    };
    let path = format!("/signatures/{}/finish", id(&created));
    assert_eq!(super::put(&server, jane.phone(), &path, &finish("sha256")).await.0.as_u16(), 400);
    assert_eq!(super::put(&server, jane.phone(), &path, &finish("sha512")).await.0.as_u16(), 200);
}
