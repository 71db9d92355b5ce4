//! Quotas over the network: the answer to a client that exceeds one.

use std::process::Command;

use countersign_device::{Code, KeyKind, PhoneFile, enrol};
use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::test_device::{TestDevice, enrolment};
use crate::test_server::{BINARY, TestServer, payment, read};

impl TestServer {
    /// Starts a signature of jane's with this token.
    async fn start_of_jane(&self, token: &str, request: &Value) -> Response {
        let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", self.address);
        self.http.post(url).bearer_auth(token).json(request).send().await.unwrap()
    }
}

fn retry_after(answer: &Response) -> u64 {
    answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

/// It ends when it starts: no device is online, and the timeout to come online is zero.
fn ended_at_once(reference: &str) -> Value {
    let mut request = payment(reference);
    request["deviceGoOnlineTimeout"] = json!(0);
    request
}

#[tokio::test]
async fn starts_that_end_as_they_start_are_refused_beyond_the_clients_rate() {
    let server = TestServer::configured("[transactions]\nstarts_per_client_per_second = 1\n");
    server.user("jane");
    let _phone = TestDevice::enrolled(&server, "jane", None).await;
    let token = server.token().await;
    let requests: Vec<_> = (0..60).map(|nth| ended_at_once(&nth.to_string())).collect();
    let answers = requests.iter().map(|request| server.start_of_jane(&token, request));
    let answers = join_all(answers).await;
    let (refused, started): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
    assert!(started.len() >= 10, "{} were within the burst", started.len());
    assert!(!refused.is_empty());
    for answer in refused {
        assert!((1..=60).contains(&retry_after(&answer)));
        let body = read(answer).await.1;
        assert_eq!(body["status"], "TOO_MANY_REQUESTS");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains("quota"), "{message}");
    }
}

#[tokio::test]
async fn a_client_has_no_more_calls_waiting_than_it_may() {
    let server = TestServer::configured("[transactions]\nwaiting_per_client_max = 1\n");
    server.user("jane");
    let _phone = TestDevice::enrolled(&server, "jane", None).await;
    let token = server.token().await;
    let (one, two) = (payment("1"), payment("2"));
    let first = server.start_of_jane(&token, &one);
    let second = async {
        // The first call is held until its transaction is cancelled. So one of the two calls is
        // refused, and only then the other one's transaction is cancelled.
        let answer = server.start_of_jane(&token, &two).await;
        server.cancel("jane", "1").await;
        server.cancel("jane", "2").await;
        answer
    };
    let first = async {
        let answer = first.await;
        server.cancel("jane", "1").await;
        server.cancel("jane", "2").await;
        answer
    };
    let answers = [tokio::join!(first, second)];
    let answers = answers.into_iter().flat_map(|(one, two)| [one, two]);
    let refused = answers.filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(retry_after(&refused[0]), 5);
}

/// A shell reads the printed command back, and finds the same user name.
#[tokio::test]
async fn what_is_printed_for_a_user_with_a_quote_in_the_name_can_be_pasted() {
    let server = TestServer::new();
    let output = Command::new(BINARY)
        .args(["user", "create", "o'brien", "--tenant", "acme", "--data"])
        .arg(server.data())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = said.split_once("`countersign ").unwrap_or_else(|| panic!("{said}"));
    let arguments = rest.split_once('`').unwrap().0;
    let script = format!("\"$0\" {arguments} --json --data \"$1\" --server \"$2\"");
    let output = Command::new("sh")
        .args(["-c", &script, BINARY])
        .arg(server.data())
        .arg(&server.address)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {stderr}");
}

#[tokio::test]
async fn a_name_that_does_not_look_like_what_it_is_is_refused_at_every_door() {
    let server = TestServer::new();
    for name in [" lead", "trail ", "ann\u{a0}", "\u{3000}wide", "\u{feff}ann"] {
        let made = server.cli(&["user", "create", name, "--tenant", "acme"]);
        assert!(made.is_err(), "{name:?} on the command line");
    }
    for letter in ['\u{a0}', '\u{3000}', '\u{202e}', '\u{200b}', '\u{feff}'] {
        let name = format!("an{letter}n");
        let made = server.cli(&["user", "create", &name, "--tenant", "acme"]);
        assert!(made.is_err(), "{name:?} on the command line");
        let made = server.cli(&["client", "create", &name, "--tenant", "acme"]);
        assert!(made.is_err(), "{name:?} as a client");
        let body = json!({"username": name});
        let (status, _) = server.call(reqwest::Method::POST, "v3_user", Some(&body)).await;
        assert!(status.is_client_error(), "{name:?} over KOBIL's call: {status}");
    }
    server.user("J\u{fc}rgen");
    let again = server.cli(&["user", "create", "Ju\u{308}rgen", "--tenant", "acme"]);
    assert!(again.unwrap_err().stderr.contains("already"));
}

#[tokio::test]
async fn a_tenant_gets_no_more_users_and_devices_than_it_may_have() {
    let server = TestServer::configured(
        "[enrolment]\nusers_per_tenant_max = 2\ndevices_per_tenant_max = 2\n",
    );
    server.user("jane");
    server.user("joe");
    let third = server.cli(&["user", "create", "ann", "--tenant", "acme"]).unwrap_err();
    assert!(third.stderr.contains("users_per_tenant_max"), "{}", third.stderr);
    let body = json!({"username": "ann"});
    let (status, said) = server.call(Method::POST, "v3_user", Some(&body)).await;
    assert_eq!((status, &said["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!(BUSY)), "{said}");
    assert!(said["message"].as_str().unwrap().contains("as many users as it may have"), "{said}");
    server.cli(&["user", "delete", "joe", "--tenant", "acme"]).unwrap();
    let (status, said) = server.call(Method::POST, "v3_user", Some(&body)).await;
    assert_eq!(status, StatusCode::CREATED, "{said}");

    // Retired devices count.
    let early = server.code("jane");
    let first = TestDevice::enrolled(&server, "jane", None).await;
    let device = first.phone().device_id.to_string();
    server.cli(&["device", "delete", &device, "--tenant", "acme"]).unwrap();
    TestDevice::enrolled(&server, "ann", None).await;
    let code = server.cli(&["activation", "create", "jane", "--tenant", "acme"]).unwrap_err();
    assert!(code.stderr.contains("devices_per_tenant_max"), "{}", code.stderr);
    let body = json!({"activationCode": "12345678"});
    let (status, said) = server.call(Method::POST, "v3_activationcode/jane/", Some(&body)).await;
    assert_eq!((status, &said["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!(BUSY)), "{said}");
    let file = PhoneFile::at(server.path().join("late.json"));
    let late = enrolment(&server, "jane", &early, None, KeyKind::default());
    let late = enrol(&file, &late).await.unwrap_err();
    assert_eq!(late.code(), Some(Code::EnrolmentRefused), "a code from before the limit");
}

const BUSY: &str = "TOO_MANY_REQUESTS";
