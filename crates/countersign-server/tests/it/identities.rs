//! Signing identities besides those of the enrolment, raw signatures on our own channel, and the
//! data for verifying them.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::{Code, Error, KeyKind, PhoneFile, Source, Use, View, enrol};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::test_device::{TestDevice, enrolment};
use crate::test_server::TestServer;
use crate::trustedx::{Shop, id, transaction};

const RAW: &str = "/signatures/device/raw";
const TRANSACTION: &str = "/signatures/device/commitment/transaction";

/// A foreign authority, made with OpenSSL.
struct Stranger(tempfile::TempDir);

impl Stranger {
    fn new() -> Self {
        let stranger = Self(tempfile::tempdir().unwrap());
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n";
        std::fs::write(stranger.path("ca.ext"), extensions).unwrap();
        let end = "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,nonRepudiation\n";
        std::fs::write(stranger.path("end.ext"), end).unwrap();
        stranger.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca.key");
        stranger.run("req -new -key ca.key -subj /CN=Stranger -out ca.csr");
        stranger.run("x509 -req -in ca.csr -signkey ca.key -days 9 -extfile ca.ext -out ca.pem");
        stranger
    }

    /// A key and its certificate, PEM.
    fn issues(&self, name: &str, algorithm: &str) -> (PathBuf, PathBuf) {
        self.run(&format!("genpkey -algorithm {algorithm} -out {name}.key"));
        self.run(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        self.run(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \
             -extfile end.ext -out {name}.pem"
        ));
        (self.path(&format!("{name}.key")), self.path(&format!("{name}.pem")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) {
        openssl(self.0.path(), arguments);
    }
}

fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    let output =
        openssl.args(arguments.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn brought(key: &Path, certificate: &Path) -> Source {
    let read = |path| std::fs::read_to_string(path).unwrap();
    Source::Brought { key: read(key).into(), certificates: read(certificate) }
}

fn code<T: std::fmt::Debug>(answer: Result<T, Error>) -> Option<Code> {
    answer.unwrap_err().code()
}

/// A request for a raw signature over a digest, by any identity with this label.
fn raw(digest: &[u8], label: &str) -> Value {
    let html = BASE64.encode("<p>The <b>lease</b></p>");
    json!({
        "input": {
            "digest_value": BASE64.encode(digest), "digest_algorithm": "sha256",
            "data_info": {"html": html},
        },
        "sign_identities": [{"labels": [label]}],
    })
}

/// The output of `transaction show` for it.
fn shown(server: &TestServer, id: &str) -> Value {
    server.cli(&["transaction", "show", id, "--tenant", "acme"]).unwrap()
}

/// Verifies a raw signature with OpenSSL, using only the output and the roots.
fn openssl_accepts(server: &TestServer, shown: &Value) {
    let directory = tempfile::tempdir().unwrap();
    let end = &shown["end"];
    let bytes = |value: &Value| BASE64.decode(value.as_str().unwrap()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    };
    let run = |arguments: &str| openssl(directory.path(), arguments);
    let exported = server.cli(&["ca", "export", "--tenant", "acme"]).unwrap();
    let roots = exported["certificates"].as_array().unwrap();
    let roots: String = roots.iter().map(|root| root.as_str().unwrap()).collect();
    write("roots.pem", roots.as_bytes());
    write("own.der", &bytes(&end["certificate"]));
    write("own.pem", &run("x509 -inform DER -in own.der"));
    run("verify -CAfile roots.pem own.pem");
    write("public.pem", &run("x509 -in own.pem -noout -pubkey"));
    write("signature", &bytes(&end["signature"]));
    let hash = end["algorithm"].as_str().unwrap().split_once('-').unwrap().1;
    if end["text"].is_string() {
        write("text", &bytes(&end["text"]));
        run(&format!("dgst -{hash} -verify public.pem -signature signature text"));
    } else {
        write("digest", &bytes(&end["digest"]));
        run(&format!(
            "pkeyutl -verify -pubin -inkey public.pem -in digest -sigfile signature \
             -pkeyopt digest:{hash}"
        ));
    }
}

/// Verifies it by `countersign verify`.
fn we_accept(server: &TestServer, shown: &Value) -> Value {
    let file = server.path().join("shown.json");
    std::fs::write(&file, shown.to_string()).unwrap();
    let exported = server.cli(&["ca", "export", "--tenant", "acme"]).unwrap();
    let roots = exported["certificates"].as_array().unwrap();
    let roots: String = roots.iter().map(|root| root.as_str().unwrap()).collect();
    let ca = server.path().join("roots.pem");
    std::fs::write(&ca, roots).unwrap();
    let run = ["verify", file.to_str().unwrap(), "--ca", ca.to_str().unwrap(), "--json"];
    let mut verify = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = verify.args(run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn text_and_digests_are_signed_raw_on_the_channel_and_anybody_can_verify_them() {
    let server = TestServer::new();
    server.user("jane");
    let shop = Shop::new(&server).await;
    for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
        let mut jane = TestDevice::with_key(&server, "jane", None, kind).await;
        let device = jane.phone().device_id.to_string();
        let started = shop.creates(TRANSACTION, &transaction_for(&device)).await;
        let seen = jane.signs().await;
        assert_eq!(seen.bytes(), b"<p>Pay 5 \xe2\x82\xac?</p>");
        let text = shown(&server, &id(&started));
        assert_eq!(text["end"]["text"], json!(BASE64.encode("<p>Pay 5 €?</p>")));
        openssl_accepts(&server, &text);
        let verified = we_accept(&server, &text);
        assert_eq!(verified["transaction"], text["id"]);

        let digest = [7; 32];
        let mut wanted = raw(&digest, "test");
        wanted["sign_identities"][0]["device_id"] = json!(device);
        let started = shop.creates(RAW, &wanted).await;
        let seen = jane.signs().await;
        assert!(matches!(seen.view(), View::Digest(view) if view.digest == digest));
        assert!(seen.view().to_string().contains("The lease"), "{}", seen.view());
        let signed = shown(&server, &id(&started));
        assert_eq!(signed["end"]["digest"], json!(BASE64.encode(digest)));
        openssl_accepts(&server, &signed);
        assert_eq!(we_accept(&server, &signed)["algorithm"], signed["end"]["algorithm"]);
    }
}

/// The usual transaction, for the identities of one device.
fn transaction_for(device: &str) -> Value {
    let mut wanted = transaction();
    wanted["sign_identities"][0]["device_id"] = json!(device);
    wanted
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_brought_once_its_root_is_trusted() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let stranger = Stranger::new();
    let (key, certificate) = stranger.issues("jane", "EC -pkeyopt ec_paramgen_curve:P-256");
    let source = brought(&key, &certificate);
    let labels = ["qualified".to_owned()];
    let refused = jane.device.add_identity(Use::Digest, &labels, &source).await;
    assert_eq!(
        code(refused),
        Some(Code::BadSignature),
        "the tenant does not trust the authority yet"
    );

    let root = stranger.path("ca.pem");
    let trust = ["tenant", "trust", "acme", "--root", root.to_str().unwrap()];
    server.cli(&trust).unwrap();
    server.cli(&trust).expect("what is done already is no failure");
    let id_of = jane.device.add_identity(Use::Digest, &labels, &source).await.unwrap();
    let again = jane.device.add_identity(Use::Digest, &labels, &source).await.unwrap();
    assert_eq!(again, id_of, "the same key again is the same identity");
    let other_use = jane.device.add_identity(Use::Content, &labels, &source).await;
    assert_eq!(code(other_use), Some(Code::WrongIdentity), "a key has one use");

    let find = ["identity", "list", "--tenant", "acme", "--label", "qualified"];
    assert_eq!(server.cli(&find).unwrap(), json!([]), "what a device proposes finds nothing");
    let label = ["identity", "label", &id_of, "--tenant", "acme", "--label", "qualified"];
    server.cli(&label).unwrap();
    let listed = server.cli(&find).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["proposed_labels"], json!(["qualified"]));
    assert_eq!((&listed[0]["id"], &listed[0]["use"]), (&json!(id_of), &json!("digest")));

    let shop = Shop::new(&server).await;
    let started = shop.creates(RAW, &raw(&[9; 32], "qualified")).await;
    jane.signs().await;
    let signed = shown(&server, &id(&started));
    assert_eq!(signed["state"], "finished");
    assert_eq!(signed["end"]["certificate"], listed[0]["certificate"]);
    openssl_accepts(&server, &signed);
}

/// The chain was verified, and cached, for the first signature; and its certificates are stored
/// with the identity.
#[tokio::test]
async fn a_root_that_is_taken_back_takes_the_chains_that_are_remembered_with_it() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let stranger = Stranger::new();
    let (key, certificate) = stranger.issues("jane", "EC -pkeyopt ec_paramgen_curve:P-256");
    let root = stranger.path("ca.pem");
    let [trust, distrust] =
        ["trust", "distrust"].map(|act| ["tenant", act, "acme", "--root", root.to_str().unwrap()]);
    server.cli(&trust).unwrap();
    let source = brought(&key, &certificate);
    let id_of = jane.device.add_identity(Use::Digest, &[], &source).await.unwrap();
    let label = ["identity", "label", &id_of, "--tenant", "acme", "--label", "qualified"];
    server.cli(&label).unwrap();
    let shop = Shop::new(&server).await;
    let started = shop.creates(RAW, &raw(&[9; 32], "qualified")).await;
    jane.signs().await;
    assert_eq!(shown(&server, &id(&started))["state"], "finished");

    server.cli(&distrust).unwrap();
    server.cli(&distrust).expect("what is done already is no failure");
    let started = shop.creates(RAW, &raw(&[8; 32], "qualified")).await;
    let (_, seen) = jane.opens(None).await.unwrap();
    let refused = jane.device.approve(&seen, None).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::BadSignature), "{refused}");
    assert_ne!(shown(&server, &id(&started))["state"], "finished");
    // The identities of the tenant's own authority sign as before, and that root stays.
    let device = jane.phone().device_id.to_string();
    let own = shop.creates(TRANSACTION, &transaction_for(&device)).await;
    jane.signs().await;
    assert_eq!(shown(&server, &id(&own))["state"], "finished");
    let ca = server.tenant_ca();
    let own_root = ["tenant", "distrust", "acme", "--root", ca.to_str().unwrap()];
    assert!(server.cli(&own_root).unwrap_err().stderr.contains("own authority"));

