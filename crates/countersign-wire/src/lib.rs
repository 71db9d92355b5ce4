//! The messages of the device protocol that server and device exchange. Their behaviour is in other
//! crates.
//!
//! `docs/device-protocol.md` specifies every message, and the vectors in `docs/vectors/` test both
//! sides. The guarantee of this crate: bytes from outside become a bounded type once, and bytes
//! that do not match exactly are refused. No I/O and no clock; a time is an argument, given since
//! the Unix epoch.
//!
//! ```text
//! body ── frame      the messages, over HTTP and on the channel
//! jws                authentication of the device
//! key_proof          proof that the device holds a key
//! jwe ── code        encryption and MACs against proxies in between
//! statement ── uri   texts for the user
//! phone              the stored data of a device
//! push ── webpush    waking a device
//! guard ── tls       addresses that may be called, and why a connection is refused
//! ```

pub mod body;
pub mod code;
mod encoding;
pub mod frame;
pub mod guard;
pub mod id;
pub mod jwe;
pub mod jwk;
pub mod jws;
pub mod key_proof;
pub mod limits;
pub mod phone;
pub mod push;
pub mod secret;
pub mod statement;
pub mod tls;
pub mod uri;
pub mod webpush;

#[cfg(test)]
mod vectors;
