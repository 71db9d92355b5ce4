//! Devices that are not connected are woken, through services that enforce the published rules;
//! other devices are not.

mod address;
mod burst;
mod fairness;
mod sender;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign_device::push::{self, Fetch, Keys, Push, Wake};
use countersign_push_services::{KEY_ID, Received, Services, TEAM, TOPIC};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, write_private};

/// A server with a sender for each service, and the services.
struct Fixture {
    server: TestServer,
    services: Services,
    files: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with("", "")
    }

    /// The configuration contains `push` and `sections` in addition.
    fn with(push: &str, sections: &str) -> Self {
        let services = Services::start();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| write_private(&files.path().join(name), text);
        write("ca.pem", services.authority());
        write("key.p8", &services.apns_key());
        write("account.json", &services.service_account());
        write("vapid.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
        let (directory, url) = (files.path().display(), services.url());
        let server = TestServer::configured(&format!(
            r#"
            [delivery]
            allowed_networks = ["127.0.0.0/8"]
            extra_ca_file = "{directory}/ca.pem"
            [push]
            extra_ca_file = "{directory}/ca.pem"
            {push}
            {sections}
            [[push.sender]]
            provider = "apns"
            app = "{TOPIC}"
            endpoint = "{url}"
            key_file = "{directory}/key.p8"
            key_id = "{KEY_ID}"
            team_id = "{TEAM}"
            [[push.sender]]
            provider = "fcm"
            tenant = "acme"
            endpoint = "{url}"
            service_account_file = "{directory}/account.json"
            [[push.sender]]
            provider = "webpush"
            key_file = "{directory}/vapid.pem"
            contact = "mailto:push@example.com"
            "#
        ));
        Self { server, services, files }
    }

    /// A user whose only device is woken there; it is not connected.
    async fn test_device(&self, user: &str, push: Push) -> TestDevice {
        self.server.user(user);
        let test_device = TestDevice::running(&self.server, user, TOPIC).await;
        test_device.device.set_push(Some(push)).await.unwrap();
        test_device
    }

    /// Starts a signature, without waiting for its end.
    async fn start(&self, user: &str, reference: &str) {
        let body = payment(reference);
        self.start_with(user, body).await;
    }

    async fn start_with(&self, user: &str, mut body: Value) {
        body["callbackUrl"] = json!("https://127.0.0.1:9/nobody");
        let (status, answer) = self.server.start_signature(user, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// How the devices of a transaction were notified, by the ledger.
    fn told(&self, reference: &str) -> Value {
        let id = self.server.transaction(reference)["id"].as_str().unwrap().to_owned();
        self.server.cli(&["transaction", "show", &id, "--tenant", "acme"]).unwrap()["devices"]
            .clone()
    }

    /// Reads this until it is as wanted for the only device.
    fn told_until(&self, reference: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let told = self.told(reference);
            if wanted(&told[0]) {
                return told[0].clone();
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{told}");
        }
    }

    fn pushed(&self, reference: &str, state: &str) -> Value {
        self.told_until(reference, |told| told["push"]["state"] == state)["push"].clone()
    }

    /// The push registration of a user's first device, in the ledger.
    fn registration(&self, user: &str) -> Value {
        let listed =
            self.server.cli(&["device", "list", "--tenant", "acme", "--user", user]).unwrap();
        listed[0]["push"].clone()
    }
}

fn apple(number: u8) -> Push {
    token("apns", &hex::encode([number; 32]))
}

fn google(number: u32) -> Push {
    token("fcm", &format!("fedcba98765:APA91b{number:040}"))
}

fn token(provider: &str, token: &str) -> Push {
    Push { provider: provider.into(), token: Some(token.into()), language: None }
}

fn browser(keys: &Keys, endpoint: String) -> Push {
    token("webpush", &keys.subscription(endpoint).to_json())
}

fn header<'a>(received: &'a Received, name: &str) -> &'a str {
    received.headers[name].to_str().unwrap()
}

fn fetched(payload: &[u8]) -> Fetch {
    match push::read(payload).unwrap() {
        Wake::Fetch(fetch) => fetch,
        Wake::Look => panic!("it says what to fetch"),
    }
}