    server.cli(&trust).unwrap();
    let started = shop.creates(RAW, &raw(&[7; 32], "qualified")).await;
    jane.signs().await;
    assert_eq!(shown(&server, &id(&started))["state"], "finished");
}

#[tokio::test]
async fn a_certificate_that_is_not_for_the_key_or_not_for_signatures_is_not_brought() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let stranger = Stranger::new();
    server
        .cli(&["tenant", "trust", "acme", "--root", stranger.path("ca.pem").to_str().unwrap()])
        .unwrap();
    let (key, _) = stranger.issues("one", "EC -pkeyopt ec_paramgen_curve:P-256");
    let (_, others) = stranger.issues("two", "EC -pkeyopt ec_paramgen_curve:P-256");
    let add = async |jane: &mut TestDevice, source: &Source| {
        jane.device.add_identity(Use::Digest, &[], source).await
    };
    let refused = add(&mut jane, &brought(&key, &others)).await.unwrap_err();
    assert!(matches!(refused, Error::CannotSign(_)), "{refused}");
    let (ca_key, ca) = (stranger.path("ca.key"), stranger.path("ca.pem"));
    let refused = add(&mut jane, &brought(&ca_key, &ca)).await;
    assert_eq!(code(refused), Some(Code::BadSignature), "an authority's own key signs no contents");

    let content = jane.phone().identity(Use::Content).unwrap().clone();
    let certificate = server.path().join("content.pem");
    let pem = |der: &[u8]| {
        let base64 = BASE64.encode(der);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    };
    std::fs::write(&certificate, pem(&content.certificate)).unwrap();
    let key = server.path().join("content.key");
    std::fs::write(&key, content.key.as_bytes()).unwrap();
    let refused = add(&mut jane, &brought(&key, &certificate)).await;
    assert_eq!(code(refused), Some(Code::WrongIdentity), "the key signs content already");

    for _ in 2..8 {
        add(&mut jane, &Source::Made(KeyKind::P256)).await.unwrap();
    }
    let one_more = add(&mut jane, &Source::Made(KeyKind::P256)).await;
    assert_eq!(code(one_more), Some(Code::BadRequest), "a device has eight identities at most");
}

