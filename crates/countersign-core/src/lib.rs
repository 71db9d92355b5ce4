//! The domain of Countersign: what a transaction is, who may do what to it, and when it ends.
//!
//! Nothing here does I/O, reads a clock, draws a random number or knows a wire format: time and
//! chance come in as arguments, the world is behind the five traits of [`port`], and every decision
//! is a pure function. [`engine`] joins them: *load, decide, commit*, and then ring the doorbell.
//!
//! Begin with [`transaction`], the machine; [`limits`] holds every bound.

pub mod delivery;
pub mod device;
pub mod engine;
pub mod enrolment;
pub mod event;
pub mod id;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod port;
pub mod push;
pub mod push_policy;
pub mod refusal;
pub mod secret;
pub mod selector;
pub mod session;
pub mod spec;
pub mod tenant;
pub mod time;
pub mod transaction;
pub mod user;
pub mod versioned;

pub use refusal::{Error, Fault, Refusal};
