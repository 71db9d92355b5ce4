//! Reads beside the use cases: for rendering, for lists, and for authentication.

use super::Engine;
use crate::port::{Clock, Entropy, Ledger, Notifier, Reader};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// The reads of the ledger.
    pub fn read(&self) -> Reader<'_, S> {
        self.store.read()
    }
}
