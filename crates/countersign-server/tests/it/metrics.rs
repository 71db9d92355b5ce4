//! Metrics: what a running server exposes is what the page lists, in the form that Prometheus
//! reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::join;

use crate::channel::connect;
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment};

/// The text of `/metrics`.
pub(crate) async fn scraped(server: &TestServer) -> String {
    let log = server.log();
    let address = log.split("Health and metrics on ").nth(1).unwrap().split_whitespace().next();
    let answer = reqwest::get(format!("{}/metrics", address.unwrap())).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.unwrap()
}

/// The value of a sample, by its name and labels as they are written.
pub(crate) fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Reads the metrics until this sample has at least this value.
async fn until(server: &TestServer, sample: &str, least: f64) -> String {
    let begun = Instant::now();
    loop {
        let text = scraped(server).await;
        if value(&text, sample).is_some_and(|value| value >= least) {
            return text;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{sample} is not {least}:\n{text}");
    }
}

/// A server with some traffic: a signature, a callback, a refused start, a wrong secret, a wrong
/// PIN.
async fn busy() -> TestServer {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let mut body = payment("one");
    body["callbackUrl"] = json!("https://192.0.2.1/done");
    let (refused, _) = server.start_signature("jane", &body).await;
    assert_eq!(refused, StatusCode::BAD_REQUEST);
    let request = payment("two");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK");
    let (refused, _) = server.start_signature("nobody", &payment("three")).await;
    assert_eq!(refused, StatusCode::NOT_FOUND);
    let url = format!("{}/auth/realms/acme/protocol/openid-connect/token", server.address);
    let (client, secret) = (&server.client.0, "wrong");
    let form = format!("grant_type=client_credentials&client_id={client}&client_secret={secret}");
    let call = server.http.post(url).body(form);
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(call.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    server
}

/// The families of an exposition, each with its kind and its samples' names. Panics if the text is
/// not as `promtool check metrics` requires.
fn families(text: &str) -> BTreeMap<String, String> {
    let (mut families, mut helped): (BTreeMap<String, String>, BTreeSet<String>) =
        Default::default();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a HELP line has a text");
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name), "no HELP line before: {line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "twice: {line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(is_name), "{line}");
            let suffixes = ["_bucket", "_sum", "_count"];
            let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = family
                .filter(|family| families.get(*family).is_some_and(|kind| kind == "histogram"));
            let family = family.unwrap_or(name);
            assert!(families.contains_key(family), "no TYPE line before: {line}");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().expect("a value is a number");
        }
    }
    families
}

/// The metrics that the page lists, with their kinds and labels.
fn listed() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = include_str!("../../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `countersign_"));
    let row = |row: &str| {
        let mut cells = row.split(" | ");
        let name = format!("countersign_{}", cells.next().unwrap().trim_end_matches('`'));
        let kind = cells.next().unwrap().to_owned();
        let (name, labels) = match name.split_once('{') {
            None => (name.as_str(), ""),
            Some((name, labels)) => (name, labels.trim_end_matches('}')),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty());
        (name.to_owned(), (kind, labels.map(str::to_owned).collect()))
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn a_server_exposes_what_the_page_lists_and_nothing_else() {
    let server = busy().await;
    let text = until(&server, "countersign_events_total{kind=\"client.refused\"}", 1.0).await;
    let (families, listed) = (families(&text), listed());
    for (name, kind) in &families {
        assert_eq!(listed.get(name).map(|(kind, _)| kind), Some(kind), "{name}");
    }
    for (name, (kind, labels)) in &listed {
        // No sender of pushes is configured, no peer was at fault, and no circuit opened.
        let unseen = ["countersign_pushes_total", "countersign_connections_closed_total"];
        if !unseen.contains(&name.as_str()) {
            assert_eq!(families.get(name), Some(kind), "{name} is not exposed:\n{text}");
        }
        let samples = text.lines().filter(|line| {
            let sample = line.split(['{', ' ']).next().unwrap();
            let suffix = sample.strip_prefix(name.as_str());
            suffix.is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix))
        });
        for line in samples {
            let inside =
                line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let of = inside.split(',').filter_map(|label| label.split_once('='));
            let mut of: BTreeSet<_> = of.map(|(label, _)| label.to_owned()).collect();
            of.remove("le");
            assert_eq!(of, *labels, "{line}");
        }
    }
}

#[tokio::test]
async fn what_happened_is_counted() {
    let server = busy().await;
    let text = until(&server, "countersign_events_total{kind=\"client.refused\"}", 1.0).await;
    let counted =
        |sample: &str| value(&text, sample).unwrap_or_else(|| panic!("{sample}:\n{text}"));
    assert_eq!(
        counted("countersign_transactions_ended_total{outcome=\"finished\"}").to_bits(),
        1_f64.to_bits()
    );
    assert_eq!(
        counted("countersign_events_total{kind=\"device.enrolled\"}").to_bits(),
        1_f64.to_bits()
    );
    assert_eq!(
        counted("countersign_events_total{kind=\"pin.rejected\"}").to_bits(),
        0_f64.to_bits()
    );
    assert!(counted("countersign_refusals_total{kind=\"unknown_user\"}") >= 1.0);
    assert!(counted("countersign_ledger_bytes{file=\"ledger\"}") > 1_000.0);
    assert!(counted("countersign_clock_seconds") > 1_700_000_000.0);
    let version = env!("CARGO_PKG_VERSION");
    assert!(counted(&format!("countersign_build_info{{version=\"{version}\"}}")) > 0.0);
    let route = "/auth/realms/{realm}/v3_user/digitaniumsignature/{user}";
    let statuses = text.lines().filter(|line| {
        line.starts_with("countersign_http_requests_total{") && line.contains("dialect=\"kobil\"")
    });
    let statuses: Vec<_> = statuses.collect();
    for status in ["200", "400", "404"] {
        let status = format!("status=\"{status}\"");
        assert!(statuses.iter().any(|line| line.contains(&status)), "{statuses:?}");
    }
    assert!(!text.contains("jane"), "no label names a user");
    assert!(text.contains("dialect=\"device\""), "{route}");
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_counted_with_the_reason() {
    let server = TestServer::configured("[server]\nheader_seconds = 1\n");
    let sample = "countersign_connections_closed_total{reason=\"no_request\"}";
    assert_eq!(value(&scraped(&server).await, sample), None);
    let mut silent = connect(&server).await;
    let mut read = Vec::new();
    // The server may close the connection with or without TLS's own end.
    silent.read_to_end(&mut read).await.unwrap_or_default();
    assert_eq!(read, b"");
    let text = until(&server, sample, 1.0).await;
    assert_eq!(value(&text, sample).map(f64::to_bits), Some(1_f64.to_bits()));
}

/// `promtool` comes with Prometheus.
#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    let server = busy().await;
    let text = scraped(&server).await;
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
