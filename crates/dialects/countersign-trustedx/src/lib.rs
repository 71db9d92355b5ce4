//! `TrustedX`'s dialect: signature creation processes, signing identities, and the authorization
//! server that issues applications' tokens.
//!
//! The caller is an application with a Bearer token, or, at a process's links, a device with a
//! token of its own. A token names its tenant, and other tenants' rows are unknown to it.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

mod access;
pub mod body;
mod context;
mod device;
mod extension;
mod fetch_rules;
pub mod identity;
pub mod links;
mod members;
mod oauth;
#[cfg(test)]
mod page;
mod problem;
mod process;
mod render;
mod routes;
pub mod selector;

pub use context::{TrustedX, TrustedXSettings};
pub use render::result_body;
pub use routes::router;
