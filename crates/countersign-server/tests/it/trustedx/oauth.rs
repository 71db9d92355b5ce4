//! Tokens: their clients and their scopes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PREFIX, RAW, Shop, TRANSACTION, transaction};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, read, until};

const NAMES: &str = "urn:safelayer:eidas:sign:identity:";

/// Requests a token from a tenant's authorization server.
pub(crate) async fn token_at(
    server: &TestServer,
    tenant: &str,
    client: &(String, String),
    scope: &str,
) -> (StatusCode, Value) {
    let url = format!("{}/trustedx-authserver/oauth/{tenant}/token", server.address);
    let form = format!("grant_type=client_credentials&scope={scope}");
    let call = server.http.post(url).basic_auth(&client.0, Some(&client.1)).body(form);
    read(call.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap())
        .await
}

#[tokio::test]
async fn a_call_is_for_tokens_of_its_scope_only() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let process = super::id(&shop.creates(TRANSACTION, &transaction()).await);
    let (_, listed) = shop.get("/sign_identities").await;
    let identity = listed["sign_identities"][0]["id"].as_str().unwrap().to_owned();
    let status = json!({"value": "disabled"});
    let calls = [
        (Method::POST, TRANSACTION.to_owned(), Some(transaction()), "use:device"),
        (Method::POST, RAW.to_owned(), Some(json!({})), "use:device"),
        (Method::GET, format!("/signatures/{process}"), None, "use:device"),
        (Method::GET, format!("/signatures/{process}/result"), None, "use:device"),
        (Method::DELETE, format!("/signatures/{process}"), None, "use:device"),
        (Method::GET, "/sign_identities".to_owned(), None, "profile"),
        (Method::GET, format!("/sign_identities/{identity}"), None, "profile"),
        (Method::PUT, format!("/sign_identities/{identity}/status"), Some(status), "manage"),
        (Method::DELETE, format!("/sign_identities/{identity}"), None, "manage"),
    ];
    let names = ["use:device", "profile", "manage", "register"];
    for name in names {
        let token = server.trustedx_token(&server.client, &format!("{NAMES}{name}")).await;
        let narrow = Shop { server: &server, token };
        for (method, path, body, wanted) in &calls {
            if *wanted == name {
                continue;
            }
            let url = format!("{}{PREFIX}{path}", server.address);
            let mut call = server.http.request(method.clone(), url).bearer_auth(&narrow.token);
            if let Some(body) = body {
                call = call.json(body);
            }
            let answer = call.send().await.unwrap();
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
            let expected = format!(
                "Bearer realm=\"trustedx\", error=\"insufficient_scope\", scope=\"{NAMES}{wanted}\""
            );
            assert_eq!(challenge, expected, "{method} {path} with {name}");
            let (status, body) = read(answer).await;
            assert_eq!((status.as_u16(), &body["error"]), (403, &json!("insufficient_scope")));
        }
    }
    assert_eq!(shop.result(&process).await.0, StatusCode::NOT_FOUND, "nothing was done");
}

#[tokio::test]
async fn who_brings_no_token_is_told_what_to_bring_and_nothing_else() {
    let server = TestServer::new();
    let url = format!("{}{PREFIX}/sign_identities", server.address);
    let challenge = async |authorization: Option<&str>| {
        let mut call = server.http.get(&url);
        if let Some(authorization) = authorization {
            call = call.header("authorization", authorization);
        }
        let answer = call.send().await.unwrap();
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), challenge, answer.text().await.unwrap())
    };
    let nothing = (401, "Bearer realm=\"trustedx\"".to_owned(), String::new());
    assert_eq!(challenge(None).await, nothing);
    assert_eq!(challenge(Some("Basic eDp5")).await, nothing);
    let realms = format!("Bearer {}", server.token().await);
    for bad in ["Bearer x", "Bearer x.y.z", "Bearer ", &realms] {
        let (status, challenge, body) = challenge(Some(bad)).await;
        assert_eq!((status, body.contains("invalid_token")), (401, true), "{bad}");
        assert_eq!(challenge, "Bearer realm=\"trustedx\", error=\"invalid_token\"");
    }
}