#[tokio::test]
async fn identities_are_disabled_labelled_and_deleted_on_the_command_line() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let content = jane.phone().identity(Use::Content).unwrap().id.clone();
    let act = |words: &[&str]| {
        let (verb, rest) = words.split_first().unwrap();
        server.cli(&[&["identity", verb, &content, "--tenant", "acme"], rest].concat())
    };
    let shop = Shop::new(&server).await;
    let started = shop.creates(TRANSACTION, &transaction()).await;
    let (_, seen) = jane.opens(None).await.unwrap();
    let disabled = act(&["disable", "--reason", "under review"]).unwrap();
    assert_eq!(disabled["status_reason"], "under review");
    let refused = jane.device.approve(&seen, None).await;
    assert_eq!(code(refused), Some(Code::WrongIdentity));
    act(&["enable"]).unwrap();
    jane.device.approve(&seen, None).await.unwrap();
    assert_eq!(shown(&server, &id(&started))["state"], "finished");

    act(&["label", "--label", "work", "--label", "home"]).unwrap();
    let listed = server.cli(&["identity", "list", "--tenant", "acme", "--label", "home"]).unwrap();
    assert_eq!(listed[0]["labels"], json!(["work", "home"]));
    act(&["delete"]).unwrap();
    assert!(act(&["enable"]).unwrap_err().stderr.contains("no such signing identity"));
    let listed = server.cli(&["identity", "list", "--tenant", "acme", "--user", "jane"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // Its signatures are valid without it.
    openssl_accepts(&server, &shown(&server, &id(&started)));
}

#[tokio::test]
async fn whoever_calls_themselves_the_ceo_is_not_asked_what_the_ceo_is_asked() {
    let server = TestServer::new();
    let shop = Shop::new(&server).await;
    for name in ["mallory", "ann"] {
        server.user(name);
    }
    let code = server.code_with("mallory", &[]);
    let mut asks = enrolment(&server, "mallory", &code, None, KeyKind::P256);
    asks.proposed_labels = vec!["ceo".into()];
    let file = server.path().join("mallory.json");
    enrol(&PhoneFile::at(&file), &asks).await.unwrap();
    let mut mallory = TestDevice::opened(file);
    let labels = ["ceo".to_owned()];
    let made = Source::Made(KeyKind::P256);
    mallory.device.add_identity(Use::Content, &labels, &made).await.unwrap();
    let mut wanted = transaction();
    wanted["sign_identities"] = json!([{"labels": ["ceo"]}]);
    let (status, answer) = shop.call(reqwest::Method::POST, TRANSACTION, Some(&wanted)).await;
    assert_eq!(status.as_u16(), 400, "{answer}");
    let listed =
        server.cli(&["identity", "list", "--tenant", "acme", "--user", "mallory"]).unwrap();
    for identity in listed.as_array().unwrap() {
        let labels = (&identity["labels"], &identity["proposed_labels"]);
        assert_eq!(labels, (&json!([]), &json!(["ceo"])));
    }

    // The creator of Ann's code chose these labels.
    let code = server.code_with("ann", &["ceo", "board"]);
    let asks = enrolment(&server, "ann", &code, None, KeyKind::P256);
    let file = server.path().join("ann.json");
    enrol(&PhoneFile::at(&file), &asks).await.unwrap();
    let mut ann = TestDevice::opened(file);
    let started = shop.creates(TRANSACTION, &wanted).await;
    ann.signs().await;
    assert_eq!(shown(&server, &id(&started))["state"], "finished");
}

/// Whoever reads a label must see all of it.
#[tokio::test]
async fn a_label_with_an_invisible_character_is_refused_from_devices_and_on_the_command_line() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let id = jane.phone().identities[0].id.clone();
    for letter in ['\u{202e}', '\u{200b}', '\u{feff}'] {
        let label = format!("c{letter}eo");
        let mut asks = enrolment(&server, "jane", &server.code("jane"), None, KeyKind::P256);
        asks.proposed_labels = vec![label.clone()];
        let file = server.path().join("hidden.json");
        let enrolled = enrol(&PhoneFile::at(&file), &asks).await.map(drop);
        assert_eq!(code(enrolled), Some(Code::BadRequest), "{label:?}");
        let made = Source::Made(KeyKind::P256);
        let added = jane.device.add_identity(Use::Content, std::slice::from_ref(&label), &made);
        assert_eq!(code(added.await), Some(Code::BadRequest), "{label:?}");
        let activation = ["activation", "create", "jane", "--tenant", "acme", "--label", &label];
        assert!(server.cli(&activation).is_err(), "{label:?}");
        let labels = ["identity", "label", &id, "--tenant", "acme", "--label", &label];
        assert!(server.cli(&labels).is_err(), "{label:?}");
    }
    server.cli(&["identity", "label", &id, "--tenant", "acme", "--label", "ceo"]).unwrap();
}

