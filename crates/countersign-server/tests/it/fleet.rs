//! Nodes that share a ledger on PostgreSQL: any node serves any step, and a node or the database
//! may die at any moment.

use std::path::PathBuf;
use std::time::Duration;

use countersign_device::{Close, Error};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::join;
use tokio::time::Instant;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};

/// Two nodes on the PostgreSQL server of this process.
fn two_nodes() -> [TestServer; 2] {
    let nodes = TestServer::fleet(2, &countersign_postgres::shared().url(), "");
    nodes.try_into().ok().unwrap()
}

/// The phone of a device, which calls another node from now on.
fn moved(device: &TestDevice, node: &TestServer) -> TestDevice {
    let mut phone: Value =
        serde_json::from_str(&std::fs::read_to_string(&device.file).unwrap()).unwrap();
    phone["server"] = json!(node.address);
    let file: PathBuf = device.file.with_extension("moved.json");
    crate::test_server::write_private(&file, &phone.to_string());
    TestDevice::opened(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_at_one_node_is_answered_when_the_device_finishes_at_another() {
    let [a, b] = two_nodes();
    a.user("jane");
    let mut device = moved(&TestDevice::enrolled(&a, "jane", None).await, &b);
    let (one, two) = (payment("one"), payment("two"));
    let (answer, _) = join!(a.start_signature("jane", &one), device.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    // The other way, and the same device.
    let mut device = moved(&device, &a);
    let (answer, _) = join!(b.start_signature("jane", &two), device.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    for node in [&a, &b] {
        assert_eq!(node.transaction("one")["state"], "finished");
        assert_eq!(node.transaction("two")["state"], "finished");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_right_whichever_node_is_asked() {
    let [a, b] = two_nodes();
    a.user("jane");
    let mut device = moved(&TestDevice::enrolled(&a, "jane", None).await, &b);
    assert_eq!((a.device_state("jane").await, b.device_state("jane").await), offline());
    // With no time to go online, the device must be online when the transaction starts.
    let now = |reference: &str| {
        let mut request = payment(reference);
        request["deviceGoOnlineTimeout"] = json!(0);
        request
    };
    let (_, answer) = a.start_signature("jane", &now("too-early")).await;
    assert_ne!(answer["status"], "OK", "{answer}");
    let started = async {
        until("the device is online for the other node", async || {
            (a.device_state("jane").await == "ONLINE").then_some(())
        })
        .await;
        let row = |answer: Value| {
            let row = &answer["data"][0];
            (row["nodeID"].as_str().unwrap().to_owned(), row["lastLoginTime"].clone())
        };
        let path = "v3_user/devices/jane";
        let (seen_by_a, seen_by_b) =
            join!(a.call(Method::GET, path, None), b.call(Method::GET, path, None));
        let (seen_by_a, seen_by_b) = (row(seen_by_a.1), row(seen_by_b.1));
        assert_eq!(seen_by_a, seen_by_b, "both know the node and the time");
        assert!(!seen_by_a.0.is_empty());
        a.start_signature("jane", &now("in-time")).await.1
    };
    let (answer, _) = join!(started, device.signs());
    assert_eq!(answer["status"], "OK", "{answer}");
    drop(device);
    until("the device is offline for the other node", async || {
        (a.device_state("jane").await == "OFFLINE").then_some(())
    })
    .await;
}

fn offline() -> (String, String) {
    ("OFFLINE".into(), "OFFLINE".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_at_one_node_closes_the_channels_at_another() {
    let [a, b] = two_nodes();
    a.user("jane");
    let mut device = moved(&TestDevice::enrolled(&a, "jane", None).await, &b);
    let closed = async {
        loop {
            match device.device.next().await {
                Ok(_) => {}
                Err(closed) => return (closed, Instant::now()),
            }
        }
    };
    let acting = async {
        until("the device is online", async || {
            (a.device_state("jane").await == "ONLINE").then_some(())
        })
        .await;
        let path = "v3_user/jane/ssms/logout";
        let (status, answer) = a.call(Method::PUT, path, None).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Instant::now()
    };
    let (acted, (closed, heard)) = join!(acting, closed);
    assert!(matches!(closed, Error::Closed(Close::Locked)), "{closed}");
    assert!(heard.saturating_duration_since(acted) < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_node_dies_its_callers_transactions_are_finished_at_another() {
    let [mut a, b] = two_nodes();
    a.user("jane");
    let mut device = moved(&TestDevice::enrolled(&a, "jane", None).await, &b);
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", a.address);
    let token = a.token().await;
    let held = a.http.post(url).bearer_auth(&token).json(&payment("orphan")).send();
    let held = tokio::spawn(held);
    let (_, shown) = device.opens(None).await.unwrap();
    a.kill();
    assert!(held.await.unwrap().is_err(), "the caller's connection is lost");
    let died = Instant::now();
    device.device.approve(&shown, None).await.unwrap();
    assert!(died.elapsed() < Duration::from_secs(2), "{:?}", died.elapsed());
    assert_eq!(b.transaction("orphan")["state"], "finished");
    // The same start again, at the other node, has the signature for its answer.
    let (_, answer) = b.start_signature("jane", &payment("orphan")).await;
    assert_eq!(answer["status"], "OK", "{answer}");
    a.restart();
    assert_eq!(a.transaction("orphan")["state"], "finished");
}

/// A database of the test's own, and two nodes on it.
fn nodes_with_database() -> (countersign_postgres::Server, [TestServer; 2]) {
    let database = countersign_postgres::Server::start("").unwrap();
    let nodes = TestServer::fleet(2, &database.url(), "");
    (database, nodes.try_into().ok().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_lose_the_database_answer_503_keep_their_channels_and_recover() {
    let (mut database, [a, b]) = nodes_with_database();
    a.user("jane");
    let mut device = moved(&TestDevice::enrolled(&a, "jane", None).await, &b);
    let before = payment("before");
    let (answer, _) = join!(a.start_signature("jane", &before), device.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    let token = a.token().await;
    database.crash().unwrap();
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", a.address);
    let asked = a.http.post(&url).bearer_auth(&token).json(&payment("away")).send();
    let answer = asked.await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"), "{:?}", answer.headers());
    until("the node is not ready", async || {
        (a.readiness().await == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    database.resume().unwrap();
    until("the nodes are ready again", async || {
        let ready = (a.readiness().await, b.readiness().await);
        (ready == (StatusCode::OK, StatusCode::OK)).then_some(())
    })
    .await;
    // The device is still connected, and its node hears of what the other node starts.
    let after = payment("after");
    let both = async { join!(a.start_signature("jane", &after), device.signs()) };
    let both = tokio::time::timeout(Duration::from_mins(1), both).await;
    let (answer, _) = both.expect("the device is offered what the other node starts");
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    assert!(!b.log().contains("panicked"));
}
