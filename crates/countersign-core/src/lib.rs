//! The domain of Countersign: what a transaction is, who may do what to it, and when it ends.
//!
//! This crate does no I/O, reads no clock, draws no random number and knows no wire format. Time
//! and randomness are arguments, the ports to the world are the five traits of [`port`], and every
//! decision is a pure function. The use cases in [`engine`] *load, decide and commit*, and then
//! notify connected devices and waiting callers.
//!
//! Begin with [`transaction`], the state machine; [`limits`] holds every bound.

pub mod delivery;
pub mod device;
pub mod engine;
pub mod enrolment;
pub mod event;
pub mod id;
pub mod key;
pub mod limited_cache;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod port;
pub mod push;
pub mod push_policy;
mod quota;
pub mod refusal;
pub mod role;
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
