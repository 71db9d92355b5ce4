//! What is said, whichever way it travels: HTTP bodies, most of which are channel frames as well.
//!
//! What a device sends is read strictly: an unknown member, a value out of bounds or a second
//! spelling is refused. What the server sends is read leniently: a device ignores members that it
//! does not know, so that the server may be the newer one. Times are whole milliseconds since the
//! Unix epoch.

mod enrolment;
mod pin;
mod push;
mod refusal;
mod signature;
mod transaction;

pub use enrolment::{
    DeviceDescription, EnrolmentAnswer, EnrolmentRequest, IdentityRequest, Imported,
    IssuedIdentity, NewIdentity, Server, Use,
};
pub use pin::{BadPinProof, PIN_PROOF_ID, PinAnswer, PinBody, PinChange, PinProof};
pub use push::{Push, PushAnswer, PushBody, PushState};
pub use refusal::{Code, RefusalBody};
pub use signature::{Algorithm, Form, Signature};
pub use transaction::{
    Content, Decline, DeclineReason, Document, Ended, Fail, Finish, Match, Offer, Offers,
    Operation, State, Take, Taken, Text,
};
