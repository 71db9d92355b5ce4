//! Reads beside the use cases: for rendering, for lists, and for authentication.

use super::Engine;
use crate::event::RecordedEvent;
use crate::id::{TenantName, TransactionId, UserName};
use crate::port::{Clock, EndSnapshot, Entropy, Handle, Ledger, Notifier, Registry, Versioned};
use crate::push_policy::Contact;
use crate::refusal::Fault;
use crate::transaction::Transaction;

impl<S: Ledger + Registry, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// The registry, for reading only.
    pub fn registry(&self) -> &impl Registry {
        &self.store
    }

    /// Reads a transaction, if the tenant has it.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn find(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Transaction>, Fault> {
        Ok(self.store.load(tenant, handle).await?.map(|found| found.value))
    }

    /// Reads the newest transactions, of one user or of all users, at most `limit`, newest first.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn transactions(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
        limit: u16,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        self.store.list(tenant, user, limit).await
    }

    /// Reads the result of a transaction, for a caller that waits for its end.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn end_snapshot(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Option<EndSnapshot>, Fault> {
        self.store.end_snapshot(tenant, id).await
    }

    /// Reads the contacts with devices about a transaction, by device.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn contacts(
        &self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        self.store.contacts(tenant, id).await
    }

    /// Reads the events of a tenant, or of the whole server, after the event of that number, in
    /// order, at most `limit`.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn events(
        &self,
        tenant: Option<&TenantName>,
        after: u64,
        limit: u16,
    ) -> Result<Vec<RecordedEvent>, Fault> {
        self.store.events(tenant, after, limit).await
    }
}
