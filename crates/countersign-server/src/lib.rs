//! The server and its command line, as a library: the binary `countersign` calls [`run`], and the fuzz
//! targets call the [`parsers`].

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "this is no interface: what is public here is public for the fuzz targets alone"
)]

mod authority;
mod channel;
mod cli;
mod clock;
mod config;
mod delivery;
mod doorbell;
mod egress;
mod held;
mod http;
mod listen;
mod moment;
mod node;
mod observe;
#[doc(hidden)]
pub mod parsers;
mod retention;
mod serve;
mod surface;
mod task;
mod tls;
mod tries;
mod witness;

pub use cli::run;
