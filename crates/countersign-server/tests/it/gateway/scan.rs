//! Transactions that are scanned: a request key as a QR code, and a device that reads it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::Error;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{FIELDS, Fixture, JANE, text};
use crate::test_device::TestDevice;
use crate::test_server::{payment, program, read};
use crate::trustedx;

impl Fixture {
    /// The output of `device scan`, an event a line, and whether it succeeded.
    async fn scans(&self, phone: &TestDevice, arguments: &[&str]) -> (bool, Vec<Value>) {
        let file = phone.file.to_str().unwrap();
        let scan = program().args(["device", "scan", file, "--json"]).args(arguments).output();
        let output = scan.await.unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let events = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.success(), events)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_scans_a_requests_picture_shows_it_and_signs_with_a_code() {
    let fixture = Fixture::new().await;
    let made = fixture.soap("genRequest", &format!("{JANE}{FIELDS}")).await;
    let key = text(&made, "requestKey");
    let drawn = fixture.server.cli(&["transaction", "qr", key, "--tenant", "acme"]).unwrap();
    assert_eq!(drawn["request_key"], key);
    assert_eq!(drawn["png"], text(&made, "requestImage"), "one picture, however it is asked for");

    let waiting = format!("{JANE}<requestKey>{key}</requestKey>");
    let waiting = fixture.soap("authSignatureRequest", &waiting);
    let approve = [key, "--answer", "approve", "--code"];
    let scanning = fixture.scans(&fixture.jane, &approve);
    let (answer, (well, events)) = tokio::join!(waiting, scanning);
    assert!(well, "{events:?}");
    let shown = events.iter().find(|event| event["event"] == "shown").unwrap();
    let content = BASE64.decode(shown["content"].as_str().unwrap()).unwrap();
    assert_eq!(content, br#"{"message":"","rows":[["To","Ann"]]}"#);
    assert_eq!(text(&answer, "statusCodeEnum"), "STAT_SUCCESS");
    assert_eq!(text(&answer, "serialNumber"), fixture.serial());
    let code = text(&answer, "signature");
    assert!(code.len() == 8 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");

    let ended = fixture.server.cli(&["transaction", "qr", key, "--tenant", "acme"]).unwrap_err();
    assert!(ended.stderr.contains("nothing to scan any more"), "{}", ended.stderr);
    assert!(!fixture.scans(&fixture.jane, &[key, "--answer", "approve"]).await.0, "only once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kobil_started_is_shown_as_a_picture_and_scanned() {
    let fixture = Fixture::new().await;
    let body = payment("drawn");
    let scanning = async {
        let key = fixture.started().await;
        let drawn = fixture.server.cli(&["transaction", "qr", &key, "--tenant", "acme"]).unwrap();
        assert_eq!(drawn["request_key"], key);
        fixture.scans(&fixture.jane, &[&key, "--answer", "approve"]).await
    };
    let ((status, answer), (well, events)) =
        tokio::join!(fixture.server.start_signature("jane", &body), scanning);
    assert!(well, "{events:?}");
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("OK")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_may_say_no_to_what_they_scanned() {
    let fixture = Fixture::new().await;
    let key = fixture.request().await;
    assert!(fixture.scans(&fixture.jane, &[&key, "--answer", "decline"]).await.0);
    assert_eq!(fixture.state(&key), "declined");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_be_scanned_is_offered_to_no_phone_that_has_not_scanned_it() {
    let mut fixture = Fixture::new().await;
    let key = fixture.request().await;
    let polled = async |fixture: &Fixture, query: &str| {
        let proof = trustedx::proof_of(fixture.jane.phone(), "GET", "/device/v1/offers", b"");
        let call =
            fixture.server.http.get(format!("{}/device/v1/offers{query}", fixture.server.address));
        let (status, answer) = read(call.bearer_auth(proof).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["offers"].as_array().unwrap().len()
    };
    assert_eq!(polled(&fixture, "").await, 0);
    assert_eq!(polled(&fixture, &format!("?request_key={key}")).await, 1);
    // A channel that connects is told of every open transaction; the first that it is told of here
    // is the one that was pushed.
    let push = format!("{JANE}<push><title>Pushed</title>{FIELDS}</push>");
    let signs = async {
        let offer = fixture.jane.device.next_offer().await.unwrap();
        let shown = fixture.jane.device.take(&offer, None).await.unwrap();
        fixture.jane.device.approve(&shown, None).await.unwrap();
        shown.bytes().to_vec()
    };
    let server = &fixture.server;
    let (answer, signed) = tokio::join!(server.soap("authSignatureRequest", &push), signs);
    assert_eq!(text(&answer, "statusCodeEnum"), "STAT_SUCCESS");
    assert!(String::from_utf8(signed).unwrap().contains("Pushed"));
    assert_eq!(fixture.state(&key), "waiting");
    assert!(fixture.scans(&fixture.jane, &[&key, "--answer", "approve"]).await.0);
    assert_eq!(fixture.state(&key), "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_finds_by_a_key_only_what_is_for_it() {
    let mut fixture = Fixture::new().await;
    fixture.server.user("joe");
    let mut joe = TestDevice::enrolled(&fixture.server, "joe", None).await;
    let (first, second) = (fixture.request().await, fixture.request().await);
    let others = joe.device.scan(&first).await.unwrap_err();
    assert!(matches!(others, Error::NothingThere), "{others}");
    for neither in ["", "1", "00000000420", "0000000x42", "https://shop.example/"] {
        let refused = fixture.jane.device.scan(neither).await.unwrap_err();
        assert!(matches!(refused, Error::NotAKey), "{neither}: {refused}");
    }
    let offers = [
        fixture.jane.device.scan(&second).await.unwrap(),
        fixture.jane.device.scan(&first).await.unwrap(),
    ];
    assert_ne!(offers[0].id, offers[1].id);
    let shown = fixture.jane.device.take(&offers[0], None).await.unwrap();
    fixture.jane.device.approve(&shown, None).await.unwrap();
    assert_eq!(
        (fixture.state(&second), fixture.state(&first)),
        ("finished".into(), "waiting".into())
    );
}
