//! The server and its command line, as a library that the binary `countersign` calls: assembly of the
//! crates, the command line, health and metrics.

mod cli;
mod dialects;
mod observe;
mod serve;

pub use cli::run;
