//! The channel's frames: JSON texts `{"n": int, "<verb>": {…}}`.
//!
//! A device numbers its requests from 1 and uses each number once per channel; an answer repeats
//! the number of its request. A message that is not an answer has the number 0 and is never
//! answered.
//!
//! ```text
//! server ── {"n":0,"challenge":{"nonce":"…"}} ──▶ device
//! device ── {"n":1,"hello":{…}} ────────────────▶ server
//! server ── {"n":1,"welcome":{"open":[…]}} ─────▶ device      or closes
//! server ── {"n":0,"offer":{…}} ────────────────▶ device
//! device ── {"n":2,"take":{…}} ─────────────────▶ server
//! server ── {"n":2,"taken":{…}} ────────────────▶ device      or {"n":2,"refused":{…}}
//! ```

mod close;

use core::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use close::{Close, Reconnect};

use crate::body::{
    Code, Decline, Ended, Fail, Finish, Offer, RefusalBody, State, Take, Taken, UserDevice, strict,
};
use crate::encoding::name;
use crate::id::{DeviceName, TransactionId};
use crate::limits::{FRAME_BYTES_MAX, FRAME_NUMBER_MAX, TOKEN_BYTES_MAX};

/// The WebSocket subprotocol of the device protocol.
pub const SUBPROTOCOL: &str = "countersign.device.v1";

/// A frame that a device sends.
#[derive(Clone, Debug)]
pub struct FromDevice {
    /// The request's number, from 1.
    pub n: u64,
    /// The request.
    pub request: Request,
}

/// A frame that the server sends.
#[derive(Clone, Debug)]
pub struct FromServer {
    /// The number of the answered request, or 0.
    pub n: u64,
    /// The message.
    pub message: Message,
}

/// A request of a device.
#[derive(Clone, Debug)]
pub enum Request {
    /// Answers the challenge; the first frame, and only the first.
    Hello(Hello),
    /// The user opened the transaction.
    Take(Take),
    /// The user signed.
    Finish(Finish),
    /// The user declined.
    Decline(Decline),
    /// The device could not sign.
    Fail(Fail),
}

/// A message of the server.
#[derive(Clone, Debug)]
pub enum Message {
    /// Asks the device to authenticate.
    Challenge(Challenge),
    /// Answers `hello`: the channel is open.
    Welcome(Welcome),
    /// Announces a transaction.
    Offer(Offer),
    /// The transaction ended elsewhere, or another device took it exclusively.
    Withdrawn(Withdrawn),
    /// Another device of the user was enrolled.
    DeviceAdded(UserDevice),
    /// Answers `take`.
    Taken(Taken),
    /// Answers `finish`.
    Finished(Ended),
    /// Answers `decline`.
    Declined(Ended),
    /// Answers `fail`.
    Failed(Ended),
    /// Answers any request with a refusal and its reason.
    Refused(RefusalBody),
    /// A verb that this program does not know; ignore it.
    Unknown,
}

/// The server's first frame.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Challenge {
    /// 32 random bytes as base64url; the device repeats them unchanged.
    pub nonce: String,
}

/// The device's first frame. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The device that connects.
    pub device: DeviceName,
    /// A JWS over nonce and audience: see [`crate::jws::sign_hello`].
    #[serde(deserialize_with = "name::<_, TOKEN_BYTES_MAX>")]
    pub proof: String,
}

/// The answer to `hello`: the channel is open.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Welcome {
    /// Everything still open for this device, including the transactions that it has taken.
    pub open: Vec<Offer>,
}

/// A transaction that is no longer to be shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Withdrawn {
    /// The transaction.
    pub id: TransactionId,
    /// The final state; `taken` if another device took the transaction exclusively.
    pub why: State,
}

/// The received text is not a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the frame is not understood")]
pub struct BadFrame {
    /// The number for the refusal. Without one, the channel is closed with [`Close::Malformed`].
    pub n: Option<u64>,
}

impl FromDevice {
    /// Reads a frame strictly: one known verb, and no member besides it and `n`.
    ///
    /// # Errors
    /// [`BadFrame`] for every other text, with the number for the refusal, if there is one.
    pub fn parse(text: &str) -> Result<Self, BadFrame> {
        let raw = RawFrame::parse(text)?;
        if raw.n == 0 || raw.verbs.len() != 1 {
            return Err(BadFrame { n: Some(raw.n).filter(|n| *n != 0) });
        }
        let (verb, body) = &raw.verbs[0];
        let request = match verb.as_str() {
            "hello" => read(body).map(Request::Hello),
            "take" => read(body).map(Request::Take),
            "finish" => read(body).map(Request::Finish),
            "decline" => read(body).map(Request::Decline),
            "fail" => read(body).map(Request::Fail),
            _ => None,
        };
        let request = request.ok_or(BadFrame { n: Some(raw.n) })?;
        Ok(Self { n: raw.n, request })
    }

