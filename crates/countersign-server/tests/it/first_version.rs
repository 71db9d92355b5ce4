//! From an application's call to a verified PKCS#7, on disk.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{DeclineReason, KeyKind, Notice, View};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer, openssl_verifies, payment, run};

/// The PKCS#7 in a result, after all other members were checked.
fn signature(answer: &(StatusCode, Value), reference: &str, device: &TestDevice) -> Vec<u8> {
    let (status, body) = answer;
    assert_eq!(*status, StatusCode::OK, "{body}");
    assert_eq!(body["status"], "OK", "{body}");
    assert_eq!(body["subSystem"], 5);
    assert_eq!(body["data"]["resultCode"], "OK");
    assert_eq!(body["data"]["transactionId"], reference);
    assert_eq!(body["data"]["deviceId"], device.phone().device_id.to_string());
    BASE64.decode(body["data"]["signature"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_application_gets_a_signature_that_openssl_verifies() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("order-1");
    let (answer, shown) = join!(server.start_signature("jane", &request), jane.signs());
    let message = signature(&answer, "order-1", &jane);

    assert_eq!(shown.client(), "Shop");
    assert_eq!(shown.view(), &View::Text("Pay 5 € to Ann?".into()));
    assert_eq!(openssl_verifies(&message, &server.tenant_ca()), "Pay 5 € to Ann?".as_bytes());
    let row = server.transaction("order-1");
    assert_eq!(
        (&row["state"], &row["dialect"], &row["user"]),
        (&json!("finished"), &json!("kobil"), &json!("jane"))
    );

    let file = server.path().join("order-1.p7m");
    std::fs::write(&file, &message).unwrap();
    let verified = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("verify")
        .arg(&file)
        .arg("--ca")
        .arg(server.tenant_ca())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    std::fs::write(&file, [message, b"x".to_vec()].concat()).unwrap();
    let ca = server.tenant_ca();
    let more = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["verify".as_ref(), file.as_os_str(), "--ca".as_ref(), ca.as_os_str()])
        .output()
        .unwrap();
    assert_eq!(more.status.code(), Some(1));
}

/// The sentences name the directory, and the help says that one file is taken.
#[test]
fn a_directory_is_no_file_of_root_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("payment.p7m");
    std::fs::write(&file, "x").unwrap();
    let verify = |file: &Path, ca: &Path| {
        let mut verify = std::process::Command::new(BINARY);
        let output = verify.arg("verify").arg(file).arg("--ca").arg(ca).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let named = format!("{} is a directory, and one file is needed\n", directory.path().display());
    let takes = "--ca takes a file in PEM, such as `countersign ca export` prints";
    assert_eq!(verify(&file, directory.path()), format!("error: {takes}: {named}"));
    assert_eq!(verify(directory.path(), &file), format!("error: {named}"));

    let help = std::process::Command::new(BINARY).args(["verify", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, taken) = help.split_once("--ca <FILE>\n").expect("it lists --ca with a file");
    assert!(taken.trim_start().starts_with("The root certificates to trust, PEM"), "{help}");
}

/// The device's certificate ends after three years, the evidence is kept for longer.
#[tokio::test]
async fn a_signature_is_verified_as_of_its_acceptance_when_its_certificate_has_ended() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("kept");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    let message = server.path().join("kept.p7m");
    std::fs::write(&message, signature(&answer, "kept", &jane)).unwrap();
    let id = server.transaction("kept")["id"].as_str().unwrap().to_owned();
    let shown = server.cli(&["transaction", "show", &id, "--tenant", "acme"]).unwrap();
    let ca = server.tenant_ca();
    let verify = |file: &Path, more: &[&str]| {
        let mut verify = std::process::Command::new(BINARY);
        verify.arg("verify").arg(file).arg("--ca").arg(&ca).arg("--json").args(more);
        let output = verify.output().unwrap();
        if output.status.success() {
            Ok(serde_json::from_slice::<Value>(&output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    };
    let later = &["--at", "2039-01-01T00:00:00Z"];
    let error = verify(&message, later).unwrap_err();
    assert!(error.contains("as of 2039-01-01T00:00:00Z") && error.contains("--at"), "{error}");
    assert!(verify(&message, &[]).is_ok());

    let export = server.path().join("kept.json");
    std::fs::write(&export, shown.to_string()).unwrap();
    let verified = verify(&export, &[]).unwrap();
    let ended_at = shown["ended_at"].as_str().unwrap();
    let to_the_second = |text: &str| text[..19].to_owned();
    assert_eq!(
        to_the_second(verified["verified_as_of"].as_str().unwrap()),
        to_the_second(ended_at)
    );
    assert!(verify(&export, later).is_err());
    assert!(verify(&export, &["--at", "tomorrow"]).unwrap_err().contains("RFC 3339"));

    // The documented line for stock tools: at the time of acceptance, and after the end.
    let line = "openssl cms -verify -cades -inform DER -in \"$0\" -CAfile \"$1\" \
                -attime \"$(date -d \"$2\" +%s)\"";
    let openssl = |at: &str| {
        let mut openssl = std::process::Command::new("sh");
        let output = openssl.args(["-c", line]).args([&message, &ca]).arg(at).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(openssl(ended_at).0);
    let (holds, said) = openssl("2039-01-01T00:00:00Z");
    assert!(!holds && said.contains("expired"), "{said}");
}

#[tokio::test]
async fn items_are_shown_and_signed_in_the_order_they_came() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", server.address);
    let body = r#"{"transactionId":"items","deviceGoOnlineTimeout":"9","signatureTimeout":"9","signatureMessage":"Pay?",
        "signatureMessageItems":{"To":"Ann","Amount":"5 €","Account":"7"}}"#;
    let call = server.http.post(url).bearer_auth(server.token().await).body(body);
    let call = call.header("content-type", "application/json; charset=utf-8").send();
    let (answer, shown) = join!(call, jane.signs());
    let answer = crate::test_server::read(answer.unwrap()).await;
    let message = signature(&answer, "items", &jane);
    let expected = r#"{"message":"Pay?","rows":[["To","Ann"],["Amount","5 €"],["Account","7"]]}"#;
    assert_eq!(shown.bytes(), expected.as_bytes());
    assert_eq!(openssl_verifies(&message, &server.tenant_ca()), expected.as_bytes());
}

#[tokio::test]
async fn every_kind_of_key_signs() {
    let server = TestServer::new();
    server.user("jane");
    for (name, kind) in
        [("p384", KeyKind::P384), ("rsa", KeyKind::Rsa2048), ("ed25519", KeyKind::Ed25519)]
    {
        let mut phone = TestDevice::with_key(&server, "jane", None, kind).await;
        let mut request = payment(name);
        request["deviceId"] = json!(phone.phone().device_id.to_string());
        let (answer, _) = join!(server.start_signature("jane", &request), phone.signs());
        let message = signature(&answer, name, &phone);
        // OpenSSL 3.0 knows no Ed25519 with signed attributes (RFC 8419).
        if kind != KeyKind::Ed25519 {
            openssl_verifies(&message, &server.tenant_ca());
        }
    }
}

#[tokio::test]
async fn a_device_without_a_socket_polls() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await.polling();
    let request = payment("polled");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    openssl_verifies(&signature(&answer, "polled", &jane), &server.tenant_ca());
}

/// Each start reaches the device in the instant after its last poll was answered, or while it
/// signs.
#[tokio::test]
async fn a_device_that_polls_is_online_in_twenty_starts_back_to_back() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await.polling();
    let first = payment("first");
    let (first, _) = join!(server.start_signature("jane", &first), jane.signs());
    assert_eq!(first.1["status"], "OK");
    let signing = tokio::spawn(async move {
        loop {
            jane.signs().await;
        }
    });
    for number in 0..20 {
        let mut request = payment(&format!("polled-{number}"));
        request["deviceGoOnlineTimeout"] = json!(0);
        let (_, answer) = server.start_signature("jane", &request).await;
        assert_eq!(answer["status"], "OK", "start {number}: {answer}");
        assert_eq!(server.device_state("jane").await, "ONLINE");
    }
    signing.abort();
}

#[tokio::test]
async fn a_no_ends_the_wait_at_once() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("declined");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let (offer, _) = jane.opens(None).await.unwrap();
        jane.device.decline(offer.id, DeclineReason::User).await.unwrap();
        // A repeated decline gets the same answer.
        jane.device.decline(offer.id, DeclineReason::User).await.unwrap();
    });
    assert_eq!(answer.0, StatusCode::OK);
    assert_eq!(answer.1["status"], "USER_CANCEL");
    assert_eq!(answer.1["data"].get("signature"), None);
}

