//! What an operator does at the command line reaches the devices and the callers of the running
//! server, though the command is a process of its own.

use std::time::Duration;

use countersign_device::{Close, Error, Notice};
use countersign_wire::body::State;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::join;
use tokio::time::Instant;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};
use crate::trustedx::{Shop, TRANSACTION, id, transaction};

/// An act is to arrive within two seconds; the rest is for a busy machine. Without a notification
/// it arrives after 20 s or more.
const ARRIVES_WITHIN: Duration = Duration::from_secs(6);

/// Runs a device's channel until the server closes it, and asserts that it does so soon after the
/// act.
async fn is_closed_by(server: &TestServer, user: &str, device: &mut TestDevice, act: &[&str]) {
    let acting = async {
        until("the device is online", async || {
            (server.device_state(user).await == "ONLINE").then_some(())
        })
        .await;
        server.cli(act).unwrap();
        Instant::now()
    };
    let closed = async {
        loop {
            match device.device.next().await {
                Ok(_) => {}
                Err(closed) => return (closed, Instant::now()),
            }
        }
    };
    let (acted, (closed, heard)) = join!(acting, closed);
    assert!(matches!(closed, Error::Closed(Close::Locked)), "{act:?}: {closed}");
    let after = heard.saturating_duration_since(acted);
    assert!(after < ARRIVES_WITHIN, "{act:?}: {after:?}");
}

#[tokio::test]
async fn a_lock_or_a_deletion_at_the_command_line_closes_the_open_channels() {
    let server = TestServer::new();
    let acts = [["user", "lock"], ["user", "delete"], ["device", "lock"], ["device", "delete"]];
    for (number, [noun, verb]) in acts.into_iter().enumerate() {
        let user = format!("user{number}");
        server.user(&user);
        let mut device = TestDevice::enrolled(&server, &user, None).await;
        let serial = device.phone().device_id.to_string();
        let subject = if noun == "user" { &user } else { &serial };
        let act = [noun, verb, subject, "--tenant", "acme"];
        is_closed_by(&server, &user, &mut device, &act).await;
    }
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    is_closed_by(&server, "jane", &mut jane, &["tenant", "lock", "acme"]).await;
}

/// The id of the only open transaction of a user.
async fn open(server: &TestServer, user: &str) -> String {
    until("the transaction is open", async || {
        let list = ["transaction", "list", "--tenant", "acme", "--state", "waiting"];
        let listed = server.cli(&list).unwrap();
        let of_user = |row: &&Value| row["user"] == *user;
        let found = listed.as_array().unwrap().iter().find(of_user)?;
        Some(found["id"].as_str().unwrap().to_owned())
    })
    .await
}

/// Lets an operator cancel a user's transaction after the device has it, and answers when. Asserts
/// that the device withdraws it soon.
async fn cancelled(server: &TestServer, user: &str, device: &mut TestDevice) -> Instant {
    device.device.next_offer().await.unwrap();
    let id = open(server, user).await;
    server.cli(&["transaction", "cancel", &id, "--tenant", "acme"]).unwrap();
    let acted = Instant::now();
    loop {
        if let Notice::Withdrawn(withdrawn) = device.device.next().await.unwrap() {
            assert_eq!(withdrawn.why, State::Cancelled);
            assert!(acted.elapsed() < ARRIVES_WITHIN, "{user}: {:?}", acted.elapsed());
            return acted;
        }
    }
}

#[tokio::test]
async fn a_cancellation_at_the_command_line_reaches_held_callers_and_devices_of_every_dialect() {
    let server = TestServer::new();
    let shop = Shop::new(&server).await;
    let (kobil, onespan, trustedx) = ("kim", "olga", "tom");
    let mut devices = Vec::new();
    for user in [kobil, onespan, trustedx] {
        server.user(user);
        devices.push(TestDevice::enrolled(&server, user, None).await);
    }
    let is_soon = |dialect: &str, acted: Instant, answered: Instant| {
        let after = answered.saturating_duration_since(acted);
        assert!(after < ARRIVES_WITHIN, "{dialect}: {after:?}");
    };

    let request = payment("held");
    let held = async { (server.start_signature(kobil, &request).await, Instant::now()) };
    let ((answer, answered), acted) = join!(held, cancelled(&server, kobil, &mut devices[0]));
    is_soon("KOBIL", acted, answered);
    assert_eq!(answer.1["status"], "SERVER_CANCEL", "{}", answer.1);

    let asked = format!(
        "<componentType>Shop</componentType><user><userID>{onespan}</userID>\
         <domain>acme</domain></user><push><title>Pay?</title><dataFieldList/></push>"
    );
    let held = async { (server.soap("authSignatureRequest", &asked).await, Instant::now()) };
    let ((answer, answered), acted) = join!(held, cancelled(&server, onespan, &mut devices[1]));
    is_soon("OneSpan", acted, answered);
    assert!(answer.contains("<statusCodeEnum>STAT_"), "{answer}");

    let mut process = transaction();
    let device = devices[2].phone().device_id.to_string();
    process["sign_identities"] = json!([{"device_id": device}]);
    let process = id(&shop.creates(TRANSACTION, &process).await);
    let url = format!("/signatures/{process}/result?timeoutMs=30000");
    let held = async { (shop.get(&url).await, Instant::now()) };
    let ((answer, answered), acted) = join!(held, cancelled(&server, trustedx, &mut devices[2]));
    is_soon("TrustedX", acted, answered);
    assert_eq!((answer.0, &answer.1["status"]), (StatusCode::OK, &json!("canceled")));
}
