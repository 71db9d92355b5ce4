//! Senders: their credentials, their messages, and a sender of the operator's own.

use std::time::Duration;

use countersign_device::push::{Keys, Push};
use serde_json::{Value, json};

use super::{Fixture, apple, browser, fetched, google, token};
use crate::receiver::{self, Authority, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, write_private};

#[tokio::test]
async fn wrong_credentials_are_told_at_the_start_and_with_the_transaction_and_block_nobody() {
    let mut fixture = Fixture::new();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(fixture.files.path().join("key.p8"), &other).unwrap();
    std::fs::write(fixture.files.path().join("account.json"), "{}").unwrap();
    fixture.server.crash();
    let mut jane = fixture.test_device("jane", apple(1)).await;
    fixture.test_device("joe", google(1)).await;
    fixture.start("jane", "one").await;
    fixture.start("joe", "two").await;
    let told = fixture.pushed("one", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("InvalidProviderToken"), "{told}");
    let told = fixture.pushed("two", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("account.json"), "{told}");
    assert!(fixture.server.log().contains("account.json: it is not a service account's file"));
    // The channel still works.
    jane.signs().await;
    // After the file is repaired, the running server uses it.
    let key = fixture.services.apns_key();
    std::fs::write(fixture.files.path().join("key.p8"), format!("{key}\n")).unwrap();
    std::fs::write(fixture.files.path().join("account.json"), fixture.services.service_account())
        .unwrap();
    assert_eq!(fixture.services.next().await.service, "fcm");
    fixture.pushed("two", "sent");
}

#[tokio::test]
async fn what_a_push_says_is_the_operators_to_decide() {
    let mut fixture = Fixture::with("content = \"wake\"", "");
    let keys = Keys::generate();
    let endpoint = format!("{}/push/jane", fixture.services.url());
    fixture.test_device("jane", browser(&keys, endpoint)).await;
    let german = Push { language: Some("de-AT".into()), ..apple(2) };
    fixture.test_device("joe", german).await;
    fixture.start("jane", "one").await;
    let received = fixture.services.next().await;
    assert_eq!(keys.open(&received.body).unwrap().as_slice(), b"{}");
    fixture.start("joe", "two").await;
    let received = fixture.services.next().await;
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    let alert = json!({"body": "Es gibt etwas zu unterschreiben"});
    assert_eq!(body, json!({"aps": {"alert": alert, "sound": "default"}}));
}

#[tokio::test]
async fn a_sender_of_ones_own_is_told_in_a_signed_call() {
    let authority = Authority::new();
    let mut receiver = Receiver::new(&authority, |_, _| receiver::OK).await;
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    std::fs::write(path("own.pem"), &authority.pem).unwrap();
    let secret = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";
    write_private(path("secret").as_ref(), secret);
    let server = TestServer::configured(&format!(
        "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"{}\"\n\
         [[push.sender]]\nprovider = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{}\"",
        path("own.pem"),
        receiver.url(),
        path("secret")
    ));
    server.user("jane");
    let jane = TestDevice::running(&server, "jane", "an application").await;
    jane.device.set_push(Some(token("webhook", "device-7"))).await.unwrap();
    let body = payment("one");
    let held = server.start_signature("jane", &body);
    let (call, held) = tokio::join!(receiver.next(), async {
        tokio::time::timeout(Duration::from_secs(5), held).await
    });
    assert!(held.is_err(), "the start was answered");
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(body["token"], "device-7");
    fetched(body["message"].to_string().as_bytes());
    assert_eq!(
        crate::callbacks::signatures(
            &call,
            &["whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]
        ),
        [true]
    );
}
