//! The device protocol's forms: what server and device write to each other, and nothing of what
//! either does with it.
//!
//! `docs/device-protocol.md` specifies every form here, and the vectors in `docs/vectors/` hold
//! both sides to it. The promise of this crate: bytes from outside become a type once, bounded, and
//! what does not fit exactly is refused. No I/O and no clock; a time is an argument, given since
//! the Unix epoch.
//!
//! ```text
//! body ── frame      what is said, over HTTP and on the channel
//! jws                who says it
//! key_proof          whose key it is
//! jwe ── code        what nobody in between may read, or put in another's place
//! statement ── uri   what a person sees
//! phone              what a device keeps
//! push ── webpush    how it is woken
//! guard              which addresses may be called, whoever names them
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
pub mod uri;
pub mod webpush;

#[cfg(test)]
mod vectors;