#[tokio::test]
async fn not_me_stops_further_requests_until_it_is_lifted() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("fraud");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        jane.device.decline(offer.id, DeclineReason::NotMe).await.unwrap();
    });
    assert_eq!(answer.1["status"], "USER_CANCEL");
    assert!(answer.1["message"].as_str().unwrap().contains("did not ask for this"));
    let (status, body) = server.start_signature("jane", &payment("again")).await;
    assert_eq!((status, &body["status"]), (StatusCode::CONFLICT, &json!("CONFLICT")));

    server.cli(&["user", "unlock", "jane", "--tenant", "acme"]).unwrap();
    let mut jane = TestDevice::opened(jane.file.clone());
    let request = payment("third");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK");
}

#[tokio::test]
async fn what_waits_for_a_device_is_there_when_it_comes() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("waiting");
    request["callbackUrl"] = json!("https://shop.example/done");
    let (status, body) = server.start_signature("jane", &request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["status"], "OK_IN_WAITING_LIST");
    // A retry gets the answer of the first call, whichever devices are online now.
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK_IN_WAITING_LIST");
    assert_eq!(server.transaction("waiting")["state"], "finished");
}

#[tokio::test]
async fn nobody_comes_online() {
    let server = TestServer::new();
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("alone");
    request["deviceGoOnlineTimeout"] = json!(0);
    let (status, body) = server.start_signature("jane", &request).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("DEVICE_GO_ONLINE_TIMEOUT")));
    let mut request = payment("alone-too");
    request["deviceGoOnlineTimeout"] = json!(1);
    let (_, body) = server.start_signature("jane", &request).await;
    assert_eq!(
        body["data"],
        json!({"deviceId": "-1", "resultCode": "DEVICE_GO_ONLINE_TIMEOUT", "transactionId": "alone-too"})
    );
}

