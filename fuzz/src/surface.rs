//! What relying parties send, on each surface.

mod kobil;
#[path = "../../crates/countersign-server/src/surface/order.rs"]
#[allow(dead_code, clippy::pedantic, reason = "the server uses the rest")]
mod order;

pub use kobil::kobil;
