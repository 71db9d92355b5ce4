//! Wakes connected devices, and callers that wait for an end.

mod by_user;
mod expected;
pub mod fleet;
mod hint;
mod local;
mod outbox;
mod queue;
mod waiters;

pub use local::{Connection, ConnectionEvent, ConnectionKind, EndWaiter, LocalNotifier};
pub use waiters::TooMany;
