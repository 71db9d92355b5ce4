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
mod fault_log;
pub mod history;
pub mod notifier;
pub mod retention;
pub mod task;
pub mod wait;

use countersign_core::engine::Engine;
use countersign_store::{SealedKeys, Store};

pub use crate::fault_log::log;

use crate::clock::System;
use crate::notifier::LocalNotifier;

/// The engine as this process runs it.
pub type Core = Engine<Store, LocalNotifier, System>;

/// The private keys of tenants and clients, as this process uses them.
pub type PrivateKeys = SealedKeys;
