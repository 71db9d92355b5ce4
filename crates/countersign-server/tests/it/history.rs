//! The history: who tried what, also in vain, in the log and on the command line under one name.

use std::collections::BTreeMap;

use countersign_device::{Code, KeyKind, PhoneFile, Pin, enrol};
use countersign_wire::jws;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use crate::metrics::scraped;
use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{TestServer, payment, until};

fn history(server: &TestServer, filters: &[&str]) -> Vec<Value> {
    let all = ["history", "--tenant", "acme", "--all"];
    let listed = server.cli(&[&all, filters].concat()).unwrap();
    listed.as_array().unwrap().clone()
}

/// Reads the history until it has an event of this kind.
async fn event(server: &TestServer, kind: &str) -> Value {
    let found = async || history(server, &["--kind", kind]).first().cloned();
    until(&format!("{kind} in the history"), found).await
}

/// The line of the log with this event.
fn logged(server: &TestServer, kind: &str) -> String {
    let log = server.log();
    let name = format!("event.kind=\"{kind}\"");
    let line = log.lines().find(|line| line.contains(&name));
    line.unwrap_or_else(|| panic!("{kind} is not in the log:\n{log}")).to_owned()
}

#[tokio::test]
async fn what_was_tried_in_vain_is_in_the_history_and_in_the_log_under_one_name() {
    let server = TestServer::configured("[locks]\nfirst_seconds = 3600\n");
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let device = jane.phone().device_id.to_string();

    // A wrong secret.
    let (status, _) = server.token_answer(&server.http, &server.client.0, "wrong").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let told = event(&server, "client.refused").await;
    assert_eq!(
        (&told["actor"], &told["subject"], &told["details"]["address"]),
        (&json!("unknown"), &json!(format!("client:{}", server.client.0)), &json!("127.0.0.1"))
    );
    assert!(logged(&server, "client.refused").contains("WARN"));

    // A wrong API key belongs to no tenant, and a locked one to its own.
    let create = ["key", "create", "--tenant", "acme", "--kind", "front-end"];
    let key = server.cli(&create).unwrap();
    let (key, id) = (key["api_key"].as_str().unwrap(), key["id"].as_str().unwrap());
    server.cli(&["key", "lock", id]).unwrap();
    let url = format!("{}/rest/v2/provisioning/getServerTime", server.numeric_address());
    for key in ["wrong-key", key] {
        let call = server.http.post(&url).basic_auth("app", Some(key)).json(&json!({}));
        assert_eq!(call.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let told = event(&server, "api_key.refused").await;
    assert_eq!(told["subject"], format!("api-key:{id}"));
    let told = until("the server's own event", async || {
        let events = server.cli(&["history", "--kind", "api_key.refused"]).unwrap();
        events.get(0).cloned()
    })
    .await;
    assert_eq!(
        (&told["actor"], &told["subject"], &told["details"]["address"]),
        (&json!("unknown"), &json!("api-keys"), &json!("127.0.0.1"))
    );
    assert!(logged(&server, "api_key.refused").contains("WARN"));

    // A refused enrolment.
    let file = PhoneFile::at(server.path().join("phone.json"));
    let wrong = enrolment(&server, "jane", "WRONG", None, KeyKind::default());
    assert_eq!(enrol(&file, &wrong).await.unwrap_err().code(), Some(Code::EnrolmentRefused));
    let told = event(&server, "enrolment.refused").await;
    assert_eq!(told["subject"], "user:jane");
    logged(&server, "enrolment.refused");

    // A refused device: its token is for another call.
    let phone = jane.phone();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let call = jws::Call { method: "GET", path: "/device/v1/other", body: b"" };
    let name = phone.device_name().unwrap();
    let token = jws::sign_call(&phone.auth_key, &name, &server.address, call, now);
    let url = format!("{}/device/v1/push", server.address);
    let refused = server.http.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let told = event(&server, "device.refused").await;
    assert_eq!(told["subject"], format!("device:{device}"));
    assert!(told["details"]["reason"].as_str().unwrap().contains("the token"), "{told}");
    logged(&server, "device.refused");

    // A wrong PIN, and then the lock.
    let mut request = payment("guessed");
    request["pinRequired"] = json!(true);
    let wrong = Pin::parse("1111").unwrap();
    let (_, ()) = join!(server.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        for _ in 0..5 {
            jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
        }
    });
    let told = event(&server, "user.locked").await;
    assert_eq!(
        (&told["subject"], &told["details"]["by"]),
        (&json!("user:jane"), &json!("wrong-tries"))
    );
    logged(&server, "user.locked");
    assert_eq!(history(&server, &["--kind", "pin.rejected"]).len(), 4, "the fifth one locked");
    assert!(logged(&server, "pin.rejected").contains(&format!("event.actor=device:{device}")));

    // An administrator's act, by an application.
    let lock = format!("v3_device/{device}/lock");
    server.call(Method::POST, &lock, None).await;
    logged(&server, "device.locked");
    for secret in ["wrong-secret", "wrong-key", "1111", "WRONG"] {
        assert!(!server.log().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_history_is_filtered_by_kind_actor_subject_and_time_and_exported_by_lines() {
    let server = TestServer::new();
    for user in ["jane", "joe"] {
        server.user(user);
        server.cli(&["user", "lock", user, "--tenant", "acme"]).unwrap();
    }
    let kinds = |events: &[Value]| -> Vec<String> {
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&history(&server, &["--kind", "user.locked"])), ["user.locked"; 2]);
    let janes = history(&server, &["--subject", "user:jane"]);
    assert_eq!(kinds(&janes), ["user.created", "user.locked"]);
    assert_eq!(history(&server, &["--kind", "user", "--subject", "user"]).len(), 4);
    assert_eq!(history(&server, &["--actor", "client"]).len(), 0);
    let by_operator = history(&server, &["--actor", "command-line"]);
    assert_eq!(by_operator, history(&server, &[]));
    assert_eq!(history(&server, &["--since", "2100-01-01T00:00:00Z"]).len(), 0);
    assert_eq!(history(&server, &["--since", "2000-01-01T00:00:00Z"]), by_operator);
    // The limit counts the events that the filter leaves.
    let limited = ["history", "--tenant", "acme", "--kind", "user.locked", "--limit", "1"];
    let first = server.cli(&limited).unwrap();
    assert_eq!(first[0]["subject"], "user:jane");
    let after = first[0]["number"].to_string();
    let rest = server.cli(&[&limited[..], &["--after", &after]].concat()).unwrap();
    assert_eq!(rest[0]["subject"], "user:joe");
    let failed = server.cli(&["history", "--tenant", "acme", "--kind", "user.lock"]).unwrap_err();
    assert!(failed.stderr.contains("user.locked"), "{}", failed.stderr);
}

/// An operator's command runs in a process of its own, beside the server.
#[tokio::test]
async fn what_operators_do_is_in_the_log_of_the_running_server() {
    let server = TestServer::new();
    server.user("jane");
    server.cli(&["user", "lock", "jane", "--tenant", "acme"]).unwrap();
    server.cli(&["user", "unlock", "jane", "--tenant", "acme"]).unwrap();
    until("the acts are logged", async || {
        let kinds = ["user.created", "user.locked", "user.unlocked"];
        kinds.iter().all(|kind| server.log().contains(&format!("\"{kind}\""))).then_some(())
    })
    .await;
    let locked = logged(&server, "user.locked");
    assert!(locked.contains("command-line:") && locked.contains("user:jane"), "{locked}");
    assert_eq!(server.log().matches("event.kind=\"user.locked\"").count(), 1, "once");
}

/// How often each kind of event is in the history, of the tenant and of the server.
fn in_history(server: &TestServer) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for tenant in [&["--tenant", "acme"][..], &[]] {
        let events = server.cli(&[&["history", "--all"], tenant].concat()).unwrap();
        for event in events.as_array().unwrap() {
            *counts.entry(event["kind"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// How often each kind of event is counted by the metric.
async fn counted(server: &TestServer) -> BTreeMap<String, u64> {
    let text = scraped(server).await;
    let samples = text.lines().filter_map(|line| {
        let (kind, count) =
            line.strip_prefix("countersign_events_total{kind=\"")?.split_once("\"} ")?;
        Some((kind.to_owned(), count.parse().unwrap()))
    });
    samples.collect()
}

#[tokio::test]
async fn every_event_of_the_history_is_counted_once_whoever_caused_it() {
    let server = TestServer::new();
    server.user("jane");
    until("the setup is counted", async || {
        (counted(&server).await["user.created"] == 1).then_some(())
    })
    .await;
    // Events before the start of the server are not counted.
    let (listed_before, counted_before) = (in_history(&server), counted(&server).await);

    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let device = jane.phone().device_id.to_string();
    let mut request = payment("signed");
    request["pinRequired"] = json!(true);
    let wrong = Pin::parse("1111").unwrap();
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
        let right = Pin::parse("2580").unwrap();
        let shown = jane.device.take(&offer, Some(&right)).await.unwrap();
        jane.device.approve(&shown, None).await.unwrap();
    });
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    for act in [
        &["user", "create", "joe", "--tenant", "acme"][..],
        &["user", "lock", "joe", "--tenant", "acme"],
        &["user", "unlock", "joe", "--tenant", "acme"],
        &["user", "delete", "joe", "--tenant", "acme"],
        &["client", "create", "Office", "--tenant", "acme"],
        &["key", "create", "--kind", "front-end"],
        &["tenant", "rotate-token-key", "acme"],
        &["ca", "renew", "--tenant", "acme"],
        &["master-key", "rotate"],
    ] {
        server.cli(act).unwrap();
    }
    for act in ["lock", "unlock"] {
        server.call(Method::POST, &format!("v3_device/{device}/{act}"), None).await;
    }
    for client in [&server.client.0, "nobody"] {
        let (status, _) = server.token_answer(&server.http, client, "wrong").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let url = format!("{}/rest/v2/provisioning/getServerTime", server.numeric_address());
    let call = server.http.post(url).basic_auth("app", Some("wrong")).json(&json!({}));
    assert_eq!(call.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let file = PhoneFile::at(server.path().join("refused.json"));
    let refused = enrolment(&server, "jane", "WRONG", None, KeyKind::default());
    enrol(&file, &refused).await.unwrap_err();
    server.cli(&["device", "delete", &device, "--tenant", "acme"]).unwrap();

    let kinds = until("every event is counted", async || {
        let (listed, counted) = (in_history(&server), counted(&server).await);
        let grown = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let of = |kind| before.get(kind).copied().unwrap_or(0);
            let grown = now.iter().map(|(kind, count)| (kind.clone(), count - of(kind)));
            grown.filter(|(_, grown)| *grown > 0).collect::<BTreeMap<_, _>>()
        };
        let listed = grown(&listed, &listed_before);
        (listed == grown(&counted, &counted_before)).then_some(listed)
    })
    .await;
    assert_eq!((kinds["client.refused"], kinds["api_key.refused"]), (2, 1), "{kinds:?}");
    for (kind, count) in &kinds {
        let is_frequent = kind == "pin.verified" || kind.starts_with("transaction.");
        let lines = server.log().matches(&format!("event.kind=\"{kind}\"")).count() as u64;
        let before = counted_before.get(kind).copied().unwrap_or(0);
        let expected = if is_frequent { 0 } else { before + count };
        assert_eq!(lines, expected, "the log has each event once, without frequent ones: {kind}");
    }
    assert!(kinds.len() >= 22, "{kinds:?}");
}
