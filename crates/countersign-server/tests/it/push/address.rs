//! Push addresses: which device has one, which are allowed, and when one becomes invalid.

use std::time::{Duration, Instant};

use countersign_device::push::{Keys, Push, PushState};
use countersign_device::{Code, Error, KeyKind, PhoneFile, enrol};
use countersign_push_services::TOPIC;
use serde_json::json;

use super::{Fixture, apple, browser, fetched, google, token};
use crate::test_device::{TestDevice, enrolment};
use crate::test_server::payment;

#[tokio::test]
async fn a_dead_address_is_retired_at_once_and_stops_no_other_device() {
    let mut fixture = Fixture::new();
    let keys = Keys::generate();
    let gone = format!("{}/push/gone", fixture.services.url());
    let dead = [apple(1), google(1), browser(&keys, gone)];
    fixture.server.user("jane");
    for push in dead {
        let phone = TestDevice::running(&fixture.server, "jane", TOPIC).await;
        phone.device.set_push(Some(push)).await.unwrap();
    }
    let phone = TestDevice::running(&fixture.server, "jane", TOPIC).await;
    phone.device.set_push(Some(apple(9))).await.unwrap();
    for token in [hex::encode([1; 32]), google(1).token.unwrap(), "/push/gone".into()] {
        fixture.services.kill(&token);
    }
    fixture.start("jane", "one").await;
    assert_eq!(fixture.services.next().await.token, hex::encode([9; 32]));
    let begun = Instant::now();
    let states = loop {
        let told = fixture.told("one");
        let states = told.as_array().unwrap().iter().map(|told| told["push"]["state"].clone());
        let mut states: Vec<_> =
            states.map(|state| state.as_str().unwrap_or("-").to_owned()).collect();
        states.sort();
        if states.len() == 4 && !states.iter().any(|state| state == "-") {
            break states;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{told}");
    };
    assert_eq!(states, ["gone", "gone", "gone", "sent"]);
    let listed =
        fixture.server.cli(&["device", "list", "--tenant", "acme", "--user", "jane"]).unwrap();
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|device| device["push"]["state"].clone()).collect();
    assert_eq!(states, ["gone", "gone", "gone", "registered"]);

    fixture.start("jane", "two").await;
    fixture.services.next().await;
    assert_eq!(fixture.told_until("two", |told| !told.is_null())["push"]["state"], "sent");
    let before = fixture.services.requests();
    assert_eq!(fixture.told("two").as_array().unwrap().len(), 1, "no other address was tried");
    assert_eq!(fixture.services.requests(), before);
}

#[tokio::test]
async fn an_address_moves_with_its_device_and_is_never_two_peoples() {
    let mut fixture = Fixture::new();
    let jane = fixture.test_device("jane", apple(1)).await;
    let joe = fixture.test_device("joe", apple(1)).await;
    assert_eq!(fixture.registration("jane")["state"], "moved");
    assert_eq!(jane.device.push().await.unwrap().state, PushState::Retired);
    assert_eq!(joe.device.push().await.unwrap().state, PushState::Registered);
    fixture.start("jane", "hers").await;
    fixture.start("joe", "his").await;
    let received = fixture.services.next().await;
    assert_eq!(
        fetched(&received.body).key,
        fixture.server.transaction("his")["request_key"].as_str().unwrap()
    );
    assert_eq!(fixture.told("hers"), json!([]));
    // It can be removed, and registered again.
    assert_eq!(joe.device.set_push(None).await.unwrap().state, PushState::None);
    assert!(fixture.registration("joe").is_null());
    let answer = jane.device.set_push(Some(apple(1))).await.unwrap();
    assert_eq!(answer.state, PushState::Registered);
    assert_eq!(answer.providers, ["apns", "fcm", "webpush"]);
    assert_eq!(answer.vapid_key.map(|key| key.len()), Some(87));
}

#[tokio::test]
async fn what_is_no_address_of_its_service_or_may_not_be_called_is_refused() {
    let fixture = Fixture::new();
    fixture.server.user("jane");
    let jane = TestDevice::running(&fixture.server, "jane", TOPIC).await;
    let keys = Keys::generate();
    let at = |endpoint: &str| browser(&keys, endpoint.to_owned());
    for (wrong, said) in [
        (token("apns", "no hex"), "apns token"),
        (token("fcm", "short"), "fcm token"),
        (token("sms", "+49"), "provider"),
        (token("webpush", "https://push.example/"), "subscription"),
        (at("https://10.0.0.1/push"), "may not be called"),
        (at("https://169.254.169.254/latest"), "may not be called"),
        (at("https://[fd00::1]/"), "may not be called"),
        (at("https://user@push.example/"), "user name"),
        (Push { language: Some("d e".into()), ..apple(1) }, "language"),
    ] {
        let error = jane.device.set_push(Some(wrong)).await.unwrap_err();
        let Error::Refused { body, .. } = &error else { panic!("{error}") };
        assert_eq!(body.error, Code::BadRequest);
        assert!(body.message.contains(said), "{}", body.message);
    }
    assert!(fixture.registration("jane").is_null());
}

/// A server whose guard allows nothing: addresses that were allowed before are checked again.
#[tokio::test]
async fn a_push_endpoint_is_judged_again_when_it_is_called() {
    let mut fixture = Fixture::new();
    let keys = Keys::generate();
    let inside = format!("{}/push/inside", fixture.services.url());
    fixture.test_device("jane", browser(&keys, inside)).await;
    let file = fixture.server.path().join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[\"127.0.0.0/8\"]", "[]")).unwrap();
    fixture.server.crash();
    // Callbacks to it are refused as well.
    let body = payment("one");
    let held = fixture.server.start_signature("jane", &body);
    assert!(tokio::time::timeout(Duration::from_secs(1), held).await.is_err());
    let told = fixture.pushed("one", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("not called"), "{told}");
    assert!(fixture.services.take().is_none());
}

#[tokio::test]
async fn a_device_is_registered_when_it_enrols() {
    let mut fixture = Fixture::new();
    fixture.server.user("jane");
    let code = fixture.server.code("jane");
    let mut enrolment = enrolment(&fixture.server, "jane", &code, None, KeyKind::default());
    enrolment.device.app = TOPIC.into();
    enrolment.push = Some(token("apns", "no hex"));
    let file = PhoneFile::at(fixture.server.path().join("phone.json"));
    let refused = enrol(&file, &enrolment).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::BadRequest), "{refused}");
    enrolment.push = Some(apple(5));
    enrol(&file, &enrolment).await.unwrap();
    fixture.start("jane", "one").await;
    assert_eq!(fixture.services.next().await.token, hex::encode([5; 32]));
}
