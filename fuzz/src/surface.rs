//! What relying parties send, on each surface.

#[path = "../../crates/countersign-server/src/surface/field.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod field;
#[path = "../../crates/countersign-server/src/surface/fingerprint.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod fingerprint;
mod kobil;
mod onespan;
#[path = "../../crates/countersign-server/src/surface/order.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod order;
mod trustedx;

pub use kobil::{kobil, kobil_people};
pub use onespan::{onespan_rest, onespan_soap};
pub use trustedx::trustedx;
