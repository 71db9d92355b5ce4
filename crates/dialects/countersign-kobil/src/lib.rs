//! KOBIL's dialect, the client's side: starting and cancelling signatures, tokens, users, their
//! devices and activation codes.
//!
//! The caller is an application with a Bearer token; users' devices use our own protocol, or
//! another dialect's. Each call has two addresses with the same handler: `/digitanium/v4/…` on a
//! host whose first label is the tenant, and `/auth/realms/{tenant}/v3_…` on any host.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub mod activations;
pub mod body;
mod context;
mod devices;
#[cfg(test)]
mod page;
mod render;
mod routes;
pub mod users;

pub use context::{ActivationSettings, Kobil};
pub use render::result_body;
pub use routes::router;
