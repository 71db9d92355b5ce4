//! Callbacks: results arrive despite failures, and forbidden addresses are not called.

mod counted;
mod examples;
mod fairness;
mod load;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::receiver::{self, Act, Authority, Call, OK, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, read};

/// An application with a receiver, and a server that may call the loopback.
struct Shop {
    server: TestServer,
    authority: Authority,
    _certificates: TempDir,
    client: String,
    webhook_secret: String,
    token: String,
}

impl Shop {
    async fn open(delivery: &str) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        std::fs::write(certificates.path().join("ca.pem"), &authority.pem).unwrap();
        // Relative to the configuration file, which is in another temporary directory.
        let directory = certificates.path().file_name().unwrap().to_str().unwrap();
        let server = TestServer::configured(&format!(
            "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"../{directory}/ca.pem\"\n{delivery}"
        ));
        let client = server.cli(&["client", "create", "Callee", "--tenant", "acme"]).unwrap();
        let field = |name: &str| client[name].as_str().unwrap().to_owned();
        let url = format!("{}/auth/realms/acme/protocol/openid-connect/token", server.address);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            field("client_id"),
            field("client_secret")
        );
        let answer = server.http.post(url).body(form);
        let answer = answer.header("content-type", "application/x-www-form-urlencoded");
        let answer = read(answer.send().await.unwrap()).await.1;
        server.user("jane");
        TestDevice::enrolled(&server, "jane", None).await;
        Self {
            authority,
            _certificates: certificates,
            client: field("client_id"),
            webhook_secret: field("webhook_secret"),
            token: answer["access_token"].as_str().unwrap().to_owned(),
            server,
        }
    }

    async fn receiver(
        &self,
        act: impl Fn(usize, &Call) -> Act + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::new(&self.authority, act).await
    }

    async fn starts(&self, body: &Value) -> (StatusCode, Value) {
        let path = "/auth/realms/acme/v3_user/digitaniumsignature/jane";
        let call = self.server.http.post(format!("{}{path}", self.server.address));
        read(call.bearer_auth(&self.token).json(body).send().await.unwrap()).await
    }

    /// Starts a transaction that ends at once, because no device is online for it.
    async fn ends(&self, reference: &str, url: &str) {
        let mut body = payment(reference);
        body["deviceGoOnlineTimeout"] = json!(0);
        body["callbackUrl"] = json!(url);
        let (status, body) = self.starts(&body).await;
        assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("DEVICE_GO_ONLINE_TIMEOUT")));
    }

    /// The deliveries that have not been accepted yet.
    fn outbox(&self) -> Vec<Value> {
        let listed =
            self.server.cli(&["delivery", "list", "--tenant", "acme", "--limit", "1000"]).unwrap();
        listed.as_array().unwrap().clone()
    }

    /// Reads the outstanding deliveries until they are as wanted.
    fn outbox_until(&self, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let outbox = self.outbox();
            if wanted(&outbox) {
                return outbox;
            }
            assert!(begun.elapsed() < Duration::from_mins(1), "{outbox:?}");
        }
    }

    /// Reads the only delivery until its last outcome is this.
    fn delivery_with(&self, outcome: &str) -> Value {
        let told = |one: &Value| one["outcome"].as_str().is_some_and(|told| told.contains(outcome));
        self.outbox_until(|outbox| outbox.iter().any(told)).remove(0)
    }

    /// Whether a call is signed only with the client's secret.
    fn signed(&self, call: &Call) -> bool {
        signatures(call, &[&self.webhook_secret]) == [true]
    }
}

/// Whether a call's signatures are made with these secrets, in this order (Standard Webhooks 1.0).
pub(crate) fn signatures(call: &Call, secrets: &[&str]) -> Vec<bool> {
    let at = call.header("webhook-timestamp").unwrap();
    let text = [format!("{}.{at}.", call.id()).as_bytes(), &call.body].concat();
    let carried: Vec<_> = call.header("webhook-signature").unwrap().split(' ').collect();
    assert_eq!(carried.len(), secrets.len(), "{carried:?}");
    let holds = |(carried, secret): (&&str, &&str)| {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signature = BASE64.decode(carried.strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &text, &signature).is_ok()
    };
    carried.iter().zip(secrets).map(holds).collect()
}

