//! What devices say and what the server says to them, as frames and as bodies.

use countersign_wire::body::{
    Content, Decline, EnrolmentAnswer, EnrolmentRequest, Fail, Finish, Offers, PinBody, PinChange,
    PushAnswer, PushBody, RefusalBody, Renewal, Take, Taken,
};
use countersign_wire::frame::{FromDevice, FromServer, Message};
use countersign_wire::phone::Phone;
use countersign_wire::push::Payload;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A frame that is read is written in one way, and read again as the same.
pub fn frames(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    match FromDevice::parse(text) {
        Ok(frame) => {
            assert_ne!(frame.n, 0, "a device counts from 1");
            let written = frame.to_text();
            let again = FromDevice::parse(&written).expect("what is written is read");
            assert_eq!((again.n, again.to_text()), (frame.n, written));
        }
        Err(bad) => assert_ne!(bad.n, Some(0), "0 is not the number of a request"),
    }
    if let Ok(frame) = FromServer::parse(text)
        && !matches!(frame.message, Message::Unknown)
    {
        let written = frame.to_text();
        let again = FromServer::parse(&written).expect("what is written is read");
        assert_eq!((again.n, again.to_text()), (frame.n, written));
    }
}

/// The first byte says which body; the rest is it.
pub fn device_bodies(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which % 12 {
        0 => read::<EnrolmentRequest>(body),
        1 => read::<Take>(body),
        2 => read::<Finish>(body),
        3 => read::<Decline>(body),
        4 => read::<Fail>(body),
        5 => read::<PinChange>(body),
        6 => read::<PinBody>(body),
        7 => read::<EnrolmentAnswer>(body),
        8 => read::<Taken>(body),
        9 => read::<Content>(body),
        10 => read::<Phone>(body),
        _ => {
            read::<Offers>(body);
            read::<PushBody>(body);
            read::<PushAnswer>(body);
            read::<Payload>(body);
            read::<RefusalBody>(body);
            read::<Renewal>(body);
        }
    }
}

/// What is read is written in one way, and read again as the same.
fn read<T: DeserializeOwned + Serialize>(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return };
    let written = serde_json::to_vec(&value).expect("bodies are plain JSON");
    let again: T = serde_json::from_slice(&written).expect("what is written is read");
    assert_eq!(serde_json::to_vec(&again).expect("bodies are plain JSON"), written);
}
