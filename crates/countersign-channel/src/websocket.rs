//! The channel: a WebSocket that drives one [`Session`].
//!
//! ```text
//! challenge ─▶ hello ─▶ welcome ─▶ ┌ requests in, answers out (one at a time)
//!   (typestate: this function)     └ offers, withdrawals, pings, a close (the session's)
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use countersign_core::device::Device;
use countersign_core::limits::{FRAME_BYTES_MAX, HELLO_WAIT_MAX};
use countersign_core::refusal::{ActorError, ActorRefusal, Error};
use countersign_core::session::{Reason, Session, SessionInput, SessionOutput};
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;
use countersign_wire::body::{Code, RefusalBody};
use countersign_wire::frame::{
    BadFrame, Challenge, Close, FromDevice, FromServer, Hello, Message, Request, SUBPROTOCOL,
    Welcome, Withdrawn,
};
use countersign_wire::jws;
use http::header::ORIGIN;
use http::{HeaderMap, StatusCode};
use tokio::time::{sleep, timeout};

use super::Devices;
use super::answer::{self, Refused};
use super::device_auth::{AuthenticatedDevice, ids};
use countersign_http::listen::Peer;
use countersign_node::notifier::{Connection, ConnectionEvent, ConnectionKind};

/// A device that reads nothing for this long is disconnected.
const SEND_WAIT_MAX: Duration = Duration::from_secs(10);

// The wire's limit and the core's must be equal.
const _: () = assert!(FRAME_BYTES_MAX == countersign_wire::limits::FRAME_BYTES_MAX);

/// `GET /device/v1/channel`
pub(super) async fn open(
    State(devices): State<Devices>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else { return Refused::from(Code::BadRequest).into_response() };
    if let Some(origin) = headers.get(ORIGIN)
        && !devices.0.rules.origins.iter().any(|own| own.as_bytes() == origin.as_bytes())
    {
        // Another site's page opened it in a user's browser (RFC 6455, section 10.2).
        return (StatusCode::FORBIDDEN, "the Origin is not this server's\n").into_response();
    }
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return Refused::from(Code::BadRequest).into_response();
    }
    if devices.0.tasks.is_draining() {
        return Refused::from(Code::Unavailable).into_response();
    }
    upgrade
        // A buffer keeps the size to which the hello made it grow: this much more than the hello.
        .read_buffer_size(128)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| {
            let peer = peer.map(|Extension(peer)| peer);
            channel_task(Box::pin(Opening { devices, peer, socket }.welcome()))
        })
}

/// Runs a channel until it is closed, after `opening`. This future is most of what an idle device
/// costs, so everything but the waiting is boxed, and gone while it waits.
async fn channel_task(opening: Pin<Box<impl Future<Output = Option<Channel>>>>) {
    let Some(mut channel) = opening.await else { return };
    if let Err(Some(close)) = channel.serve().await {
        Box::pin(say_close(&mut channel.socket, close)).await;
    }
}

/// A channel whose device is not authenticated yet.
struct Opening {
    devices: Devices,
    peer: Option<Peer>,
    socket: WebSocket,
}

/// The channel of a welcomed device.
struct Channel {
    devices: Devices,
    socket: WebSocket,
    who: AuthenticatedDevice,
    session: Session,
    connection: Connection,
    /// The transaction of the latest notification, until it has been offered.
    news: Option<Arc<Transaction>>,
    /// The device of the latest notification, until it has been reported.
    added: Option<Arc<Device>>,
}

/// How a channel ends: with our close frame, or without one if the peer is gone.
type Closed = Option<Close>;

impl Opening {
    /// Sends the challenge, and welcomes the device that answers it. Otherwise closes the socket.
    async fn welcome(mut self) -> Option<Channel> {
        let opened = async {
            let (n, who) = self.greet().await?;
            let (session, connection) = self.connect(n, &who).await?;
            Ok((who, session, connection))
        };
        match opened.await {
            Ok((who, session, connection)) => {
                let Self { devices, socket, .. } = self;
                let (news, added) = (None, None);
                Some(Channel { devices, socket, who, session, connection, news, added })
            }
            Err(closed) => {
                if let Some(close) = closed {
                    say_close(&mut self.socket, close).await;
                }
                None
            }
        }
    }

