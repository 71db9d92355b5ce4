//! The engine as a process runs it: clock, notifier, waiting callers, supervised tasks, authority.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub mod authority;
pub mod clock;
pub mod history;
pub mod notifier;
pub mod retention;
pub mod task;
pub mod wait;

use std::error::Error as _;
use std::iter;

use countersign_core::Fault;
use countersign_core::engine::Engine;
use countersign_store::{SealedKeys, Store};
use tracing::error;

use crate::clock::System;
use crate::notifier::LocalNotifier;

/// The engine as this process runs it.
pub type Core = Engine<Store, LocalNotifier, System>;

/// The private keys of tenants and clients, as this process uses them.
pub type PrivateKeys = SealedKeys;

/// Logs a fault with all its causes, once, at the edge.
pub fn log(fault: &Fault) {
    let causes =
        iter::successors(fault.source(), |cause: &&dyn std::error::Error| (*cause).source());
    let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    history::faulted();
    error!(cause, "Failed while {fault}: {cause}");
}
