//! README's table of what ends what, measured: each kind of transaction, and each way to end it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::cms::{self, SigningKey};
use countersign_device::gateway;
use countersign_wire::body::Use;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{FIELDS, Fixture, JANE, now};
use crate::test_device::TestDevice;
use crate::test_server::{payment, until};
use crate::trustedx::{self, RAW, Shop, TRANSACTION};

const README: &str = include_str!("../../../../../README.md");

/// The forms in which a way is tried.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Cms,
    Code,
    Raw,
}

const FORMS: [(Form, &str); 3] = [(Form::Cms, "CMS"), (Form::Code, "code"), (Form::Raw, "raw")];

/// A transaction: its id, and its request key.
struct Started {
    id: String,
    key: String,
}

impl Fixture {
    /// Starts the transaction of a row of the table. A call that is held is answered when the
    /// transaction has ended.
    async fn starts(&self, row: &str, reference: &str) {
        let shop = Shop::new(&self.server).await;
        let digest = trustedx::openssl_digest("sha256", b"x");
        match row {
            "KOBIL's Start Signature" => {
                self.server.start_signature("jane", &payment(reference)).await;
            }
            "OneSpan's `authSignatureRequest`" => {
                self.soap("authSignatureRequest", &format!("{JANE}<push>{FIELDS}</push>")).await;
            }
            "OneSpan's `genRequest`" => drop(self.request().await),
            "TrustedX's process with HTML" => {
                shop.creates(TRANSACTION, &trustedx::transaction()).await;
            }
            "TrustedX's process with a digest" => {
                shop.creates(RAW, &trustedx::raw(&digest, "sha256")).await;
            }
            other => panic!("the table has an unknown row: {other}"),
        }
    }

    fn rows(&self) -> Vec<Value> {
        let listed = self.server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
        listed.as_array().unwrap().clone()
    }

    /// The one transaction that waits.
    async fn waiting(&self) -> Started {
        until("the start", async || {
            let rows = self.rows();
            let row = rows.iter().find(|row| row["state"] == "waiting")?;
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            Some(Started { id: text("id"), key: text("request_key") })
        })
        .await
    }

    /// Tries to end a transaction in the way of a column of the table, with a signature of this
    /// form.
    async fn tries(&self, column: &str, form: Form, started: &Started) -> Option<()> {
        let mut phone = TestDevice::opened(self.jane.file.clone());
        phone.device.prefer_codes(form == Form::Code);
        match column {
            "an offer on our channel" => {
                let offer = timeout(Duration::from_secs(3), phone.device.next_offer()).await;
                let shown = phone.device.take(&offer.ok()?.ok()?, None).await.ok()?;
                phone.device.approve(&shown, None).await.ok().map(drop)
            }
            "its key, scanned" => {
                let offer = phone.device.scan(&started.key).await.ok()?;
                let shown = phone.device.take(&offer, None).await.ok()?;
                phone.device.approve(&shown, None).await.ok().map(drop)
            }
            "OneSpan's gateway" => self.tries_gateway(form, started).await,
            "TrustedX's links" => self.tries_link(phone, form, started).await,
            other => panic!("the table has an unknown column: {other}"),
        }
    }

    async fn tries_gateway(&self, form: Form, started: &Started) -> Option<()> {
        let fetched = json!({"requestKey": started.key, "serialNumber": self.serial()});
        let call = "signature/push/getPreparedSignatureRequest";
        let (status, result) = self.call(call, &fetched).await;
        let message = (status == "STAT_SUCCESS").then(|| result["requestMessage"].clone());
        let phone = self.jane.phone();
        let content = gateway::open(phone, message?.as_str()?).ok()?;
        let signature = match form {
            Form::Cms => BASE64.encode(gateway::cms(phone, &content, now()).ok()?),
            Form::Code => gateway::code(phone, &content).ok()?,
            Form::Raw => return None, // the gateway has no such form
        };
        let (status, _) = self.complete(&started.key, &signature).await;
        (status == "STAT_SUCCESS").then_some(())
    }

