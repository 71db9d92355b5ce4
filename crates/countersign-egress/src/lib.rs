//! All outgoing calls of the process: the rules which addresses may be called, and the client that
//! calls them.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub use countersign_wire::guard;
pub mod fetch;
pub mod names;
pub mod outbound;
pub mod resolve;
