//! A device over real sockets, against a fake server that is built from the functions of
//! `countersign-wire`.

#![expect(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod device;
mod document;
mod fake;
mod handshakes;
mod life;
mod site;
