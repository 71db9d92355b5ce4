//! The trouble of one path is its own.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Shop;
use crate::metrics::{scraped, value};
use crate::receiver::{Act, OK};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_fails_delays_no_other_path_of_its_host() {
    let shop = Shop::open("backoff_first_seconds = 1").await;
    let mut receiver =
        shop.receiver(|_, call| {
            if call.line.contains("/broken") { Act::Answer("502 Bad Gateway") } else { OK }
        })
        .await;
    let broken = format!("{}/broken", receiver.origin());
    for nth in 0..12 {
        shop.ends(&format!("broken-{nth}"), &broken).await;
    }
    shop.outbox_until(|outbox| {
        outbox.len() == 12 && outbox.iter().all(|one| one["outcome"] == "answered 502")
    });
    let log = shop.server.log();
    assert!(log.contains("Circuit opened for an endpoint at 127.0.0.1:"), "{log}");
    let counted = scraped(&shop.server).await;
    let open =
        |of: &str| value(&counted, &format!("countersign_delivery_circuits_open{{of=\"{of}\"}}"));
    assert_eq!((open("endpoint"), open("host")), (Some(1.0), Some(0.0)));
    while receiver.has_more() {
        receiver.next().await;
    }
    for nth in 0..5 {
        let begun = Instant::now();
        shop.ends(&format!("well-{nth}"), &receiver.url()).await;
        while !receiver.next().await.line.contains("/done") {}
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let waiting = |outbox: &[Value]| outbox.len() == 12;
    shop.outbox_until(waiting);
}
