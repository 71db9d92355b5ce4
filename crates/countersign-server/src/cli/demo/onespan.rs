//! The demo of OneSpan's dialect: an application asks by SOAP and is suspended; a phone scans the
//! request key, calls the gateway's REST API, and answers with a short code.
//!
//! Every request is printed as it is sent, without the SOAP envelope.

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::port::Handle;
use countersign_core::tenant::KeyKind;
use countersign_core::transaction::End;
use countersign_device::{Operation, PhoneFile, gateway};
use countersign_wire::body::Content;
use countersign_wire::phone::Phone;
use serde_json::{Value, json};

use super::application::SIGNATURE_WAIT;
use super::home::quoted;
use super::play::{CLIENT, DemoRun, PHONE, Set, TENANT, USER};
use super::stage;
use crate::cli::device::said::DeviceEvent;
use crate::cli::{key, qr};

/// The file with the credentials for `curl`.
const CREDENTIALS: &str = "credentials";
const ENVELOPE: [&str; 2] = [
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
     <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
     xmlns:sig=\"http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature\"><soapenv:Body>",
    "</soapenv:Body></soapenv:Envelope>",
];
/// The number of hex digits of a sealed message that are printed.
const SHOWN: usize = 48;

/// The phone's application, with its API key.
struct Scanner<'a> {
    set: &'a Set,
    phone: Phone,
    key: String,
}

