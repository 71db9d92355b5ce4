//! Recorded exchanges, replayed byte for byte: each `*.http` contains requests and their answers,
//! over TLS, with the order of the headers. Values that differ each time are in braces; see
//! `masked`.
//!
//! `UPDATE_EXPECT=1 cargo test` records them again; then read the diff.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_device::{DeclineReason, Phone, gateway};
use countersign_wire::body::{Content, Push, Use};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::test_device::TestDevice;
use crate::test_server::{ALL_ROLES, TestServer, credentials};
use crate::trustedx;

/// One exchange of a recording.
struct Exchange {
    title: String,
    request: String,
    response: String,
}

/// Splits a recording into exchanges: a title after `###`, a request, and a response that begins
/// with `HTTP/1.1`.
fn exchanges(recording: &str) -> (String, Vec<Exchange>) {
    let (preface, rest) = recording.split_once("### ").expect("a recording has an exchange");
    let cut = |exchange: &str| {
        let (title, rest) = exchange.split_once('\n').unwrap();
        let (request, response) = rest.split_once("\nHTTP/1.1 ").unwrap_or((rest, ""));
        Exchange {
            title: title.trim().to_owned(),
            request: request.trim().to_owned(),
            response: format!("HTTP/1.1 {}", response.trim()),
        }
    };
    (preface.to_owned(), rest.split("\n### ").map(cut).collect())
}

