//! The metrics of callbacks, calls and connections, each with the right number.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Shop;
use crate::metrics::{scraped, value};
use crate::receiver::{Act, OK};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};

/// Reads a sample until it has this value.
async fn becomes(server: &TestServer, sample: &str, wanted: f64) {
    until(&format!("{sample} is {wanted}"), async || {
        let found = value(&scraped(server).await, sample);
        found.is_some_and(|found| found.to_bits() == wanted.to_bits()).then_some(())
    })
    .await;
}

/// Reads a sample until it has at least this value.
async fn at_least(server: &TestServer, sample: &str, least: f64) {
    until(&format!("{sample} is at least {least}"), async || {
        let found = value(&scraped(server).await, sample);
        found.is_some_and(|found| found >= least).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attempts_of_callbacks_and_their_results_are_counted_by_their_outcomes() {
    let shop = Shop::open("backoff_first_seconds = 1").await;
    let receiver =
        shop.receiver(|nth, _| if nth == 0 { Act::Answer("502 Bad Gateway") } else { OK }).await;
    let server = &shop.server;
    shop.ends("one", &receiver.url()).await;
    becomes(server, "countersign_deliveries_total{outcome=\"retried\"}", 1.0).await;
    becomes(server, "countersign_deliveries_total{outcome=\"delivered\"}", 1.0).await;
    shop.ends("two", &receiver.url()).await;
    becomes(server, "countersign_deliveries_total{outcome=\"delivered\"}", 2.0).await;
    becomes(server, "countersign_deliveries_total{outcome=\"retried\"}", 1.0).await;
    becomes(server, "countersign_deliveries_total{outcome=\"dead_letter\"}", 0.0).await;
    becomes(server, "countersign_delivery_attempts_total{outcome=\"server_error\"}", 1.0).await;
    becomes(server, "countersign_delivery_attempts_total{outcome=\"delivered\"}", 2.0).await;
    becomes(server, "countersign_delivery_seconds_count", 2.0).await;
    becomes(server, "countersign_transactions_ended_total{outcome=\"expired\"}", 2.0).await;
    becomes(server, "countersign_deliveries_waiting{kind=\"callback\"}", 0.0).await;
    shop.ends("three", "https://127.0.0.1:9/nobody").await;
    becomes(server, "countersign_deliveries_waiting{kind=\"callback\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_connections_and_faults_are_counted_once_each() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    becomes(&server, "countersign_devices_connected", 0.0).await;
    let request = payment("one");
    let (answer, ()) = tokio::join!(server.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        becomes(&server, "countersign_devices_connected", 1.0).await;
        becomes(&server, "countersign_callers_held", 1.0).await;
        let shown = jane.device.take(&offer, None).await.unwrap();
        jane.device.approve(&shown, None).await.unwrap();
    });
    assert_eq!(answer.1["status"], "OK");
    becomes(&server, "countersign_callers_held", 0.0).await;
    let (refused, _) = server.start_signature("nobody", &payment("two")).await;
    assert_eq!(refused, 404);
    let route = "dialect=\"kobil\",method=\"POST\",\
         route=\"/auth/realms/{realm}/v3_user/digitaniumsignature/{user}\"";
    for status in ["200", "404"] {
        let sample = format!("countersign_http_requests_total{{{route},status=\"{status}\"}}");
        becomes(&server, &sample, 1.0).await;
    }
    becomes(&server, &format!("countersign_http_request_seconds_count{{{route}}}"), 2.0).await;
    becomes(&server, "countersign_refusals_total{kind=\"unknown_user\"}", 1.0).await;
    becomes(&server, "countersign_faults_total", 0.0).await;

    let text = scraped(&server).await;
    let before = |sample: &str| value(&text, sample).unwrap();
    let (open, in_all) =
        (before("countersign_connections_open"), before("countersign_connections_total"));
    let commits = before("countersign_ledger_commits_total");
    assert!(commits >= 4.0 && before("countersign_ledger_syncs_total") <= commits, "{text}");
    let address = server.numeric_address();
    let address = address.strip_prefix("https://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    at_least(&server, "countersign_connections_open", open + 5.0).await;
    at_least(&server, "countersign_connections_total", in_all + 5.0).await;
    // No TLS.
    for stream in &mut idle {
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    }
    drop(idle);
    until("the connections are closed", async || {
        let found = value(&scraped(&server).await, "countersign_connections_open");
        found.is_some_and(|found| found <= open).then_some(())
    })
    .await;
    at_least(&server, "countersign_connections_total", in_all + 5.0).await;

    let ledger = server.data().join("ledger.db");
    let corrupt = "UPDATE users SET lock = 'nonsense'";
    let done = std::process::Command::new("sqlite3").arg(ledger).arg(corrupt).status();
    assert!(done.unwrap().success());
    let mut request = payment("three");
    request["callbackUrl"] = json!("https://shop.example/");
    let (failed, _) = server.start_signature("jane", &request).await;
    assert_eq!(failed, 503);
    becomes(&server, "countersign_faults_total", 1.0).await;
}
