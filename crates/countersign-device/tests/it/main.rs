//! A device over real sockets, against a fake server that is made of the protocol crate's own
//! functions.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod device;
mod document;
mod fake;
mod site;