    /// Sends the challenge, and authenticates the device that answers it.
    async fn greet(&mut self) -> Result<(u64, AuthenticatedDevice), Closed> {
        let challenge = Challenge::generate();
        let nonce = challenge.nonce.clone();
        say(&mut self.socket, FromServer::push(Message::Challenge(challenge))).await?;
        let first = timeout(HELLO_WAIT_MAX, self.socket.recv()).await;
        let first = first.map_err(|_| Some(Close::Unauthorised))?;
        let DeviceMessage::Request(FromDevice { n, request: Request::Hello(hello) }) =
            heard(first)?
        else {
            return Err(Some(Close::Unauthorised));
        };
        Ok((n, self.greeted(&hello, &nonce).await?))
    }

    /// Checks a `hello`.
    async fn greeted(&mut self, hello: &Hello, nonce: &str) -> Result<AuthenticatedDevice, Closed> {
        let stranger = Some(Close::Unauthorised);
        let (tenant, device) = ids(&hello.device).ok_or(stranger)?;
        let key = self.devices.auth_key(&tenant, device).await;
        let key = key.map_err(|_| Some(Close::Internal))?.ok_or(stranger)?;
        let origins = &self.devices.0.rules.origins;
        jws::verify_hello(&hello.proof, &key, &hello.device, origins, nonce).map_err(|bad| {
            self.devices.note_refused(&tenant, device, bad);
            stranger
        })?;
        if let Some(Peer(peer)) = self.peer {
            self.devices.0.known.remember(peer.ip());
        }
        Ok(AuthenticatedDevice { tenant, device })
    }

    /// Registers the device as connected, and then offers the open transactions, so that none is
    /// missed in between.
    async fn connect(
        &mut self,
        n: u64,
        who: &AuthenticatedDevice,
    ) -> Result<(Session, Connection), Closed> {
        let core = &self.devices.0.core;
        let found = core.read().device(&who.tenant, who.device).await;
        let device = found.map_err(|_| Some(Close::Internal))?.ok_or(Some(Close::Unauthorised))?;
        let user = device.value.user;
        let connection = core.notifier().connect(
            &who.tenant,
            &user,
            who.device,
            ConnectionKind::Channel,
            core.now(),
        );
        let open = core.offers(&who.tenant, who.device, None).await;
        let open = open.map_err(|error| Some(closed_by(error)))?;
        let pace = self.devices.0.rules.pace;
        let session = Session::welcomed(open.iter().map(|open| open.spec.id), pace, core.now());
        let open = open.iter().map(|open| answer::offer(open)).collect();
        let welcome = FromServer::answer(n, Message::Welcome(Welcome { open }));
        say(&mut self.socket, welcome).await?;
        self.say_added(who).await?;
        Ok((session, connection))
    }

    /// Reports the user's devices that were enrolled after this one, in case it was not connected
    /// then. A device tells its user of each one once.
    async fn say_added(&mut self, who: &AuthenticatedDevice) -> Result<(), Closed> {
        let core = &self.devices.0.core;
        let all = core.devices_beside(&who.tenant, who.device).await;
        let all = all.map_err(|error| Some(closed_by(error)))?;
        let later = all.iter().skip_while(|device| device.id != who.device).skip(1);
        let later: Vec<_> = later.map(answer::user_device).collect();
        for device in later {
            say(&mut self.socket, FromServer::push(Message::DeviceAdded(device))).await?;
        }
        Ok(())
    }
}