#[tokio::test]
async fn a_client_has_the_scopes_that_it_was_made_with() {
    let server = TestServer::new();
    let profile = format!("{NAMES}profile");
    let reader = server.client_with("Reader", &["--role", "people", "--scope", &profile]);
    let (status, token) = token_at(&server, "acme", &reader, "").await;
    assert_eq!((status.as_u16(), &token["scope"]), (200, &json!(profile)));
    let (status, refused) = token_at(&server, "acme", &reader, &format!("{NAMES}manage")).await;
    assert_eq!((status.as_u16(), &refused["error"]), (400, &json!("invalid_scope")));
    let unknown = ["client", "create", "Odd", "--tenant", "acme", "--scope", "everything"];
    let failed = server.cli(&unknown).unwrap_err();
    assert!(failed.stderr.contains("everything is not one of the scopes"), "{}", failed.stderr);
}

#[tokio::test]
async fn keys_without_a_tenants_name_are_those_of_the_only_one() {
    let server = TestServer::new();
    let keys = async |tenant: &str| {
        let url = format!("{}/trustedx-authserver/oauth/{tenant}keys", server.address);
        read(server.http.get(url).send().await.unwrap()).await
    };
    let own = keys("acme/").await;
    assert_eq!(own.0, StatusCode::OK);
    assert_eq!(keys("").await, own);
    server.cli(&["tenant", "create", "other"]).unwrap();
    assert_eq!(keys("").await.0, StatusCode::NOT_FOUND, "it could be either's");
    assert_ne!(keys("other/").await.1, own.1);
}

#[tokio::test]
async fn the_metadata_of_an_authorization_server_lead_to_a_token_and_to_the_key_that_signed_it() {
    let server = TestServer::new();
    let issuer = format!("{}/trustedx-authserver/oauth/acme", server.address);
    for name in ["oauth-authorization-server", "openid-configuration"] {
        let url = format!("{issuer}/.well-known/{name}");
        let (status, told) = read(server.http.get(url).send().await.unwrap()).await;
        assert_eq!((status, &told["issuer"]), (StatusCode::OK, &json!(issuer)));
        let scopes = ["use:device", "profile", "manage", "register"];
        assert_eq!(told["scopes_supported"], json!(scopes.map(|scope| format!("{NAMES}{scope}"))));
        let methods = json!(["client_secret_basic", "client_secret_post"]);
        assert_eq!(told["token_endpoint_auth_methods_supported"], methods);
        assert_eq!(told["introspection_endpoint_auth_methods_supported"], methods);
        let grants = &told["grant_types_supported"];
        let at = |member: &str| told[member].as_str().unwrap().to_owned();
        let (id, secret) = &server.client;
        let form = ("content-type", "application/x-www-form-urlencoded");
        let call = server.http.post(at("token_endpoint")).basic_auth(id, Some(secret));
        let grant = format!("grant_type={}", grants[0].as_str().unwrap());
        let (status, token) =
            read(call.header(form.0, form.1).body(grant).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{token}");
        let token = token["access_token"].as_str().unwrap();
        let call = server.http.post(at("introspection_endpoint")).basic_auth(id, Some(secret));
        let call = call.header(form.0, form.1).body(format!("token={token}"));
        let (_, seen) = read(call.send().await.unwrap()).await;
        assert_eq!((&seen["active"], &seen["iss"]), (&json!(true), &json!(issuer)));
        let (_, keys) = read(server.http.get(at("jwks_uri")).send().await.unwrap()).await;
        let header = BASE64URL.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    }
    let elsewhere = issuer.replace("acme", "nowhere");
    let url = format!("{elsewhere}/.well-known/oauth-authorization-server");
    assert_eq!(server.http.get(url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_that_was_changed_or_is_anothers_is_none() {
    let server = TestServer::configured("[tokens]\nlifetime_seconds = 2\n");
    server.cli(&["tenant", "create", "other"]).unwrap();
    let (status, refused) = token_at(&server, "other", &server.client, "").await;
    assert_eq!((status.as_u16(), &refused["error"]), (401, &json!("invalid_client")));
    let token = server.trustedx_token(&server.client, &format!("{NAMES}profile")).await;
    let call = async |token: &str| {
        let call = server.http.get(format!("{}{PREFIX}/sign_identities", server.address));
        read(call.bearer_auth(token).send().await.unwrap()).await.0.as_u16()
    };
    assert_eq!(call(&token).await, 200);
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let claims = String::from_utf8(BASE64URL.decode(&parts[1]).unwrap()).unwrap();
    for (from, to) in
        [("oauth/acme", "oauth/other"), ("profile", "manage"), ("\"exp\":1", "\"exp\":9")]
    {
        assert!(claims.contains(from), "{claims}");
        parts[1] = BASE64URL.encode(claims.replace(from, to));
        assert_eq!(call(&parts.join(".")).await, 401, "{from}");
    }
    until("the end of the token", async || (call(&token).await == 401).then_some(())).await;
}
