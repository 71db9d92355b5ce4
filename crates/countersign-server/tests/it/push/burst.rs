//! Many pushes at once, and a service that fails in the middle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign_push_services::Outage;
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Fixture, fetched, google};
use crate::test_server::payment;

/// Making a device takes two commands and two calls, so a few devices get many transactions.
const OPEN_PER_USER: u32 = 100;

/// So many offers to offline devices, a service with an outage, and connections that are cut twice.
/// By hand: `COUNTERSIGN_TEST_BURST=10000`.
#[tokio::test]
async fn a_burst_loses_no_push_whatever_its_service_does() {
    let count = std::env::var("COUNTERSIGN_TEST_BURST").ok().and_then(|count| count.parse().ok());
    let (count, away) = count.map_or((1_000, 3), |count: u32| (count, 10));
    let open = format!("[transactions]\nopen_per_user_max = {OPEN_PER_USER}");
    let mut fixture = Fixture::with("", &open);
    let users = count.div_ceil(OPEN_PER_USER);
    for user in 0..users {
        fixture.test_device(&format!("user{user}"), google(user)).await;
    }
    fixture.services.trouble(Some(Outage {
        status: 503,
        reason: "UNAVAILABLE",
        retry_after: Some(1),
    }));
    let token = fixture.server.token().await;
    let begun = Instant::now();
    let start = |nth: u32| {
        let user = format!("user{}", nth % users);
        let path = format!("/auth/realms/acme/v3_user/digitaniumsignature/{user}");
        let mut body = payment(&format!("order {nth}"));
        body["deviceGoOnlineTimeout"] = json!(600);
        body["callbackUrl"] = json!("https://127.0.0.1:9/nobody");
        let call = fixture.server.http.post(format!("{}{path}", fixture.server.address));
        call.bearer_auth(&token).json(&body).send()
    };
    let started = stream::iter(0..count).map(start).buffer_unordered(64);
    let refused = started
        .filter(|answer| std::future::ready(answer.as_ref().unwrap().status() != StatusCode::OK));
    assert_eq!(refused.count().await, 0);
    // The service comes back, tells its connections to close in the middle, and closes them later.
    tokio::time::sleep(Duration::from_secs(away).saturating_sub(begun.elapsed())).await;
    fixture.services.trouble(None);
    fixture.services.go_away_in(count as usize / 4);
    let mut keys = BTreeMap::<String, u32>::new();
    while keys.len() < count as usize {
        let received = fixture.services.next().await;
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        let data = body["message"]["data"].to_string();
        *keys.entry(fetched(data.as_bytes()).key).or_default() += 1;
        if keys.len() == count as usize / 2 {
            fixture.services.hang_up_in(1);
        }
    }
    let twice = keys.values().filter(|count| **count > 1).count();
    println!("{count} pushes in {:.1} s, {twice} of them twice", begun.elapsed().as_secs_f64());
}