#[tokio::test]
async fn a_deleted_identity_does_not_come_back_and_its_key_gets_no_other_use() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let stranger = Stranger::new();
    let root = stranger.path("ca.pem");
    server.cli(&["tenant", "trust", "acme", "--root", root.to_str().unwrap()]).unwrap();
    let (key, certificate) = stranger.issues("jane", "EC -pkeyopt ec_paramgen_curve:P-256");
    let source = brought(&key, &certificate);
    let added = jane.device.add_identity(Use::Digest, &[], &source).await.unwrap();
    // Another of her devices, before it is deleted and after.
    let mut other = TestDevice::enrolled(&server, "jane", None).await;
    let refused = other.device.add_identity(Use::Content, &[], &source).await;
    assert_eq!(code(refused), Some(Code::KeyUsed), "a digest could be a text's");
    server.cli(&["identity", "delete", &added, "--tenant", "acme"]).unwrap();
    for usage in [Use::Content, Use::Digest] {
        for test_device in [&mut jane, &mut other] {
            let refused = test_device.device.add_identity(usage, &[], &source).await;
            assert_eq!(code(refused), Some(Code::KeyUsed), "{usage:?}");
        }
    }
    // Also refused if the user in the path is another one.
    let (status, answer) = server.call(reqwest::Method::DELETE, "v3_user/jane", None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.user("jane");
    let mut again = TestDevice::enrolled(&server, "jane", None).await;
    let refused = again.device.add_identity(Use::Digest, &[], &source).await;
    assert_eq!(code(refused), Some(Code::KeyUsed));
}
