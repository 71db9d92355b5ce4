//! The server and its command line, as the library of the binary `countersign`: assembly of the
//! crates, the command line, health and metrics.

mod backup;
mod certificate_ends;
mod cli;
mod dialects;
mod exposition;
mod ledger_location;
mod observe;
mod open_files;
mod operator_events;
mod reload;
mod serve;
mod service_manager;
mod version;

pub use cli::run;
