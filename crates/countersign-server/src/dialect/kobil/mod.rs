//! KOBIL's dialect, the relying party's side: start a signature, take it back, get a token; and
//! users, their devices and activation codes.
//!
//! The caller is an application with a Bearer token; people's devices speak our own protocol, or
//! another dialect's. Each call has two addresses that reach the same handler: `/digitanium/v4/…`
//! on a host whose first label is the tenant, and `/auth/realms/{tenant}/v3_…` on any.

pub(crate) mod activations;
pub(crate) mod body;
mod context;
mod devices;
mod render;
mod routes;
pub(crate) mod users;

pub(crate) use context::{ActivationSettings, Kobil};
pub(crate) use render::result_body;
pub(crate) use routes::router;
