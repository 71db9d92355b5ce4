//! Thousands of results: soon, each once, and none lost while their receiver is down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use super::{Shop, result};
use crate::receiver::{Act, Call, OK, Receiver};

/// Ends that many transactions, and returns the time of the last end.
async fn burst(shop: &Shop, count: usize, url: &str) -> Instant {
    let all = stream::iter(0..count).map(|nth| async move {
        shop.ends(&format!("burst-{nth}"), url).await;
    });
    all.buffer_unordered(64).collect::<()>().await;
    Instant::now()
}

/// The number of calls of each delivery, once all have arrived.
async fn seen(
    receiver: &mut Receiver,
    count: usize,
    good: impl Fn(&Call) -> bool,
) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    while seen.len() < count || receiver.has_more() {
        let call = receiver.next().await;
        if good(&call) {
            *seen.entry(call.id().to_owned()).or_default() += 1;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_ends_is_delivered_soon_and_each_once() {
    const COUNT: usize = 2_000;
    let shop = Shop::open("").await;
    let mut receiver = shop.receiver(|_, _| OK).await;
    let url = receiver.url();
    let (last, seen) =
        tokio::join!(burst(&shop, COUNT, &url), seen(&mut receiver, COUNT, |_| true));
    let behind = last.elapsed();
    let memory = shop.server.memory();
    println!("{COUNT} ends: the last delivery came {behind:?} after the last end; {memory}");
    assert!(behind < Duration::from_secs(4), "{behind:?}");
    assert!(seen.values().all(|times| *times == 1), "a healthy receiver gets each once");
    shop.outbox_until(<[Value]>::is_empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_steady_rate_results_arrive_while_new_transactions_go_on() {
    const COUNT: usize = 1_000;
    const A_SECOND: u32 = 250;
    let shop = Shop::open("").await;
    let mut receiver = shop.receiver(|_, _| OK).await;
    let url = receiver.url();
    let begun = Instant::now();
    let starts = stream::iter(0..COUNT as u32).map(|nth| {
        let (shop, url, at) = (&shop, &url, begun + nth * Duration::from_secs(1) / A_SECOND);
        async move {
            tokio::time::sleep_until(at.into()).await;
            // The end comes later.
            let asked = Instant::now();
            shop.ends(&format!("steady-{nth}"), url).await;
            (format!("steady-{nth}"), asked)
        }
    });
    let starts = starts.buffer_unordered(512).collect::<BTreeMap<String, Instant>>();
    let arrivals = async {
        let mut arrivals = BTreeMap::new();
        while arrivals.len() < COUNT {
            let call = receiver.next().await;
            let named = result(&call)["data"]["transactionId"].as_str().unwrap().to_owned();
            arrivals.entry(named).or_insert(call.at);
        }
        arrivals
    };
    let (asked, arrived) = tokio::join!(starts, arrivals);
    let mut waits: Vec<_> = arrived.iter().map(|(named, at)| *at - asked[named]).collect();
    waits.sort();
    let [half, most, worst] = [COUNT / 2, COUNT * 99 / 100, COUNT - 1].map(|nth| waits[nth]);
    println!(
        "{A_SECOND} ends a second: half arrive within {half:?}, 99 of 100 within {most:?}, all within {worst:?}; {}",
        shop.server.memory()
    );
    assert!(most < Duration::from_secs(5), "{most:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_away_and_then_busy_gets_every_result() {
    const COUNT: usize = 500;
    let shop = Shop::open("backoff_first_seconds = 1").await;
    let gone = shop.receiver(|_, _| OK).await;
    let (url, port) = (gone.url(), gone.address.port());
    drop(gone);
    burst(&shop, COUNT, &url).await;
    shop.outbox_until(|outbox| outbox.iter().any(|one| one["outcome"].is_string()));
    let log = || shop.server.log().contains("Circuit opened for");
    shop.outbox_until(|outbox| outbox.len() == COUNT.min(1_000) && log());

    let attempts: u64 = shop.outbox().iter().map(|one| one["attempts"].as_u64().unwrap()).sum();
    assert!(attempts < 200, "while it is away it is hardly called: {attempts} attempts");
    let begun = Instant::now();
    let busy = move |_, _: &Call| {
        let away = begun.elapsed() < Duration::from_secs(2);
        if away { Act::Answer("503 Busy\r\nRetry-After: 1") } else { OK }
    };
    let mut receiver = Receiver::at_doing(&shop.authority, port, busy).await;
    let good = move |call: &Call| call.at.duration_since(begun) >= Duration::from_secs(2);
    let seen = seen(&mut receiver, COUNT, good).await;
    assert_eq!(seen.len(), COUNT);
    shop.outbox_until(<[Value]>::is_empty);
    let (last, memory) = (begun.elapsed(), shop.server.memory());
    println!("{COUNT} results, all taken {last:?} after the receiver came back; {memory}");
    assert!(shop.server.log().contains("Circuit closed for"));
}
