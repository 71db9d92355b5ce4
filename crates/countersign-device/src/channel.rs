//! One WebSocket channel, from `challenge` to its end.
//!
//! It has no task of its own: the owner of a [`Channel`] reads it, and pings are answered only
//! while it reads. A read may be cancelled at any point and started again.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use countersign_wire::body::RefusalBody;
use countersign_wire::frame::{
    Close, FromDevice, FromServer, Hello, Message, Request, SUBPROTOCOL, Welcome,
};
use countersign_wire::jws;
use countersign_wire::limits::FRAME_BYTES_MAX;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{DATE, HOST, SEC_WEBSOCKET_PROTOCOL};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message as Frame};

use crate::error::Error;
use crate::http::{ANSWER_TIMEOUT, CONNECT_TIMEOUT, Caller};

/// The silence after which the device sends a ping.
const SILENCE: Duration = Duration::from_mins(1);
/// The additional silence after which the device closes the channel.
const GRACE: Duration = Duration::from_secs(15);
/// The most messages that are queued while an answer is awaited; a server has fewer open for one
/// device.
const INBOX_MAX: usize = 1024;

/// An open channel whose `hello` was answered with `welcome`.
pub(crate) struct Channel {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// The number of the last request.
    n: u64,
    /// The messages that arrived while an answer was awaited.
    inbox: VecDeque<Message>,
    heard: Instant,
    pinged: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The reason for which a channel ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Lost {
    /// The server closed it, with this close code.
    Closed(Close),
    /// The connection broke.
    Broken(String),
}

impl Channel {
    /// Connects and authenticates.
    pub(crate) async fn open(caller: &Caller) -> Result<(Self, Welcome), Error> {
        let origin = caller.address.origin();
        let opening = async {
            let socket = connect(caller).await?;
            let mut channel =
                Self { socket, n: 0, inbox: VecDeque::new(), heard: Instant::now(), pinged: false };
            let welcome = channel.hello(caller).await.map_err(|lost| match lost {
                // A proxy answers so while the server behind it is not reachable.
                Lost::Broken(why) => Error::unreachable(origin, why),
                Lost::Closed(close) => Error::Closed(close),
            })?;
            Ok((channel, welcome))
        };
        let late = |_| Error::unreachable(origin, "it did not answer in time");
        timeout(CONNECT_TIMEOUT + ANSWER_TIMEOUT, opening).await.map_err(late)?
    }

    async fn hello(&mut self, caller: &Caller) -> Result<Welcome, Lost> {
        let Message::Challenge(challenge) = self.read().await?.message else {
            return Err(Lost::Broken("it did not begin with a challenge".to_owned()));
        };
        let key = &caller.auth_key;
        let proof = jws::sign_hello(key, &caller.device, &caller.audience, &challenge.nonce);
        let hello = Hello { device: caller.device.clone(), proof };
        let n = self.send(Request::Hello(hello)).await?;
        let answer = self.read().await?;
        match answer.message {
            Message::Welcome(welcome) if answer.n == n => Ok(welcome),
            _ => Err(Lost::Broken("it did not answer hello with welcome".to_owned())),
        }
    }