impl DemoRun<'_> {
    /// Runs it, and prints what the user can try afterwards.
    pub(super) async fn onespan(&mut self, set: &Set) -> anyhow::Result<Vec<String>> {
        let make = async {
            let (tenant, kind) = (Some(&set.tenant.name), KeyKind::FrontEnd);
            Ok(key::make(&set.admin, tenant, kind, None).await?.1)
        };
        let kept = "front-end, for the phones".to_owned();
        let key = self.stage.step("An API key for her app", make, |_| kept).await?;
        let phone = PhoneFile::at(self.home.file(PHONE)).read()?;
        let scanner = Scanner { set, phone, key };

        let request = self.random_u128(set).await?;
        let waiting = format!(
            "<sig:authSignatureRequest>\n  <componentType>{CLIENT}</componentType>\n  \
             <user><userID>{USER}</userID><domain>{TENANT}</domain></user>\n  \
             <requestKey>{request}</requestKey>\n</sig:authSignatureRequest>"
        );
        self.stage.began("The shop waits for her", "authSignatureRequest, suspended")?;
        self.show("POST /onespan/soap", &waiting)?;
        // The suspended call and the phone run concurrently, as in practice.
        let (answer, code) = tokio::try_join!(soap(set, &waiting), self.scan(&scanner, &request))?;
        self.conclude(set, &scanner.phone, &request, &code, &answer).await
    }

    /// The application gets the key of a new request, and shows it as a QR code.
    async fn random_u128(&mut self, set: &Set) -> anyhow::Result<String> {
        let command = format!(
            "<sig:genRequest>\n  <componentType>{CLIENT}</componentType>\n  \
             <user><userID>{USER}</userID><domain>{TENANT}</domain></user>\n  \
             <authType>SCAN</authType>\n  \
             <title>Pay for your new bicycle?</title>\n  <dataFieldList>\n    \
             <dataField><key>Amount</key><value>249.00 EUR</value></dataField>\n    \
             <dataField><key>Payee</key><value>Blue Bicycle Works</value></dataField>\n    \
             <dataField><key>Account</key><value>DE02 1203 0000 0000 2020 51</value></dataField>\n    \
             <dataField><key>Reference</key><value>City bike, order 4711</value></dataField>\n  \
             </dataFieldList>\n</sig:genRequest>"
        );
        let detail =
            |answer: &String| format!("SOAP genRequest: {}", element(answer, "requestKey"));
        let asked = soap(set, &command);
        let answer = self.stage.step("The shop asks for a payment", asked, detail).await?;
        let request = element(&answer, "requestKey").to_owned();
        self.show("POST /onespan/soap", &command)?;
        let picture = qr::qr(&request)?;
        let lines = picture.lines().map(str::to_owned).chain([String::new()]);
        let lines: Vec<String> = lines.collect();
        stage::lines(&["On the shop's page, the request's key and nothing else:".to_owned()])?;
        stage::lines(&lines)?;
        Ok(request)
    }

    /// The phone scans the key, fetches the transaction, shows it, and answers with the code.
    async fn scan(&mut self, scanner: &Scanner<'_>, request: &str) -> anyhow::Result<String> {
        let serial = &scanner.phone.serial_number;
        let fetch = json!({"requestKey": request, "serialNumber": serial});
        let call = "signature/scan/getPreparedSignatureRequest";
        let fetched = async {
            let answer = scanner.call(call, &fetch).await?;
            let message = answer["result"]["requestMessage"].as_str();
            let message = message.context("the gateway sent no message")?.to_owned();
            let content = gateway::open(&scanner.phone, &message)?;
            Ok((message, content))
        };
        let sealed = "sealed for it alone".to_owned();
        let step = self.stage.step("Jane's phone scans, fetches", fetched, |_| sealed).await?;
        let (message, content) = step;
        self.show(&format!("POST /rest/v2/{call}"), &fetch.to_string())?;
        let digits = &message[..SHOWN.min(message.len())];
        let paint = self.stage.paint;
        stage::lines(&[
            paint.dim(format!("requestMessage {digits}… ({} hex digits)", message.len()))
        ])?;
        self.stage.phone(&shown(&content))?;

        let code = gateway::code(&scanner.phone, &content)?;
        let complete = json!({
            "userID": USER, "domain": TENANT, "requestKey": request, "signature": code,
        });
        let call = "signature/scan/authSignature";
        let completed = async { scanner.call(call, &complete).await };
        let detail = format!("RFC 6287, over what she saw: {code}");
        self.stage.step("Jane signs with a code", completed, |_| detail).await?;
        self.show(&format!("POST /rest/v2/{call}"), &complete.to_string())?;
        Ok(code)
    }

    /// The suspended call is answered, and the ledger has the evidence.
    async fn conclude(
        &mut self,
        set: &Set,
        phone: &Phone,
        request: &str,
        code: &str,
        answer: &str,
    ) -> anyhow::Result<Vec<String>> {
        let told = (element(answer, "signature"), element(answer, "serialNumber"));
        ensure!(
            told == (code, phone.serial_number.as_str()),
            "the shop received another signature"
        );
        self.stage.began("The shop is answered", &format!("STAT_SUCCESS, {code}"))?;
        let result = element(answer, "result");
        let body = format!(
            "<status>… <statusCodeEnum>STAT_SUCCESS</statusCodeEnum> …</status>\n<result>{result}</result>"
        );
        self.show("200", &body)?;

        let verified = async {
            let key = Handle::Key(request.parse().context("the key is ten digits")?);
            let found = set.admin.core.read().transaction(&set.tenant.name, &key).await?;
            let transaction = found.context("the ledger does not know the request")?.value;
            let Some(End::Finished { proof, .. }) = transaction.end() else {
                bail!("the ledger says that it did not finish");
            };
            ensure!(proof.evidence() == code.as_bytes(), "the ledger has another signature");
            Ok(transaction.spec.id)
        };
        let id =
            self.stage.step("The ledger has it, verified", verified, ToString::to_string).await?;
        self.verified = true;
        let statement = format!(
            "{USER} of {TENANT} signed transaction {id} with device {}: code {code}.",
            phone.serial_number
        );
        stage::lines(&[String::new(), self.stage.paint.bold(statement), String::new()])?;
        self.invitation_by_soap(set)
    }

    /// Prints a message as it is sent.
    pub(super) fn show(&self, head: &str, body: &str) -> anyhow::Result<()> {
        let paint = self.stage.paint;
        let lines = std::iter::once(head).chain(body.lines());
        let mut lines: Vec<String> = lines.map(|line| paint.dim(line)).collect();
        lines.insert(0, String::new());
        lines.push(String::new());
        stage::lines(&lines)
    }

    fn invitation_by_soap(&self, set: &Set) -> anyhow::Result<Vec<String>> {
        let credentials = &set.application.credentials;
        let text = format!("{}:{}", credentials.client_id, credentials.client_secret);
        self.home.write(CREDENTIALS, text.as_bytes())?;
        let paint = self.stage.paint;
        let ask = format!(
            "<sig:authSignatureRequest><componentType>{CLIENT}</componentType><user><userID>{USER}</userID>\
             </user><push><title>Lend Bob my bicycle?</title><dataFieldList/></push>\
             </sig:authSignatureRequest>"
        );
        let [before, after] = ENVELOPE;
        self.home.write("ask.xml", [before, &ask, after].concat().as_bytes())?;
        Ok(vec![
            "The demo keeps running. In another terminal, ask Jane something else; her phone is on our own".to_owned(),
            "channel from now on, approves everything, and signs a PKCS#7:".to_owned(),
            String::new(),
            paint.bold(format!("cd {}", quoted(self.home.path()))),
            paint.bold("curl -s --cacert tls/ca.pem -u \"$(cat credentials)\" -H 'content-type: text/xml' \\"),
            paint.bold(format!("  -d @ask.xml {}/onespan/soap", set.server)),
            String::new(),
        ])
    }
}

