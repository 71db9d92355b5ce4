//! Every call out of the process: which addresses may be called, whoever names them, and the client
//! that calls them.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub use countersign_wire::guard;
pub mod names;
pub mod outbound;
pub mod resolve;
