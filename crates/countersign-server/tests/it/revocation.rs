//! What an operator takes back or replaces: client secrets, clients, API keys, token keys and
//! activation codes. Each holds from the next call on, while the server runs.

use countersign_device::{KeyKind, PhoneFile, enrol};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{ALL_ROLES, TestServer, payment, read, until};

/// The statuses of one call at each door, with credentials and tokens that were valid before.
pub(crate) struct Doors<'s> {
    server: &'s TestServer,
    client: (String, String),
    kobil: String,
    trustedx: String,
}

impl<'s> Doors<'s> {
    pub(crate) async fn of(server: &'s TestServer, client: &(String, String)) -> Self {
        let kobil = server.token_of("acme", client).await;
        let trustedx = server.trustedx_token(client, "").await;
        let doors = Self { server, client: client.clone(), kobil, trustedx };
        // The tokens are cached from here on.
        assert_eq!(doors.statuses().await, [200; 4]);
        assert!(doors.is_active().await);
        doors
    }

    /// KOBIL's with a token, TrustedX's with a token, SOAP with the secret, and a new token.
    pub(crate) async fn statuses(&self) -> [u16; 4] {
        let Self { server, client: (id, secret), .. } = self;
        let get = async |path: &str, token: &str| {
            let url = format!("{}{path}", server.address);
            server.http.get(url).bearer_auth(token).send().await.unwrap().status().as_u16()
        };
        let soap = crate::soap::envelope("<sig:genRequest/>");
        [
            get("/auth/realms/acme/v3_user/devices/jane", &self.kobil).await,
            get("/trustedx-resources/esigp/v1/sign_identities", &self.trustedx).await,
            server.post_soap(&self.client, "text/xml", soap).await.status().as_u16(),
            server.token_answer(&server.http_from([127, 0, 0, 1]), id, secret).await.0.as_u16(),
        ]
    }

