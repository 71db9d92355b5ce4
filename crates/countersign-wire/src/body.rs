//! The bodies of HTTP requests and answers. Most of them are bodies of channel frames as well.
//!
//! A device's body is read strictly: an unknown member, a value out of bounds and a second spelling
//! are refused. A server's body is read leniently: a device ignores unknown members, so that the
//! server may be newer than the device. Times are whole milliseconds since the Unix epoch.

mod device;
mod enrolment;
mod pin;
mod push;
mod refusal;
mod signature;
pub mod strict;
mod transaction;

pub use device::{UserDevice, UserDevices};
pub use enrolment::{
    DeviceDescription, EnrolmentAnswer, EnrolmentRequest, IdentityRequest, Imported,
    IssuedIdentity, NewIdentity, Renewal, Server, Use,
};
pub use pin::{BadPinProof, PIN_PROOF_ID, PinAnswer, PinBody, PinChange, PinProof};
pub use push::{Push, PushAnswer, PushBody, PushState};
pub use refusal::{Code, RefusalBody};
pub use signature::{Algorithm, Form, Signature};
pub use transaction::{
    Content, Decline, DeclineReason, Document, Ended, Fail, Finish, Match, Offer, Offers,
    Operation, State, Take, Taken, Text,
};
