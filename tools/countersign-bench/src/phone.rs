//! The device's part of KOBIL's cycle, over a channel.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use countersign_device::cms;
use countersign_wire::body::{Content, Finish, Offer, Signature, Take};
use countersign_wire::frame::{
    Challenge, FromDevice, FromServer, Hello, Message, Request, SUBPROTOCOL,
};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::jws;
use countersign_wire::limits::FRAME_BYTES_MAX;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::connect::{Stream, Target};
use crate::crowd::Keys;

/// Devices that connect before the connected ones answer pings; small enough that no ping is
/// missed.
pub(super) const LOOK_AFTER_EACH: usize = 500;

/// A connected device.
pub(super) struct Phone {
    socket: WebSocketStream<Stream>,
    n: u64,
}

/// The signature of a device, and its times.
pub(super) struct Signed {
    /// The CMS.
    pub(super) signature: Vec<u8>,
    /// The time at which it was sent.
    pub(super) completed: Instant,
    /// The time at which the server confirmed it.
    pub(super) acknowledged: Instant,
}

impl Phone {
    /// Connects, authenticates and waits for the welcome.
    pub(super) async fn connect(target: &Target, keys: &Keys) -> anyhow::Result<Self> {
        let stream = target.connect().await?;
        let mut request = "ws://localhost/device/v1/channel".into_client_request()?;
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let limits = WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_MAX));
        let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(limits));
        let (socket, _) = opened.await.context("the WebSocket handshake failed")?;
        let mut phone = Self { socket, n: 0 };
        let Message::Challenge(Challenge { nonce }) = phone.next_message().await?.message else {
            bail!("the channel did not begin with a challenge");
        };
        let proof = jws::sign_hello(&keys.phone.auth_key, &keys.name, &target.origin, &nonce);
        phone.say(Request::Hello(Hello { device: keys.name.clone(), proof })).await?;
        match phone.next_message().await?.message {
            Message::Welcome(_) => Ok(phone),
            other => bail!("the channel did not welcome the device: {other:?}"),
        }
    }

    /// Waits for an offer, takes it, and signs the content.
    pub(super) async fn sign(&mut self, keys: &Keys) -> anyhow::Result<Signed> {
        let Offer { id, .. } = loop {
            match self.next_message().await?.message {
                Message::Offer(offer) => break offer,
                Message::Withdrawn(_) => {}
                other => bail!("a message other than an offer: {other:?}"),
            }
        };
        self.say(Request::Take(Take { id, pin_proof: None })).await?;
        let taken = match self.next_message().await?.message {
            Message::Taken(taken) => taken,
            other => bail!("a take was answered {other:?}"),
        };
        let payload_key = &keys.phone.payload_key;
        let plain = jwe::open(payload_key, &keys.name, Purpose::Content(id), &taken.sealed)?;
        let content: Content = serde_json::from_slice(&plain)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let Content { bytes, media_type, .. } = &content;
        let (certificate, chain) = (&keys.certificate, &keys.chain);
        let signature = cms::sign(bytes, media_type, id.0, now, certificate, chain, &keys.key)?;
        let (identity, value) = (keys.identity.to_string(), signature.clone());
        let cms = Signature::Cms { identity, algorithm: None, value };
        let completed = Instant::now();
        self.say(Request::Finish(Finish { id, signature: cms, match_code: None })).await?;
        match self.next_message().await?.message {
            Message::Finished(_) => {
                Ok(Signed { signature, completed, acknowledged: Instant::now() })
            }
            other => bail!("a finish was answered {other:?}"),
        }
    }

    /// Answers the pings that have arrived, without waiting.
    pub(super) async fn look_up(&mut self) -> anyhow::Result<()> {
        while let Some(frame) = self.socket.next().now_or_never() {
            match frame.context("the channel was cut")?? {
                // A text is an offer that this device does not take.
                Frame::Ping(_) | Frame::Pong(_) | Frame::Text(_) => {}
                other => bail!("an unexpected message: {other:?}"),
            }
        }
        // The read queues a pong, and this sends it.
        Ok(self.socket.flush().await?)
    }

    async fn say(&mut self, request: Request) -> anyhow::Result<()> {
        self.n += 1;
        let text = FromDevice { n: self.n, request }.to_text();
        Ok(self.socket.send(Frame::text(text)).await?)
    }

    async fn next_message(&mut self) -> anyhow::Result<FromServer> {
        loop {
            match self.socket.next().await.context("the channel was cut")?? {
                Frame::Text(text) => return Ok(FromServer::parse(&text)?),
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => bail!("an unexpected message: {other:?}"),
            }
        }
    }
}

/// Answers the pings that have arrived.
pub(super) async fn look_after(phones: &mut [Phone]) -> anyhow::Result<()> {
    for phone in phones {
        phone.look_up().await?;
    }
    Ok(())
}