    async fn tries_link(&self, mut phone: TestDevice, form: Form, started: &Started) -> Option<()> {
        let offer = phone.device.scan(&started.key).await.ok()?;
        let shown = phone.device.take(&offer, None).await.ok()?;
        let is_digest = shown.media_type().contains("digest");
        let usage = if is_digest { Use::Digest } else { Use::Content };
        let identity = self.jane.phone().identity(usage).unwrap();
        let (bytes, media_type) = (shown.bytes(), shown.media_type());
        let body = match form {
            Form::Cms => {
                let key = SigningKey::from_pem(&identity.key).unwrap();
                let id = u128::from_str_radix(&started.id, 16).unwrap().to_be_bytes();
                let certificate = &identity.certificate;
                let signed = cms::sign(bytes, media_type, id, now(), certificate, &[], &key);
                let value = BASE64.encode(signed.unwrap());
                json!({"value": value, "sign_identity": {"id": identity.id}})
            }
            Form::Code => return None, // the links have no such form
            Form::Raw if is_digest => trustedx::finish(identity, "ecdsa-sha256", bytes),
            Form::Raw => {
                let digest = trustedx::openssl_digest("sha256", bytes);
                trustedx::finish(identity, "ecdsa-sha256", &digest)
            }
        };
        let path = format!("/signatures/{}/finish", started.id);
        let (status, _) = trustedx::put(&self.server, self.jane.phone(), &path, &body).await;
        (status == StatusCode::OK).then_some(())
    }

    /// The form of the signature of a transaction that has finished.
    fn form(&self, key: &str) -> Option<&'static str> {
        let shown = self.server.cli(&["transaction", "show", key, "--tenant", "acme"]).unwrap();
        let signature = BASE64.decode(shown["end"]["signature"].as_str()?).unwrap();
        Some(match () {
            () if !shown["end"]["algorithm"].is_null() => "raw",
            () if signature.iter().all(u8::is_ascii_digit) => "code",
            () => "CMS",
        })
    }

    /// A cell of the table: the forms in which this way ends this transaction.
    async fn cell(&self, row: &str, column: &str) -> String {
        let mut forms = Vec::new();
        for (form, name) in FORMS {
            let reference =
                format!("{row} {column} {name}").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let ends = async {
                let started = self.waiting().await;
                let ended = self.tries(column, form, &started).await;
                let found = self.form(&started.key);
                assert_eq!(ended.is_some(), found.is_some(), "{row}, {column}, {name}");
                if found.is_none() {
                    self.server
                        .cli(&["transaction", "cancel", &started.key, "--tenant", "acme"])
                        .unwrap();
                }
                found
            };
            let ((), found) = tokio::join!(self.starts(row, &reference), ends);
            if let Some(found) = found.filter(|found| !forms.contains(found)) {
                forms.push(found);
            }
        }
        if forms.is_empty() { "–".to_owned() } else { forms.join(" or ") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_table_of_what_ends_what_is_as_measured() {
    let lines = README.lines().map(str::trim);
    let lines = lines.skip_while(|line| !line.starts_with("| started with |"));
    let lines = lines.take_while(|line| line.starts_with('|'));
    let lines: Vec<Vec<&str>> =
        lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let [head, _, rows @ ..] = &lines[..] else { panic!("{lines:?}") };
    let fixture = Fixture::new().await;
    let (mut measured, mut written) = (String::new(), String::new());
    for row in rows {
        writeln!(written, "| {} |", row.join(" | ")).unwrap();
        let mut cells = vec![row[0].to_owned()];
        for column in &head[1..] {
            cells.push(fixture.cell(row[0], column).await);
        }
        writeln!(measured, "| {} |", cells.join(" | ")).unwrap();
    }
    assert_eq!(rows.len(), 5);
    assert_eq!(measured, written, "measured:\n{measured}");
}
