//! The sockets of the fake server: HTTP, the channel, TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use countersign_wire::body::{Code, Offers, RefusalBody};
use countersign_wire::code::{self, ActivationCode, Side};
use countersign_wire::frame::{
    Challenge, FromDevice, FromServer, Message, Request, SUBPROTOCOL, Welcome,
};
use countersign_wire::id::TransactionId;
use countersign_wire::jws::{self, Call};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{CODE, Fake, Say};

pub(super) fn router(fake: Fake) -> Router {
    Router::new()
        .route("/device/v1/enrolments", post(enrol))
        .route("/device/v1/channel", get(channel))
        .route("/device/v1/offers", any(call))
        .route("/device/v1/pin", any(call))
        .route("/device/v1/transactions/{id}/{verb}", any(call_of_transaction))
        .with_state(fake)
}

async fn enrol(Shared(fake): Shared<Fake>, headers: HeaderMap, body: Bytes) -> Response {
    let code = ActivationCode::parse(CODE).unwrap();
    let mac = headers[code::HEADER].to_str().unwrap();
    let mut state = fake.tables();
    state.enrolments.push(body.to_vec());
    if state.unavailable > 0 {
        state.unavailable -= 1;
        return refused(RefusalBody::new(Code::Unavailable));
    }
    if !code.check(Side::Request, &body, mac) {
        return refused(RefusalBody::new(Code::EnrolmentRefused));
    }
    let answer = serde_json::to_vec(&state.enrol(&body)).unwrap();
    let mac = code.mac(Side::Answer, &answer);
    (StatusCode::CREATED, [(code::HEADER, mac)], answer).into_response()
}

async fn call_of_transaction(
    fake: Shared<Fake>,
    Path((id, verb)): Path<(TransactionId, String)>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let frame = FromDevice::parse(&format!(r#"{{"n":1,"{verb}":{text}}}"#)).unwrap();
    let path = format!("/device/v1/transactions/{id}/{verb}");
    answer(&fake, &method, &path, &headers, &body, Some(frame.request))
}

async fn call(
    fake: Shared<Fake>,
    method: Method,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&fake, &method, uri.path(), &headers, &body, None)
}

fn answer(
    fake: &Fake,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    request: Option<Request>,
) -> Response {
    let mut state = fake.tables();
    let caller = state.device.as_ref().unwrap();
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let call = Call { method: method.as_str(), path, body };
    let (key, origins) = (caller.request.auth_key.verifying(), [state.address.clone()]);
    if jws::verify_call(token, &key, &caller.name, &origins, call, state.now()).is_err() {
        let server_time = Some(Duration::from_millis(state.now().as_millis() as u64));
        return refused(RefusalBody { server_time, ..RefusalBody::new(Code::Unauthorised) });
    }
    let Some(request) = request else {
        return match path {
            "/device/v1/pin" => {
                state.put_pin(body).map_or_else(refused, |ok| Json(ok).into_response())
            }
            _ => Json(Offers { offers: state.open() }).into_response(),
        };
    };
    let decided = state.decide(request);
    if state.loses(&decided) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    match decided {
        Ok(Message::Taken(content)) => Json(content).into_response(),
        Ok(Message::Finished(ended) | Message::Declined(ended) | Message::Failed(ended)) => {
            Json(ended).into_response()
        }
        Ok(_) => unreachable!("every decision is matched above"),
        Err(body) => refused(body),
    }
}

fn refused(body: RefusalBody) -> Response {
    (StatusCode::from_u16(body.error.status()).unwrap(), Json(body)).into_response()
}

async fn channel(Shared(fake): Shared<Fake>, upgrade: WebSocketUpgrade) -> Response {
    let protocols = [SUBPROTOCOL];
    let now = httpdate::fmt_http_date(UNIX_EPOCH + fake.tables().now());
    let upgrade = upgrade.protocols(protocols).on_upgrade(|socket| async move {
        // The end of the socket is the end of the channel.
        let _ = serve(fake, socket).await;
    });
    ([("date", now)], upgrade).into_response()
}

async fn serve(fake: Fake, mut socket: WebSocket) -> Result<(), axum::Error> {
    let mut say = fake.say.subscribe();
    let challenge = Challenge::generate();
    let first = FromServer::push(Message::Challenge(challenge.clone()));
    socket.send(Frame::text(first.to_text())).await?;
    let Some(Ok(Frame::Text(text))) = socket.recv().await else { return Ok(()) };
    let FromDevice { n, request: Request::Hello(hello) } = FromDevice::parse(&text).unwrap() else {
        panic!("a device begins with hello");
    };
    let open = {
        let mut state = fake.tables();
        let caller = state.device.as_ref().unwrap();
        let (key, origins) = (caller.request.auth_key.verifying(), [state.address.clone()]);
        jws::verify_hello(&hello.proof, &key, &caller.name, &origins, &challenge.nonce).unwrap();
        state.welcomes += 1;
        state.open()
    };
    let welcome = FromServer::answer(n, Message::Welcome(Welcome { open }));
    socket.send(Frame::text(welcome.to_text())).await?;
    loop {
        tokio::select! {
            said = say.recv() => match said.unwrap() {
                Say::Frame(message) => {
                    socket.send(Frame::text(FromServer::push(message).to_text())).await?;
                }
                Say::Close(close) => {
                    let (code, reason) = (close.code(), close.reason().into());
                    return socket.send(Frame::Close(Some(CloseFrame { code, reason }))).await;
                }
            },
            frame = socket.recv() => {
                let Some(Ok(frame)) = frame else { return Ok(()) };
                let Frame::Text(asked) = frame else { continue };
                let FromDevice { n, request } = FromDevice::parse(&asked).unwrap();
                let (message, lost) = {
                    let mut state = fake.tables();
                    let decided = state.decide(request);
                    let lost = state.loses(&decided);
                    (decided.unwrap_or_else(Message::Refused), lost)
                };
                if lost {
                    return Ok(());
                }
                socket.send(Frame::text(FromServer::answer(n, message).to_text())).await?;
            }
        }
    }
}

/// TLS for `localhost`, with a certificate issued by `ca`.
pub(super) struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn new(tcp: TcpListener, ca: &Issuer<'static, KeyPair>) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(tcp).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
