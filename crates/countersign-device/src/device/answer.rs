//! The answers to a device's calls, over both transports.

use countersign_wire::body::{Ended, Taken};
use countersign_wire::frame::Message;
use serde::de::DeserializeOwned;

/// An answer over the channel or over HTTP.
pub(super) trait FromAnswer: DeserializeOwned {
    /// The answer in a frame, if it has this type.
    fn of(message: Message) -> Option<Self>;
}

impl FromAnswer for Taken {
    fn of(message: Message) -> Option<Self> {
        match message {
            Message::Taken(taken) => Some(taken),
            _ => None,
        }
    }
}

impl FromAnswer for Ended {
    fn of(message: Message) -> Option<Self> {
        match message {
            Message::Finished(ended) | Message::Declined(ended) | Message::Failed(ended) => {
                Some(ended)
            }
            _ => None,
        }
    }
}
