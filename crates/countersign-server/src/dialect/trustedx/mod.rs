//! `TrustedX`'s dialect: signature creation processes, signing identities, and the authorization
//! server that gives applications their tokens.
//!
//! The caller is an application with a Bearer token, or, at a process's links, a device with a
//! proof of its own. A token names its tenant: what is another tenant's is unknown to it.

mod access;
pub(crate) mod body;
mod context;
mod device;
mod extension;
mod fetch_rules;
pub(crate) mod identity;
pub(crate) mod links;
mod oauth;
mod problem;
mod process;
mod render;
mod routes;
pub(crate) mod selector;

pub(crate) use context::{TrustedX, TrustedXSettings};
pub(crate) use render::result_body;
pub(crate) use routes::router;
