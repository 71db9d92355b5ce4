//! The demo of TrustedX's dialect: an application gives the address of a contract; the phone
//! fetches it, computes the digest and signs it; and anyone can verify.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::port::Clock as _;
use countersign_core::tenant::Tenant;
use countersign_device::{PhoneFile, State};
use countersign_proof::raw::{self, Hash, Subject};
use countersign_proof::{Roots, Signer};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::application::SIGNATURE_WAIT;
use super::archive::Archive;
use super::home::quoted;
use super::play::{CA, DemoRun, PHONE, PHONE_WAIT, Set, TENANT, said};
use super::stage;
use crate::cli::ca;
use crate::cli::device::said::DeviceEvent;
use countersign_node::clock::System;

/// The document whose digest the phone signs.
pub(super) const CONTRACT: &str = "contract.pdf";
/// The signature.
pub(super) const SIGNED: &str = "contract.sig";
/// The certificate of the signing identity.
pub(super) const SIGNER: &str = "jane.pem";

const RESOURCES: &str = "/trustedx-resources/esigp/v1";
/// The longest wait for the result in one call.
const RESULT_WAIT_MILLIS: u64 = 20_000;

impl DemoRun<'_> {
    /// Runs it, and prints what the user can try afterwards.
    pub(super) async fn trustedx(&mut self, set: &Set) -> anyhow::Result<Vec<String>> {
        self.connect().await?;
        let archive = Archive::open(PDF.to_vec()).await?;
        let shop = Shop { set, token: token(set).await? };
        let result = tokio::select! {
            result = self.commit(&shop, &archive) => result?,
            () = archive.serve() => unreachable!("an archive does not close"),
        };
        self.check(set, &result).await?;
        Ok(self.invitation_by_rest(set, &shop.token))
    }

    /// The application asks, the phone fetches and signs, and the application gets the result.
    async fn commit(&mut self, shop: &Shop<'_>, archive: &Archive) -> anyhow::Result<Value> {
        let phone = PhoneFile::at(self.home.file(PHONE)).read()?;
        let digest = Hash::Sha256.of(PDF);
        let request = json!({
            "input": {
                "digest_value": BASE64.encode(digest),
                "digest_algorithm": "sha256",
                "document_url": archive.address(),
                "document_alias": "Hire of a city bike",
                "root_certs": [BASE64.encode(archive.certificate())],
                "document_info": {"html": BASE64.encode(DESCRIPTION)},
            },
            "sign_identities": [{"device_id": phone.device_id.to_string()}],
        });
        let path = "/signatures/device/commitment/document";
        let ask = shop.call(http::Method::POST, path, Some(&request));
        let id = |answer: &Value| answer["signature"]["id"].as_str().unwrap_or("?").to_owned();
        let answer = self.stage.step("The shop asks for a signature", ask, id).await?;
        let mut shown = request.clone();
        shown["input"]["root_certs"] = json!(["MII…"]);
        shown["input"]["document_info"]["html"] = json!("PGgxP…");
        self.show(&format!("POST {path}"), &serde_json::to_string_pretty(&shown)?)?;

        let phone = self.phone.as_mut().expect("the phone is online");
        loop {
            let line = timeout(PHONE_WAIT, phone.line()).await;
            match said(&line.context("the phone took too long")??)? {
                shown @ DeviceEvent::Shown { .. } => self.stage.phone(&shown)?,
                DeviceEvent::Ended { state: State::Finished, .. } => break,
                DeviceEvent::Ended { .. } => bail!("the phone received another result"),
                DeviceEvent::Left { why, .. } => bail!("the phone could not sign: {why}"),
                _ => {}
            }
        }
        let path = format!("/signatures/{}/result", id(&answer));
        let waiting = format!("{path}?timeoutMs={RESULT_WAIT_MILLIS}");
        let look = shop.call(http::Method::GET, &waiting, None);
        let detail = |result: &Value| {
            format!("{} by {}", text(&result["status"]), text(&result["signature_algorithm"]))
        };
        let result = self.stage.step("The shop has the result", look, detail).await?;
        ensure!(result["status"] == "finished", "the process ended otherwise: {result}");
        let identity = &result["sign_identity"];
        let shown = json!({
            "status": result["status"],
            "value": result["value"],
            "signature_algorithm": result["signature_algorithm"],
            "sign_identity": {
                "id": identity["id"],
                "device_id": identity["device_id"],
                "details": {"certificate": "MII…"},
                "…": "…",
            },
        });
        self.show(&format!("GET {path}"), &serde_json::to_string_pretty(&shown)?)?;
        Ok(result)
    }

    /// Verifies the signature with OpenSSL.
    async fn check(&mut self, set: &Set, result: &Value) -> anyhow::Result<()> {
        let (signature, certificate) = verified(&set.tenant, result)?;
        let pem = pem(&certificate);
        let ca = ca::roots(&set.tenant)?.concat();
        let [ca, signer, contract, signature] =
            [(CA, ca.as_bytes()), (SIGNER, pem.as_bytes()), (CONTRACT, PDF), (SIGNED, &signature)]
                .map(|(name, content)| self.home.write(name, content).map(|path| quoted(&path)));
        let (ca, signer, contract, signature) = (ca?, signer?, contract?, signature?);
        let lines = [
            format!("openssl verify -CAfile {ca} {signer}"),
            format!("openssl x509 -in {signer} -pubkey -noout -out {signer}.pub"),
            format!("openssl dgst -sha256 -verify {signer}.pub -signature {signature} {contract}"),
        ];
        let verify = async {
            let installed = openssl("openssl version").await?;
            if installed {
                for line in &lines {
                    ensure!(openssl(line).await?, "OpenSSL does not accept the signature: {line}");
                }
            }
            Ok(installed)
        };
        let detail = |installed: &bool| match installed {
            true => "over the contract, and the chain".to_owned(),
            false => "not installed here".to_owned(),
        };
        self.stage.step("OpenSSL verifies it", verify, detail).await?;
        self.verified = true;

        let paint = self.stage.paint;
        let own = "Verify it yourself, on any machine, without this server:";
        let mut told = vec![String::new(), own.to_owned(), String::new()];
        told.extend(lines.map(|line| paint.bold(line)));
        told.push(String::new());
        stage::lines(&told)
    }

    fn invitation_by_rest(&self, set: &Set, token: &str) -> Vec<String> {
        let paint = self.stage.paint;
        let body = "{\"input\":{\"data\":\"<p>Lend Bob my <b>bicycle</b>?</p>\"},\
                    \"user_id\":\"jane\"}";
        vec![
            "The demo keeps running. In another terminal, ask Jane something else:".to_owned(),
            String::new(),
            paint.bold(format!("cd {}", quoted(self.home.path()))),
            paint
                .bold(format!("curl -s --cacert tls/ca.pem -H 'authorization: Bearer {token}' \\")),
            paint.bold("  -H 'content-type: application/json' \\"),
            paint.bold(format!("  -d '{body}' \\")),
            paint.bold(format!(
                "  {}{RESOURCES}/signatures/device/commitment/transaction",
                set.server
            )),
            String::new(),
            "Her phone here approves everything.".to_owned(),
            String::new(),
        ]
    }
}

