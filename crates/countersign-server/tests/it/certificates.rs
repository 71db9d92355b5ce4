//! Certificates end: renewals by devices, goodbyes, authorities, and what is refused when only
//! ended certificates could sign.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::KeyKind;
use countersign_wire::body::Renewal;
use countersign_wire::key_proof::{KeyStatement, Subject};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer, openssl_verifies, payment, read, until};
use crate::trustedx::{Shop, TRANSACTION, proof_of, transaction};

/// The error's code, with its status.
async fn refused(answer: Response) -> String {
    let (status, body) = read(answer).await;
    assert!(!status.is_success(), "{body}");
    format!("{} {}", status.as_u16(), body["error"].as_str().unwrap())
}

/// A call of a phone.
async fn call(
    server: &TestServer,
    phone: &TestDevice,
    method: Method,
    path: &str,
    body: &[u8],
) -> Response {
    let token = proof_of(phone.phone(), method.as_str(), path, body);
    let call = server.http.request(method, format!("{}{path}", server.address)).bearer_auth(token);
    call.header("content-type", "application/json").body(body.to_vec()).send().await.unwrap()
}

/// The body of a renewal of a phone's first identity for `key`, with the statement of `identity`.
fn renewal(
    phone: &TestDevice,
    key: &KeyPair,
    present: Option<&KeyPair>,
    identity: &str,
) -> Vec<u8> {
    let csr = CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
    let statement = KeyStatement {
        tenant: "acme",
        subject: Subject::Renewal(identity),
        usage: phone.phone().identities[0].usage,
        auth_key: phone.phone().auth_key.public().point(),
        csr: &csr,
    };
    let statement = statement.to_bytes();
    let proof = key.sign(&statement).unwrap();
    let present_proof = present.map(|present| present.sign(&statement).unwrap());
    serde_json::to_vec(&Renewal { csr, proof, present_proof, imported: None }).unwrap()
}

/// Makes the certificates of all identities in the ledger end at this time, in seconds.
fn end_all(server: &TestServer, at: u64) {
    let ends = format!(
        "UPDATE devices SET version = version + 1, identities = (
           SELECT json_group_array(json_set(value, '$.valid_until', {at}000))
             FROM json_each(identities));
         UPDATE identities SET valid_until = {at}000 WHERE valid_until IS NOT NULL"
    );
    let ended = Command::new("sqlite3").arg(server.data().join("ledger.db")).arg(ends).output();
    let ended = ended.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// The metrics of the server.
async fn metrics(server: &TestServer) -> String {
    let log = server.log();
    let (_, rest) = log.rsplit_once("Health and metrics on ").unwrap();
    let address = rest.split_whitespace().next().unwrap();
    reqwest::get(format!("{address}/metrics")).await.unwrap().text().await.unwrap()
}

