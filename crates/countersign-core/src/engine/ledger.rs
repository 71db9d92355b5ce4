//! Acts on the ledger as a whole. The store or its files were changed already; here the act becomes
//! an event of the server.

use super::Engine;
use crate::event::{Actor, EventKind, NewEvent, Subject};
use crate::port::{Change, Clock, Entropy, Ledger, Notifier};
use crate::refusal::Fault;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Records that an operator did something with the whole ledger, such as replacing its master
    /// key.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn record_ledger_act(
        &self,
        actor: &Actor,
        kind: EventKind,
        details: Vec<(&'static str, String)>,
    ) -> Result<(), Fault> {
        let (actor, subject) = (actor.clone(), Subject::Ledger);
        let event = NewEvent { tenant: None, at: self.now(), kind, actor, subject, details };
        self.commit(Change::Nothing, vec![event]).await.map(drop)
    }
}
