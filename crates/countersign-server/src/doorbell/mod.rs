//! Wakes those who are on the line: devices on a channel, and callers that wait for an end.

mod local;

pub(crate) use local::{Kind, Line, Local, Note, Waiter};