struct Fixture {
    server: TestServer,
    token: String,
    /// A token of TrustedX's authorization server, with all scopes.
    trustedx_token: String,
    basic: String,
    /// An API key, in the format of HTTP Basic.
    front_end_key: String,
    tls: Arc<ClientConfig>,
    /// The token of another tenant's client.
    strangers_token: String,
    /// The device of each user.
    devices: Vec<(&'static str, String)>,
    /// The phone of `absent`, whose application uses OneSpan's gateway.
    held: Phone,
    said: Mutex<Said>,
}

/// Values of earlier answers, for the requests that depend on them.
#[derive(Default)]
struct Said {
    key: String,
    content: Option<Content>,
    /// The id of the TrustedX process that was created last.
    process: String,
}

impl Fixture {
    /// Sends a request unchanged, on its own connection, and reads until the connection is closed.
    fn exchange(&self, request: &str) -> String {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let tomorrow = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 86_400;
        let mut body = body
            .replace("{{client_id}}", &self.server.client.0)
            .replace("{{client_secret}}", &self.server.client.1)
            .replace("{{token}}", &self.token)
            .replace("{{trustedx token}}", &self.trustedx_token)
            .replace("{{tomorrow}}", &tomorrow.to_string())
            .replace("{{device}}", &self.devices[0].1)
            .replace("{{serial of absent}}", &self.held.serial_number);
        body = self.follow(body);
        let mut head = head.to_owned();
        for (test_device, device) in &self.devices {
            let placeholder = format!("{{{{device of {test_device}}}}}");
            body = body.replace(&placeholder, device);
            head = head.replace(&placeholder, device);
        }
        if head.contains("{{proof}}") {
            head = self.at_links(&head);
            head = head.replace("{{proof}}", &self.proof(&head, &body));
        }
        let head = self
            .at_links(&head)
            .replace("{{token}}", &self.token)
            .replace("{{trustedx token}}", &self.trustedx_token)
            .replace("{{stranger's token}}", &self.strangers_token)
            .replace("{{basic}}", &self.basic)
            .replace("{{front-end key}}", &self.front_end_key)
            .replace("{{length}}", &body.len().to_string())
            .replace('\n', "\r\n");
        let host = "localhost".try_into().unwrap();
        let host: ServerName<'static> = host;
        let port = self.server.address.rsplit(':').next().unwrap();
        let tcp = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.tls), host).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        self.said.lock().hear(&self.held, &answer);
        self.masked(&answer, port)
    }

    /// A request that depends on earlier answers, as `absent`'s application makes it.
    fn follow(&self, mut body: String) -> String {
        let said = self.said.lock();
        body = body.replace("{{key}}", &said.key);
        for (usage, identity) in self.identities() {
            body = body.replace(&format!("{{{{{usage} identity}}}}"), identity);
        }
        if body.contains("{{signature}}") {
            let content = self.held.identity(Use::Content).unwrap();
            let finish = trustedx::over_html(content, "<p>Pay 5 €?</p>");
            body = body.replace("{{signature}}", finish["value"].as_str().unwrap());
        }
        if let Some(content) = &said.content {
            let code = gateway::code(&self.held, content).unwrap_or_default();
            let wrong = format!("{:08}", (code.parse().unwrap_or(0) + 1) % 100_000_000_u64);
            let message = gateway::information(&self.held, content, &said.key).unwrap();
            body = body.replace("{{code}}", &code).replace("{{wrong code}}", &wrong);
            body = body.replace("{{sealed key}}", &message);
        }
        let token = Some("bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1".into());
        let push = Push { provider: "fcm".into(), token, language: None };
        body.replace("{{sealed address}}", &gateway::notification(&self.held, &push).unwrap())
    }

    /// The answer, with braces around the values that differ each time: dates, tokens, signatures
    /// and the lengths that depend on them, and random numbers and keys.
    fn masked(&self, answer: &str, port: &str) -> String {
        let answer = &self.named(answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let (mut body, mut varies) = (body.to_owned(), false);
        for (name, mask, shortest) in [
            ("signature", "{{signature}}", 1_000),
            ("access_token", "{{token}}", 100),
            ("deviceId", "{{device}}", 10),
            ("certificateSerialNumber", "{{serial}}", 10),
            ("lastLoginTime", "{{seconds}}", 8),
            // A user's id is a UUID; the ids in other dialects' answers are named before.
            ("id", "{{uuid}}", 35),
            ("activationNotAfter", "{{seconds}}", 8),
            // A generated code has 16 characters; the callers' codes here are shorter.
            ("activationCode", "{{code}}", 12),
            ("qrCode", "{{png}}", 500),
            ("x", "{{coordinate}}", 40),
            ("y", "{{coordinate}}", 40),
            ("kid", "{{thumbprint}}", 40),
            ("requestMessage", "{{message}}", 100),
            ("client_id", "{{client_id}}", 10),
            ("sub", "{{client_id}}", 10),
            ("creation_time", "{{time}}", 10),
            ("certificate", "{{certificate}}", 200),
            ("public_key", "{{public key}}", 80),
            ("device_id", "{{device}}", 10),
            ("value", "{{signature}}", 80),
        ] {
            let marker = format!("\"{name}\":\"");
            let mut at = 0;
            while let Some(start) = body[at..].find(&marker).map(|found| at + found + marker.len())
            {
                at = start + body[start..].find('"').unwrap();
                if at - start > shortest {
                    body.replace_range(start..at, mask);
                    at = start + mask.len();
                    varies = true;
                }
            }
        }
        for (before, mask, shortest) in [
            ("<signature>", "{{signature}}", 7),
            ("<requestKey>", "{{key}}", 9),
            ("<requestMessage>", "{{message}}", 100),
            ("<requestImage>", "{{png}}", 100),
            ("\"serverTime\":", "{{seconds}}", 8),
        ] {
            let Some(start) = body.find(before).map(|found| found + before.len()) else { continue };
            let end = start + body[start..].find(['<', '}']).unwrap();
            if end - start > shortest {
                body.replace_range(start..end, mask);
                varies = true;
            }
        }
        for (id, mask) in [
            ("SIGNFLD_REQUEST_KEY", "{{key}}"),
            ("SIGNFLD_REQUEST_MESSAGE", "{{message}}"),
            ("SIGNFLD_REQUEST_IMAGE", "{{png}}"),
            ("CREDFLD_CHALLENGE_KEY", "{{key}}"),
            ("CREDFLD_REQUEST_MESSAGE", "{{message}}"),
            ("CREDFLD_REQUEST_IMAGE", "{{png}}"),
        ] {
            let Some(end) = body.find(&format!("</value><attributeID>{id}<")) else { continue };
            let start = body[..end].rfind('>').unwrap() + 1;
            body.replace_range(start..end, mask);
            varies = true;
        }
        for name in ["exp", "iat", "server_time"] {
            let marker = format!("\"{name}\":");
            let Some(start) = body.find(&marker).map(|found| found + marker.len()) else {
                continue;
            };
            let end = start + body[start..].find([',', '}']).unwrap();
            body.replace_range(start..end, "{{seconds}}");
            varies = true;
        }
        let port = format!("//localhost:{port}");
        if body.contains(&port) {
            body = body.replace(&port, "//localhost:{{port}}");
            varies = true;
        }
        let mut masked = String::new();
        for line in head.split("\r\n") {
            let line = match line.split_once(": ") {
                Some(("date", _)) => "date: {{date}}",
                Some(("location", _)) => &line.replace(&port, "//localhost:{{port}}"),
                Some(("content-length", _)) if varies => "content-length: {{length}}",
                _ => line,
            };
            writeln!(masked, "{line}").unwrap();
        }
        format!("{masked}\n{body}").trim().to_owned()
    }
}

