//! OAuth's grant `password` at KOBIL's token address: for clients to which an operator gave an
//! account, until the operator takes it back.

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::test_server::{ALL_ROLES, TestServer, read, until};

/// The answer of the token address to the client with these words of a form.
async fn ask(server: &TestServer, form: &[(&str, &str)]) -> (u16, Value) {
    let encoded =
        |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let form = form.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    let form = form.collect::<Vec<_>>().join("&");
    let url = format!("{}/auth/realms/acme/protocol/openid-connect/token", server.address);
    let call = server.http.post(url).basic_auth(&server.client.0, Some(&server.client.1));
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let (status, answer) = read(call.body(form).send().await.unwrap()).await;
    (status.as_u16(), answer)
}

async fn by_password(server: &TestServer, name: &str, password: &str) -> (u16, Value) {
    let form = [("grant_type", "password"), ("username", name), ("password", password)];
    ask(server, &form).await
}

/// Whether a call with this token is accepted.
async fn is_accepted(server: &TestServer, token: &Value) -> bool {
    let url = format!("{}/auth/realms/acme/v3_user/devices/jane", server.address);
    let call = server.http.get(url).bearer_auth(token.as_str().unwrap());
    call.send().await.unwrap().status() == StatusCode::OK
}

fn set_password(server: &TestServer, words: &[&str]) -> Value {
    let set = ["client", "set-password", &server.client.0, "--tenant", "acme"];
    server.cli(&[&set, words].concat()).unwrap()
}

#[tokio::test]
async fn a_client_with_an_account_obtains_tokens_by_password_until_it_is_taken_back() {
    let server = TestServer::new();
    server.user("jane");
    let (status, refused) = by_password(&server, "robot", "anything at all").await;
    assert_eq!((status, &refused["error"]), (400, &json!("unauthorized_client")), "off by default");

    let made = set_password(&server, &["--account", "robot"]);
    let password = made["password"].as_str().unwrap().to_owned();
    assert_eq!((&made["account"], password.len()), (&json!("robot"), 46));
    let (status, first) = by_password(&server, "robot", &password).await;
    assert_eq!((status, &first["token_type"]), (200, &json!("Bearer")), "{first}");
    assert!(is_accepted(&server, &first["access_token"]).await);
    let token = server.token().await;

    // Another password ends the tokens of the one before, and no other.
    let file = server.path().join("password");
    std::fs::write(&file, "correct horse battery ß\n").unwrap();
    let chosen =
        set_password(&server, &["--account", "robot", "--password-file", file.to_str().unwrap()]);
    assert_eq!(chosen["password"], Value::Null, "a chosen password is not repeated");
    assert!(!is_accepted(&server, &first["access_token"]).await);
    assert!(is_accepted(&server, &json!(token)).await);
    assert_eq!(by_password(&server, "robot", &password).await.0, 400);
    let (_, second) = by_password(&server, "robot", "correct horse battery ß").await;
    assert!(is_accepted(&server, &second["access_token"]).await);

    let one = [&server.client.0, "--tenant", "acme"];
    let shown = server.cli(&[&["client", "show"][..], &one].concat()).unwrap();
    assert_eq!(shown["password_account"], "robot");
    let removed = server.cli(&[&["client", "remove-password"][..], &one].concat()).unwrap();
    assert_eq!(removed["password_account"], Value::Null);
    server.cli(&[&["client", "remove-password"][..], &one].concat()).expect("done already");
    assert!(!is_accepted(&server, &second["access_token"]).await);
    assert!(is_accepted(&server, &json!(token)).await);
    let (_, refused) = by_password(&server, "robot", "correct horse battery ß").await;
    assert_eq!(refused["error"], "unauthorized_client");

    std::fs::write(&file, "too short\n").unwrap();
    let words = ["client", "set-password", &server.client.0, "--tenant", "acme", "--account", "x"];
    let words = [&words[..], &["--password-file", file.to_str().unwrap()]].concat();
    let refused = server.cli(&words).unwrap_err();
    assert!(refused.stderr.contains("at least 12 characters"), "{}", refused.stderr);
    assert!(!server.log().contains("correct horse") && !server.log().contains(&password));
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_alike_and_are_in_the_history() {
    let server = TestServer::new();
    let password = set_password(&server, &["--account", "robot"])["password"].clone();
    let password = password.as_str().unwrap();
    let (status, wrong) = by_password(&server, "robot", "wrong").await;
    assert_eq!((status, &wrong["error"]), (400, &json!("invalid_grant")));
    assert_eq!(by_password(&server, "rabbit", password).await, (status, wrong));
    assert_eq!(by_password(&server, "Robot", password).await.0, 400);
    let (_, nameless) = ask(&server, &[("grant_type", "password"), ("password", password)]).await;
    assert_eq!(nameless["error"], "invalid_request");

    // The client's own secret is needed too, and another client's does not do.
    let url = format!("{}/auth/realms/acme/protocol/openid-connect/token", server.address);
    let form = format!("grant_type=password&username=robot&password={password}");
    let other = server.client_with("Other", &ALL_ROLES);
    for (client, status, error) in [
        ((server.client.0.clone(), "wrong".to_owned()), 401, "invalid_client"),
        (other, 400, "unauthorized_client"),
    ] {
        let call = server.http.post(&url).basic_auth(&client.0, Some(&client.1));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let (got, answer) = read(call.body(form.clone()).send().await.unwrap()).await;
        assert_eq!((got.as_u16(), &answer["error"]), (status, &json!(error)));
    }
    // TrustedX's authorization server does not know the grant.
    let url = format!("{}/trustedx-authserver/oauth/acme/token", server.address);
    let call = server.http.post(url).basic_auth(&server.client.0, Some(&server.client.1));
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let (_, answer) = read(call.body(form).send().await.unwrap()).await;
    assert_eq!(answer["error"], "unsupported_grant_type");

    let history = async |kind: &str| {
        let listed = server.cli(&["history", "--tenant", "acme", "--all", "--kind", kind]).unwrap();
        listed.as_array().unwrap().clone()
    };
    let set = history("client.password_set").await;
    assert_eq!(set[0]["details"], json!({"account": "robot"}));
    until("the wrong passwords in the history", async || {
        let told = history("client.refused").await;
        let by = |kind: &str| told.iter().filter(|e| e["details"]["credential"] == kind).count();
        (by("password") == 3 && by("secret") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn passwords_guessed_at_once_get_no_more_answers_than_the_limit() {
    let server = TestServer::configured("[tokens]\nfailed_tries_per_minute = 3\n");
    let password = set_password(&server, &["--account", "robot"])["password"].clone();
    let password = password.as_str().unwrap().to_owned();
    let guesses = (0..12).map(|nth| format!("wrong-{nth}"));
    let answers =
        join_all(guesses.map(async |guess| by_password(&server, "robot", &guess).await.0));
    let answers = answers.await;
    let told = answers.iter().filter(|status| **status == 400).count();
    assert_eq!(told, 3, "{answers:?}");
    let (status, limited) = by_password(&server, "robot", &password).await;
    assert_eq!((status, &limited["error"]), (429, &json!("invalid_grant")), "the right one too");
    // The client's own tokens are under another limit.
    assert!(!server.token().await.is_empty());
}
