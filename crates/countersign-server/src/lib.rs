//! The server and its command line, as a library: the binary `countersign` calls [`run`], and the
//! fuzz targets call the [`parsers`].

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
mod dialect;
mod digest_url;
mod egress;
mod http;
mod listen;
mod node;
mod notifier;
mod observe;
#[doc(hidden)]
pub mod parsers;
mod retention;
mod serve;
mod task;
mod time_format;
mod tls;
mod tries;
mod wait;

pub use cli::run;