    /// The refusal of a text that [`Self::parse`] does not read: it names what is wrong.
    #[must_use]
    pub fn refusal(text: &str) -> RefusalBody {
        let Ok(RawFrame { verbs, .. }) = RawFrame::parse(text) else {
            return RefusalBody::bad_request("it is not a frame");
        };
        let [(verb, body)] = verbs.as_slice() else {
            return RefusalBody::bad_request("a frame has exactly one verb beside `n`");
        };
        let body = body.get().as_bytes();
        let refusal = match verb.as_str() {
            "hello" => strict::read::<Hello>(body).err(),
            "take" => strict::read::<Take>(body).err(),
            "finish" => strict::read::<Finish>(body).err(),
            "decline" => strict::read::<Decline>(body).err(),
            "fail" => strict::read::<Fail>(body).err(),
            _ => Some(RefusalBody::bad_request("there is no such verb")),
        };
        refusal.unwrap_or_else(|| RefusalBody::new(Code::BadRequest))
    }

    /// The frame's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.request {
            Request::Hello(body) => write(self.n, "hello", body),
            Request::Take(body) => write(self.n, "take", body),
            Request::Finish(body) => write(self.n, "finish", body),
            Request::Decline(body) => write(self.n, "decline", body),
            Request::Fail(body) => write(self.n, "fail", body),
        }
    }
}

impl FromServer {
    /// A message that is not an answer.
    #[must_use]
    pub fn push(message: Message) -> Self {
        Self { n: 0, message }
    }

    /// The answer to request `n`.
    #[must_use]
    pub fn answer(n: u64, message: Message) -> Self {
        Self { n, message }
    }

    /// Reads a frame leniently: unknown members are ignored.
    ///
    /// # Errors
    /// [`BadFrame`] if the number is missing, or the body of a known verb is malformed.
    pub fn parse(text: &str) -> Result<Self, BadFrame> {
        let raw = RawFrame::parse(text)?;
        for (verb, body) in &raw.verbs {
            let message = match verb.as_str() {
                "challenge" => read(body).map(Message::Challenge),
                "welcome" => read(body).map(Message::Welcome),
                "offer" => read(body).map(Message::Offer),
                "withdrawn" => read(body).map(Message::Withdrawn),
                "device_added" => read(body).map(Message::DeviceAdded),
                "taken" => read(body).map(Message::Taken),
                "finished" => read(body).map(Message::Finished),
                "declined" => read(body).map(Message::Declined),
                "failed" => read(body).map(Message::Failed),
                "refused" => read(body).map(Message::Refused),
                _ => continue,
            };
            let message = message.ok_or(BadFrame { n: Some(raw.n) })?;
            return Ok(Self { n: raw.n, message });
        }
        Ok(Self { n: raw.n, message: Message::Unknown })
    }

    /// The frame's text.
    ///
    /// # Panics
    /// On [`Message::Unknown`], which is only read and never sent.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.message {
            Message::Challenge(body) => write(self.n, "challenge", body),
            Message::Welcome(body) => write(self.n, "welcome", body),
            Message::Offer(body) => write(self.n, "offer", body),
            Message::Withdrawn(body) => write(self.n, "withdrawn", body),
            Message::DeviceAdded(body) => write(self.n, "device_added", body),
            Message::Taken(body) => write(self.n, "taken", body),
            Message::Finished(body) => write(self.n, "finished", body),
            Message::Declined(body) => write(self.n, "declined", body),
            Message::Failed(body) => write(self.n, "failed", body),
            Message::Refused(body) => write(self.n, "refused", body),
            Message::Unknown => panic!("an unknown message is never sent"),
        }
    }
}

impl Challenge {
    /// Generates a nonce from the system's random generator.
    #[must_use]
    pub fn generate() -> Self {
        let mut nonce = [0; 32];
        crate::secret::fill_random(&mut nonce);
        Self { nonce: crate::encoding::to_base64url(nonce) }
    }
}

/// A frame whose verb has not been read yet.
struct RawFrame {
    n: u64,
    verbs: Vec<(String, Box<RawValue>)>,
}

impl RawFrame {
    fn parse(text: &str) -> Result<Self, BadFrame> {
        let frame: Self = if text.len() <= FRAME_BYTES_MAX {
            serde_json::from_str(text).map_err(|_| BadFrame { n: None })?
        } else {
            return Err(BadFrame { n: None });
        };
        if frame.n > FRAME_NUMBER_MAX { Err(BadFrame { n: None }) } else { Ok(frame) }
    }
}

impl<'de> Deserialize<'de> for RawFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FrameVisitor;

        impl<'de> Visitor<'de> for FrameVisitor {
            type Value = RawFrame;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a frame")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFrame, A::Error> {
                let (mut n, mut verbs) = (None, Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    if key != "n" {
                        verbs.push((key, map.next_value()?));
                    } else if n.replace(map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("n"));
                    }
                }
                let n = n.ok_or_else(|| A::Error::missing_field("n"))?;
                Ok(RawFrame { n, verbs })
            }
        }

        deserializer.deserialize_map(FrameVisitor)
    }
}

fn read<T: DeserializeOwned>(body: &RawValue) -> Option<T> {
    strict::read(body.get().as_bytes()).ok()
}

fn write<T: Serialize>(n: u64, verb: &str, body: &T) -> String {
    struct FrameText<'a, T>(u64, &'a str, &'a T);

    impl<T: Serialize> Serialize for FrameText<'_, T> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_entry("n", &self.0)?;
            map.serialize_entry(self.1, self.2)?;
            map.end()
        }
    }

    serde_json::to_string(&FrameText(n, verb, body)).expect("bodies are plain JSON")
}

#[cfg(test)]
mod tests;
