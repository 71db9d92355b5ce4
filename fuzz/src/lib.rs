//! Fuzz targets: each takes a stranger's bytes, hands them to what reads them, and asserts what must hold
//! of whatever is accepted. That nothing panics is the least of it.
//!
//! One function a target, one binary each in `fuzz_targets/`, a committed corpus in `corpus/`. The keys
//! and messages that the targets know are those of `docs/vectors/`. What lives in the server's binary
//! is taken in by its path, as far as it reads bytes.

mod bodies;
#[path = "../../crates/countersign-server/src/config/mod.rs"]
#[allow(dead_code, unused_imports, clippy::pedantic, reason = "the server uses the rest")]
mod config;
mod configuration;
mod delivery;
mod jose;
mod proofs;
mod surface;
mod texts;
mod vectors;

pub use bodies::{device_bodies, frames};
pub use configuration::configuration;
pub use delivery::guard;
pub use jose::{jwe, jws};
pub use proofs::{ber, certificate, cms, request};
pub use surface::{kobil, kobil_people, onespan_rest, onespan_soap, trustedx};
pub use texts::{ocra, texts};
