//! Refusals by the server: a code for programs, a sentence for people, and what the device needs to
//! continue.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::transaction::State;
use crate::encoding::millis_option;

/// The body of every HTTP answer of 400 and above, and of the channel's `refused`. It has no
/// content of a transaction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusalBody {
    /// The code that programs match on.
    pub error: Code,
    /// The sentence that people may read.
    pub message: String,
    /// With `wrong_pin` and `wrong_code`: the tries before the lock; 0 if this try caused the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// With `ended`, `late` and `locked`, and with the wrong PIN or code that ended it: the final
    /// state of the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// With `unauthorised`: the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option")]
    pub server_time: Option<Duration>,
}

impl RefusalBody {
    /// Refuses with the sentence of the code.
    #[must_use]
    pub fn new(error: Code) -> Self {
        let message = error.to_string();
        Self { error, message, tries_left: None, state: None, server_time: None }
    }

    /// Refuses a request that is not as the protocol says, and says what is wrong.
    #[must_use]
    pub fn bad_request(what: &str) -> Self {
        let message = format!("{}: {what}", Code::BadRequest);
        Self { message, ..Self::new(Code::BadRequest) }
    }
}

/// The reason for which a device was refused. Each has a sentence that may be shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The body is not JSON, has an unknown or missing member, or a value out of bounds.
    #[error("the request is not understood")]
    BadRequest,
    /// The token that authenticates the caller is not valid.
    #[error("the device is not authenticated")]
    Unauthorised,
    /// The code is wrong, used or expired, the user or tenant is unknown, or a proof is wrong. No
    /// caller learns which.
    #[error("the enrolment is refused")]
    EnrolmentRefused,
    /// The user, the device or the identity is locked or deleted.
    #[error("the user or the device is locked")]
    Locked,
    /// The address does not exist, or this device has no such transaction.
    #[error("there is no such thing for this device")]
    NotFound,
    /// The address requires another method.
    #[error("the address does not take this method")]
    MethodNotAllowed,
    /// The transaction has ended; `state` says how.
    #[error("the transaction has already ended")]
    Ended,
    /// The deadline of the transaction has passed.
    #[error("the deadline has passed")]
    Late,
    /// This device did not take the transaction.
    #[error("this device has not taken the transaction")]
    NotTaken,
    /// Only one device may take the transaction, and another one did.
    #[error("another device has taken the transaction")]
    OtherDevice,
    /// The offer had `pin_required`, and the request has no PIN proof. It is not counted as a try.
    #[error("the PIN is required")]
    PinRequired,
    /// The PIN proof is wrong; it is counted as a try.
    #[error("the PIN is wrong")]
    WrongPin,
    /// A PIN is required, and this device has set none.
    #[error("this device has no PIN yet")]
    PinNotSet,
    /// The PIN's version is not the next one.
    #[error("this is not the PIN's next version")]
    PinVersion,
    /// The offer had `enter`, and the request has no match code. The transaction stays open.
    #[error("the match code is required")]
    MatchRequired,
    /// The match code is wrong; this ended the transaction.
    #[error("the match code is wrong")]
    WrongMatch,
    /// The short signature is wrong; it is counted as a try.
    #[error("the code is wrong")]
    WrongCode,
    /// The transaction does not accept this form or algorithm.
    #[error("the transaction does not accept this form or algorithm")]
    WrongForm,
    /// The identity is not this device's, is disabled, or has another usage.
    #[error("the identity cannot sign this transaction")]
    WrongIdentity,
    /// The signature does not verify, or is over other data.
    #[error("the signature is not good for this transaction")]
    BadSignature,
    /// The public key is or was that of another identity of the tenant.
    #[error("the key belongs, or belonged, to another identity")]
    KeyUsed,
    /// The body or frame exceeds the limit.
    #[error("the request is too large")]
    TooLarge,
    /// The body is not `application/json`.
    #[error("the request is not JSON")]
    UnsupportedMediaType,
    /// Too many requests; `Retry-After` is the time to wait.
    #[error("there were too many requests")]
    TooMany,
    /// The server failed. The call may be repeated.
    #[error("the server failed")]
    Internal,
    /// The server cannot answer now, or is draining. The call may be repeated.
    #[error("the server is not available now")]
    Unavailable,
    /// A code that this program does not know; the HTTP status gives its kind.
    #[error("the request was refused")]
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status of the refusal.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::Unknown => 400,
            Self::Unauthorised => 401,
            Self::EnrolmentRefused | Self::Locked | Self::PinRequired | Self::WrongPin => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Ended
            | Self::NotTaken
            | Self::OtherDevice
            | Self::PinNotSet
            | Self::PinVersion
            | Self::KeyUsed => 409,
            Self::Late => 410,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::MatchRequired
            | Self::WrongMatch
            | Self::WrongCode
            | Self::WrongForm
            | Self::WrongIdentity
            | Self::BadSignature => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// Every code that the server sends, in the order of the specification's table.
    pub const ALL: [Self; 26] = [
        Self::BadRequest,
        Self::Unauthorised,
        Self::EnrolmentRefused,
        Self::Locked,
        Self::PinRequired,
        Self::WrongPin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Ended,
        Self::NotTaken,
        Self::OtherDevice,
        Self::PinNotSet,
        Self::PinVersion,
        Self::KeyUsed,
        Self::Late,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::MatchRequired,
        Self::WrongMatch,
        Self::WrongCode,
        Self::WrongForm,
        Self::WrongIdentity,
        Self::BadSignature,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_from_a_newer_server_is_read_as_unknown() {
        let text = r#"{"error":"new_reason","message":"Who knows","more":{"x":1}}"#;
        let body: RefusalBody = serde_json::from_str(text).unwrap();
        assert_eq!((body.error, body.message.as_str()), (Code::Unknown, "Who knows"));
    }

    #[test]
    fn every_code_stands_in_the_specification_with_its_status() {
        let page = include_str!("../../../../docs/device-protocol.md");
        for code in Code::ALL {
            let name = serde_json::to_value(code).unwrap();
            let row = format!("| {} | `{}` |", code.status(), name.as_str().unwrap());
            assert!(page.contains(&row), "no row {row}");
        }
    }
}
