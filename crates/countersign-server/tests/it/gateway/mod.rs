//! OneSpan's gateway, called like a phone's application.

mod calls;
mod components;
mod domains;
mod locks;
mod login;
mod offline;
mod published_logins;
mod scan;
mod table;
mod tries;

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_device::gateway;
use countersign_wire::body::Content;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, program, read};
use crate::trustedx;

const FIELDS: &str =
    "<dataFieldList><dataField><key>To</key><value>Ann</value></dataField></dataFieldList>";
const JANE: &str = "<componentType>Shop</componentType><user><userID>jane</userID>\
    <domain>acme</domain></user>";

/// A server with jane and her phone, and a front-end key.
struct Fixture {
    server: TestServer,
    jane: TestDevice,
    key: String,
}

impl Fixture {
    async fn new() -> Self {
        Self::configured("").await
    }

    async fn configured(configuration: &str) -> Self {
        let server = TestServer::configured(configuration);
        server.user("jane");
        let jane = TestDevice::enrolled(&server, "jane", None).await;
        let key = api_key(&server, &["--tenant", "acme", "--kind", "front-end"]);
        Self { server, jane, key }
    }

    fn serial(&self) -> String {
        self.jane.phone().serial_number.clone()
    }

    fn post(&self, call: &str) -> RequestBuilder {
        self.server.http.post(format!("{}/rest/v2/{call}", self.server.address))
    }

    /// Makes a call; returns the name of its status and its result.
    async fn call(&self, call: &str, body: &Value) -> (String, Value) {
        let sent = self.post(call).basic_auth("app", Some(&self.key)).json(body).send();
        let (status, answer) = read(sent.await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let codes = &answer["resultCodes"];
        let name = codes["statusCodeEnum"].as_str().unwrap().to_owned();
        let succeeded = name == "STAT_SUCCESS";
        assert_eq!(codes["returnCode"], i32::from(!succeeded));
        assert!(succeeded || answer.get("result").is_none(), "{answer}");
        (name, answer["result"].clone())
    }

    /// Fetches the transaction with this key, as jane's phone.
    async fn fetch(&self, key: &str) -> Content {
        let body = json!({"requestKey": key, "serialNumber": self.serial()});
        let (status, result) = self.call("signature/push/getPreparedSignatureRequest", &body).await;
        assert_eq!(status, "STAT_SUCCESS");
        gateway::open(self.jane.phone(), result["requestMessage"].as_str().unwrap()).unwrap()
    }

    /// The status of a fetch of the transaction with this key, by the device with this serial
    /// number.
    async fn fetch_status(&self, key: &str, serial: &str) -> String {
        let body = json!({"requestKey": key, "serialNumber": serial});
        self.call("signature/push/getPreparedSignatureRequest", &body).await.0
    }

    async fn complete(&self, key: &str, signature: &str) -> (String, Value) {
        let body = json!({"userID": "jane", "requestKey": key, "signature": signature});
        self.call("signature/push/authSignature", &body).await
    }

    async fn cancel(&self, key: &str) -> String {
        let body = json!({"requestKey": key, "serialNumber": self.serial()});
        self.call("signature/push/cancelAuthSignatureRequest", &body).await.0
    }

    /// Starts a signature in OneSpan's dialect; returns its request key.
    async fn request(&self) -> String {
        let made = self.soap("genRequest", &format!("{JANE}{FIELDS}")).await;
        text(&made, "requestKey").to_owned()
    }

    /// Sends a command over SOAP; returns the text of the answer.
    async fn soap(&self, command: &str, parameters: &str) -> String {
        let answer = self.send_soap(command, parameters).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    }

    async fn send_soap(&self, command: &str, parameters: &str) -> Response {
        let (id, secret) = &self.server.client;
        self.send_soap_as(id, secret, command, parameters).await
    }

    async fn send_soap_as(
        &self,
        id: &str,
        secret: &str,
        command: &str,
        parameters: &str,
    ) -> Response {
        let body = format!(
            "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/' xmlns:sig='http://\
             www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature'><s:Body><sig:{command}>\
             {parameters}</sig:{command}></s:Body></s:Envelope>"
        );
        let call = self.server.http.post(format!("{}/onespan/soap", self.server.address));
        let call = call.basic_auth(id, Some(secret)).header("content-type", "text/xml").body(body);
        call.send().await.unwrap()
    }

    /// The request key of the very first transaction, once it exists. The call that starts it runs
    /// meanwhile.
    async fn started(&self) -> String {
        let list = ["transaction", "list", "--tenant", "acme", "--json", "--data"];
        loop {
            let output = program().args(list).arg(self.server.data()).output().await.unwrap();
            let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
            if let Some(key) = listed[0]["request_key"].as_str() {
                return key.to_owned();
            }
        }
    }

    /// Jane's phone takes this transaction itself.
    async fn jane_takes(&self, id: &str) {
        let path = format!("/device/v1/transactions/{id}/take");
        let body = json!({"id": id}).to_string();
        let proof = trustedx::proof_of(self.jane.phone(), "POST", &path, body.as_bytes());
        let call = self.server.http.post(format!("{}{path}", self.server.address));
        let call = call.bearer_auth(proof).header("content-type", "application/json").body(body);
        let (status, answer) = read(call.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    fn state(&self, key: &str) -> String {
        let shown = self.server.cli(&["transaction", "show", key, "--tenant", "acme"]).unwrap();
        shown["state"].as_str().unwrap().to_owned()
    }
}

fn api_key(server: &TestServer, arguments: &[&str]) -> String {
    let made = server.cli(&[&["key", "create"], arguments].concat()).unwrap();
    made["api_key"].as_str().unwrap().to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A code that is not this one.
fn other(code: &str) -> String {
    let first = if code.starts_with('0') { '1' } else { '0' };
    format!("{first}{}", &code[1..])
}

/// The text of the first element of that name.
fn text<'a>(answer: &'a str, name: &str) -> &'a str {
    let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{answer}"));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

/// The value of an attribute of an answer, which stands before its id.
fn value<'a>(answer: &'a str, id: &str) -> &'a str {
    let end = format!("</value><attributeID>{id}</attributeID>");
    let (before, _) = answer.split_once(&end).unwrap_or_else(|| panic!("{id}: {answer}"));
    before.rsplit_once("<value>").unwrap().1
}
