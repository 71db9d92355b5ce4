//! The channel, spoken by hand: which devices may connect, what closes it, and what each close
//! says.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_device::Phone;
use countersign_wire::frame::{
    Challenge, FromDevice, FromServer, Hello, Message, Request, SUBPROTOCOL,
};
use countersign_wire::jws::{self, Call};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::{Error, Message as Frame};

use crate::metrics::{scraped, value};
use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};

type Opened = (WebSocketStream<TlsStream<TcpStream>>, Response<Option<Vec<u8>>>);

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", SUBPROTOCOL);

/// A connection over TLS, HTTP/1.1.
pub(crate) async fn connect(server: &TestServer) -> TlsStream<TcpStream> {
    connect_tls([127, 0, 0, 1], server).await.unwrap()
}

/// The same from this address; or an error if the server resets it.
async fn connect_tls(
    address: [u8; 4],
    server: &TestServer,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = server.data().join("tls/ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = connect_from(address, server).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// A connection without TLS yet, from this address; or an error if it is reset at once.
async fn connect_from(address: [u8; 4], server: &TestServer) -> std::io::Result<TcpStream> {
    let port = server.address.strip_prefix("https://localhost:").unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(format!("127.0.0.1:{port}").parse().unwrap()).await
}

/// Whether the server serves a connection from this address, instead of resetting it.
async fn serves(address: [u8; 4], server: &TestServer) -> bool {
    connect_tls(address, server).await.is_ok()
}

/// Asks for a channel, with these additional headers.
async fn upgrade(server: &TestServer, headers: &[(&'static str, &str)]) -> Result<Opened, Error> {
    let host = server.address.strip_prefix("https://").unwrap();
    let url = format!("wss://{host}/device/v1/channel");
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    tokio_tungstenite::client_async(request, connect(server).await).await
}

/// A channel without an SDK around it.
struct Wire {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    challenge: Challenge,
}

impl Wire {
    /// Connects, and receives the challenge.
    async fn open(server: &TestServer) -> Self {
        let (mut socket, answer) = upgrade(server, &[PROTOCOL]).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        let frame = socket.next().await.unwrap().unwrap();
        let Message::Challenge(challenge) =
            FromServer::parse(frame.to_text().unwrap()).unwrap().message
        else {
            panic!("{frame}")
        };
        Self { socket, challenge }
    }

    /// Connects and is welcomed.
    async fn welcomed(server: &TestServer, phone: &Phone) -> Self {
        let mut wire = Self::open(server).await;
        let hello = wire.hello(server, phone);
        wire.send(&hello.to_text()).await;
        assert!(matches!(wire.hear().await.message, Message::Welcome(_)));
        wire
    }

    fn hello(&self, server: &TestServer, phone: &Phone) -> FromDevice {
        let device = phone.device_name().unwrap();
        let proof =
            jws::sign_hello(&phone.auth_key, &device, &server.address, &self.challenge.nonce);
        FromDevice { n: 1, request: Request::Hello(Hello { device, proof }) }
    }

    async fn send(&mut self, text: &str) {
        self.socket.send(Frame::text(text)).await.unwrap();
    }

    async fn hear(&mut self) -> FromServer {
        let frame = self.socket.next().await.unwrap().unwrap();
        FromServer::parse(frame.to_text().unwrap()).unwrap_or_else(|_| panic!("{frame}"))
    }

    /// The close code of the server, whatever it sends before.
    async fn close(&mut self) -> u16 {
        let all = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Frame::Close(Some(close)))) => return u16::from(close.code),
                    Some(Ok(_)) => {}
                    other => panic!("no close: {other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("it is closed")
    }
}

#[tokio::test]
async fn a_stranger_is_not_welcomed() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let other = TestDevice::enrolled(&server, "jane", None).await;
    let (phone, mut thief) = (jane.phone().clone(), jane.phone().clone());
    thief.auth_key = other.phone().auth_key.clone();

    let mut wire = Wire::open(&server).await;
    let hello = wire.hello(&server, &thief);
    wire.send(&hello.to_text()).await;
    assert_eq!(wire.close().await, 4001, "another key");
    let refused = until("the refused device in the history", async || {
        let kind = ["history", "--tenant", "acme", "--kind", "device.refused"];
        server.cli(&kind).unwrap().get(0).cloned()
    });
    let refused = refused.await;
    assert_eq!(
        (&refused["actor"], &refused["subject"]),
        (&json!("unknown"), &json!(format!("device:{}", phone.device_id)))
    );
    assert!(refused["details"]["reason"].as_str().unwrap().contains("the token"), "{refused}");
    assert!(server.log().contains("event.kind=\"device.refused\""));

    let (earlier, mut wire) = (Wire::open(&server).await, Wire::open(&server).await);
    let replayed = earlier.hello(&server, &phone);
    wire.send(&replayed.to_text()).await;
    assert_eq!(wire.close().await, 4001, "another challenge");

    let mut wire = Wire::open(&server).await;
    wire.send(&json!({"n": 1, "take": {"id": "0".repeat(32)}}).to_string()).await;
    assert_eq!(wire.close().await, 4001, "no hello");

    server.cli(&["device", "lock", &phone.device_id.to_string(), "--tenant", "acme"]).unwrap();
    let mut wire = Wire::open(&server).await;
    let hello = wire.hello(&server, &phone);
    wire.send(&hello.to_text()).await;
    assert_eq!(wire.close().await, 4003, "locked");
}

#[tokio::test]
async fn a_channel_is_opened_neither_by_another_origins_page_nor_without_its_subprotocol() {
    let server = TestServer::new();
    let own = ("origin", server.address.as_str());
    assert!(upgrade(&server, &[PROTOCOL, own]).await.is_ok());
    for (headers, status) in [
        (&[PROTOCOL, ("origin", "https://evil.example")][..], 403),
        (&[PROTOCOL, ("origin", "null")], 403),
        (&[("sec-websocket-protocol", "chat")], 400),
        (&[], 400),
    ] {
        match upgrade(&server, headers).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{headers:?}"),
            other => panic!("{headers:?}: {other:?}"),
        }
    }
}

/// Strangers hold every connection that is not reserved. Whoever has authenticated, in each way
/// that there is, still gets one from their address.
#[tokio::test]
async fn an_address_is_known_after_each_way_of_authentication() {
    const LIMITS: &str = "[server]\nconnections_max = 20\nconnections_per_address_max = 20\n\
                          connections_reserved_percent = 50\n";
    for way in ["none", "client secret", "API key", "device call", "channel"] {
        let server = TestServer::configured(LIMITS);
        server.user("jane");
        let jane = TestDevice::enrolled(&server, "jane", None).await;
        let phone = jane.phone();
        // It stays open, so that it leaves no place to a stranger meanwhile.
        let mut channel = None;
        match way {
            "client secret" => drop(server.token().await),
            "API key" => {
                let words = ["key", "create", "--tenant", "acme", "--kind", "front-end"];
                let made = server.cli(&words).unwrap();
                let url = format!("{}/rest/v2/provisioning/getServerTime", server.address);
                let call = server.http.post(url).basic_auth("app", made["api_key"].as_str());
                assert_eq!(call.json(&json!({})).send().await.unwrap().status(), 200);
            }
            "device call" => {
                let path = "/device/v1/offers";
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let call = Call { method: "GET", path, body: b"" };
                let device = phone.device_name().unwrap();
                let token = jws::sign_call(&phone.auth_key, &device, &server.address, call, now);
                let call = server.http.get(format!("{}{path}", server.address));
                assert_eq!(call.bearer_auth(token).send().await.unwrap().status(), 200);
            }
            "channel" => channel = Some(Wire::welcomed(&server, phone).await),
            _ => {}
        }
        // Connections that were used before may close meanwhile, and strangers take their places.
        let mut strangers = Vec::new();
        let is_known = loop {
            for _ in 0..12 {
                strangers.push(connect_from([127, 0, 0, 9], &server).await);
            }
            if serves([127, 0, 0, 8], &server).await {
                assert!(strangers.len() < 240, "strangers get what is reserved");
                continue;
            }
            let is_known = serves([127, 0, 0, 1], &server).await;
            if !is_known || way != "none" || strangers.len() > 240 {
                break is_known;
            }
        };
        assert_eq!(is_known, way != "none", "{way}");
        assert_eq!(server.readiness().await, 503, "no stranger gets a connection");
        let counted = scraped(&server).await;
        let refused = ["address_share", "reserved"].map(|reason| {
            let name = "countersign_connections_refused_total";
            value(&counted, &format!("{name}{{reason=\"{reason}\"}}")).unwrap()
        });
        assert!(refused.iter().sum::<f64>() >= 1.0, "{refused:?}");
        drop((strangers, channel));
    }
}

#[tokio::test]
async fn a_strangers_body_is_not_waited_for_at_any_door_that_knows_its_callers_by_the_head() {
    let server = TestServer::new();
    for (method, path) in [
        ("POST", "/auth/realms/acme/v3_user/digitaniumsignature/jane"),
        ("DELETE", "/auth/realms/acme/v3_user/cancelsignature/jane"),
        ("POST", "/auth/realms/acme/v3_user"),
        ("POST", "/auth/realms/acme/v3_activationcode/jane"),
        ("POST", "/onespan/soap"),
        ("POST", "/rest/v2/signature/push/getPreparedSignatureRequest"),
        ("POST", "/rest/v2/signature/push/authSignature"),
        ("POST", "/rest/v2/signature/push/cancelAuthSignatureRequest"),
        ("POST", "/rest/v2/authentication/push/authUser"),
        ("POST", "/rest/v2/notification/push/updateNotificationID"),
        ("POST", "/rest/v2/provisioning/getServerTime"),
        ("POST", "/trustedx-resources/esigp/v1/signatures/device/raw"),
        ("PUT", "/trustedx-resources/esigp/v1/signatures/0/finish"),
        ("PUT", "/trustedx-resources/esigp/v1/signatures/0/fail"),
        ("PUT", "/trustedx-resources/esigp/v1/signatures/0/cancel"),
        ("PUT", "/trustedx-resources/esigp/v1/sign_identities/0/status"),
        ("PUT", "/trustedx-resources/esigp/v1/sign_identities/0/labels"),
        ("PUT", "/device/v1/pin"),
        ("POST", "/device/v1/identities"),
        ("PUT", "/device/v1/push"),
        ("POST", "/device/v1/transactions/0/take"),
        ("POST", "/device/v1/transactions/0/finish"),
        ("POST", "/device/v1/transactions/0/decline"),
        ("POST", "/device/v1/transactions/0/fail"),
    ] {
        let mut stream = connect(&server).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer x\r\ncontent-length: 1000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        read.unwrap_or_else(|_| panic!("{path} waits for the body")).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401", "{path}");
    }
}

/// Bodies that do not end hold memory. A caller whose credential is in the head may use what is
/// configured, here 1 MiB. One whose credential is in the body may use a network's share, here 1 of
/// 64 MiB.
#[tokio::test]
async fn bodies_that_do_not_end_take_no_more_memory_than_their_senders_may() {
    const BODIES: usize = 30;
    const BODY_BYTES: usize = 79_000;
    for (configuration, path) in [
        ("bodies_mebibytes_max = 1\n", "/auth/realms/acme/v3_user/digitaniumsignature/jane"),
        ("bodies_mebibytes_max = 64\n", "/device/v1/enrolments"),
    ] {
        let server = TestServer::configured(&format!("[server]\n{configuration}"));
        server.user("jane");
        let token = server.token().await;
        let unfinished = async || {
            let mut stream = connect(&server).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
                BODY_BYTES + 1
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // A body that is refused may be refused before it is written.
            let _ = stream.write_all(&vec![b'x'; BODY_BYTES]).await;
            stream
        };
        let answers = FuturesUnordered::new();
        for _ in 0..BODIES {
            let mut stream = unfinished().await;
            answers.push(async move {
                let mut answer = [0; 12];
                (stream.read_exact(&mut answer).await.map(|_| answer).ok(), stream)
            });
        }
        // Bodies that do not fit are refused at once. The others are held until their timeout.
        let refused = answers.take(BODIES - 1_048_576 / BODY_BYTES).collect::<Vec<_>>();
        let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
        let refused = refused.unwrap_or_else(|_| panic!("{path}: bodies are held without a bound"));
        assert!(refused.iter().any(|(answer, _)| *answer == Some(*b"HTTP/1.1 503")), "{path}");
        let is_refusal =
            |answer: Option<[u8; 12]>| matches!(answer, None | Some([.., b'5', b'0', b'3']));
        assert!(refused.iter().all(|(answer, _)| is_refusal(*answer)), "{path}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_frame_is_refused_or_closes_the_channel() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let phone = jane.phone();
    let mut wire = Wire::welcomed(&server, phone).await;
    for nonsense in [
        json!({"n": 7, "dance": {}}),
        json!({"n": 7, "take": {}}),
        json!({"n": 7, "take": {"id": "0".repeat(32), "more": 1}}),
        json!({"n": 7}),
        json!({"n": 7, "hello": {"device": "acme/1", "proof": "x"}}),
    ] {
        wire.send(&nonsense.to_string()).await;
        let answer = wire.hear().await;
        let Message::Refused(refused) = answer.message else { panic!("{nonsense}") };
        assert_eq!(
            (answer.n, refused.error),
            (7, countersign_device::Code::BadRequest),
            "{nonsense}"
        );
    }
    wire.send(&json!({"n": 8, "take": {"id": "0".repeat(32)}}).to_string()).await;
    let Message::Refused(refused) = wire.hear().await.message else { panic!() };
    assert_eq!(refused.error, countersign_device::Code::NotFound);
    wire.send("{").await;
    assert_eq!(wire.close().await, 4000);

    let mut wire = Wire::welcomed(&server, phone).await;
    wire.socket.send(Frame::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(wire.close().await, 1003);

    let mut wire = Wire::welcomed(&server, phone).await;
    let _ = wire.socket.send(Frame::text("x".repeat(200_000))).await;
    assert_eq!(wire.close().await, 1009);
}

#[tokio::test]
async fn a_second_channel_of_a_device_replaces_the_first() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut first = Wire::welcomed(&server, jane.phone()).await;
    let mut second = Wire::welcomed(&server, jane.phone()).await;
    assert_eq!(first.close().await, 4002);
    let mut request = payment("to the second");
    request["callbackUrl"] = json!("https://shop.example/");
    let (_, body) = server.start_signature("jane", &request).await;
    assert_eq!(body["status"], "OK", "the device is online");
    let offer = second.hear().await;
    assert!(matches!(offer.message, Message::Offer(_)), "{offer:?}");
    assert_eq!(offer.n, 0);
}

#[tokio::test]
async fn a_lock_without_a_notification_is_seen_by_an_idle_channel_at_its_next_ping() {
    let server = TestServer::configured("[channel]\nping_seconds = 1\nidle_seconds = 5\n");
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut wire = Wire::welcomed(&server, jane.phone()).await;
    // Without an event, so that the server does not hear of it.
    let lock = "UPDATE users SET lock = 'administrator', version = version + 1";
    let locked = Command::new("sqlite3").arg(server.data().join("ledger.db")).arg(lock).output();
    assert!(locked.unwrap().status.success());
    assert_eq!(wire.close().await, 4003);
}

#[tokio::test]
async fn a_stopping_server_says_so() {
    let mut server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", None).await;
    let mut wire = Wire::welcomed(&server, jane.phone()).await;
    let closed = tokio::spawn(async move { wire.close().await });
    assert_eq!(server.stop(), Some(0));
    assert_eq!(closed.await.unwrap(), 1012);
}