impl Channel {
    /// Serves the device; the error says how to close the channel.
    async fn serve(&mut self) -> Result<(), Closed> {
        loop {
            while let Some(output) = self.session.poll() {
                Box::pin(self.put(output)).await?;
            }
            (self.news, self.added) = (None, None);
            let patience = self.now().until(self.session.deadline());
            let input = tokio::select! {
                frame = self.socket.recv() => {
                    Box::pin(self.hear(frame)).await?;
                    SessionInput::Heard
                }
                note = self.connection.next() => self.note(note),
                () = sleep(patience) => SessionInput::Timeout,
            };
            let now = self.now();
            self.session.handle(input, now);
        }
    }

    /// Answers what the device sent.
    async fn hear(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Result<(), Closed> {
        match heard(frame)? {
            DeviceMessage::Request(request) => self.answer(request).await,
            DeviceMessage::Nonsense(n, refusal) => {
                self.say(FromServer::answer(n, Message::Refused(refusal))).await
            }
            DeviceMessage::Life => Ok(()),
        }
    }

    /// Keeps what a notification brought until the session says what to send.
    fn note(&mut self, note: Option<ConnectionEvent>) -> SessionInput {
        match &note {
            Some(ConnectionEvent::Offer(offered)) => self.news = Some(Arc::clone(offered)),
            Some(ConnectionEvent::DeviceAdded(added)) => self.added = Some(Arc::clone(added)),
            _ => {}
        }
        input(note)
    }

    /// Performs an output of the session.
    async fn put(&mut self, output: SessionOutput) -> Result<(), Closed> {
        match output {
            // The transaction was committed. If it has ended since, the next notification withdraws
            // it.
            SessionOutput::Offer(id) => match self.news.take().filter(|news| news.spec.id == id) {
                Some(open) => {
                    self.say(FromServer::push(Message::Offer(answer::offer(&open)))).await
                }
                None => Ok(()),
            },
            SessionOutput::Withdrawn(id, outcome) => {
                let id = countersign_wire::id::TransactionId(id.bytes());
                let why = answer::outcome_state(outcome);
                self.say(FromServer::push(Message::Withdrawn(Withdrawn { id, why }))).await
            }
            SessionOutput::DeviceAdded(id) => {
                let added = self.added.take().filter(|added| added.id == id);
                let Some(added) = added else { return Ok(()) };
                let added = answer::user_device(&added);
                self.say(FromServer::push(Message::DeviceAdded(added))).await
            }
            SessionOutput::Ping => {
                // A lock by another process sends no notification; it is detected here at the
                // latest.
                let core = &self.devices.0.core;
                let checked = core.check(&self.who.tenant, self.who.device).await;
                checked.map_err(|error| Some(closed_by(error)))?;
                send(&mut self.socket, Frame::Ping(Bytes::new())).await
            }
            SessionOutput::Close(reason) => Err(Some(close(reason))),
        }
    }

    /// Answers one request.
    async fn answer(&mut self, frame: FromDevice) -> Result<(), Closed> {
        let (devices, who) = (&self.devices, &self.who);
        let mut done = None;
        let mut told = |ended: Arc<Transaction>| {
            done = Some(ended.spec.id);
            answer::ended(&ended)
        };
        let said = match &frame.request {
            Request::Hello(_) => Err(Code::BadRequest.into()),
            Request::Take(take) => devices.take(who, take).await.map(Message::Taken),
            Request::Finish(finish) => {
                devices.finish(who, finish).await.map(|ended| Message::Finished(told(ended)))
            }
            Request::Decline(decline) => {
                devices.decline(who, decline).await.map(|ended| Message::Declined(told(ended)))
            }
            Request::Fail(fail) => {
                devices.fail(who, fail.clone()).await.map(|ended| Message::Failed(told(ended)))
            }
        };
        let message = said.unwrap_or_else(|Refused(refusal, _)| Message::Refused(refusal));
        if let Some(id) = done {
            let now = self.now();
            self.session.handle(SessionInput::Told(id), now);
        }
        self.say(FromServer::answer(frame.n, message)).await
    }

    async fn say(&mut self, frame: FromServer) -> Result<(), Closed> {
        say(&mut self.socket, frame).await
    }

    fn now(&self) -> Timestamp {
        self.devices.0.core.now()
    }
}

async fn say(socket: &mut WebSocket, frame: FromServer) -> Result<(), Closed> {
    send(socket, Frame::Text(frame.to_text().into())).await
}

async fn send(socket: &mut WebSocket, frame: Frame) -> Result<(), Closed> {
    match timeout(SEND_WAIT_MAX, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Close::Slow)),
    }
}

