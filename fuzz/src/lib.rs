//! Fuzz targets: each takes a stranger's bytes, hands them to what reads them, and asserts what
//! must hold of whatever is accepted. That nothing panics is the least of it.
//!
//! One function a target, one binary each in `fuzz_targets/`, a committed corpus in `corpus/`. The
//! keys and messages that the targets know are those of `docs/vectors/`.

mod bodies;
mod configuration;
mod guard;
mod jose;
mod kobil;
mod onespan;
mod proofs;
mod soap;
mod texts;
mod trustedx;
mod vectors;

pub use bodies::{device_bodies, frames};
pub use configuration::configuration;
pub use guard::guard;
pub use jose::{jwe, jws};
pub use kobil::{kobil, kobil_people};
pub use onespan::onespan_rest;
pub use proofs::{ber, certificate, cms, request};
pub use soap::onespan_soap;
pub use texts::{ocra, texts};
pub use trustedx::{trustedx, trustedx_identity, trustedx_link};
