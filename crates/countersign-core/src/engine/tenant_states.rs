//! Use cases of operators on a whole tenant: lock it, unlock it, delete it.
//!
//! A lock holds from the next call on: what a tenant's clients, keys and devices are is read with
//! the tenant's lock, and a commit on a user or a device checks it again. The channels of its
//! devices are closed.

use super::{Engine, lost_every_race};
use crate::event::{Actor, EventKind, NewEvent, Subject};
use crate::id::TenantName;
use crate::limits::{COMMIT_TRIES_MAX, LISTED_MAX};
use crate::port::{Change, Clock, Committed, Entropy, Ledger, Notifier, Page};
use crate::refusal::{AdminError, AdminRefusal};
use crate::tenant::{Tenant, TenantState};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// A tenant that was not deleted.
    pub(super) async fn existing_tenant(&self, name: &TenantName) -> Result<Tenant, AdminError> {
        let found = self.store.read().tenant(name).await?;
        let found = found.filter(|found| found.state != TenantState::Deleted);
        Ok(found.ok_or(AdminRefusal::UnknownTenant)?)
    }

    /// Locks or unlocks a tenant. While it is locked, no call of its clients, keys and devices is
    /// accepted. Its open transactions end at their own deadlines.
    ///
    /// # Errors
    /// Refuses an unknown or deleted tenant, and one that has this state already.
    pub async fn set_tenant_lock(
        &self,
        actor: &Actor,
        name: &TenantName,
        is_locked: bool,
    ) -> Result<(), AdminError> {
        let (state, kind) = if is_locked {
            (TenantState::Locked, EventKind::TenantLocked)
        } else {
            (TenantState::Active, EventKind::TenantUnlocked)
        };
        for _ in 0..COMMIT_TRIES_MAX {
            let expected = self.existing_tenant(name).await?.state;
            if expected == state {
                return Err(AdminRefusal::Unchanged.into());
            }
            let event = self.event(name, kind, actor, Subject::Tenant, Vec::new());
            let change = Change::SetTenantState { tenant: name.clone(), expected, state };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }

    /// Deletes a locked tenant with all that belongs to it, in small commits, so that others write
    /// in between. Its open transactions are cancelled. The evidence of its signatures and its
    /// events stay, and its name is not free, unless `with_evidence` removes them too. A deletion
    /// that was interrupted is continued by the next one.
    ///
    /// # Errors
    /// Refuses an unknown tenant, one that is not locked, and one that was deleted already. If the
    /// tenant is unlocked meanwhile, nothing more is deleted: each commit that deletes checks it.
    pub async fn delete_tenant(
        &self,
        actor: &Actor,
        name: &TenantName,
        with_evidence: bool,
    ) -> Result<(), AdminError> {
        let found = self.store.read().tenant(name).await?.ok_or(AdminRefusal::UnknownTenant)?;
        match found.state {
            TenantState::Active => return Err(AdminRefusal::NotLocked.into()),
            TenantState::Deleted if !with_evidence => return Err(AdminRefusal::Unchanged.into()),
            TenantState::Locked | TenantState::Deleted => {}
        }
        let evidence = if with_evidence { "removed" } else { "kept" };
        let details = vec![("evidence", evidence.to_owned())];
        let kind = EventKind::TenantDeletionBegun;
        let begun = self.event(name, kind, actor, Subject::Tenant, details);
        self.commit(Change::Nothing, vec![begun]).await?;
        self.delete_clients(actor, name).await?;
        loop {
            let deleted = NewEvent {
                tenant: None,
                at: self.now(),
                kind: EventKind::TenantDeleted,
                actor: actor.clone(),
                subject: Subject::Tenant,
                details: vec![("name", name.to_string()), ("evidence", evidence.to_owned())],
            };
            let change = Change::DeleteTenant { tenant: name.clone(), with_evidence };
            match self.commit(change, vec![deleted]).await? {
                Committed::Written => return Ok(()),
                Committed::More => {}
                // It was unlocked meanwhile, or another operator has deleted it.
                _ => return Err(AdminRefusal::NotLocked.into()),
            }
        }
    }

    /// Deletes the clients of a tenant, each after its open transactions were cancelled, so that an
    /// interruption leaves none open.
    async fn delete_clients(&self, actor: &Actor, tenant: &TenantName) -> Result<(), AdminError> {
        loop {
            let clients = self.store.clients(tenant, Page::first(LISTED_MAX)).await?.rows;
            if clients.is_empty() {
                return Ok(());
            }
            for client in clients {
                let found = self.store.read().tenant(tenant).await?;
                if found.is_some_and(|found| found.state == TenantState::Active) {
                    return Err(AdminRefusal::NotLocked.into());
                }
                self.cancel_all_of(actor, tenant, &client.id).await?;
                match self.remove_client(actor, tenant, &client.id, true).await {
                    // Another operator may have deleted it meanwhile, or have unlocked the tenant,
                    // which the next client's turn finds.
                    Ok(()) | Err(AdminError::Refused(AdminRefusal::UnknownClient)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
