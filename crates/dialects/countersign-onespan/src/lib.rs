//! OneSpan's two APIs: REST for phones, as in its gateway, and SOAP for clients, as in its
//! authentication server. Both use the same result codes.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub mod body;
pub mod codes;
pub mod phone;
pub mod rest;
pub mod soap;
