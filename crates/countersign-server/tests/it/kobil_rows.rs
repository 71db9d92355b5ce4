//! Rows of KOBIL's pages that a recorded exchange cannot hold, because their values are random.

use reqwest::Method;
use serde_json::{Value, json};

use crate::test_server::{TestServer, read};

/// A call of the realm, with its answer's body.
async fn call(server: &TestServer, token: &str, method: Method, path: &str, body: Value) -> Value {
    let url = format!("{}/auth/realms/acme/{path}", server.address);
    let mut call = server.http.request(method, url).bearer_auth(token);
    if !body.is_null() {
        call = call.json(&body);
    }
    read(call.send().await.unwrap()).await.1
}

#[tokio::test]
async fn a_users_id_is_a_uuid_that_stays_and_is_never_given_again() {
    let server = TestServer::new();
    let token = server.token().await;
    let id = async |name: &str| {
        let path = format!("v3_user/{name}");
        let shown = call(&server, &token, Method::GET, &path, Value::Null).await;
        shown["data"]["id"].as_str().expect("it has an id").to_owned()
    };
    let create = json!({"username": "jane"});
    call(&server, &token, Method::POST, "v3_user", create.clone()).await;
    server.user("joe");
    let (jane, joe) = (id("jane").await, id("joe").await);
    for id in [&jane, &joe] {
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        let hex = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(id.chars().all(hex) && &id[14..15] == "4", "{id}");
    }
    assert_ne!(jane, joe);
    server.cli(&["user", "lock", "jane", "--tenant", "acme"]).unwrap();
    assert_eq!(id("jane").await, jane, "a change of the user leaves the id");
    call(&server, &token, Method::DELETE, "v3_user/jane", Value::Null).await;
    call(&server, &token, Method::POST, "v3_user", create).await;
    assert_ne!(id("jane").await, jane, "the next user of the name is another one");
}
