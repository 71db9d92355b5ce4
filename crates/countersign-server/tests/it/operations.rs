//! An operator's failures: lost keys, full disks, directories without permission.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, run, serve};

/// The error of `serve` on a directory that it cannot serve.
fn refusal(server: &TestServer) -> String {
    let output = serve(server.path(), 0).output().unwrap();
    assert!(!output.status.success(), "it served");
    assert!(output.stdout.is_empty(), "it said that it was ready");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn an_operator_lists_shows_and_deletes_users_and_devices() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let run = |words: &[&str]| server.cli(&[words, &["--tenant", "acme"]].concat()).unwrap();
    assert_eq!(run(&["user", "lock", "joe"])["by"], "administrator");
    assert_eq!(run(&["user", "lock", "joe"])["by"], "administrator", "done already");
    let listed = run(&["user", "list"]);
    let rows = listed.as_array().unwrap().iter();
    let rows: Vec<_> = rows.map(|row| (&row["user"], &row["locked"], &row["by"])).collect();
    let expected = [
        (&json!("jane"), &json!(false), &Value::Null),
        (&json!("joe"), &json!(true), &json!("administrator")),
    ];
    assert_eq!(rows, expected);
    for _ in 0..2 {
        assert_eq!(run(&["user", "unlock", "joe"])["locked"], false);
    }
    let shown = run(&["user", "show", "jane"]);
    assert_eq!((&shown["user"], &shown["devices"]), (&json!("jane"), &json!(1)));

    let (id, serial) = (jane.phone().device_id.to_string(), jane.phone().serial_number.clone());
    let shown = run(&["device", "show", &serial]);
    assert_eq!((&shown["device_id"], &shown["user"]), (&json!(id), &json!("jane")));
    assert_eq!(run(&["device", "show", &id]), shown);
    for _ in 0..2 {
        assert_eq!(run(&["device", "lock", &serial])["state"], "locked");
    }
    for _ in 0..2 {
        assert_eq!(run(&["device", "unlock", &id])["state"], "active");
    }
    assert_eq!(run(&["device", "delete", &serial])["existed"], true);
    assert_eq!(run(&["device", "delete", &id])["existed"], false, "done already");
    assert_eq!(run(&["device", "show", &id])["state"], "retired");
    assert_eq!(run(&["user", "show", "jane"])["devices"], 0);
    let unknown = server.cli(&["device", "lock", "CSN0009999-1", "--tenant", "acme"]);
    assert!(unknown.unwrap_err().stderr.contains("has no device CSN0009999-1"));

    assert_eq!(run(&["user", "delete", "jane"])["existed"], true);
    assert_eq!(run(&["user", "delete", "jane"])["existed"], false, "done already");
    assert_eq!(run(&["user", "list"]).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn secrets_without_their_key_are_not_served() {
    let mut server = TestServer::new();
    assert_eq!(server.stop(), Some(0));
    let key = server.data().join("master.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let said = refusal(&server);
    assert!(said.contains("master.key"), "{said}");
    assert!(!key.exists(), "a new key would open nothing");

    std::fs::write(&key, kept).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = refusal(&server);
    assert!(said.contains("master.key"), "{said}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    server.restart();
}

#[tokio::test]
async fn a_second_server_on_a_ledger_is_refused_and_names_the_first() {
    let mut server = TestServer::new();
    let said = refusal(&server);
    assert!(said.contains("another server (process "), "{said}");
    assert!(said.contains("--data"), "{said}");
    // A server that was killed leaves no lock.
    server.kill();
    server.restart();
}

#[tokio::test]
async fn a_lost_ledger_is_not_replaced_by_an_empty_one_without_being_asked() {
    let mut server = TestServer::new();
    assert_eq!(server.stop(), Some(0));
    let ledger = server.data().join("ledger.db");
    std::fs::remove_file(&ledger).unwrap();
    let said = refusal(&server);
    assert!(said.contains("restore the ledger") && said.contains("countersign init"), "{said}");
    let failed = server.cli(&["tenant", "create", "acme"]).unwrap_err();
    assert!(failed.stderr.contains("countersign init"), "{}", failed.stderr);
    let failed = server.cli(&["migrate"]).unwrap_err();
    assert!(failed.stderr.contains("there is no ledger"), "{}", failed.stderr);
    assert!(!ledger.exists());

    std::fs::write(&ledger, "").unwrap();
    assert!(refusal(&server).contains("0 bytes"));

    let made = server.cli(&["init"]).unwrap();
    assert_eq!(made, json!({"ledger": ledger.to_str().unwrap(), "schema": 1}));
    assert!(server.cli(&["init"]).unwrap_err().stderr.contains("exists already"));
    assert_eq!(server.cli(&["tenant", "list"]).unwrap(), json!([]));
    assert_eq!(server.cli(&["migrate"]).unwrap()["schema"], 1);
    server.restart();
    let failed = server.cli(&["migrate"]).unwrap_err();
    assert!(failed.stderr.contains("another server"), "{}", failed.stderr);
}

#[tokio::test]
async fn a_directory_that_is_none_is_refused_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    std::fs::write(&file, "not a directory").unwrap();
    let failed = run(&file, &["tenant", "create", "acme", "--json"]).unwrap_err();
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("data"), "{}", failed.stderr);
    // Commands that only read create no files.
    let nowhere = directory.path().join("nowhere");
    assert!(run(&nowhere, &["tenant", "list", "--json"]).is_err());
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn what_the_command_line_changes_is_seen_by_the_servers_next_step() {
    let server = TestServer::new();
    let (status, body) = server.start_signature("late", &payment("a")).await;
    assert_eq!((status.as_u16(), &body["status"]), (404, &json!("USER_NOT_FOUND")));
    server.user("late");
    let (status, body) = server.start_signature("late", &payment("a")).await;
    assert_eq!((status.as_u16(), &body["status"]), (404, &json!("DEVICE_NOT_FOUND")));
    let mut late = TestDevice::enrolled(&server, "late", None).await;
    let request = payment("a");
    let (answer, _) = join!(server.start_signature("late", &request), late.signs());
    assert_eq!(answer.1["status"], "OK");
    let again = server.cli(&["user", "create", "late", "--tenant", "acme"]).unwrap_err();
    assert_eq!(again.code, Some(1), "{}", again.stderr);
}

#[tokio::test]
async fn a_corrupt_row_is_named_in_the_log_and_told_to_nobody() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("broken");
    request["callbackUrl"] = json!("https://shop.example/");
    server.start_signature("jane", &request).await;
    let offer = jane.device.next_offer().await.unwrap();
    let ledger = server.data().join("ledger.db");
    let broken = Command::new("sqlite3")
        .arg(&ledger)
        .arg("UPDATE transactions SET body = '{'")
        .output()
        .unwrap();
    assert!(broken.status.success(), "{}", String::from_utf8_lossy(&broken.stderr));
    let (status, body) = server.start_signature("jane", &request).await;
    assert_eq!((status.as_u16(), &body["status"]), (503, &json!("INTERNAL_ERROR")));
    assert!(!body.to_string().contains("transactions"), "{body}");
    let log = server.log();
    assert!(log.contains("transactions") && log.contains("body"), "{log}");
    assert!(log.contains(&offer.id.to_string()), "the row is not named: {log}");
}

#[tokio::test]
async fn health_and_metrics_are_on_an_address_of_their_own() {
    let server = TestServer::new();
    let log = server.log();
    let address = log.split("Health and metrics on ").nth(1).unwrap().split_whitespace().next();
    let get = async |path: &str| {
        let url = format!("{}{path}", address.unwrap());
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("countersign_ledger_commits_total"), "{metrics}");
    let outside = server.http.get(format!("{}/metrics", server.address)).send().await.unwrap();
    assert_eq!(outside.status().as_u16(), 404);
}

#[tokio::test]
async fn nothing_secret_is_logged() {
    let server = TestServer::configured("[server]\nname = \"Quiet\"\n");
    server.user("jane");
    let code = server.code("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let request = payment("secret-content");
    let (answer, shown) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK");
    let log = server.log();
    let message = String::from_utf8(shown.bytes().to_vec()).unwrap();
    let signature = answer.1["data"]["signature"].as_str().unwrap();
    for secret in [&code, &message, signature, &server.client.1, "eyJ"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
