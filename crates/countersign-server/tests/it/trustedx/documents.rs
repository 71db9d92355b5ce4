//! Documents: fetched and digested by the device, and their signatures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{Answer, Event, KeyKind, Run, State, View, run};
use reqwest::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{DOCUMENT, RAW, Shop, TRANSACTION, id, openssl_digest, openssl_verifies, transaction};
use crate::receiver::{Act, Authority, OK, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer};

/// A server that accepts addresses of this machine.
fn server() -> TestServer {
    TestServer::configured("[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\n")
}

/// A minimal PDF of one page with one line (ISO 32000-1, annex H.3).
fn pdf(line: &str) -> Vec<u8> {
    let text = format!("BT /F1 18 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R\
         /Resources<</Font<</F1 5 0 R>>>>>>"
            .to_owned(),
        format!("<</Length {}>>stream\n{text}\nendstream", text.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let (mut file, mut offsets) = ("%PDF-1.4\n".to_owned(), String::new());
    for (object, number) in objects.iter().zip(1..) {
        writeln!(offsets, "{:010} 00000 n ", file.len()).unwrap();
        writeln!(file, "{number} 0 obj{object}endobj").unwrap();
    }
    let (count, start) = (objects.len() + 1, file.len());
    write!(file, "xref\n0 {count}\n0000000000 65535 f \n{offsets}").unwrap();
    writeln!(file, "trailer<</Size {count}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF").unwrap();
    file.into_bytes()
}

fn der(authority: &Authority) -> Vec<u8> {
    CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap().to_vec()
}

/// A server for one document and its digest.
struct Archive {
    authority: Authority,
    site: Receiver,
}

impl Archive {
    async fn of(document: &[u8]) -> Self {
        let authority = Authority::new();
        let digest = BASE64.encode(openssl_digest("sha256", document));
        let told = json!({"digest_value": digest, "digest_algorithm": "sha256"}).to_string();
        let document = document.to_vec();
        let site =
            Receiver::new(&authority, move |_, call| match call.line.split(' ').nth(1).unwrap() {
                "/lease.pdf" => Act::Body(document.clone()),
                "/lease.digest" => Act::Body(told.clone().into_bytes()),
                "/elsewhere.pdf" => Act::Answer("302 Found\r\nLocation: /lease.pdf"),
                _ => Act::Answer("404 Not Found"),
            });
        Self { site: site.await, authority }
    }

    /// A request for a signature over the document with this digest, at this server's address.
    fn request(&self, digest: &[u8]) -> Value {
        json!({
            "input": {
                "digest_value": BASE64.encode(digest),
                "digest_algorithm": "sha256",
                "document_url": format!("{}/lease.pdf", self.site.origin()),
                "document_alias": "Lease of 1 May",
                "root_certs": [BASE64.encode(der(&self.authority))],
                "document_info": {"html": BASE64.encode("<p>The <b>lease</b></p>")},
            },
            "sign_identities": [{"labels": ["test"]}],
        })
    }
}

/// Puts a result's signature in a CMS beside its document, as the project's documents describe.
fn placed(directory: &Path, result: &Value, document: &Path) -> PathBuf {
    let [file, out] = ["result.json", "lease.p7s"].map(|name| directory.join(name));
    std::fs::write(&file, result.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/place.py");
    let digest = openssl_digest("sha256", &std::fs::read(document).unwrap());
    let output = Command::new("python3")
        .args([&script, &file, document])
        .args(["--digest", &BASE64.encode(digest)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&out, output.stdout).unwrap();
    out
}

/// OpenSSL's result for a CMS beside a document.
fn openssl_reads(cms: &Path, document: &Path, ca: &Path) -> Output {
    let mut openssl = Command::new("openssl");
    openssl.args(["cms", "-verify", "-binary", "-inform", "DER", "-in"]).arg(cms);
    openssl.arg("-content").arg(document).arg("-CAfile").arg(ca).output().unwrap()
}

#[tokio::test]
async fn a_pdf_is_signed_where_it_lies_and_openssl_verifies_it_in_a_cms() {
    let server = server();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let document = pdf("Flat 7, 500 EUR a month");
    let archive = Archive::of(&document).await;
    let shop = Shop::new(&server).await;
    let request = archive.request(&openssl_digest("sha256", &document));
    let process = id(&shop.creates(DOCUMENT, &request).await);

    let shown = jane.signs().await;
    let View::Digest(view) = shown.view() else { panic!("{shown:?}") };
    assert_eq!(view.alias.as_deref(), Some("Lease of 1 May"));
    assert_eq!(view.html.as_deref(), Some("The lease"));
    assert_eq!(view.length, Some(document.len() as u64));
    assert_eq!(shown.bytes(), openssl_digest("sha256", &document));

    let (status, result) = shop.result(&process).await;
    assert_eq!((status, &result["status"]), (StatusCode::OK, &json!("finished")), "{result}");
    let directory = tempfile::tempdir().unwrap();
    let lease = directory.path().join("lease.pdf");
    std::fs::write(&lease, &document).unwrap();
    let (cms, ca) = (placed(directory.path(), &result, &lease), server.tenant_ca());
    let read = openssl_reads(&cms, &lease, &ca);
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(read.stdout, document);

    std::fs::write(&lease, pdf("Flat 7, 900 EUR a month")).unwrap();
    assert!(!openssl_reads(&cms, &lease, &ca).status.success());
}

#[tokio::test]
async fn the_command_line_device_does_the_same_by_the_links_with_another_kind_of_key() {
    let server = server();
    server.user("jane");
    let jane = TestDevice::with_key(&server, "jane", None, KeyKind::Rsa2048).await;
    let document = pdf("Flat 8");
    let archive = Archive::of(&document).await;
    let shop = Shop::new(&server).await;
    let request = archive.request(&openssl_digest("sha256", &document));
    let process = id(&shop.creates(DOCUMENT, &request).await);

    let output = tokio::process::Command::new(BINARY)
        .args(["device", "run", jane.file.to_str().unwrap(), "--links", "--count", "1"])
        .args(["--answer", "approve", "--color", "never", "--allow-fetch", "127.0.0.1"])
        .output();
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for words in ["The lease", "Lease of 1 May", &format!("{} bytes, with this", document.len())] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let (_, result) = shop.result(&process).await;
    assert_eq!(result["signature_algorithm"], "rsa-sha256");
    let directory = tempfile::tempdir().unwrap();
    let lease = directory.path().join("lease.pdf");
    std::fs::write(&lease, &document).unwrap();
    let cms = placed(directory.path(), &result, &lease);
    let read = openssl_reads(&cms, &lease, &server.tenant_ca());
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

/// Runs a device that approves everything until it has ended one; returns how.
async fn approves(test_device: &mut TestDevice) -> State {
    let mut end = None;
    let once = Run { answer: Answer::Approve, pin: None, count: Some(1) };
    let ran = run(&mut test_device.device, once, |event| {
        if let Event::Ended { state, .. } = event {
            end = Some(state);
        }
    });
    timeout(Duration::from_secs(20), ran).await.expect("the process ends").unwrap();
    end.unwrap()
}

#[tokio::test]
async fn what_is_not_as_the_application_says_fails_the_process_in_one_sentence() {
    let server = server();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let document = pdf("Flat 7, 500 EUR a month");
    let archive = Archive::of(&document).await;
    let shop = Shop::new(&server).await;
    let (right, other) = (openssl_digest("sha256", &document), openssl_digest("sha256", b"other"));
    let with = |name: &str, value: Value| {
        let mut request = archive.request(&right);
        request["input"][name] = value;
        request
    };
    let at = |path: &str| json!(format!("{}{path}", archive.site.origin()));
    let digest_url = {
        let mut request = archive.request(&other);
        request["input"]["digest_url"] = at("/lease.digest");
        request
    };
    for request in [
        archive.request(&other),
        digest_url,
        with("document_url", at("/elsewhere.pdf")),
        with("document_url", at("/nothing.pdf")),
        // No server listens at the first address, and the phone's owner did not allow the second.
        with("document_url", json!("https://localhost:1/")),
        with("document_url", json!("https://127.0.0.2:1/")),
        with("root_certs", json!([BASE64.encode(der(&Authority::new()))])),
        with("root_certs", json!([])),
    ] {
        for links in [false, true] {
            jane.device.prefer_links(links);
            let process = id(&shop.creates(DOCUMENT, &request).await);
            assert_eq!(approves(&mut jane).await, State::Failed);
            let (status, result) = shop.result(&process).await;
            let failed = json!({"status": "failed", "value": "the document could not be checked"});
            assert_eq!((status, result), (StatusCode::OK, failed));
        }
    }
}

#[tokio::test]
async fn a_process_whose_document_is_not_on_the_public_internet_is_not_started() {
    let server = TestServer::new();
    server.user("jane");
    let _jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    for host in ["localhost:8443", "127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254", "0x7f.1"] {
        for name in ["document_url", "digest_url"] {
            let mut request = json!({
                "input": {"digest_value": BASE64.encode([0; 32]), "digest_algorithm": "sha256"},
                "sign_identities": [{"labels": ["test"]}],
            });
            request["input"][name] = json!(format!("https://{host}/1"));
            let (status, answer) = shop.call(Method::POST, DOCUMENT, Some(&request)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
            let sentence = format!("input.{name} must be on the public internet");
            assert!(answer.to_string().contains(&sentence), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_digest_that_only_its_address_tells_is_learnt_and_reported() {
    let server = server();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let document = pdf("Flat 7");
    let digest = openssl_digest("sha256", &document);
    let archive = Archive::of(&document).await;
    let shop = Shop::new(&server).await;
    let roots = json!([BASE64.encode(der(&archive.authority))]);
    let digest_url = format!("{}/lease.digest", archive.site.origin());
    for links in [false, true] {
        jane.device.prefer_links(links);
        let request = json!({
            "input": {"digest_url": digest_url, "root_certs": roots},
            "sign_identities": [{"labels": ["test"]}],
        });
        let created = shop.creates(RAW, &request).await;
        assert!(created["input"].get("digest_value").is_none(), "it is not known yet");
        let process = id(&created);
        let shown = jane.signs().await;
        assert_eq!(shown.bytes(), digest);
        let (_, result) = shop.result(&process).await;
        assert_is_over(&result, &digest);
        // The result and the resource say which digest was signed.
        let (_, ended) = shop.get(&format!("/signatures/{process}")).await;
        for told in [&result, &ended["signature"]["input"]] {
            assert_eq!(told["digest_value"], BASE64.encode(&digest));
            assert_eq!(told["digest_algorithm"], "sha256");
        }
    }
}

#[tokio::test]
async fn a_callback_says_which_digest_the_device_learnt_and_only_if_it_learnt_it() {
    let (certificates, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let ca = certificates.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let server = TestServer::configured(&format!(
        "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"{}\"\n",
        ca.display()
    ));
    let mut receiver = Receiver::new(&authority, |_, _| OK).await;
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let document = pdf("Flat 7");
    let digest = openssl_digest("sha256", &document);
    let archive = Archive::of(&document).await;
    let shop = Shop::new(&server).await;
    let path = format!("{RAW}?callbackUrl={}/ended", receiver.origin());
    let told = json!({"digest_value": BASE64.encode(&digest), "digest_algorithm": "sha256"});
    let digest_url = format!("{}/lease.digest", archive.site.origin());
    let roots = json!([BASE64.encode(der(&archive.authority))]);
    for (input, learnt) in [
        (json!({"digest_url": digest_url, "root_certs": roots}), &told),
        (told.clone(), &json!({"digest_value": null, "digest_algorithm": null})),
    ] {
        let request = json!({"input": input, "sign_identities": [{"labels": ["test"]}]});
        let process = id(&shop.creates(&path, &request).await);
        assert_eq!(jane.signs().await.bytes(), digest);
        let call: Value = serde_json::from_slice(&receiver.next().await.body).unwrap();
        let result = &call["result"];
        assert_eq!((&call["id"], &result["status"]), (&json!(process), &json!("finished")));
        for member in ["digest_value", "digest_algorithm"] {
            assert_eq!(result[member], learnt[member], "{call}");
        }
    }
}

/// OpenSSL finds that the result's signature is its identity's, over this SHA-256.
#[track_caller]
fn assert_is_over(result: &Value, digest: &[u8]) {
    let decoded = |value: &Value| BASE64.decode(value.as_str().unwrap()).unwrap();
    let certificate = decoded(&result["sign_identity"]["details"]["certificate"]);
    let signature = decoded(&result["value"]);
    assert!(openssl_verifies(&certificate, "sha256", digest, &signature), "{result}");
}

#[tokio::test]
async fn html_is_shown_as_text_and_signed_as_it_was_sent_by_the_links_too() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let data = "<h1>Pay</h1><p>5\u{a0}€ to <a href='https://bob.example/'>Bob</a>\
                <span style='color:red'>now</span></p>";
    for links in [false, true] {
        jane.device.prefer_links(links);
        let mut request = transaction();
        request["input"]["data"] = json!(data);
        let process = id(&shop.creates(TRANSACTION, &request).await);
        let (_, shown) = jane.opens(None).await.unwrap();
        let looked = server.cli(&["transaction", "show", &process, "--tenant", "acme"]).unwrap();
        // Reading the process does not take it.
        assert_eq!(looked["state"], if links { "waiting" } else { "taken" });
        jane.device.approve(&shown, None).await.unwrap();
        let text = "│ Pay\n│ \n│ 5\u{a0}€ to Bob <https://bob.example/>now\n\
                    │ \n│ [not shown here: style]\n";
        assert_eq!(shown.view().to_string(), text);
        assert_eq!(shown.bytes(), data.as_bytes());
        let (_, result) = shop.result(&process).await;
        assert_is_over(&result, &openssl_digest("sha256", data.as_bytes()));
    }
}

#[tokio::test]
async fn html_with_a_script_is_not_signed_and_fails_the_process() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let shop = Shop::new(&server).await;
    let mut request = transaction();
    request["input"]["data"] = json!("<p>Pay 5</p><script>alert(1)</script>");
    for links in [false, true] {
        jane.device.prefer_links(links);
        let process = id(&shop.creates(TRANSACTION, &request).await);
        assert_eq!(approves(&mut jane).await, State::Failed);
        let (_, result) = shop.result(&process).await;
        assert_eq!(result, json!({"status": "failed", "value": "media_type"}));
    }
}

#[tokio::test]
async fn a_person_who_says_no_at_a_link_cancels_the_process() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    jane.device.prefer_links(true);
    let shop = Shop::new(&server).await;
    let process = id(&shop.creates(TRANSACTION, &transaction()).await);
    let no = Run { answer: Answer::Decline, pin: None, count: Some(1) };
    assert_eq!(run(&mut jane.device, no, |_| {}).await.unwrap(), 1);
    assert_eq!(shop.result(&process).await.1, json!({"status": "canceled"}));
}

#[tokio::test]
async fn what_another_dialect_asks_for_is_taken_although_links_are_preferred() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    jane.device.prefer_links(true);
    let payment = crate::test_server::payment("order-1");
    let (answer, shown) = tokio::join!(server.start_signature("jane", &payment), jane.signs());
    assert_eq!((answer.0, shown.media_type()), (StatusCode::OK, "text/plain; charset=utf-8"));
}

#[tokio::test]
async fn a_signature_that_was_made_at_a_link_is_sent_there_again_after_a_restart() {
    let mut server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    jane.device.prefer_links(true);
    let process = id(&Shop::new(&server).await.creates(TRANSACTION, &transaction()).await);
    let (_, shown) = jane.opens(None).await.unwrap();
    server.kill();
    // It signs and stores the signature, but cannot send it.
    let lost = jane.device.approve(&shown, None);
    tokio::time::timeout(std::time::Duration::from_secs(1), lost).await.unwrap_err();
    server.restart();
    let mut again = TestDevice::opened(jane.file.clone());
    let resumed = again.device.resume().await.unwrap();
    assert_eq!(resumed.len(), 1);
    assert_eq!(resumed[0].outcome.as_ref().unwrap().state, State::Finished);
    let (_, result) = Shop::new(&server).await.result(&process).await;
    assert_eq!(result["status"], "finished");
}
