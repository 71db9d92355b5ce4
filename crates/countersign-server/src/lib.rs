//! The server and its command line, as the library of the binary `countersign`: assembly of the
//! crates, the command line, health and metrics.

mod certificate_ends;
mod cli;
mod dialects;
mod observe;
mod serve;

pub use cli::run;