/// The names of the events about identities and devices, with their actors.
fn events(server: &TestServer, kind: &str) -> Vec<String> {
    let listed = server.cli(&["history", "--tenant", "acme"]).unwrap();
    let listed = listed.as_array().or_else(|| listed["events"].as_array()).unwrap().clone();
    let of_kind = listed.iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["actor"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_renewal_is_served_for_the_old_key_and_for_a_new_one_that_the_old_one_proves() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let identity = jane.phone().identities[0].clone();
    let path = format!("/device/v1/identities/{}/certificate", identity.id);
    let key = KeyPair::from_pem(&identity.key).unwrap();
    let send = async |phone: &TestDevice, body: &[u8]| {
        call(&server, phone, Method::POST, &path, body).await
    };

    let asked = renewal(&jane, &key, None, &identity.id);
    let (status, first) = read(send(&jane, &asked).await).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    assert_eq!((&first["id"], &first["use"]), (&json!(identity.id), &json!("content")));
    assert_ne!(first["certificate"], json!(BASE64.encode(&identity.certificate)));
    let (_, again) = read(send(&jane, &asked).await).await;
    assert_eq!(again, first, "the same request gets the same answer");
    assert_eq!(events(&server, "identity.renewed"), [format!("device:{}", jane.phone().device_id)]);

    let new = KeyPair::generate().unwrap();
    for (body, answer) in [
        (renewal(&jane, &new, None, &identity.id), "400 bad_request"),
        (renewal(&jane, &new, Some(&new), &identity.id), "400 bad_request"),
        (renewal(&jane, &key, None, "00"), "400 bad_request"),
        (b"{}".to_vec(), "400 bad_request"),
    ] {
        assert_eq!(refused(send(&jane, &body).await).await, answer);
    }
    let mut other = identity.clone();
    other.id = "00000000000000000000000000000000".into();
    let nowhere = format!("/device/v1/identities/{}/certificate", other.id);
    let asked = renewal(&jane, &key, None, &other.id);
    let unknown = call(&server, &jane, Method::POST, &nowhere, &asked).await;
    assert_eq!(refused(unknown).await, "422 wrong_identity");
    server.user("mallory");
    let mallory = TestDevice::enrolled(&server, "mallory", None).await;
    let stolen = renewal(&mallory, &new, Some(&key), &identity.id);
    assert_eq!(refused(send(&mallory, &stolen).await).await, "422 wrong_identity");

    let asked = renewal(&jane, &new, Some(&key), &identity.id);
    let (status, renewed) = read(send(&jane, &asked).await).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    assert_eq!(read(send(&jane, &asked).await).await.1, renewed);
    // What is on its way, by the old key and its last certificate, is accepted.
    let listed = server.cli(&["identity", "list", "--tenant", "acme", "--user", "jane"]).unwrap();
    assert_eq!(listed[0]["certificate"], renewed["certificate"]);
    let stale = renewal(&jane, &key, None, &identity.id);
    assert_eq!(refused(send(&jane, &stale).await).await, "400 bad_request", "the key is replaced");
    // Nobody else gets the old key, although it is not used any more.
    let identity = mallory.phone().identities[0].id.clone();
    let own = KeyPair::from_pem(&mallory.phone().identities[0].key).unwrap();
    let path = format!("/device/v1/identities/{identity}/certificate");
    let taken = renewal(&mallory, &key, Some(&own), &identity);
    let taken = call(&server, &mallory, Method::POST, &path, &taken).await;
    assert_eq!(refused(taken).await, "409 key_used");
    jane.device.close().await;
}

#[tokio::test]
async fn a_device_renews_with_a_new_key_and_signs_with_it() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let before = jane.phone().identities[0].clone();
    jane.device.renew_identity(&before.id, Some(KeyKind::P384)).await.unwrap();
    let after = jane.phone().identities[0].clone();
    assert!(*after.key != *before.key && after.id == before.id && after.next.is_none());
    let mut jane = TestDevice::opened(jane.file);
    let request = payment("a");
    let (answer, shown) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    assert_eq!(shown.bytes(), "Pay 5 € to Ann?".as_bytes());
}