    /// Whether introspection, by another client, calls the token active.
    pub(crate) async fn is_active(&self) -> bool {
        let url = format!("{}/trustedx-authserver/oauth/acme/introspect", self.server.address);
        let (id, secret) = &self.server.client;
        let call = self.server.http.post(url).basic_auth(id, Some(secret));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let call = call.body(format!("token={}", self.trustedx));
        let (status, answer) = read(call.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["active"].as_bool().unwrap()
    }
}

fn server() -> TestServer {
    let server = TestServer::new();
    server.user("jane");
    server
}

fn client(server: &TestServer) -> (String, String) {
    server.client_with("Leaked", &ALL_ROLES)
}

fn act(server: &TestServer, act: &str, id: &str, words: &[&str]) -> Value {
    server.cli(&[&["client", act, id, "--tenant", "acme"], words].concat()).unwrap()
}

#[tokio::test]
async fn a_locked_client_is_refused_at_every_door_until_it_is_unlocked() {
    let server = server();
    let client = client(&server);
    let doors = Doors::of(&server, &client).await;
    let stopped = act(&server, "lock", &client.0, &[]);
    assert_eq!((&stopped["client_id"], &stopped["state"]), (&json!(client.0), &json!("locked")));
    assert_eq!(doors.statuses().await, [401; 4]);
    assert!(!doors.is_active().await);
    assert_eq!(act(&server, "lock", &client.0, &[])["state"], "locked", "done already");
    assert_eq!(act(&server, "show", &client.0, &[])["state"], "locked");
    assert_eq!(act(&server, "unlock", &client.0, &[])["state"], "active");
    assert_eq!(act(&server, "unlock", &client.0, &[])["state"], "active");
    assert_eq!(doors.statuses().await, [200; 4]);
    assert!(doors.is_active().await);
    let unknown = server.cli(&["client", "lock", "nobody", "--tenant", "acme"]).unwrap_err();
    assert!(unknown.stderr.contains("has no client nobody"), "{}", unknown.stderr);
}

#[tokio::test]
async fn a_replaced_secret_ends_at_once_with_its_tokens() {
    let server = server();
    let client = client(&server);
    let doors = Doors::of(&server, &client).await;
    let new = act(&server, "rotate-secret", &client.0, &[]);
    assert_eq!(doors.statuses().await, [401; 4]);
    assert!(!doors.is_active().await);
    let secret = new["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, client.1);
    Doors::of(&server, &(client.0.clone(), secret)).await;
}

#[tokio::test]
async fn a_secret_and_the_tokens_of_it_end_when_they_were_told_to() {
    let server = server();
    let client = client(&server);
    let old = Doors::of(&server, &client).await;
    let rotated = act(&server, "rotate-secret", &client.0, &["--keep-old", "3600"]);
    assert!(rotated["old_secret_expires_at"].is_string(), "{rotated}");
    let secret = rotated["client_secret"].as_str().unwrap().to_owned();
    let new = Doors::of(&server, &(client.0.clone(), secret)).await;
    assert_eq!(old.statuses().await, [200; 4], "both are accepted");
    let rotated = act(&server, "rotate-secret", &client.0, &["--keep-old", "2", "--valid", "900"]);
    assert!(rotated["secret_expires_at"].is_string(), "{rotated}");
    assert_eq!(old.statuses().await, [401; 4], "of three secrets the oldest has ended");
    until("the second secret ends", async || (new.statuses().await == [401; 4]).then_some(()))
        .await;
    let short = server.client_with("Short", &[&ALL_ROLES[..], &["--valid", "3"]].concat());
    let short = Doors::of(&server, &short).await;
    until("a secret ends", async || (short.statuses().await == [401; 4]).then_some(())).await;
}

#[tokio::test]
async fn a_deleted_client_is_gone_and_what_it_asked_is_cancelled() {
    let server = server();
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let client = client(&server);
    let doors = Doors::of(&server, &client).await;
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", server.address);
    let call = server.http.post(url).bearer_auth(&doors.kobil).json(&payment("leaked"));
    let held = tokio::spawn(call.send());
    jane.device.next_offer().await.unwrap();

    let deleted = act(&server, "delete", &client.0, &[]);
    assert_eq!((&deleted["client_id"], &deleted["existed"]), (&json!(client.0), &json!(true)));
    assert_eq!(doors.statuses().await, [401; 4]);
    assert!(!doors.is_active().await);
    assert_eq!(act(&server, "delete", &client.0, &[])["existed"], false, "done already");
    assert_eq!(server.transaction("leaked")["state"], "cancelled");
    held.abort();
    let listed = server.cli(&["client", "list", "--tenant", "acme"]).unwrap();
    let rows: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(rows, ["Shop"]);
    let again = server.client_with("Leaked", &[]);
    assert_ne!(again.0, client.0, "the name is free, the id is another one");
}

#[tokio::test]
async fn clients_are_listed_with_their_roles_and_their_states() {
    let server = TestServer::new();
    let (id, _) = server.client_with("Office", &["--role", "enrol", "--role", "people"]);
    act(&server, "lock", &id, &[]);
    let listed = server.cli(&["client", "list", "--tenant", "acme"]).unwrap();
    let rows = listed.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let office = rows.iter().find(|row| row["client_id"] == json!(id)).unwrap();
    assert_eq!(office["name"], "Office");
    assert_eq!(office["roles"], json!(["people", "enrol"]));
    assert_eq!(office["state"], "locked");
    assert_eq!(office["secret_expires_at"], Value::Null);
    assert!(!listed.to_string().contains("cs_"), "no secret is listed");
    let actors = server.cli(&["history", "--tenant", "acme"]).unwrap();
    let events = actors.as_array().unwrap().iter().filter(|event| {
        event["subject"] == json!(format!("client:{id}"))
            && event["actor"].as_str().unwrap().starts_with("command-line:")
    });
    let kinds: Vec<_> = events.map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["client.created", "client.locked"]);
}

#[tokio::test]
async fn an_api_key_is_refused_while_it_is_locked_and_after_its_end_and_for_good_if_deleted() {
    let server = TestServer::new();
    let make = |words: &[&str]| {
        let create = ["key", "create", "--tenant", "acme", "--kind", "front-end"];
        let made = server.cli(&[&create, words].concat()).unwrap();
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        (field("id"), field("api_key"))
    };
    // Each call comes from another address, because wrong keys are counted by address.
    let mut address = 10;
    let mut status = async |key: &str| {
        address += 1;
        let url = format!("{}/rest/v2/provisioning/getServerTime", server.numeric_address());
        let call = server.http_from([127, 0, 1, address]).post(url).basic_auth("app", Some(key));
        call.json(&json!({})).send().await.unwrap().status().as_u16()
    };
    let ((id, leaked), (_, other)) = (make(&[]), make(&[]));
    let set = |act: &str| server.cli(&["key", act, &id]).unwrap();
    assert_eq!(status(&leaked).await, 200);
    assert_eq!(set("lock")["state"], "locked");
    assert_eq!(set("lock")["state"], "locked", "done already");
    assert_eq!((status(&leaked).await, status(&other).await), (401, 200));
    assert_eq!(set("unlock")["state"], "active");
    assert_eq!(set("unlock")["state"], "active");
    assert_eq!(status(&leaked).await, 200);
    assert_eq!(set("delete")["existed"], true);
    assert_eq!(set("delete")["existed"], false, "done already");
    assert_eq!((status(&leaked).await, status(&other).await), (401, 200));
    let listed = server.cli(&["key", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["state"], &listed[0]["expires_at"]), (&json!("active"), &Value::Null));

    let (_, short) = make(&["--valid", "3"]);
    assert_eq!(status(&short).await, 200);
    until("the key ends", async || (status(&short).await == 401).then_some(())).await;
    let unknown = server.cli(&["key", "lock", &id]).unwrap_err();
    assert!(unknown.stderr.contains("there is no API key"), "{}", unknown.stderr);
}

#[tokio::test]
async fn tokens_of_a_replaced_key_end_at_once_or_as_late_as_they_were_kept() {
    let server = server();
    let first = Doors::of(&server, &server.client).await;
    let keys = async || {
        let url = format!("{}/trustedx-authserver/oauth/acme/keys", server.address);
        let (_, keys) = read(server.http.get(url).send().await.unwrap()).await;
        keys["keys"].as_array().unwrap().clone()
    };
    let before = keys().await;
    assert_eq!(before.len(), 1);
    let rotate = |words: &[&str]| {
        server.cli(&[&["tenant", "rotate-token-key", "acme"], words].concat()).unwrap()
    };
    assert!(rotate(&["--keep-old", "3600"])["old_key_expires_at"].is_string());
    assert_eq!(first.statuses().await, [200; 4], "tokens of the old key are still accepted");
    let both = keys().await;
    assert_eq!((both.len(), &both[1]), (2, &before[0]));
    let second = Doors::of(&server, &server.client).await;
    assert_eq!(rotate(&[])["old_key_expires_at"], Value::Null);
    for doors in [&first, &second] {
        assert_eq!(doors.statuses().await, [401, 401, 200, 200], "the secret is still accepted");
        assert!(!doors.is_active().await);
    }
    assert_eq!(keys().await.len(), 1);
    Doors::of(&server, &server.client).await;
}

#[tokio::test]
async fn a_code_names_its_maker_and_enrols_no_device_once_it_is_deleted() {
    let server = server();
    let by_operator = server.code("jane");
    let path = "v3_activationcode/jane/";
    let (status, made) = server.call(Method::POST, path, Some(&json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let list = || server.cli(&["activation", "list", "--tenant", "acme"]).unwrap();
    let listed = list();
    let makers: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| row["created_by"].as_str().unwrap()).collect();
    assert_eq!(makers[0], format!("client:{}", server.client.0));
    assert!(makers[1].starts_with("command-line:"), "{makers:?}");
    assert!(!listed.to_string().contains(&by_operator), "the code itself is not listed");
    assert_eq!((&listed[1]["user"], &listed[1]["state"]), (&json!("jane"), &json!("open")));

    let id = listed[1]["id"].as_str().unwrap();
    let delete = || server.cli(&["activation", "delete", id, "--tenant", "acme"]).unwrap();
    assert_eq!(delete()["existed"], true);
    assert_eq!(delete()["existed"], false, "done already");
    let asks = enrolment(&server, "jane", &by_operator, None, KeyKind::default());
    let file = server.path().join("phone.json");
    enrol(&PhoneFile::at(&file), &asks).await.unwrap_err();
    let other = made["data"][0]["activationCode"].as_str().unwrap();
    let asks = enrolment(&server, "jane", other, None, KeyKind::default());
    enrol(&PhoneFile::at(&file), &asks).await.unwrap();
    assert_eq!(list()[0]["state"], "used");
}