    /// The next message that is not an answer.
    pub(crate) async fn next(&mut self) -> Result<Message, Lost> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            // An answer to a cancelled request is ignored.
            let frame = self.read().await?;
            if frame.n == 0 {
                return Ok(frame.message);
            }
        }
    }

    /// Sends a request and waits for the answer with the same number.
    pub(crate) async fn request(
        &mut self,
        request: Request,
    ) -> Result<Result<Message, RefusalBody>, Lost> {
        let asking = async {
            let n = self.send(request).await?;
            loop {
                let frame = self.read().await?;
                match frame.message {
                    Message::Refused(body) if frame.n == n => return Ok(Err(body)),
                    message if frame.n == n => return Ok(Ok(message)),
                    message if frame.n == 0 && self.inbox.len() < INBOX_MAX => {
                        self.inbox.push_back(message);
                    }
                    _ if frame.n == 0 => {
                        return Err(Lost::Broken("it sent too many messages at once".to_owned()));
                    }
                    _ => {}
                }
            }
        };
        let late = |_| Lost::Broken("it did not answer in time".to_owned());
        timeout(ANSWER_TIMEOUT, asking).await.map_err(late)?
    }

    /// Sends a close frame.
    pub(crate) async fn close(mut self) {
        let frame =
            CloseFrame { code: Close::Normal.code().into(), reason: Close::Normal.reason().into() };
        // Best effort: the server also notices a closed connection.
        let _ = timeout(Duration::from_secs(1), self.socket.close(Some(frame))).await;
    }

    async fn send(&mut self, request: Request) -> Result<u64, Lost> {
        self.n += 1;
        let text = FromDevice { n: self.n, request }.to_text();
        self.write(Frame::text(text)).await?;
        Ok(self.n)
    }

    async fn write(&mut self, frame: Frame) -> Result<(), Lost> {
        let late = |_| Lost::Broken("it does not accept more data".to_owned());
        let sent = timeout(ANSWER_TIMEOUT, self.socket.send(frame)).await.map_err(late)?;
        sent.map_err(|error| Lost::Broken(error.to_string()))
    }

    /// The next text frame. Cancelling the read loses no data.
    async fn read(&mut self) -> Result<FromServer, Lost> {
        loop {
            let reconnect = if self.pinged { SILENCE + GRACE } else { SILENCE };
            let frame = match timeout_at(self.heard + reconnect, self.socket.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Lost::Broken(error.to_string())),
                Ok(None) => return Err(Lost::Broken("the connection was cut".to_owned())),
                Err(_) if self.pinged => {
                    return Err(Lost::Broken("it did not answer a ping".to_owned()));
                }
                Err(_) => {
                    self.pinged = true;
                    self.write(Frame::Ping(bytes::Bytes::new())).await?;
                    continue;
                }
            };
            (self.heard, self.pinged) = (Instant::now(), false);
            match frame {
                Frame::Text(text) => {
                    return FromServer::parse(&text).map_err(|bad| Lost::Broken(bad.to_string()));
                }
                Frame::Close(frame) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Err(Lost::Closed(Close::from_code(code)));
                }
                // The next read writes the answer to a ping.
                Frame::Ping(_) | Frame::Pong(_) => {}
                Frame::Binary(_) | Frame::Frame(_) => {
                    return Err(Lost::Broken("it sent a binary frame".to_owned()));
                }
            }
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("n", &self.n).finish_non_exhaustive()
    }
}

async fn connect(caller: &Caller) -> Result<WebSocketStream<Box<dyn Stream>>, Error> {
    let address = &caller.address;
    let lost = |error: std::io::Error| Error::connection(address.origin(), &error);
    let target = (address.host(), address.port());
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await;
    let late = |_| Error::unreachable(address.origin(), "it did not answer in time");
    let tcp = connected.map_err(late)?.map_err(lost)?;
    // Frames are small and should leave at once.
    let _ = tcp.set_nodelay(true);

    let (scheme, stream): (_, Box<dyn Stream>) = if address.is_tls() {
        let name = ServerName::try_from(address.host())
            .map_err(|_| Error::Address(address.origin().to_owned()))?;
        let mut tls = caller.tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(lost)?;
        ("wss", Box::new(stream))
    } else {
        ("ws", Box::new(tcp))
    };

    let url = format!("{scheme}://{}/device/v1/channel", address.authority());
    let mut request =
        url.into_client_request().map_err(|_| Error::Address(address.origin().to_owned()))?;
    let header = |text: &str| text.parse().expect("visible ASCII is a valid header value");
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, header(SUBPROTOCOL));
    request.headers_mut().insert(HOST, header(address.authority()));
    let limits = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
        Ok((socket, answer)) => {
            let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
            caller.clock.check(date.and_then(|date| httpdate::parse_http_date(date).ok()));
            Ok(socket)
        }
        Err(tungstenite::Error::Http(answer)) => match answer.status().as_u16() {
            status @ (429 | 500..) => {
                Err(Error::unreachable(address.origin(), format!("it answered {status}")))
            }
            _ => Err(Error::Unexpected("its address is not a WebSocket endpoint")),
        },
        Err(tungstenite::Error::Io(error)) => Err(lost(error)),
        Err(tungstenite::Error::Protocol(_)) => {
            Err(Error::unreachable(address.origin(), "the WebSocket's handshake failed"))
        }
        Err(error) => Err(Error::unreachable(address.origin(), error.to_string())),
    }
}