#[tokio::test]
async fn nobody_signs_in_time() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("slow");
    request["signatureTimeout"] = json!(1);
    let (answer, shown) = join!(server.start_signature("jane", &request), jane.opens(None));
    assert_eq!(answer.1["status"], "USER_CONFIRMATION_TIMEOUT", "{}", answer.1);
    let late = jane.device.approve(&shown.unwrap().1, None).await.unwrap_err();
    assert_eq!(late.code(), Some(countersign_device::Code::Ended), "{late}");
}

#[tokio::test]
async fn a_cancel_is_withdrawn_from_the_device_that_shows_it() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("taken-back");
    let (answer, cancelled) = join!(server.start_signature("jane", &request), async {
        let (offer, _) = jane.opens(None).await.unwrap();
        let cancelled = server.cancel("jane", "taken-back").await;
        match jane.device.next().await.unwrap() {
            Notice::Withdrawn(withdrawn) => assert_eq!(withdrawn.id, offer.id),
            other => panic!("{other:?}"),
        }
        cancelled
    });
    assert_eq!(answer.1["status"], "SERVER_CANCEL");
    let row = json!({
        "deviceId": jane.phone().device_id.to_string(),
        "userId": "jane",
        "transactionId": "taken-back",
        "cancelResult": "TRANSACTION_DISCARDED_FROM_CLIENT",
    });
    assert_eq!(cancelled.1["data"], json!([row]));
    assert_eq!(server.cancel("jane", "taken-back").await, cancelled, "repeated, it answers alike");
}

#[tokio::test]
async fn a_caller_that_hung_up_asks_again_and_gets_the_result() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("hung-up");
    let hurried =
        tokio::time::timeout(Duration::from_millis(300), server.start_signature("jane", &request));
    assert!(hurried.await.is_err(), "it was held");
    let (waited_on, _) = join!(server.start_signature("jane", &request), jane.signs());
    let after = server.start_signature("jane", &request).await;
    assert_eq!(after, waited_on);
    openssl_verifies(&signature(&after, "hung-up", &jane), &server.tenant_ca());

    let mut other = request.clone();
    other["signatureMessage"] = json!("Pay 5000 € to Ann?");
    let (status, body) = server.start_signature("jane", &other).await;
    assert_eq!((status, &body["status"]), (StatusCode::CONFLICT, &json!("CONFLICT")));
}