/// Checks that a push contains nothing of the content, the client or the user.
fn says_nothing(received: &Received, body: &[u8]) {
    let all = format!("{:?} {}", received.headers, String::from_utf8_lossy(body));
    for secret in ["Pay", "Ann", "5 €", "Shop", "order", "jane", "joe", "kim"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn each_service_wakes_an_absent_device_and_learns_nothing_of_what_is_asked() {
    let mut fixture = Fixture::new();
    let keys = Keys::generate();
    fixture.test_device("jane", apple(7)).await;
    fixture.test_device("joe", google(7)).await;
    let endpoint = format!("{}/push/kim", fixture.services.url());
    fixture.test_device("kim", browser(&keys, endpoint)).await;

    for (user, service) in [("jane", "apns"), ("joe", "fcm"), ("kim", "webpush")] {
        let mut body = payment(&format!("order of {user}"));
        body["pushNotificationMessage"] = json!("Something waits");
        fixture.start_with(user, body).await;
        let received = fixture.services.next().await;
        assert_eq!(received.service, service);
        let (payload, text) = match service {
            "apns" => {
                let body: Value = serde_json::from_slice(&received.body).unwrap();
                (received.body.clone(), body["aps"]["alert"]["body"].clone())
            }
            "fcm" => {
                let body: Value = serde_json::from_slice(&received.body).unwrap();
                let data = &body["message"]["data"];
                (serde_json::to_vec(data).unwrap(), data["text"].clone())
            }
            _ => {
                let opened = keys.open(&received.body).unwrap().to_vec();
                let body: Value = serde_json::from_slice(&opened).unwrap();
                (opened, body["text"].clone())
            }
        };
        assert_eq!(text, "Something waits");
        says_nothing(&received, &payload);
        let shown = fixture.server.transaction(&format!("order of {user}"));
        let fetch = fetched(&payload);
        assert_eq!(fetch.key, shown["request_key"].as_str().unwrap());
        // It expires with the running clock, and not later than the services allow.
        let left = fetch.expires_at.as_secs();
        match service {
            "apns" => assert_eq!(header(&received, "apns-expiration"), left.to_string()),
            "webpush" => {
                let ttl: u64 = header(&received, "ttl").parse().unwrap();
                assert!(ttl <= 30, "{ttl}");
            }
            _ => {}
        }
        let pushed = fixture.pushed(&format!("order of {user}"), "sent");
        assert_eq!(pushed["outcome"], "sent");
    }
    assert_eq!(fixture.services.connections(), 2, "each client keeps its connection");
}

#[tokio::test]
async fn a_device_on_the_line_is_offered_and_not_pushed() {
    let mut fixture = Fixture::new();
    let mut jane = fixture.test_device("jane", apple(1)).await;
    let held = {
        let body = payment("one");
        let server = &fixture.server;
        // She is online before it starts.
        let here = tokio::join!(jane.device.next(), async {
            while server.device_state("jane").await != "ONLINE" {}
        });
        here.0.unwrap();
        let (held, ()) = tokio::join!(server.start_signature("jane", &body), async {
            jane.signs().await;
        });
        held
    };
    assert_eq!(held.1["status"], "OK");
    let told = fixture.told("one");
    assert!(told[0]["offered_at"].is_string() && told[0]["taken_at"].is_string(), "{told}");
    assert!(told[0]["push"].is_null() && told[0]["reached_at"].is_null(), "{told}");
    // A pending push would arrive before this one.
    fixture.test_device("joe", apple(2)).await;
    fixture.start("joe", "two").await;
    assert_eq!(fixture.services.next().await.token, hex::encode([2; 32]));
}

#[tokio::test]
async fn a_device_that_comes_when_it_is_woken_is_seen_to_have_come() {
    let mut fixture = Fixture::new();
    let mut jane = fixture.test_device("jane", apple(1)).await;
    fixture.start("jane", "one").await;
    fixture.services.next().await;
    jane.signs().await;
    let told = fixture.told_until("one", |told| told["push"]["state"] == "sent");
    assert!(told["offered_at"].is_null());
    assert!(told["reached_at"].is_string() && told["taken_at"].is_string(), "{told}");
}

#[tokio::test]
async fn a_wait_lets_a_device_come_by_itself_and_an_end_calls_the_push_off() {
    let mut fixture = Fixture::with("after_seconds = 2", "");
    let mut jane = fixture.test_device("jane", apple(1)).await;
    fixture.test_device("joe", apple(2)).await;
    fixture.test_device("kim", apple(3)).await;
    fixture.start("jane", "comes").await;
    fixture.start("joe", "ends").await;
    fixture.start("kim", "stays away").await;
    jane.opens(None).await.unwrap();
    assert_eq!(fixture.server.cancel("joe", "ends").await.0, StatusCode::OK);
    assert_eq!(fixture.services.next().await.token, hex::encode([3; 32]));
    let why = fixture.pushed("comes", "skipped");
    assert!(
        ["the device has taken it", "the device is connected"]
            .contains(&why["outcome"].as_str().unwrap()),
        "{why}"
    );
    assert_eq!(fixture.told("ends"), json!([]), "nothing was done about it");
    assert!(fixture.services.take().is_none());
}

#[tokio::test]
async fn a_device_that_keeps_no_line_is_woken_through_a_service_that_anybody_can_run() {
    let fixture = Fixture::new();
    fixture.server.user("jane");
    let jane = TestDevice::running(&fixture.server, "jane", "countersign").await;
    let ca = fixture.files.path().join("ca.pem");
    let mut command = TestServer::device(&jane.file);
    command.args(["--answer", "approve", "--count", "1", "--json", "--web-push"]);
    command.arg(format!("{}/up", fixture.services.url())).arg("--web-push-ca").arg(ca);
    let mut device = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(device.stdout.take().unwrap()).lines();
    let mut heard = |event: &str| loop {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == event {
            return line;
        }
    };
    heard("connected");
    let (status, answer) = fixture.server.start_signature("jane", &payment("one")).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("OK")));
    assert_eq!(heard("woken")["key"], fixture.server.transaction("one")["request_key"]);
    heard("ended");
    assert!(device.wait().unwrap().success());
    let told = fixture.told("one");
    assert!(told[0]["offered_at"].is_null() && told[0]["reached_at"].is_string(), "{told}");
}
