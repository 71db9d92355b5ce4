//! Wakes those who are on the line: devices on a channel, and callers that wait for an end.

mod lines;
mod local;
mod waiters;

pub(crate) use local::{Kind, Line, Local, Note, Waiter};
pub(crate) use waiters::TooMany;
