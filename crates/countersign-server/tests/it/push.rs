//! Devices that are not there are woken, through services that hold the published rules; and nobody else is.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign_device::push::{self, Fetch, Keys, Push, PushState, Wake};
use countersign_device::{Code, Error, KeyKind, PhoneFile, enrol};
use countersign_push_services::{KEY_ID, Received, Services, TEAM, TOPIC, Trouble};
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::house::{House, payment};
use crate::person::{Person, enrolment};
use crate::receiver::{self, Authority, Receiver};

/// A server with a sender for each service, and the services.
struct Stage {
    house: House,
    services: Services,
    files: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with("", "")
    }

    /// `push` and `senders` stand in the configuration besides.
    fn with(push: &str, senders: &str) -> Self {
        let services = Services::start();
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
        write("ca.pem", services.authority());
        write("key.p8", &services.apns_key());
        write("account.json", &services.service_account());
        write("vapid.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
        let (directory, url) = (files.path().display(), services.url());
        let house = House::configured(&format!(
            r#"
            [delivery]
            allowed_networks = ["127.0.0.0/8"]
            extra_ca_file = "{directory}/ca.pem"
            [push]
            extra_ca_file = "{directory}/ca.pem"
            {push}
            {senders}
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
        Self { house, services, files }
    }

    /// A person whose only device is woken there; it is not on the line.
    async fn person(&self, user: &str, push: Push) -> Person {
        self.house.user(user);
        let person = Person::running(&self.house, user, TOPIC).await;
        person.device.set_push(Some(push)).await.unwrap();
        person
    }

    /// Starts a signature, and does not wait for its end.
    async fn start(&self, user: &str, reference: &str) {
        let body = payment(reference);
        self.start_with(user, body).await;
    }

    async fn start_with(&self, user: &str, mut body: Value) {
        body["callbackUrl"] = json!("https://127.0.0.1:9/nobody");
        let (status, answer) = self.house.start_signature(user, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// What the ledger says of the devices of a transaction.
    fn told(&self, reference: &str) -> Value {
        let id = self.house.transaction(reference)["id"].as_str().unwrap().to_owned();
        self.house.cli(&["transaction", "show", &id, "--tenant", "acme"]).unwrap()["devices"]
            .clone()
    }

    /// Looks until it says so of the only device.
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

    /// How a user's first device is woken, as the ledger has it.
    fn registration(&self, user: &str) -> Value {
        let listed =
            self.house.cli(&["device", "list", "--tenant", "acme", "--user", user]).unwrap();
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

/// Nothing of what is asked, nor who asks, nor whom.
fn says_nothing(received: &Received, body: &[u8]) {
    let all = format!("{:?} {}", received.headers, String::from_utf8_lossy(body));
    for secret in ["Pay", "Ann", "5 €", "Shop", "order", "jane", "joe", "kim"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn each_service_wakes_an_absent_device_and_learns_nothing_of_what_is_asked() {
    let mut stage = Stage::new();
    let keys = Keys::generate();
    stage.person("jane", apple(7)).await;
    stage.person("joe", google(7)).await;
    let endpoint = format!("{}/push/kim", stage.services.url());
    stage.person("kim", browser(&keys, endpoint)).await;

    for (user, service) in [("jane", "apns"), ("joe", "fcm"), ("kim", "webpush")] {
        let mut body = payment(&format!("order of {user}"));
        body["pushNotificationMessage"] = json!("Something waits");
        stage.start_with(user, body).await;
        let received = stage.services.next().await;
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
        let shown = stage.house.transaction(&format!("order of {user}"));
        let fetch = fetched(&payload);
        assert_eq!(fetch.key, shown["request_key"].as_str().unwrap());
        // It is told within the clock that runs, and not later than the services may keep it.
        let left = fetch.expires_at.as_secs();
        match service {
            "apns" => assert_eq!(header(&received, "apns-expiration"), left.to_string()),
            "webpush" => {
                let ttl: u64 = header(&received, "ttl").parse().unwrap();
                assert!(ttl <= 30, "{ttl}");
            }
            _ => {}
        }
        let pushed = stage.pushed(&format!("order of {user}"), "sent");
        assert_eq!(pushed["outcome"], "sent");
    }
    assert_eq!(stage.services.connections(), 2, "each client keeps its connection");
}

#[tokio::test]
async fn a_device_on_the_line_is_offered_and_not_pushed() {
    let mut stage = Stage::new();
    let mut jane = stage.person("jane", apple(1)).await;
    let held = {
        let body = payment("one");
        let house = &stage.house;
        // She is there before it begins.
        let here = tokio::join!(jane.device.next(), async {
            while house.device_state("jane").await != "ONLINE" {}
        });
        here.0.unwrap();
        let (held, ()) = tokio::join!(house.start_signature("jane", &body), async {
            jane.signs().await;
        });
        held
    };
    assert_eq!(held.1["status"], "OK");
    let told = stage.told("one");
    assert!(told[0]["offered_at"].is_string() && told[0]["taken_at"].is_string(), "{told}");
    assert!(told[0]["push"].is_null() && told[0]["reached_at"].is_null(), "{told}");
    // Were one on its way, it would come before this.
    stage.person("joe", apple(2)).await;
    stage.start("joe", "two").await;
    assert_eq!(stage.services.next().await.token, hex::encode([2; 32]));
}

#[tokio::test]
async fn a_device_that_comes_when_it_is_woken_is_seen_to_have_come() {
    let mut stage = Stage::new();
    let mut jane = stage.person("jane", apple(1)).await;
    stage.start("jane", "one").await;
    stage.services.next().await;
    jane.signs().await;
    let told = stage.told_until("one", |told| told["push"]["state"] == "sent");
    assert!(told["offered_at"].is_null());
    assert!(told["reached_at"].is_string() && told["taken_at"].is_string(), "{told}");
}

#[tokio::test]
async fn a_wait_lets_a_device_come_by_itself_and_an_end_calls_the_push_off() {
    let mut stage = Stage::with("after_seconds = 2", "");
    let mut jane = stage.person("jane", apple(1)).await;
    stage.person("joe", apple(2)).await;
    stage.person("kim", apple(3)).await;
    stage.start("jane", "comes").await;
    stage.start("joe", "ends").await;
    stage.start("kim", "stays away").await;
    jane.opens(None).await.unwrap();
    assert_eq!(stage.house.cancel("joe", "ends").await.0, StatusCode::OK);
    assert_eq!(stage.services.next().await.token, hex::encode([3; 32]));
    let why = stage.pushed("comes", "needless");
    assert!(
        ["the device has taken it", "the device is on the line"]
            .contains(&why["outcome"].as_str().unwrap()),
        "{why}"
    );
    assert_eq!(stage.told("ends"), json!([]), "nothing was done about it");
    assert!(stage.services.take().is_none());
}

#[tokio::test]
async fn a_dead_address_is_retired_at_once_and_stops_no_other_device() {
    let mut stage = Stage::new();
    let keys = Keys::generate();
    let gone = format!("{}/push/gone", stage.services.url());
    let dead = [apple(1), google(1), browser(&keys, gone)];
    stage.house.user("jane");
    for push in dead {
        let phone = Person::running(&stage.house, "jane", TOPIC).await;
        phone.device.set_push(Some(push)).await.unwrap();
    }
    let phone = Person::running(&stage.house, "jane", TOPIC).await;
    phone.device.set_push(Some(apple(9))).await.unwrap();
    for token in [hex::encode([1; 32]), google(1).token.unwrap(), "/push/gone".into()] {
        stage.services.kill(&token);
    }
    stage.start("jane", "one").await;
    assert_eq!(stage.services.next().await.token, hex::encode([9; 32]));
    let begun = Instant::now();
    let states = loop {
        let told = stage.told("one");
        let states = told.as_array().unwrap().iter().map(|told| told["push"]["state"].clone());
        let mut states: Vec<_> =
            states.map(|state| state.as_str().unwrap_or("-").to_owned()).collect();
        states.sort();
        if states.len() == 4 && !states.iter().any(|state| state == "-") {
            break states;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{told}");
    };
    assert_eq!(states, ["dead", "dead", "dead", "sent"]);
    let listed =
        stage.house.cli(&["device", "list", "--tenant", "acme", "--user", "jane"]).unwrap();
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|device| device["push"]["state"].clone()).collect();
    assert_eq!(states, ["dead", "dead", "dead", "registered"]);

    stage.start("jane", "two").await;
    stage.services.next().await;
    assert_eq!(stage.told_until("two", |told| !told.is_null())["push"]["state"], "sent");
    let before = stage.services.requests();
    assert_eq!(stage.told("two").as_array().unwrap().len(), 1, "nobody else was tried");
    assert_eq!(stage.services.requests(), before);
}

#[tokio::test]
async fn an_address_moves_with_its_device_and_is_never_two_peoples() {
    let mut stage = Stage::new();
    let jane = stage.person("jane", apple(1)).await;
    let joe = stage.person("joe", apple(1)).await;
    assert_eq!(stage.registration("jane")["state"], "moved");
    assert_eq!(jane.device.push().await.unwrap().state, PushState::Retired);
    assert_eq!(joe.device.push().await.unwrap().state, PushState::Registered);
    stage.start("jane", "hers").await;
    stage.start("joe", "his").await;
    let received = stage.services.next().await;
    assert_eq!(
        fetched(&received.body).key,
        stage.house.transaction("his")["request_key"].as_str().unwrap()
    );
    assert_eq!(stage.told("hers"), json!([]));
    // It can be taken back, and given again.
    assert_eq!(joe.device.set_push(None).await.unwrap().state, PushState::None);
    assert!(stage.registration("joe").is_null());
    let answer = jane.device.set_push(Some(apple(1))).await.unwrap();
    assert_eq!(answer.state, PushState::Registered);
    assert_eq!(answer.providers, ["apns", "fcm", "webpush"]);
    assert_eq!(answer.vapid_key.map(|key| key.len()), Some(87));
}

#[tokio::test]
async fn what_is_no_address_of_its_service_or_may_not_be_called_is_refused() {
    let stage = Stage::new();
    stage.house.user("jane");
    let jane = Person::running(&stage.house, "jane", TOPIC).await;
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
    assert!(stage.registration("jane").is_null());
}

/// The server of a house whose guard allows nothing: addresses that were allowed once are judged again.
#[tokio::test]
async fn a_push_endpoint_is_judged_again_when_it_is_called() {
    let mut stage = Stage::new();
    let keys = Keys::generate();
    let inside = format!("{}/push/inside", stage.services.url());
    stage.person("jane", browser(&keys, inside)).await;
    let file = stage.house.path().join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[\"127.0.0.0/8\"]", "[]")).unwrap();
    stage.house.crash();
    // Nobody can be called back there either.
    let body = payment("one");
    let held = stage.house.start_signature("jane", &body);
    assert!(tokio::time::timeout(Duration::from_secs(1), held).await.is_err());
    let told = stage.pushed("one", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("not called"), "{told}");
    assert!(stage.services.take().is_none());
}

#[tokio::test]
async fn wrong_credentials_are_told_at_the_start_and_with_the_transaction_and_block_nobody() {
    let mut stage = Stage::new();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(stage.files.path().join("key.p8"), &other).unwrap();
    std::fs::write(stage.files.path().join("account.json"), "{}").unwrap();
    stage.house.crash();
    let mut jane = stage.person("jane", apple(1)).await;
    stage.person("joe", google(1)).await;
    stage.start("jane", "one").await;
    stage.start("joe", "two").await;
    let told = stage.pushed("one", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("InvalidProviderToken"), "{told}");
    let told = stage.pushed("two", "waiting");
    assert!(told["outcome"].as_str().unwrap().contains("account.json"), "{told}");
    assert!(stage.house.log().contains("account.json: it is no service account's file"));
    // The channel goes on.
    jane.signs().await;
    // Mended while it runs, it is used.
    let key = stage.services.apns_key();
    std::fs::write(stage.files.path().join("key.p8"), format!("{key}\n")).unwrap();
    std::fs::write(stage.files.path().join("account.json"), stage.services.service_account())
        .unwrap();
    assert_eq!(stage.services.next().await.service, "fcm");
    stage.pushed("two", "sent");
}

#[tokio::test]
async fn what_a_push_says_is_the_operators_to_decide() {
    let mut stage = Stage::with("content = \"wake\"", "");
    let keys = Keys::generate();
    let endpoint = format!("{}/push/jane", stage.services.url());
    stage.person("jane", browser(&keys, endpoint)).await;
    let german = Push { language: Some("de-AT".into()), ..apple(2) };
    stage.person("joe", german).await;
    stage.start("jane", "one").await;
    let received = stage.services.next().await;
    assert_eq!(keys.open(&received.body).unwrap().as_slice(), b"{}");
    stage.start("joe", "two").await;
    let received = stage.services.next().await;
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
    std::fs::write(path("secret"), "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap();
    let house = House::configured(&format!(
        "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"{}\"\n\
         [[push.sender]]\nprovider = \"webhook\"\nurl = \"{}\"\nsecret_file = \"{}\"",
        path("own.pem"),
        receiver.url(),
        path("secret")
    ));
    house.user("jane");
    let jane = Person::running(&house, "jane", "an application").await;
    jane.device.set_push(Some(token("webhook", "device-7"))).await.unwrap();
    let body = payment("one");
    let held = house.start_signature("jane", &body);
    let (call, held) = tokio::join!(receiver.next(), async {
        tokio::time::timeout(Duration::from_secs(5), held).await
    });
    assert!(held.is_err(), "nobody has answered it");
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

#[tokio::test]
async fn a_device_is_registered_when_it_enrols() {
    let mut stage = Stage::new();
    stage.house.user("jane");
    let code = stage.house.code("jane");
    let mut enrolment = enrolment(&stage.house, "jane", &code, None, KeyKind::default());
    enrolment.device.app = TOPIC.into();
    enrolment.push = Some(token("apns", "no hex"));
    let file = PhoneFile::at(stage.house.path().join("phone.json"));
    let refused = enrol(&file, &enrolment).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::BadRequest), "{refused}");
    enrolment.push = Some(apple(5));
    enrol(&file, &enrolment).await.unwrap();
    stage.start("jane", "one").await;
    assert_eq!(stage.services.next().await.token, hex::encode([5; 32]));
}

#[tokio::test]
async fn a_device_that_keeps_no_line_is_woken_through_a_service_that_anybody_can_run() {
    let stage = Stage::new();
    stage.house.user("jane");
    let jane = Person::running(&stage.house, "jane", "countersign").await;
    let ca = stage.files.path().join("ca.pem");
    let mut command = House::device(&jane.file);
    command.args(["--answer", "approve", "--count", "1", "--json", "--web-push"]);
    command.arg(format!("{}/up", stage.services.url())).arg("--web-push-ca").arg(ca);
    let mut device = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(device.stdout.take().unwrap()).lines();
    let mut heard = |event: &str| loop {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == event {
            return line;
        }
    };
    heard("connected");
    let (status, answer) = stage.house.start_signature("jane", &payment("one")).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("OK")));
    assert_eq!(heard("woken")["key"], stage.house.transaction("one")["request_key"]);
    heard("ended");
    assert!(device.wait().unwrap().success());
    let told = stage.told("one");
    assert!(told[0]["offered_at"].is_null() && told[0]["reached_at"].is_string(), "{told}");
}

/// So many offers to absent devices, a service that is away for a while, and connections that are cut twice. By hand:
/// `COUNTERSIGN_TEST_BURST=10000`.
#[tokio::test]
async fn a_burst_loses_no_push_whatever_its_service_does() {
    let count = std::env::var("COUNTERSIGN_TEST_BURST").ok().and_then(|count| count.parse().ok());
    let (count, away) = count.map_or((1_000, 3), |count: u32| (count, 10));
    let mut stage = Stage::with("", "");
    let users = count.div_ceil(20); // So many may be open for each.
    for user in 0..users {
        stage.person(&format!("user{user}"), google(user)).await;
    }
    stage.services.trouble(Some(Trouble {
        status: 503,
        reason: "UNAVAILABLE",
        retry_after: Some(1),
    }));
    let token = stage.house.token().await;
    let begun = Instant::now();
    let start = |nth: u32| {
        let user = format!("user{}", nth % users);
        let path = format!("/auth/realms/acme/v3_user/digitaniumsignature/{user}");
        let mut body = payment(&format!("order {nth}"));
        body["deviceGoOnlineTimeout"] = json!(600);
        body["callbackUrl"] = json!("https://127.0.0.1:9/nobody");
        let call = stage.house.http.post(format!("{}{path}", stage.house.address));
        call.bearer_auth(&token).json(&body).send()
    };
    let started = stream::iter(0..count).map(start).buffer_unordered(64);
    let refused = started
        .filter(|answer| std::future::ready(answer.as_ref().unwrap().status() != StatusCode::OK));
    assert_eq!(refused.count().await, 0);
    // The service comes back, tells its connections to go away amid the rest, and hangs up on them later.
    tokio::time::sleep(Duration::from_secs(away).saturating_sub(begun.elapsed())).await;
    stage.services.trouble(None);
    stage.services.go_away_in(count as usize / 4);
    let mut keys = std::collections::BTreeMap::<String, u32>::new();
    while keys.len() < count as usize {
        let received = stage.services.next().await;
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        let data = body["message"]["data"].to_string();
        *keys.entry(fetched(data.as_bytes()).key).or_default() += 1;
        if keys.len() == count as usize / 2 {
            stage.services.hang_up_in(1);
        }
    }
    let twice = keys.values().filter(|count| **count > 1).count();
    println!("{count} pushes in {:.1} s, {twice} of them twice", begun.elapsed().as_secs_f64());
}