impl Scanner<'_> {
    /// Makes one of a phone's calls, which must succeed.
    async fn call(&self, call: &str, body: &Value) -> anyhow::Result<Value> {
        let http = &self.set.application.http;
        let response = http
            .post(format!("{}/rest/v2/{call}", self.set.server))
            .basic_auth(USER, Some(&self.key))
            .json(body)
            .timeout(SIGNATURE_WAIT)
            .send()
            .await
            .context("the gateway did not answer")?;
        let status = response.status();
        let answer: Value =
            response.json().await.with_context(|| format!("the gateway answered {status}"))?;
        let told = &answer["resultCodes"]["statusCodeEnum"];
        ensure!(*told == "STAT_SUCCESS", "the gateway answered {status}, {told}");
        Ok(answer)
    }
}

/// Sends a command, which must succeed; returns the answer.
async fn soap(set: &Set, command: &str) -> anyhow::Result<String> {
    let [before, after] = ENVELOPE;
    let credentials = &set.application.credentials;
    let response = set
        .application
        .http
        .post(format!("{}/onespan/soap", set.server))
        .basic_auth(&credentials.client_id, Some(&credentials.client_secret))
        .header("content-type", "text/xml; charset=utf-8")
        .body([before, command, after].concat())
        .timeout(SIGNATURE_WAIT)
        .send()
        .await
        .context("the server did not answer")?;
    let status = response.status();
    let answer = response.text().await.with_context(|| format!("the server answered {status}"))?;
    let told = element(&answer, "statusCodeEnum");
    ensure!(told == "STAT_SUCCESS", "the server answered {status}, {told}");
    Ok(answer)
}

/// The text of the first element of that name; empty if there is none.
fn element<'a>(answer: &'a str, name: &str) -> &'a str {
    let after = answer.split_once(&format!("<{name}>")).map(|(_, after)| after);
    let inside = after.and_then(|after| after.split_once(&format!("</{name}>")));
    inside.map_or("", |(inside, _)| inside)
}

/// The event with which a device on our own channel shows the content.
fn shown(content: &Content) -> DeviceEvent {
    DeviceEvent::Shown {
        id: content.id.to_string(),
        client: content.client.clone(),
        operation: Operation::Sign,
        media_type: content.media_type.clone(),
        content: BASE64.encode(&content.bytes),
        document: None,
        document_length: None,
    }
}