#[tokio::test]
async fn of_two_devices_the_first_to_answer_wins_and_the_other_is_told() {
    let server = TestServer::new();
    server.user("jane");
    let mut phone = TestDevice::enrolled(&server, "jane", None).await;
    let mut tablet = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("both");
    let (answer, late) = join!(server.start_signature("jane", &request), async {
        let (_, on_phone) = phone.opens(None).await.unwrap();
        let (_, on_tablet) = tablet.opens(None).await.unwrap();
        tablet.device.approve(&on_tablet, None).await.unwrap();
        match phone.device.next().await.unwrap() {
            Notice::Withdrawn(withdrawn) => assert_eq!(withdrawn.id, on_phone.id()),
            other => panic!("{other:?}"),
        }
        phone.device.approve(&on_phone, None).await
    });
    signature(&answer, "both", &tablet);
    assert_eq!(late.unwrap_err().code(), Some(countersign_device::Code::Ended));
}

#[tokio::test]
async fn a_named_device_is_the_only_one_that_is_asked() {
    let server = TestServer::new();
    server.user("jane");
    server.user("bob");
    let mut phone = TestDevice::enrolled(&server, "jane", None).await;
    let tablet = TestDevice::enrolled(&server, "jane", None).await;
    let bobs = TestDevice::enrolled(&server, "bob", None).await;
    let mut request = payment("named");
    request["deviceId"] = json!(bobs.phone().device_id.to_string());
    let (status, body) = server.start_signature("jane", &request).await;
    assert_eq!((status, &body["status"]), (StatusCode::NOT_FOUND, &json!("DEVICE_NOT_FOUND")));

    request["deviceId"] = json!(phone.phone().device_id.to_string());
    let mut others = tablet.polling();
    let (answer, _, ()) = join!(server.start_signature("jane", &request), phone.signs(), async {
        let nothing = tokio::time::timeout(Duration::from_millis(500), others.device.next_offer());
        assert!(nothing.await.is_err(), "the tablet was offered it");
    });
    signature(&answer, "named", &phone);
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let mut server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut request = payment("crash");
    request["callbackUrl"] = json!("https://shop.example/done");
    assert_eq!(server.start_signature("jane", &request).await.0, StatusCode::OK);
    let (_, shown) = jane.opens(None).await.unwrap();
    server.crash();
    jane.device.approve(&shown, None).await.unwrap();
    server.crash();
    assert_eq!(server.transaction("crash")["state"], "finished");
}

#[tokio::test]
async fn sigterm_tells_who_waits_to_come_back_and_closes_the_ledger() {
    let mut server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let request = payment("term");
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", server.address);
    let call = server.http.post(url).bearer_auth(server.token().await).json(&request);
    let held = tokio::spawn(call.send());
    let (_, shown) = jane.opens(None).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let answer = held.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], "SERVICE_UNAVAILABLE");
    assert!(!server.data().join("ledger.db-wal").exists(), "the ledger was not closed clean");

    server.restart();
    let (answer, ended) =
        join!(server.start_signature("jane", &request), jane.device.approve(&shown, None));
    ended.unwrap();
    signature(&answer, "term", &jane);
}

#[tokio::test]
async fn many_people_sign_at_once() {
    let server = TestServer::new();
    let mut people = Vec::new();
    for number in 0..12 {
        let user = format!("user{number}");
        server.user(&user);
        people.push((user.clone(), TestDevice::enrolled(&server, &user, None).await));
    }
    let server = &server;
    let all = people.iter_mut().map(|(user, test_device)| async move {
        let request = payment(user);
        let (answer, _) = join!(server.start_signature(user, &request), test_device.signs());
        signature(&answer, user, test_device)
    });
    assert_eq!(futures_util::future::join_all(all).await.len(), 12);
}

#[tokio::test]
async fn a_device_is_listed_as_it_described_itself() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let listed = server.cli(&["device", "list", "--tenant", "acme", "--user", "jane"]).unwrap();
    let row = &listed[0];
    assert_eq!(row["device_id"], jane.phone().device_id.to_string());
    assert_eq!(row["serial_number"], jane.phone().serial_number);
    assert_eq!((&row["user"], &row["state"]), (&json!("jane"), &json!("active")));
    let uses: Vec<_> = row["identities"].as_array().unwrap().iter().map(|i| &i["use"]).collect();
    assert_eq!(uses, [&json!("content"), &json!("digest")]);
    let data = server.data();
    assert!(run(&data, &["device", "list", "--tenant", "nobody", "--json"]).is_err());
}