/// TrustedX's links, and `absent`'s device, which calls them.
impl Fixture {
    fn at_links(&self, head: &str) -> String {
        let mut head = head.replace("{{process}}", &self.said.lock().process);
        for (usage, identity) in self.identities() {
            head = head.replace(&format!("{{{{{usage} identity}}}}"), identity);
        }
        head
    }

    fn proof(&self, head: &str, body: &str) -> String {
        let mut line = head.split(' ');
        let (method, path) = (line.next().unwrap(), line.next().unwrap());
        trustedx::proof_of(&self.held, method, path, body.as_bytes())
    }

    fn identities(&self) -> [(&'static str, &str); 2] {
        [("content", Use::Content), ("digest", Use::Digest)]
            .map(|(name, usage)| (name, self.held.identity(usage).unwrap().id.as_str()))
    }

    /// The same answer, with names for random values.
    fn named(&self, answer: &str) -> String {
        let mut answer = answer.replace(&self.server.client.0, "{{client_id}}");
        for (usage, identity) in self.identities() {
            answer = answer.replace(identity, &format!("{{{{{usage} identity}}}}"));
        }
        let process = &self.said.lock().process;
        if process.is_empty() { answer } else { answer.replace(process, "{{process}}") }
    }
}

impl Said {
    fn hear(&mut self, phone: &Phone, answer: &str) {
        let after = |marker: &str, end: char| {
            let (_, rest) = answer.split_once(marker)?;
            rest.split_once(end).map(|(text, _)| text.to_owned())
        };
        let listed = |id: &&str| {
            let (before, _) = answer.split_once(&format!("</value><attributeID>{id}<"))?;
            before.rsplit_once('>').map(|(_, value)| value.to_owned())
        };
        let key = after("<requestKey>", '<');
        let ids = ["SIGNFLD_REQUEST_KEY", "CREDFLD_CHALLENGE_KEY"];
        if let Some(key) = key.or_else(|| ids.iter().find_map(listed)) {
            self.key = key;
        }
        if let Some(process) = after("{\"signature\":{\"id\":\"", '"') {
            self.process = process;
        }
        let message = after("\"requestMessage\":\"", '"');
        let message = message.or_else(|| after("<requestMessage>", '<'));
        let ids = ["SIGNFLD_REQUEST_MESSAGE", "CREDFLD_REQUEST_MESSAGE"];
        if let Some(message) = message.or_else(|| ids.iter().find_map(listed)) {
            // The content may be sealed for another user's phone.
            self.content = gateway::open(phone, &message).ok().or(self.content.take());
        }
    }
}

/// A server with users of fixed behaviour: `signer` signs, `decliner` declines, `watcher` only
/// shows, `absent` has a phone that is off, but whose application calls a gateway, and `nobody` has
/// no phone.
async fn fixture() -> Fixture {
    // The first name in the list of accepted hosts is also `acme.localhost`.
    let server = TestServer::configured("[server]\ndefault_tenant = \"acme\"\n");
    for user in ["signer", "decliner", "watcher", "absent", "nobody"] {
        server.user(user);
    }
    let mut signer = TestDevice::enrolled(&server, "signer", None).await;
    let mut decliner = TestDevice::enrolled(&server, "decliner", None).await;
    let mut watcher = TestDevice::enrolled(&server, "watcher", None).await;
    let absent = TestDevice::enrolled(&server, "absent", None).await;
    let devices = [("signer", &signer), ("watcher", &watcher), ("absent", &absent)];
    let devices = devices
        .map(|(name, test_device)| (name, test_device.phone().device_id.to_string()))
        .to_vec();
    tokio::spawn(async move {
        loop {
            signer.signs().await;
        }
    });
    tokio::spawn(async move {
        while let Ok(offer) = decliner.device.next_offer().await {
            decliner.device.decline(offer.id, DeclineReason::User).await.unwrap();
        }
    });
    tokio::spawn(async move { while watcher.device.next().await.is_ok() {} });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server.data().join("tls/ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let token = server.token().await;
    let trustedx_token = server.trustedx_token(&server.client, "").await;
    let basic = {
        use base64::Engine as _;
        let (id, secret) = &server.client;
        base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"))
    };
    server.cli(&["tenant", "create", "other"]).unwrap();
    let create = ["client", "create", "Stranger", "--tenant", "other"];
    let stranger = server.cli(&[&create, &ALL_ROLES[..]].concat()).unwrap();
    let strangers_token = server.token_of("other", &credentials(&stranger)).await;
    for test_device in ["signer", "watcher"] {
        while server.device_state(test_device).await != "ONLINE" {}
    }
    let front_end_key = {
        use base64::Engine as _;
        let made = ["key", "create", "--tenant", "acme", "--kind", "front-end"];
        let made = server.cli(&made).unwrap();
        let key = format!("app:{}", made["api_key"].as_str().unwrap());
        base64::engine::general_purpose::STANDARD.encode(key)
    };
    Fixture {
        server,
        token,
        trustedx_token,
        basic,
        front_end_key,
        tls: Arc::new(tls),
        strangers_token,
        devices,
        held: absent.device.into_phone(),
        said: Mutex::default(),
    }
}

async fn replay(name: &str) {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts").join(name);
    let recording = std::fs::read_to_string(&path).unwrap();
    let (preface, recorded) = exchanges(&recording);
    let fixture = Arc::new(fixture().await);
    let mut replayed = preface;
    for (number, exchange) in recorded.iter().enumerate() {
        let (sender, request) = (Arc::clone(&fixture), exchange.request.clone());
        let answer = tokio::task::spawn_blocking(move || sender.exchange(&request)).await.unwrap();
        let Exchange { title, request, response } = exchange;
        if std::env::var_os("UPDATE_EXPECT").is_none() {
            assert_eq!(&answer, response, "{name}: {title}");
        }
        let gap = if number == 0 { "" } else { "\n\n" };
        write!(replayed, "{gap}### {title}\n{request}\n\n{answer}").unwrap();
    }
    replayed.push('\n');
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, replayed).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_start_and_cancel_are_as_recorded() {
    replay("kobil-signature.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_refusals_are_as_recorded() {
    replay("kobil-refusals.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_token_is_as_recorded() {
    replay("kobil-token.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_traps_are_as_recorded() {
    replay("kobil-traps.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_users_are_as_recorded() {
    replay("kobil-users.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_devices_are_as_recorded() {
    replay("kobil-devices.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_activation_codes_are_as_recorded() {
    replay("kobil-activation.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onespans_commands_over_soap_are_as_recorded() {
    replay("onespan-soap.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onespans_calls_over_rest_are_as_recorded() {
    replay("onespan-rest.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_onespans_phones_succeed_with_is_as_recorded() {
    replay("onespan-rest-done.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kobils_discovery_is_as_recorded() {
    replay("kobil-discovery.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trustedxs_authorization_server_is_as_recorded() {
    replay("trustedx-oauth.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trustedxs_processes_are_as_recorded() {
    replay("trustedx-processes.http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trustedxs_identities_are_as_recorded() {
    replay("trustedx-identities.http").await;
}