/// A PDF of one page with one line.
const PDF: &[u8] = include_bytes!("contract.pdf");
/// The document's description.
const DESCRIPTION: &str = "<h1>Hire a city bike</h1>\
    <table><tr><th>Amount</th><td>24.90 EUR a month</td></tr>\
    <tr><th>Owner</th><td>Blue Bicycle Works</td></tr>\
    <tr><th>Notice</th><td>one month</td></tr></table>\
    <p>The <a href=\"https://bicycles.example/terms\">terms</a> apply.</p>";

/// A client application with a token.
struct Shop<'a> {
    set: &'a Set,
    token: String,
}

impl Shop<'_> {
    /// Makes a call, which must succeed.
    async fn call(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}{RESOURCES}{path}", self.set.server);
        let mut call = self.set.application.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = call.timeout(SIGNATURE_WAIT).send().await;
        let answer = answer.context("the server did not answer")?;
        let status = answer.status();
        let body: Value =
            answer.json().await.with_context(|| format!("the server answered {status}"))?;
        let why = text(&body["error_description"]);
        ensure!(status.is_success(), "the server answered {status}: {why}");
        Ok(body)
    }
}

/// An access token of TrustedX's authorization server, with all of the application's scopes.
async fn token(set: &Set) -> anyhow::Result<String> {
    let credentials = &set.application.credentials;
    let url = format!("{}/trustedx-authserver/oauth/{TENANT}/token", set.server);
    let call = set.application.http.post(url).timeout(SIGNATURE_WAIT);
    let answer = call
        .basic_auth(&credentials.client_id, Some(&credentials.client_secret))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("grant_type=client_credentials")
        .send()
        .await
        .context("the server gave no token")?;
    let body: Value = answer.json().await.context("the server gave no token")?;
    body["access_token"].as_str().map(str::to_owned).context("the server gave no token")
}

/// The signature and its certificate, verified here: over the contract, by an identity of this
/// tenant.
fn verified(tenant: &Tenant, result: &Value) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let signature = BASE64.decode(text(&result["value"]))?;
    let certificate = BASE64.decode(text(&result["sign_identity"]["details"]["certificate"]))?;
    let now = System::default().now().seconds();
    let roots = Roots::new(tenant.roots.iter().map(Vec::as_slice))?;
    let signer = Signer::new(&certificate, &[], &roots, now)?;
    let algorithm = text(&result["signature_algorithm"]).parse::<raw::Algorithm>()?;
    ensure!(algorithm.hash() == Hash::Sha256, "it was signed with another algorithm");
    let digest = Hash::Sha256.of(PDF);
    // A raw signature does not name its transaction.
    raw::verify(&signature, algorithm, Subject::Digest(&digest), [0; 16], &signer, now)
        .context("the signature does not hold")?;
    Ok((signature, certificate))
}

/// Whether a command succeeds; `false` if the program does not exist.
async fn openssl(line: &str) -> anyhow::Result<bool> {
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = shell.kill_on_drop(true).status().await.context("there is no shell")?;
    Ok(ended.success())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// RFC 7468, section 5.
fn pem(certificate: &[u8]) -> String {
    let text = BASE64.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).expect("base64"));
    let lines: Vec<_> = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
