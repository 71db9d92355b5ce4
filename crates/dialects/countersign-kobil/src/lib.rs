//! KOBIL's dialect, the relying party's side: start a signature, take it back, get a token; and
//! users, their devices and activation codes.
//!
//! The caller is an application with a Bearer token; people's devices speak our own protocol, or
//! another dialect's. Each call has two addresses that reach the same handler: `/digitanium/v4/…`
//! on a host whose first label is the tenant, and `/auth/realms/{tenant}/v3_…` on any.

#![allow(
    missing_docs,
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
mod render;
mod routes;
pub mod users;

pub use context::{ActivationSettings, Kobil};
pub use render::result_body;
pub use routes::router;
