//! The parts that all HTTP interfaces share: the listener, TLS, bodies, and authentication of
//! callers.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

mod authorization;
pub mod body_limit;
pub mod callback_url;
pub mod caller;
pub mod challenge;
pub mod component;
pub mod discovery;
pub mod fingerprint;
mod host;
pub mod json_members;
pub mod listen;
pub mod measured;
pub mod oauth;
pub mod qr;
pub mod time_format;
pub mod tls;
pub mod token;
pub mod token_key;
pub mod tries;
