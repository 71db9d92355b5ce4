//! A whole tenant, locked, unlocked and deleted by an operator while the server runs.

use countersign_device::{Code, KeyKind, PhoneFile, enrol};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::revocation::Doors;
use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{ALL_ROLES, TestServer, payment};

fn act(server: &TestServer, act: &str) -> Value {
    server.cli(&["tenant", act, "acme"]).unwrap()
}

fn kinds(server: &TestServer, tenant: &[&str], subject: &str) -> Vec<String> {
    let history = server.cli(&[&["history", "--all"], tenant].concat()).unwrap();
    let events = history.as_array().unwrap().iter();
    let events = events.filter(|event| event["subject"] == json!(subject));
    let by_us = events.inspect(|event| {
        assert!(event["actor"].as_str().unwrap().starts_with("command-line:"), "{event}");
    });
    by_us.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// Starts a payment whose end nobody awaits.
async fn start(server: &TestServer, reference: &str) -> (StatusCode, Value) {
    let mut request = payment(reference);
    request["callbackUrl"] = json!("https://shop.example/");
    server.start_signature("jane", &request).await
}

#[tokio::test]
async fn a_locked_tenant_is_served_at_no_door_until_it_is_unlocked() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await.polling();
    let client = server.client_with("Office", &ALL_ROLES);
    let doors = Doors::of(&server, &client).await;
    let code = server.code("jane");
    let (status, answer) = start(&server, "open").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let offer = jane.device.next_offer().await.unwrap();
    let shown = jane.device.take(&offer, None).await.unwrap();
    let key = ["key", "create", "--tenant", "acme", "--kind", "front-end"];
    let key = server.cli(&key).unwrap()["api_key"].as_str().unwrap().to_owned();
    let with_key = async || {
        let url = format!("{}/rest/v2/provisioning/getServerTime", server.numeric_address());
        let call = server.http.post(url).basic_auth("app", Some(&key)).json(&json!({}));
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!(with_key().await, 200);

    assert_eq!(act(&server, "lock"), json!({"name": "acme", "state": "locked"}));
    assert_eq!(doors.statuses().await, [401; 4]);
    assert_eq!(with_key().await, 401);
    // A device, at each of its calls.
    let refused = |error: countersign_device::Error| error.code();
    let pin = countersign_device::Pin::parse("2580").unwrap();
    assert_eq!(jane.device.take(&offer, None).await.err().and_then(refused), Some(LOCKED));
    let signed = jane.device.approve(&shown, None).await.err().and_then(refused);
    assert_eq!(signed, Some(LOCKED));
    assert_eq!(jane.device.set_pin(&pin).await.err().and_then(refused), Some(LOCKED));
    assert_eq!(jane.device.set_push(None).await.err().and_then(refused), Some(LOCKED));
    let file = PhoneFile::at(server.path().join("late.json"));
    let late = enrol(&file, &enrolment(&server, "jane", &code, None, KeyKind::default())).await;
    assert_eq!(late.unwrap_err().code(), Some(Code::EnrolmentRefused));

    assert_eq!(server.transaction("open")["state"], "taken", "it ends at its own deadline");
    let listed = server.cli(&["tenant", "list"]).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("acme"), &json!("locked")));
    assert_eq!(act(&server, "lock")["state"], "locked", "done already");
    assert_eq!(act(&server, "unlock")["state"], "active");
    assert_eq!(act(&server, "unlock")["state"], "active", "done already");
    assert_eq!((doors.statuses().await, with_key().await), ([200; 4], 200));
    jane.device.approve(&shown, None).await.unwrap();
    assert_eq!(server.transaction("open")["state"], "finished");
    enrol(&file, &enrolment(&server, "jane", &code, None, KeyKind::default())).await.unwrap();
    let kinds = kinds(&server, &["--tenant", "acme"], "tenant");
    assert_eq!(kinds, ["tenant.created", "tenant.locked", "tenant.unlocked"]);
    let unknown = server.cli(&["tenant", "lock", "nobody"]).unwrap_err();
    assert!(unknown.stderr.contains("there is no tenant nobody"), "{}", unknown.stderr);
}

const LOCKED: Code = Code::Locked;

#[tokio::test]
async fn a_deleted_tenant_leaves_its_evidence_and_its_events_or_nothing() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await.polling();
    let doors = Doors::of(&server, &server.client).await;
    assert_eq!(start(&server, "signed").await.0, StatusCode::OK);
    jane.signs().await;
    let signed = server.transaction("signed");
    assert_eq!(start(&server, "open").await.0, StatusCode::OK);

    let early = server.cli(&["tenant", "delete", "acme"]).unwrap_err();
    assert!(early.stderr.contains("`countersign tenant lock acme` first"), "{}", early.stderr);
    assert_eq!(doors.statuses().await, [200; 4]);
    act(&server, "lock");
    let (yes, no) = (json!(true), json!(false));
    let deleted = act(&server, "delete");
    assert_eq!((&deleted["existed"], &deleted["evidence_kept"]), (&yes, &yes));
    let again = act(&server, "delete");
    assert_eq!((&again["existed"], &again["evidence_kept"]), (&no, &yes), "done already");
    let statuses = doors.statuses().await;
    assert!(statuses.iter().all(|status| [401, 404].contains(status)), "{statuses:?}");
    assert!(jane.device.set_push(None).await.is_err());

    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "only what was signed stays: {listed}");
    let (id, end) = (signed["id"].as_str().unwrap(), "signature");
    let show = ["transaction", "show", id, "--tenant", "acme"];
    assert_eq!(server.cli(&show).unwrap()[end], signed[end]);
    let expected = ["tenant.created", "tenant.locked", "tenant.deletion_begun"].map(str::to_owned);
    assert_eq!(kinds(&server, &["--tenant", "acme"], "tenant"), expected);
    let history = server.cli(&["history", "--tenant", "acme", "--kind", "transaction.ended"]);
    let outcomes = history.unwrap();
    let outcomes: Vec<_> =
        outcomes.as_array().unwrap().iter().map(|event| &event["details"]["outcome"]).collect();
    assert_eq!(outcomes, [&json!("finished"), &json!("cancelled")]);
    assert_eq!(kinds(&server, &[], "tenant"), ["tenant.deleted"]);
    let taken = server.cli(&["tenant", "create", "acme"]).unwrap_err();
    assert!(taken.stderr.contains("delete acme --with-evidence"), "{}", taken.stderr);
    let user = server.cli(&["user", "create", "ann", "--tenant", "acme"]).unwrap_err();
    assert!(user.stderr.contains("there is no tenant acme"), "{}", user.stderr);

    let whole = server.cli(&["tenant", "delete", "acme", "--with-evidence"]).unwrap();
    assert_eq!((&whole["existed"], &whole["evidence_kept"]), (&yes, &no));
    let none = server.cli(&["tenant", "delete", "acme", "--with-evidence"]).unwrap();
    assert_eq!((&none["existed"], &none["evidence_kept"]), (&no, &no), "done already");
    server.cli(&["tenant", "create", "acme"]).unwrap();
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed, json!([]));
    assert_eq!(kinds(&server, &["--tenant", "acme"], "tenant"), ["tenant.created"]);
}
