//! The engine as a process runs it, and the log of what failed in it.

use std::error::Error as _;
use std::iter;

use countersign_core::Fault;
use countersign_core::engine::Engine;
use countersign_store::Store;
use tracing::error;

use crate::clock::System;
use crate::notifier::LocalNotifier;

/// The engine as this process runs it.
pub(crate) type Core = Engine<Store, LocalNotifier, System>;

/// Logs a fault with everything that caused it, once, at the edge.
pub(crate) fn log(fault: &Fault) {
    let causes =
        iter::successors(fault.source(), |cause: &&dyn std::error::Error| (*cause).source());
    let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    error!(cause, "Failed while {fault}: {cause}");
}
