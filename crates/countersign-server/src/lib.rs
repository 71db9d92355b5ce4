//! The server and its command line, as the library of the binary `countersign`: assembly of the
//! crates, the command line, health and metrics.

mod cli;
mod dialects;
mod exposition;
mod observe;
mod serve;

pub use cli::run;
