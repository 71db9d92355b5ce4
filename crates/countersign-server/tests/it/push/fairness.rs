//! The trouble of one subscription is its own.

use std::time::{Duration, Instant};

use countersign_device::push::Keys;
use serde_json::json;

use super::{Fixture, browser};
use crate::metrics::{scraped, value};

#[tokio::test]
async fn a_subscription_that_fails_delays_no_other_browser_of_its_service() {
    let mut fixture = Fixture::new();
    let keys = Keys::generate();
    for user in ["jane", "joe"] {
        let endpoint = format!("{}/push/{user}", fixture.services.url());
        fixture.test_device(user, browser(&keys, endpoint)).await;
    }
    fixture.services.fail("/push/jane", 507);
    for nth in 0..12 {
        fixture.start("jane", &format!("jane-{nth}")).await;
    }
    // Each of them fails at least once, so that ten fail in a row.
    for nth in 0..12 {
        let told = fixture.pushed(&format!("jane-{nth}"), "waiting");
        assert!(told["outcome"].as_str().unwrap().contains("answered 507"), "{told}");
    }
    let log = fixture.server.log();
    assert!(log.contains("Circuit opened for an endpoint at push/webpush/"), "{log}");
    for nth in 0..5 {
        let begun = Instant::now();
        fixture.start("joe", &format!("joe-{nth}")).await;
        assert_eq!(fixture.services.next().await.token, "/push/joe");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_subscription_that_is_refused_for_good_is_retired_and_the_history_has_it() {
    let fixture = Fixture::new();
    let keys = Keys::generate();
    for (user, status) in [("jane", 404), ("joe", 410)] {
        let endpoint = format!("{}/push/{user}", fixture.services.url());
        fixture.test_device(user, browser(&keys, endpoint)).await;
        fixture.services.fail(&format!("/push/{user}"), status);
        fixture.start(user, user).await;
        fixture.pushed(user, "gone");
        assert_eq!(fixture.registration(user)["state"], "gone");
    }
    let events = fixture.server.cli(&["history", "--tenant", "acme", "--all"]).unwrap();
    let retired = events.as_array().unwrap().iter();
    let retired: Vec<_> = retired.filter(|event| event["kind"] == "device.push_retired").collect();
    assert_eq!(retired.len(), 2, "{events}");
    assert_eq!(retired[1]["actor"], json!("server"));
    assert_eq!(retired[1]["details"]["outcome"], "the address is dead: answered 410");
    let counted = scraped(&fixture.server).await;
    let sample = "countersign_events_total{kind=\"device.push_retired\"}";
    assert_eq!(value(&counted, sample), Some(2.0));
    let gone = "countersign_pushes_total{sender=\"webpush/*/*\",outcome=\"gone\"}";
    assert_eq!(value(&counted, gone), Some(2.0), "{counted}");
    let log = fixture.server.log();
    assert_eq!(log.matches("event.kind=\"device.push_retired\"").count(), 2, "{log}");
}
