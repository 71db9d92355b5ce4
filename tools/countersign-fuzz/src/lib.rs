//! Fuzz targets: each gives untrusted bytes to a parser, and asserts what must hold of every
//! accepted input. A panic is a failure too.
//!
//! Each function has a program in `fuzz/fuzz_targets/`, which libFuzzer guides by coverage, and a
//! committed corpus in `fuzz/corpus/`, from which the tests of this crate make inputs. The keys and
//! messages that the functions know are those of `docs/vectors/`.

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

/// A fuzz target: its name, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All fuzz targets.
pub const TARGETS: [Target; 19] = [
    ("ber", ber),
    ("certificate", certificate),
    ("cms", cms),
    ("configuration", configuration),
    ("device_bodies", device_bodies),
    ("frames", frames),
    ("guard", guard),
    ("jwe", jwe),
    ("jws", jws),
    ("kobil", kobil),
    ("kobil_people", kobil_people),
    ("ocra", ocra),
    ("onespan_rest", onespan_rest),
    ("onespan_soap", onespan_soap),
    ("request", request),
    ("texts", texts),
    ("trustedx", trustedx),
    ("trustedx_identity", trustedx_identity),
    ("trustedx_link", trustedx_link),
];
