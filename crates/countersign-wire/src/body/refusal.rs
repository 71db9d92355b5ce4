//! How the server says no: a code for programs, a sentence for people, and what helps to go on.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::transaction::State;
use crate::encoding::millis_option;

/// The body of every HTTP answer of 400 and above, and of the channel's `refused`. It holds no
/// content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusalBody {
    /// What programs match on.
    pub error: Code,
    /// What people may read.
    pub message: String,
    /// With `wrong_pin` and `wrong_code`: tries before the lock; 0 says that this one locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// With `ended`, `late` and `locked`: how the transaction ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// With `unauthorised`: the server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis_option")]
    pub server_time: Option<Duration>,
}

impl RefusalBody {
    /// Refuses with the code's own sentence.
    #[must_use]
    pub fn new(error: Code) -> Self {
        let message = error.to_string();
        Self { error, message, tries_left: None, state: None, server_time: None }
    }
}

/// Why a device was refused. Each is a sentence that may be shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No JSON, an unknown or missing member, a value out of bounds.
    #[error("the request is not understood")]
    BadRequest,
    /// The proof of who is calling does not hold.
    #[error("the device is not authenticated")]
    Unauthorised,
    /// Wrong, used or expired code, unknown user or tenant, wrong proof: told apart to nobody.
    #[error("the enrolment is refused")]
    EnrolmentRefused,
    /// The user, the device or the identity is locked or gone.
    #[error("the user or the device is locked")]
    Locked,
    /// No such address, or no such transaction for this device.
    #[error("there is no such thing for this device")]
    NotFound,
    /// The address takes another method.
    #[error("the address does not take this method")]
    MethodNotAllowed,
    /// It has ended; `state` says how.
    #[error("the transaction has already ended")]
    Ended,
    /// Its deadline has passed.
    #[error("the deadline has passed")]
    Late,
    /// This device did not take it.
    #[error("this device has not taken the transaction")]
    NotTaken,
    /// It may be taken once only, and another device did.
    #[error("another device has taken the transaction")]
    OtherDevice,
    /// The offer said `pin_required`, and no proof came. Counts nothing.
    #[error("the PIN is required")]
    PinRequired,
    /// The PIN proof is wrong; it counts.
    #[error("the PIN is wrong")]
    WrongPin,
    /// A PIN is required, and this device has set none.
    #[error("this device has no PIN yet")]
    PinNotSet,
    /// The PIN's version is not the next one.
    #[error("this is not the PIN's next version")]
    PinVersion,
    /// The offer said `enter`, and no match code came. Ends nothing.
    #[error("the match code is required")]
    MatchRequired,
    /// The match code is wrong; that ended the transaction.
    #[error("the match code is wrong")]
    WrongMatch,
    /// The short signature is wrong; it counts.
    #[error("the code is wrong")]
    WrongCode,
    /// The transaction does not accept this form or algorithm.
    #[error("the transaction does not accept this form or algorithm")]
    WrongForm,
    /// The identity is not this device's, is disabled, or is for another use.
    #[error("the identity cannot sign this transaction")]
    WrongIdentity,
    /// The signature does not verify, or is over something else.
    #[error("the signature is not good for this transaction")]
    BadSignature,
    /// The public key is, or was, another identity's of the tenant.
    #[error("the key belongs, or belonged, to another identity")]
    KeyUsed,
    /// The body or frame is over the limit.
    #[error("the request is too large")]
    TooLarge,
    /// The body is not `application/json`.
    #[error("the request is not JSON")]
    UnsupportedMediaType,
    /// Too many tries; `Retry-After` says how long to wait.
    #[error("there were too many requests")]
    TooMany,
    /// The server failed. The same call may be repeated.
    #[error("the server failed")]
    Internal,
    /// The server cannot answer now, or is going away. The same call may be repeated.
    #[error("the server is not available now")]
    Unavailable,
    /// A code that this program does not know; the HTTP status says what kind it is.
    #[error("the request was refused")]
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status that carries it.
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

    /// Every code that the server says, in the order of the specification's table.
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