fn result(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_carries_the_result_once_and_can_be_checked() {
    let shop = Shop::open("").await;
    let mut jane = TestDevice::enrolled(&shop.server, "jane", None).await;
    let mut receiver = shop.receiver(|_, _| OK).await;
    let mut body = payment("order-1");
    body["callbackUrl"] = json!(receiver.url());
    body["callBackHeaders"] = json!({"Authorization": "Bearer shop", "X-Order": "1"});
    let (status, created) = shop.starts(&body).await;
    assert_eq!((status, &created["data"]), (StatusCode::OK, &json!("OK")));
    jane.signs().await;
    let call = receiver.next().await;

    assert_eq!(call.line, "POST /done?for=shop HTTP/1.1");
    for (name, value) in [
        ("host", format!("127.0.0.1:{}", receiver.address.port()).as_str()),
        ("content-type", "application/json"),
        ("authorization", "Bearer shop"),
        ("x-order", "1"),
        ("user-agent", concat!("Countersign/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    assert!(shop.signed(&call));
    let other = Call { body: [&call.body[..], b" "].concat(), ..call.clone() };
    assert!(!shop.signed(&other));

    // The transaction in the ledger, in the format of a held response.
    let shown = shop.server.cli(&[
        "transaction",
        "show",
        "--client",
        &shop.client,
        "--reference",
        "order-1",
        "--tenant",
        "acme",
    ]);
    let end = &shown.unwrap()["end"];
    let expected = json!({
        "data": {
            "deviceId": end["by"], "resultCode": "OK",
            "signature": end["signature"], "transactionId": "order-1",
        },
        "message": "Transaction signed successfully", "status": "OK", "subSystem": 5,
    });
    assert_eq!(result(&call), expected);
    shop.outbox_until(<[Value]>::is_empty);
    assert!(!receiver.has_more(), "what was taken is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_response_and_a_callback_are_the_same_bytes() {
    let shop = Shop::open("").await;
    let mut receiver = shop.receiver(|_, _| OK).await;
    let mut held = payment("same");
    held["deviceGoOnlineTimeout"] = json!(0);
    let path = "/auth/realms/acme/v3_user/digitaniumsignature/jane";
    let url = format!("{}{path}", shop.server.address);
    let answer = shop.server.http.post(url).bearer_auth(shop.server.token().await).json(&held);
    let held = answer.send().await.unwrap().bytes().await.unwrap();
    // Another client may use the same reference.
    shop.ends("same", &receiver.url()).await;
    assert_eq!(receiver.next().await.body, held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_secret_is_changed_both_sign() {
    let shop = Shop::open("").await;
    let mut receiver = shop.receiver(|_, _| OK).await;
    let rotate = |finish: &[&str]| {
        let rotate = ["client", "rotate-webhook-secret", &shop.client, "--tenant", "acme"];
        shop.server.cli(&[&rotate, finish].concat())
    };
    let newest = rotate(&[]).unwrap()["webhook_secret"].as_str().unwrap().to_owned();
    shop.ends("both", &receiver.url()).await;
    let both = receiver.next().await;
    assert_eq!(signatures(&both, &[&newest, &shop.webhook_secret]), [true, true]);
    assert_eq!(rotate(&[]).unwrap_err().code, Some(1), "one change at a time");
    rotate(&["--finish"]).unwrap();
    shop.ends("newest", &receiver.url()).await;
    assert_eq!(signatures(&receiver.next().await, &[&newest]), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_a_wait_gets_it_and_then_the_same_again() {
    let shop = Shop::open("backoff_first_seconds = 1").await;
    let mut receiver = shop
        .receiver(|nth, _| match nth {
            0 => Act::Answer("503 Service Unavailable\r\nRetry-After: 2"),
            1 => Act::Answer("404 Not Found"),
            _ => OK,
        })
        .await;
    shop.ends("asked", &receiver.url()).await;
    let calls = [receiver.next().await, receiver.next().await, receiver.next().await];
    let waits = [calls[1].at - calls[0].at, calls[2].at - calls[1].at];
    assert!(waits[0] >= Duration::from_secs(2), "{waits:?}");
    // The second wait is at most 2 seconds, minus the random part.
    assert!(
        waits[1] >= Duration::from_millis(800) && waits[1] < Duration::from_secs(4),
        "{waits:?}"
    );
    for call in &calls {
        assert!(shop.signed(call));
        assert_eq!((call.id(), &call.body), (calls[0].id(), &calls[0].body));
    }
    shop.outbox_until(<[Value]>::is_empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_does_not_delay_a_fast_one() {
    let shop = Shop::open("timeout_seconds = 60\nconcurrency = 16\nper_host_concurrency = 8").await;
    let mut slow = shop.receiver(|_, _| Act::Never).await;
    let mut fast = shop.receiver(|_, _| OK).await;
    for nth in 0..40 {
        shop.ends(&format!("slow-{nth}"), &slow.url()).await;
    }
    for _ in 0..8 {
        slow.next().await;
    }
    for nth in 0..20 {
        let begun = Instant::now();
        shop.ends(&format!("fast-{nth}"), &fast.url()).await;
        fast.next().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    assert!(!slow.has_more(), "no more than its share is on its way");
    let connections = fast.connections.load(Ordering::Relaxed);
    assert!(connections < 5, "its connection is used again: {connections} for 20 calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_receiver_does_costs_no_more_than_its_time() {
    let shop = Shop::open("timeout_seconds = 1\nbackoff_first_seconds = 3600").await;
    for (reference, act, told) in [
        ("never", Act::Never, "no answer in time"),
        ("flood-head", Act::FloodHead, "no complete answer"),
        ("half-way", Act::HalfWay, "no complete answer"),
        ("server-error", Act::Answer("500 Oh No"), "answered 500"),
        ("no-http", Act::Answer("nonsense"), "no complete answer"),
    ] {
        let mut receiver = shop.receiver(move |_, _| act.clone()).await;
        shop.ends(reference, &receiver.url()).await;
        receiver.next().await;
        let host = format!("127.0.0.1:{}", receiver.address.port());
        shop.outbox_until(|outbox| {
            outbox.iter().any(|one| {
                one["host"] == *host
                    && one["outcome"].as_str().is_some_and(|outcome| outcome.contains(told))
            })
        });
        let taken = receiver.sent.load(Ordering::Relaxed);
        assert!(taken < 8 * 1024 * 1024, "{reference}: {taken} bytes were taken");
    }

    // The answer's head is enough; its gigabyte of body is not read.
    let mut flood = shop.receiver(|_, _| Act::Flood).await;
    shop.ends("flood", &flood.url()).await;
    flood.next().await;
    let host = format!("127.0.0.1:{}", flood.address.port());
    shop.outbox_until(|outbox| outbox.iter().all(|one| one["host"] != *host));
    let taken = flood.sent.load(Ordering::Relaxed);
    assert!(taken < 16 * 1024 * 1024, "{taken} bytes were taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let shop = Shop::open("backoff_first_seconds = 3600").await;
    let mut elsewhere = shop.receiver(|_, _| OK).await;
    let to = format!("302 Found\r\nLocation: {}", elsewhere.url());
    let to: &'static str = Box::leak(to.into_boxed_str());
    let metadata = "307 Temporary Redirect\r\nLocation: http://169.254.169.254/latest/meta-data/";
    for (reference, answer, told) in
        [("elsewhere", to, "answered 302"), ("metadata", metadata, "answered 307")]
    {
        let mut receiver = shop.receiver(move |_, _| Act::Answer(answer)).await;
        shop.ends(reference, &receiver.url()).await;
        receiver.next().await;
        let told = |one: &Value| one["outcome"] == told;
        shop.outbox_until(|outbox| outbox.iter().any(told));
    }
    assert!(!elsewhere.has_more());
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_cannot_prove_its_name_is_told_nothing() {
    let shop = Shop::open("backoff_first_seconds = 3600").await;
    let strangers = Authority::new();
    let mut other_name = Receiver::named(&shop.authority, "shop.example").await;
    shop.ends("other-name", &other_name.url()).await;
    let sentence = "its certificate is for shop.example, not for 127.0.0.1";
    assert_eq!(shop.delivery_with(sentence)["state"], "waiting");
    let mut other_authority = Receiver::new(&strangers, |_, _| OK).await;
    shop.ends("other-authority", &other_authority.url()).await;
    // Both authorities have one name.
    shop.delivery_with("its certificate is not signed by the authority that it names");
    assert!(!other_name.has_more() && !other_authority.has_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_may_not_be_called_is_refused_when_the_transaction_starts() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    for (reference, url) in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://localhost/",
        "https://localhost.:8443/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://shop.example:0/",
        "http://shop.example/",
        "https://shop.example:99999/",
        "https://a:b@shop.example/",
    ]
    .iter()
    .enumerate()
    {
        let mut body = payment(&format!("bad-{reference}"));
        body["callbackUrl"] = json!(url);
        let (status, answer) = server.start_signature("jane", &body).await;
        assert_eq!(
            (status, &answer["status"]),
            (StatusCode::BAD_REQUEST, &json!("BAD_REQUEST")),
            "{url}"
        );
        assert!(answer["message"].as_str().unwrap().starts_with("callbackUrl: "), "{answer}");
    }
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed, json!([]), "nothing was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_was_allowed_once_is_not_called_when_it_no_longer_is() {
    let mut shop = Shop::open("backoff_first_seconds = 1").await;
    let mut receiver = shop.receiver(|_, _| Act::Answer("503 Later")).await;
    shop.ends("before", &receiver.url()).await;
    receiver.next().await;
    shop.delivery_with("answered 503");
    let file = shop.server.path().join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(shop.server.stop(), Some(0));
    while receiver.has_more() {
        receiver.next().await;
    }
    std::fs::write(&file, text.replace("\"127.0.0.0/8\"", "")).unwrap();
    shop.server.restart();
    shop.delivery_with("not called: its host is not on the public internet");
    assert!(!receiver.has_more());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_outlives_the_process_that_owed_it() {
    let mut shop = Shop::open("").await;
    let port = shop.receiver(|_, _| OK).await.address.port(); // No server listens there any more.
    shop.ends("survivor", &format!("https://localhost:{port}/")).await;
    let owed = shop.delivery_with("not reached");
    shop.server.crash();
    let mut receiver = Receiver::at(&shop.authority, port).await;
    let call = receiver.next().await;
    assert_eq!(call.id(), owed["id"].as_str().unwrap());
    assert!(shop.signed(&call));
    assert_eq!(result(&call)["data"]["resultCode"], "DEVICE_GO_ONLINE_TIMEOUT");
    shop.outbox_until(<[Value]>::is_empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_listed_and_replayed() {
    let shop = Shop::open("give_up_after_seconds = 1\nbackoff_first_seconds = 1").await;
    let mut receiver = shop
        .receiver(|nth, _| match nth {
            0..4 => Act::Answer("500 Broken"),
            4 => Act::Answer("410 Gone"),
            _ => OK,
        })
        .await;
    shop.ends("dead", &receiver.url()).await;
    let dead_letters = |outbox: &[Value]| outbox.iter().all(|one| one["state"] == "dead_letter");
    let dead = shop.outbox_until(dead_letters).remove(0);
    assert_eq!(dead["outcome"], "answered 500");
    let id = dead["id"].as_str().unwrap();
    let log = shop.server.log();
    assert_eq!(log.matches(&format!("Delivery {id} to")).count(), 1, "once: {log}");

    let replay = |which: &str| shop.server.cli(&["delivery", "replay", which, "--tenant", "acme"]);
    let mut first = receiver.next().await;
    // Given up each time the receiver fails, whatever happened before.
    for _ in 0..8 {
        shop.outbox_until(dead_letters);
        if shop.outbox().is_empty() {
            break;
        }
        assert_eq!(replay(id).unwrap(), json!({"replayed": 1}));
    }
    shop.outbox_until(<[Value]>::is_empty);
    while receiver.has_more() {
        let call = receiver.next().await;
        assert_eq!((call.id(), &call.body), (id, &first.body));
        first = call;
    }
    assert_eq!(replay(id).unwrap_err().code, Some(1));
    assert_eq!(replay("--all").unwrap(), json!({"replayed": 0}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_used_where_it_is_offered() {
    let shop = Shop::open("").await;
    let (address, mut versions) = receiver::offering_http2(&shop.authority).await;
    shop.ends("newer", &format!("https://localhost:{}/", address.port())).await;
    assert_eq!(versions.recv().await, Some(http::Version::HTTP_2));
    shop.outbox_until(<[Value]>::is_empty);
}