async fn say_close(socket: &mut WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
    // The close may fail, because the peer may be gone already.
    let _ = timeout(SEND_WAIT_MAX, socket.send(Frame::Close(Some(frame)))).await;
}

/// A message from a device.
enum DeviceMessage {
    Request(FromDevice),
    /// Not a valid frame, but with a number for the refusal.
    Nonsense(u64, RefusalBody),
    /// A ping, which the library answers, or a pong.
    Life,
}

fn heard(frame: Option<Result<Frame, axum::Error>>) -> Result<DeviceMessage, Closed> {
    match frame {
        Some(Ok(Frame::Text(text))) => match FromDevice::parse(&text) {
            Ok(request) => Ok(DeviceMessage::Request(request)),
            Err(BadFrame { n: Some(n) }) => {
                Ok(DeviceMessage::Nonsense(n, FromDevice::refusal(&text)))
            }
            Err(BadFrame { n: None }) => Err(Some(Close::Malformed)),
        },
        Some(Ok(Frame::Binary(_))) => Err(Some(Close::Binary)),
        Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Ok(DeviceMessage::Life),
        Some(Ok(Frame::Close(_))) | None => Err(None),
        Some(Err(error)) => Err(too_large(&error).then_some(Close::TooLarge)),
    }
}

fn input(note: Option<ConnectionEvent>) -> SessionInput {
    match note {
        Some(ConnectionEvent::Offer(transaction)) => SessionInput::Offer(transaction.spec.id),
        Some(ConnectionEvent::Ended(transaction)) => match transaction.end() {
            Some(end) => SessionInput::Ended(transaction.spec.id, end.outcome()),
            None => SessionInput::Told(transaction.spec.id),
        },
        Some(ConnectionEvent::DeviceAdded(device)) => SessionInput::DeviceAdded(device.id),
        Some(ConnectionEvent::Replaced) => SessionInput::Replaced,
        Some(ConnectionEvent::Locked) => SessionInput::Locked,
        Some(ConnectionEvent::Stopping) => SessionInput::Stopping,
        None => SessionInput::Overrun,
    }
}

fn close(reason: Reason) -> Close {
    match reason {
        Reason::Replaced => Close::Replaced,
        Reason::Locked => Close::Locked,
        Reason::Slow => Close::Slow,
        Reason::Idle => Close::Idle,
        Reason::Stopping => Close::Restart,
    }
}

fn closed_by(error: ActorError) -> Close {
    match error {
        Error::Refused(ActorRefusal::UserLocked | ActorRefusal::DeviceLocked) => Close::Locked,
        Error::Refused(ActorRefusal::UnknownUser | ActorRefusal::UnknownDevice) => {
            Close::Unauthorised
        }
        Error::Failed(fault) => {
            countersign_node::log(&fault);
            Close::Internal
        }
    }
}

/// Whether the library refused a frame for its size, which only its error text says.
fn too_large(error: &axum::Error) -> bool {
    error.to_string().contains("too long") || error.to_string().contains("too big")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each connected device costs, besides its socket, its TLS state and its place in the
    /// notifier. With what axum and tokio add it fits into 1,280 bytes, a size that mimalloc has.
    const TASK_BYTES_MAX: usize = 896;

    fn size_of_future<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_channel_has_no_room_for_what_it_does_not_need_while_it_waits() {
        type Welcome = Pin<Box<std::future::Pending<Option<Channel>>>>;
        let size = size_of_future(|opening: Welcome| channel_task(opening));
        assert!(size <= TASK_BYTES_MAX, "{size} bytes");
    }
}
