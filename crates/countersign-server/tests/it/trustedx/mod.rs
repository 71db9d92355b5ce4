//! `TrustedX`'s dialect: calls of an application and of a device, and their results.

mod across;
mod bad_input;
mod digest_url;
mod documents;
mod identities;
mod links;
pub(crate) mod oauth;
mod processes;
mod seed;

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_wire::body::Use;
use countersign_wire::jws::{self, Call};
use countersign_wire::phone::{Phone, PhoneIdentity};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::test_server::{TestServer, read, until};

pub(crate) const PREFIX: &str = "/trustedx-resources/esigp/v1";
pub(crate) const TRANSACTION: &str = "/signatures/device/commitment/transaction";
const DOCUMENT: &str = "/signatures/device/commitment/document";
pub(crate) const RAW: &str = "/signatures/device/raw";
const AUTHENTICATION: &str = "/signatures/device/authentication";

/// An application with a token.
pub(crate) struct Shop<'h> {
    server: &'h TestServer,
    token: String,
}

impl<'h> Shop<'h> {
    /// The default client of the server, with every scope.
    pub(crate) async fn new(server: &'h TestServer) -> Self {
        Self { server, token: server.trustedx_token(&server.client, "").await }
    }

    /// Makes a call, at a path below the prefix.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let url = format!("{}{PREFIX}{path}", self.server.address);
        let mut call = self.server.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = call.send().await.unwrap();
        if answer.status() == StatusCode::NO_CONTENT {
            return (StatusCode::NO_CONTENT, Value::Null);
        }
        read(answer).await
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    /// Creates a process, which must succeed; returns the resource.
    pub(crate) async fn creates(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["signature"].clone()
    }

    /// The status and the body of `/result`.
    pub(crate) async fn result(&self, id: &str) -> (StatusCode, Value) {
        self.get(&format!("/signatures/{id}/result")).await
    }

    /// The refusal of a creation.
    async fn refused(&self, path: &str, body: &Value) -> (u16, String, String) {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), text("error"), text("error_description"))
    }
}

/// A request for a signature over HTML, by any identity with the label `test`.
pub(crate) fn transaction() -> Value {
    json!({"input": {"data": "<p>Pay 5 €?</p>"}, "sign_identities": [{"labels": ["test"]}]})
}

/// A request for a signature over a digest.
pub(crate) fn raw(digest: &[u8], algorithm: &str) -> Value {
    json!({
        "input": {"digest_value": BASE64.encode(digest), "digest_algorithm": algorithm},
        "sign_identities": [{"labels": ["test"]}],
    })
}

/// The id of a resource.
pub(crate) fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap().to_owned()
}

/// Calls a link, as a phone.
pub(crate) async fn put(
    server: &TestServer,
    phone: &Phone,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let token = proof(phone, "PUT", path, body.as_bytes());
    let call = server.http.put(format!("{}{PREFIX}{path}", server.address)).bearer_auth(token);
    read(call.header("content-type", "application/json").body(body).send().await.unwrap()).await
}

/// Reads a process, as a phone.
async fn look(server: &TestServer, phone: &Phone, path: &str) -> (StatusCode, Value) {
    let token = proof(phone, "GET", path, b"");
    let call = server.http.get(format!("{}{PREFIX}{path}", server.address)).bearer_auth(token);
    read(call.send().await.unwrap()).await
}

/// A phone's token for one call below the prefix.
fn proof(phone: &Phone, method: &str, path: &str, body: &[u8]) -> String {
    proof_of(phone, method, &format!("{PREFIX}{path}"), body)
}

/// The same, for a call with any path.
pub(crate) fn proof_of(phone: &Phone, method: &str, path: &str, body: &[u8]) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let call = Call { method, path, body };
    let name = phone.device_name().unwrap();
    jws::sign_call(&phone.auth_key, &name, &phone.server, call, at)
}

/// The body of a finish with a signature that OpenSSL makes, over a digest.
pub(crate) fn finish(identity: &PhoneIdentity, algorithm: &str, digest: &[u8]) -> Value {
    json!({
        "value": BASE64.encode(openssl_signs(&identity.key, algorithm, digest)),
        "signature_algorithm": algorithm,
        "sign_identity": {"id": identity.id},
    })
}

/// Finishes a transaction over `data`; returns the answer.
pub(crate) async fn signs(
    server: &TestServer,
    phone: &Phone,
    process: &str,
    data: &str,
) -> (StatusCode, Value) {
    let body = over_html(phone.identity(Use::Content).unwrap(), data);
    put(server, phone, &format!("/signatures/{process}/finish"), &body).await
}

/// The body of a finish with a signature over HTML.
pub(crate) fn over_html(identity: &PhoneIdentity, data: &str) -> Value {
    finish(identity, "ecdsa-sha256", &openssl_digest("sha256", data.as_bytes()))
}

/// A signature over a digest, by OpenSSL.
fn openssl_signs(key: &str, algorithm: &str, digest: &[u8]) -> Vec<u8> {
    let (_, hash) = algorithm.split_once('-').unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (key, digest) = (file("key.pem", key.as_bytes()), file("digest", digest));
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-sign", "-pkeyopt", &format!("digest:{hash}"), "-inkey"]);
    openssl(command.arg(key).arg("-in").arg(digest))
}

/// A digest, by OpenSSL.
pub(crate) fn openssl_digest(hash: &str, bytes: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bytes");
    std::fs::write(&file, bytes).unwrap();
    openssl(Command::new("openssl").args(["dgst", &format!("-{hash}"), "-binary"]).arg(file))
}

/// Whether OpenSSL accepts a signature over a digest, by the certificate's key.
fn openssl_verifies(certificate: &[u8], hash: &str, digest: &[u8], signature: &[u8]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    write("certificate", certificate);
    write("digest", digest);
    write("signature", signature);
    let mut command = Command::new("openssl");
    command.args(["x509", "-inform", "DER", "-pubkey", "-noout", "-in"]);
    write("key.pem", &openssl(command.arg(path("certificate"))));
    let of = |file: &Path| file.to_str().unwrap().to_owned();
    let verified = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-pubin", "-pkeyopt", &format!("digest:{hash}")])
        .args(["-inkey", &of(&path("key.pem")), "-in", &of(&path("digest"))])
        .args(["-sigfile", &of(&path("signature"))])
        .output()
        .unwrap();
    verified.status.success()
}

fn openssl(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
