//! Calls that must fail: guesses, other devices, expired transactions, and an unavailable ledger.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::gateway;
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::json;

use super::{FIELDS, Fixture, JANE, now, other, text};
use crate::test_device::TestDevice;
use crate::test_server::{payment, read};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_guesses_get_a_minutes_worth_of_answers_which_are_all_the_same() {
    let fixture = Fixture::new().await;
    fixture.server.user("joe");
    let joe = TestDevice::enrolled(&fixture.server, "joe", None).await;
    let key = fixture.request().await;
    let serial = &joe.phone().serial_number;
    // A hit now and then, on another user's transaction.
    let guess =
        |n: u64| if n.is_multiple_of(100) { key.clone() } else { format!("{:010}", n * 7_919) };
    let tries = stream::iter(0..10_000).map(|n| {
        let body = json!({"requestKey": guess(n), "serialNumber": serial});
        let call = fixture.post("signature/push/getPreparedSignatureRequest").json(&body);
        let call = call.basic_auth("app", Some(&fixture.key)).send();
        async {
            let answer = call.await.unwrap();
            (answer.status(), answer.text().await.unwrap())
        }
    });
    let answers: Vec<(StatusCode, String)> = tries.buffered(32).collect().await;
    let (answered, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|(status, _)| *status == StatusCode::OK);
    assert!(answered.iter().all(|(_, body)| *body == answers[0].1), "a hit differs from a miss");
    assert!(answers[0].1.contains("STAT_NOT_FOUND"), "{}", answers[0].1);
    assert!(refused.iter().all(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS));
    assert!(refused.len() > 9_000, "only {} were refused", refused.len());
    fixture.fetch(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_over_soap_are_bounded_as_those_over_rest_are() {
    let fixture = Fixture::configured("[onespan]\nfetches_per_minute = 3\n").await;
    let fetch = format!(
        "<componentType>Shop</componentType><serialNumber>{}</serialNumber>\
         <requestKey>0000000042</requestKey>",
        fixture.serial()
    );
    for _ in 0..3 {
        let answer = fixture.soap("getPreparedSignatureRequest", &fetch).await;
        assert_eq!(text(&answer, "statusCodeEnum"), "STAT_NOT_FOUND");
    }
    let refused = fixture.send_soap("getPreparedSignatureRequest", &fetch).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "60");
    // Each caller has its own limit.
    fixture.fetch(&fixture.request().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_request_keys_completes_no_more_than_a_minutes_worth_and_not_by_luck() {
    let fixture = Fixture::configured("[onespan]\ncompletions_per_minute = 3\n").await;
    let key = fixture.request().await;
    let code = gateway::code(fixture.jane.phone(), &fixture.fetch(&key).await).unwrap();
    for guess in 0..3 {
        let guess = format!("{guess:010}");
        assert_eq!(fixture.complete(&guess, &code).await.0, "STAT_NOT_FOUND");
    }
    for guess in ["0000000003", &key] {
        assert_eq!(fixture.complete(guess, &code).await.0, "STAT_ERROR", "asked before the look");
    }
    assert_eq!(fixture.state(&key), "taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_completes_over_soap_no_more_than_a_minutes_worth_and_not_by_luck() {
    let fixture = Fixture::configured("[onespan]\ncompletions_per_minute = 3\n").await;
    let key = fixture.request().await;
    let code = gateway::code(fixture.jane.phone(), &fixture.fetch(&key).await).unwrap();
    let complete = async |key: &str| {
        let guess = format!("{JANE}<requestKey>{key}</requestKey><signature>{code}</signature>");
        let answer = fixture.soap("authSignature", &guess).await;
        text(&answer, "statusCodeEnum").to_owned()
    };
    for guess in 0..3 {
        assert_eq!(complete(&format!("{guess:010}")).await, "STAT_NOT_FOUND");
    }
    for guess in ["0000000003", &key] {
        assert_eq!(complete(guess).await, "STAT_ERROR", "asked before the look");
    }
    assert_eq!(fixture.state(&key), "taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_not_addressed_finds_nothing() {
    let fixture = Fixture::new().await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let serial = fixture.serial();
    let made = format!("{JANE}<serialNumber>{serial}</serialNumber>{FIELDS}");
    let key = text(&fixture.soap("genRequest", &made).await, "requestKey").to_owned();
    let others = fixture.fetch_status(&key, &tablet.phone().serial_number).await;
    assert_eq!(others, "STAT_NOT_FOUND");
    for nobodys in ["VDS1000120-1", "x", &serial.to_lowercase(), &format!("{serial} ")] {
        assert_eq!(fixture.fetch_status(&key, nobodys).await, "STAT_NOT_FOUND", "{nobodys}");
    }
    fixture.fetch(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_device_that_fetched_completes_in_either_form() {
    let fixture = Fixture::new().await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let key = fixture.request().await;
    let content = fixture.fetch(&key).await;
    let code = gateway::code(tablet.phone(), &content).unwrap();
    assert_eq!(fixture.complete(&key, &code).await.0, "STAT_INVCREDENTIALS");
    let cms = gateway::cms(tablet.phone(), &content, now()).unwrap();
    assert_eq!(fixture.complete(&key, &BASE64.encode(cms)).await.0, "STAT_INVCREDENTIALS");
    let cms = gateway::cms(fixture.jane.phone(), &content, now()).unwrap();
    let (status, result) = fixture.complete(&key, &BASE64.encode(cms)).await;
    assert_eq!((status.as_str(), &result["serialNo"]), ("STAT_SUCCESS", &json!(fixture.serial())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_after_the_deadline_is_for_nothing() {
    let fixture = Fixture::configured("[onespan]\nwait_seconds = 8\n").await;
    let push = format!("{JANE}<push>{FIELDS}</push>");
    let phone = async {
        let key = fixture.started().await;
        (fixture.fetch(&key).await, key)
    };
    let (answer, (content, key)) = tokio::join!(fixture.soap("authSignatureRequest", &push), phone);
    assert_eq!(text(&answer, "statusCodeEnum"), "STAT_EXP_CHALLENGE");
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    assert_eq!(fixture.complete(&key, &code).await.0, "STAT_NOT_FOUND");
    assert_eq!(
        fixture.complete(&key, &other(&code)).await.0,
        "STAT_NOT_FOUND",
        "and no guess counts"
    );
    assert_eq!(fixture.fetch_status(&key, &fixture.serial()).await, "STAT_NOT_FOUND");
    let message = gateway::information(fixture.jane.phone(), &content, &key).unwrap();
    assert_eq!(fixture.cancel(&message).await, "STAT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_fetches_at_once_one_has_it() {
    let fixture = Fixture::new().await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let (serial, tablets) = (fixture.serial(), tablet.phone().serial_number.clone());
    for _ in 0..5 {
        let key = fixture.request().await;
        let tries = [&serial, &tablets, &serial, &tablets].map(|s| fixture.fetch_status(&key, s));
        let mut told = futures_util::future::join_all(tries).await;
        told.sort();
        let missed = ["STAT_NOT_FOUND"; 3];
        assert_eq!(told, [&missed[..], &["STAT_SUCCESS"]].concat());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_key_cancels_where_the_policy_says_so_and_only_for_the_device_that_fetched() {
    let fixture = Fixture::configured("[onespan]\nplain_cancel_keys = true\n").await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let key = fixture.request().await;
    assert_eq!(fixture.cancel(&key).await, "STAT_NOSUPPORT", "before the fetch");
    fixture.fetch(&key).await;
    let tablets = json!({"requestKey": key, "serialNumber": tablet.phone().serial_number});
    let (tablets, _) = fixture.call("signature/push/cancelAuthSignatureRequest", &tablets).await;
    assert_eq!(tablets, "STAT_NOSUPPORT");
    assert_eq!(fixture.cancel(&key).await, "STAT_SUCCESS");
    assert_eq!(fixture.state(&key), "declined");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_is_told_by_http_and_by_no_status_of_its_own() {
    let fixture = Fixture::new().await;
    let key = fixture.request().await;
    let moved = Command::new("sqlite3")
        .arg(fixture.server.data().join("ledger.db"))
        .arg("ALTER TABLE transactions RENAME TO lost")
        .output()
        .unwrap();
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    let body = json!({"requestKey": key, "serialNumber": fixture.serial(), "userID": "jane",
        "signature": "00000000"});
    for call in ["getPreparedSignatureRequest", "authSignature"] {
        let sent = fixture.post(&format!("signature/push/{call}")).json(&body);
        let answer = sent.basic_auth("app", Some(&fixture.key)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{call}");
        assert!(answer.headers().contains_key("retry-after"));
        let answer = answer.text().await.unwrap();
        assert!(answer.contains("\"STAT_ERROR\""), "the answer gives no reason: {answer}");
    }
    let answer = fixture.send_soap("genRequest", &format!("{JANE}{FIELDS}")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let answer = answer.text().await.unwrap();
    assert_eq!(text(&answer, "faultcode"), "soapenv:Server");
    assert!(!answer.contains("transactions"), "{answer}");
    assert!(fixture.server.log().contains("no such table"), "the log says what failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_at_all_is_as_good_as_a_wrong_one() {
    let fixture = Fixture::new().await;
    let body = json!({"requestKey": "0000000042", "serialNumber": fixture.serial()});
    let call = "signature/push/getPreparedSignatureRequest";
    let none = fixture.post(call).json(&body).send().await.unwrap();
    let wrong =
        fixture.post(call).json(&body).basic_auth("app", Some("csk_x")).send().await.unwrap();
    for answer in [none, wrong] {
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"Countersign\"");
        let answer = answer.text().await.unwrap();
        assert!(answer.contains("\"STAT_ERROR\""), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_a_pin_is_not_for_the_gateway() {
    let fixture = Fixture::new().await;
    let mut body = payment("pin");
    body["pinRequired"] = json!(true);
    body["callbackUrl"] = json!("https://shop.example/");
    let url =
        format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", fixture.server.address);
    let call = fixture.server.http.post(url).bearer_auth(fixture.server.token().await).json(&body);
    let (status, answer) = read(call.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let key = fixture.started().await;
    assert_eq!(fixture.fetch_status(&key, &fixture.serial()).await, "STAT_NOT_FOUND");
}