#[tokio::test]
async fn a_start_that_only_ended_certificates_could_answer_is_refused_in_each_dialects_way() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await.polling();
    end_all(&server, 1_000_000_000);
    let reason = "certificates of the signing identities have ended";
    let (status, body) = server.start_signature("jane", &payment("a")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert!(body.to_string().contains(reason), "{body}");
    let shop = Shop::new(&server).await;
    let (status, body) = shop.call(Method::POST, TRANSACTION, Some(&transaction())).await;
    assert_eq!((status.as_u16(), &body["error"]), (400, &json!("invalid_request")));
    assert!(body.to_string().contains(reason), "{body}");
    let listed = server.cli(&["identity", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed[0]["valid_until"], "2001-09-09T01:46:40Z");
    assert_eq!(listed[0]["ended"], true);
    let listed = server.cli(&["device", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed[0]["certificates_until"], "2001-09-09T01:46:40Z");
    assert_eq!(listed[0]["identities"][0]["ended"], true);

    for identity in jane.phone().identities.clone() {
        jane.device.renew_identity(&identity.id, None).await.unwrap();
    }
    let request = payment("b");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    let soon = ["identity", "list", "--tenant", "acme", "--ends-within", "1000"];
    assert_eq!(server.cli(&soon).unwrap(), json!([]));
    let all = ["identity", "list", "--tenant", "acme", "--ends-within", "1100"];
    assert_eq!(server.cli(&all).unwrap().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn ends_are_counted_in_the_metrics_and_warned_of_in_the_log() {
    let mut server = TestServer::configured("[certificates]\nidentity_days = 10\nwarn_days = 20\n");
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let count = async |server: &TestServer, name: &str| {
        let text = metrics(server).await;
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{text}")).rsplit(' ').next().unwrap().to_owned()
    };
    let text = metrics(&server).await;
    assert!(text.contains("# HELP countersign_certificates_ended "), "{text}");
    assert_eq!(count(&server, "countersign_certificates_ended{kind=\"server\"}").await, "0");
    assert!(!server.log().contains("certificates of signing identities have ended"));
    assert_eq!(server.stop(), Some(0));
    server.restart();
    let ending = "countersign_certificates_ending{kind=\"identity\"}";
    let counted = until("the ends are counted", async || {
        metrics(&server).await.contains(ending).then_some(())
    });
    counted.await;
    assert_eq!(count(&server, ending).await, "2");
    let certificate = &jane.phone().identities[0].certificate;
    let (from, end) = countersign_proof::validity(certificate).unwrap();
    assert_eq!(end - from, 11 * 86_400, "ten days, and one to which it is dated back");
    let first = "countersign_certificate_first_end_timestamp_seconds{kind=\"identity\"}";
    assert_eq!(count(&server, first).await, end.to_string());
    let warning = "0 certificates of signing identities have ended, and 2 end within 20 days";
    assert!(server.log().contains(warning), "{}", server.log());
    end_all(&server, 1_000_000_000);
    assert_eq!(server.stop(), Some(0));
    server.restart();
    let ended = "countersign_certificates_ended{kind=\"identity\"}";
    let counted = until("the ends are counted", async || {
        metrics(&server).await.contains(ended).then_some(())
    });
    counted.await;
    assert_eq!(count(&server, ended).await, "2");
    let warning = "2 certificates of signing identities have ended, and 0 end within 20 days";
    assert!(server.log().contains(warning), "{}", server.log());
}

#[tokio::test]
async fn a_device_says_goodbye_and_its_key_proves_nothing_more() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let path = "/device/v1/device";
    for _ in 0..2 {
        let (status, body) = read(call(&server, &jane, Method::DELETE, path, b"").await).await;
        assert_eq!((status, body), (StatusCode::OK, json!({})));
    }
    let offers = call(&server, &jane, Method::GET, "/device/v1/offers", b"").await;
    assert_eq!(refused(offers).await, "403 locked");
    let id = format!("device:{}", jane.phone().device_id);
    assert_eq!(events(&server, "device.retired"), [id]);
    let (status, body) = server.start_signature("jane", &payment("a")).await;
    assert_eq!((status.as_u16(), &body["status"]), (404, &json!("DEVICE_NOT_FOUND")));

    let again = TestDevice::enrolled(&server, "jane", None).await;
    let mut goodbye = Command::new(BINARY);
    let output = goodbye.args(["device", "goodbye", "--json"]).arg(&again.file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["serial_number"], json!(again.phone().serial_number));
    assert!(!again.file.exists());
    assert_eq!(server.cli(&["device", "list", "--tenant", "acme"]).unwrap(), json!([]));
}

#[tokio::test]
async fn a_new_authority_issues_and_both_are_trusted_until_the_old_one_is_taken_back() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    server.user("ann");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut ann = TestDevice::enrolled(&server, "ann", None).await;
    let made = server.cli(&["ca", "renew", "--tenant", "acme"]).unwrap();
    assert_eq!(made["state"], "issuing");
    let listed = server.cli(&["ca", "list", "--tenant", "acme"]).unwrap();
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&json!("trusted"), &json!("issuing")));
    let old = listed[0]["sha256"].as_str().unwrap().to_owned();
    let exported = server.cli(&["ca", "export", "--tenant", "acme"]).unwrap();
    let ca = server.path().join("both.pem");
    let both: Vec<_> = exported["certificates"].as_array().unwrap().iter().collect();
    assert_eq!(both.len(), 2);
    std::fs::write(&ca, both.iter().map(|pem| pem.as_str().unwrap()).collect::<String>()).unwrap();

    // The old certificate signs, and a new device gets one of the new authority.
    let mut joe = TestDevice::enrolled(&server, "joe", None).await;
    assert_ne!(jane.phone().identities[0].chain, joe.phone().identities[0].chain);
    for (reference, user, device) in [("a", "jane", &mut jane), ("b", "joe", &mut joe)] {
        let request = payment(reference);
        let (answer, _) = join!(server.start_signature(user, &request), device.signs());
        assert_eq!(answer.1["status"], "OK", "{}", answer.1);
        let message = message(&server, reference);
        assert!(!openssl_verifies(&message, &ca).is_empty());
        let file = server.path().join("signed.p7m");
        std::fs::write(&file, &message).unwrap();
        let mut verify = Command::new(BINARY);
        let verify = verify.arg("verify").arg(&file).arg("--ca").arg(&ca).output().unwrap();
        assert!(verify.status.success(), "{verify:?}");
    }

    let issuing = listed[1]["sha256"].as_str().unwrap();
    let refused = server.cli(&["ca", "retire", issuing, "--tenant", "acme"]).unwrap_err();
    assert!(refused.stderr.contains("countersign ca renew"), "{}", refused.stderr);
    let retired = server.cli(&["ca", "retire", &old[..16], "--tenant", "acme"]).unwrap();
    assert_eq!((&retired["sha256"], &retired["state"]), (&json!(old), &json!("retired")));
    let again = server.cli(&["ca", "retire", &old, "--tenant", "acme"]).unwrap_err();
    assert!(again.stderr.contains("countersign ca list"), "{}", again.stderr);
    assert_eq!(events(&server, "root.distrusted").len(), 1);
    // A device whose signature is refused renews its certificate, and signs once more.
    let request = payment("d");
    let (answer, _) = join!(server.start_signature("ann", &request), ann.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    assert_eq!(ann.phone().identities[0].chain, joe.phone().identities[0].chain);
    // A device renews its certificate and gets one of the new authority.
    let id = jane.phone().identities[0].id.clone();
    jane.device.renew_identity(&id, None).await.unwrap();
    assert_eq!(jane.phone().identities[0].chain, joe.phone().identities[0].chain);
    let request = payment("c");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
}

/// The message of a signed transaction, from the ledger.
fn message(server: &TestServer, reference: &str) -> Vec<u8> {
    let id = server.transaction(reference)["id"].as_str().unwrap().to_owned();
    let shown = server.cli(&["transaction", "show", &id, "--tenant", "acme"]).unwrap();
    let text = shown["end"]["signature"].as_str().unwrap_or_else(|| panic!("{shown}"));
    BASE64.decode(text).unwrap()
}

/// Builds the library that shifts the clock of a program by so many days.
fn shifted_clock(server: &TestServer, days: u32) -> PathBuf {
    let library = server.path().join(format!("clock-{days}.so"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/shifted_clock.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", &format!("-DSHIFT={}L", u64::from(days) * 86_400), "-o"]);
    let output = compiler.arg(&library).arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Runs a command of the program with another clock; returns the JSON that it prints.
fn run_later(clock: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(BINARY);
    let output = command.args(arguments).env("LD_PRELOAD", clock).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::Deserializer::from_str(&text).into_iter().map(Result::unwrap).collect()
}

/// Runs a device with another clock, which approves one transaction; returns the answer and the
/// device's events.
async fn signs_later(
    server: &TestServer,
    clock: &Path,
    user: &str,
    file: &Path,
    reference: &str,
) -> (Value, Vec<Value>) {
    let (clock, file) = (clock.to_owned(), file.to_str().unwrap().to_owned());
    let device = tokio::task::spawn_blocking(move || {
        let run = ["device", "run", &file, "--answer", "approve", "--count", "1", "--json"];
        run_later(&clock, &run)
    });
    let started = until("the start is accepted", async || {
        let (status, answer) = server.start_signature(user, &payment(reference)).await;
        // The device renews its certificates when it connects.
        (status != StatusCode::CONFLICT).then_some(answer)
    });
    let (answer, device) = join!(started, device);
    (answer, device.unwrap())
}

fn renewals(events: &[Value]) -> usize {
    events.iter().filter(|event| event["event"] == "renewed").count()
}

#[tokio::test]
async fn over_the_years_devices_renew_and_go_on_and_a_late_one_comes_back() {
    let mut server = TestServer::new();
    for user in ["jane", "joe"] {
        server.user(user);
    }
    let jane = TestDevice::enrolled(&server, "jane", None).await.file;
    let joe = TestDevice::enrolled(&server, "joe", None).await.file;
    let first = std::fs::read(server.data().join("tls/server.pem")).unwrap();

    assert_eq!(server.stop(), Some(0));
    let clock = shifted_clock(&server, 740);
    server.restart_with(&clock);
    let (answer, events) = signs_later(&server, &clock, "jane", &jane, "a").await;
    assert_eq!((&answer["status"], renewals(&events)), (&json!("OK"), 2), "{answer} {events:?}");
    let renewed = std::fs::read(server.data().join("tls/server.pem")).unwrap();
    assert_ne!(renewed, first, "the server's own certificate had ended");

    assert_eq!(server.stop(), Some(0));
    let clock = shifted_clock(&server, 1_100);
    server.restart_with(&clock);
    let (answer, events) = signs_later(&server, &clock, "jane", &jane, "b").await;
    assert_eq!((&answer["status"], renewals(&events)), (&json!("OK"), 0), "{answer} {events:?}");
    let (status, answer) = server.start_signature("joe", &payment("c")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer.to_string().contains("certificates of the signing identities have ended"));
    let data = server.data();
    let listed = ["identity", "list", "--tenant", "acme", "--user", "joe", "--json", "--data"];
    let listed = run_later(&clock, &[&listed[..], &[data.to_str().unwrap()]].concat());
    let listed = listed[0].as_array().unwrap();
    assert!(listed.len() == 2 && listed.iter().all(|one| one["ended"] == true), "{listed:?}");

    let (answer, events) = signs_later(&server, &clock, "joe", &joe, "d").await;
    assert_eq!((&answer["status"], renewals(&events)), (&json!("OK"), 2), "{answer} {events:?}");
}
