//! Use cases that take back or replace what an operator once gave out: clients and their secrets,
//! API keys, the keys of access tokens, and trusted roots.
//!
//! Each one holds from the next call on. No cache may answer for it: callers' credentials are read
//! for each call, and a cached certificate chain counts only while the tenant trusts the same
//! roots.

use super::tenants::named;
use super::{Engine, lost_every_race};
use crate::event::{Actor, EventKind, NewEvent, Subject};
use crate::id::{ApiKeyId, ClientId, TenantName};
use crate::key::{PublicKey, StoredKey};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, ClientDeletion, Clock, Committed, Entropy, Ledger, Notifier, TokenKeyChange,
};
use crate::refusal::{AdminError, AdminRefusal, Error, Fault};
use crate::role::Roles;
use crate::tenant::{Account, ApiKey, Client, ClientSecret, CredentialState};
use crate::time::Timestamp;
use crate::transaction::Transaction;

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Gives a client another secret. The present one stays valid until `keep_until`, and ends at
    /// once if it is `None`, together with all access tokens that were obtained with it.
    ///
    /// # Errors
    /// Refuses an unknown client.
    pub async fn rotate_client_secret(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        new: ClientSecret,
        keep_until: Option<Timestamp>,
    ) -> Result<Client, AdminError> {
        let details = vec![("before", before(keep_until))];
        let change = |client: Client| {
            Ok((client.with_secret(new, keep_until), EventKind::ClientSecretRotated))
        };
        self.change_client(actor, tenant, id, change, details).await
    }

    /// Sets the roles of a client.
    ///
    /// # Errors
    /// Refuses an unknown client, and roles that the client has already.
    pub async fn set_client_roles(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        roles: Roles,
    ) -> Result<Client, AdminError> {
        let details = vec![("roles", named(roles))];
        let change = |client: Client| {
            let is_same = client.roles == roles;
            let changed = (Client { roles, ..client }, EventKind::ClientRolesSet);
            if is_same { Err(AdminRefusal::Unchanged) } else { Ok(changed) }
        };
        self.change_client(actor, tenant, id, change, details).await
    }

    /// Allows a client to obtain tokens with the name and the password of this account, or of none.
    /// Tokens that were obtained with the password before end at once.
    ///
    /// # Errors
    /// Refuses an unknown client, and the removal of an account from a client without one.
    pub async fn set_client_account(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        account: Option<Account>,
    ) -> Result<Client, AdminError> {
        let (kind, details) = match &account {
            Some(new) => (EventKind::ClientPasswordSet, vec![("account", new.name.to_string())]),
            None => (EventKind::ClientPasswordRemoved, Vec::new()),
        };
        let change = |client: Client| {
            let is_same = account.is_none() && client.password.account.is_none();
            let changed = (client.with_account(account.clone()), kind);
            if is_same { Err(AdminRefusal::Unchanged) } else { Ok(changed) }
        };
        self.change_client(actor, tenant, id, change, details).await
    }

    /// Locks or unlocks a client.
    ///
    /// # Errors
    /// Refuses an unknown client, and a client that has this state already.
    pub async fn set_client_state(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        state: CredentialState,
    ) -> Result<Client, AdminError> {
        let kind = match state {
            CredentialState::Active => EventKind::ClientUnlocked,
            CredentialState::Locked => EventKind::ClientLocked,
        };
        let change = |client: Client| {
            let is_same = client.state == state;
            let changed = (Client { state, ..client }, kind);
            if is_same { Err(AdminRefusal::Unchanged) } else { Ok(changed) }
        };
        self.change_client(actor, tenant, id, change, Vec::new()).await
    }

    async fn change_client(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        change: impl Fn(Client) -> Result<(Client, EventKind), AdminRefusal> + Send + Sync,
        details: Vec<(&'static str, String)>,
    ) -> Result<Client, AdminError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.read().client(tenant, id).await?;
            let found = found.ok_or(AdminRefusal::UnknownClient)?;
            let (client, kind) = change(found.value)?;
            let subject = Subject::Client(id.clone());
            let event = self.event(tenant, kind, actor, subject, details.clone());
            let changed = Box::new(client.clone());
            let change = Change::ChangeClient { client: changed, expected: found.version };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(client);
            }
        }
        Err(lost_every_race())
    }

    /// Deletes a client. Its open transactions are cancelled; ended ones stay, and their callbacks
    /// are not made any more.
    ///
    /// # Errors
    /// Refuses an unknown client.
    pub async fn delete_client(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
    ) -> Result<(), AdminError> {
        self.remove_client(actor, tenant, id, false).await
    }

    /// Deletes a client, or one of a locked tenant only. If it is refused as unknown, the tenant
    /// may also have been unlocked.
    pub(super) async fn remove_client(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        only_of_locked: bool,
    ) -> Result<(), AdminError> {
        let found = self.store.read().client(tenant, id).await?;
        let name = found.ok_or(AdminRefusal::UnknownClient)?.value.name;
        let subject = Subject::Client(id.clone());
        let details = vec![("name", name)];
        let event = self.event(tenant, EventKind::ClientDeleted, actor, subject, details);
        let (of, client) = (tenant.clone(), id.clone());
        let change = Change::DeleteClient(ClientDeletion { tenant: of, client, only_of_locked });
        // First, so that the client can start no further transaction.
        if self.commit(change, vec![event]).await? != Committed::Written {
            return Err(AdminRefusal::UnknownClient.into());
        }
        self.cancel_all_of(actor, tenant, id).await?;
        Ok(())
    }

    /// Cancels the open transactions of a client.
    pub(super) async fn cancel_all_of(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
    ) -> Result<(), Fault> {
        loop {
            let open = self.store.read().open_of_client(tenant, id).await?;
            let mut cancelled = 0;
            for open in open {
                let id = open.value.spec.id;
                let ended = if self.now() >= open.value.deadline() {
                    let tick = |transaction: Transaction, now| Ok(transaction.tick(now));
                    self.apply(tenant, id, tick, &Actor::Server).await
                } else {
                    self.apply(tenant, id, Transaction::cancel, actor).await
                };
                match ended {
                    Ok(_) => cancelled += 1,
                    Err(Error::Refused(_)) => {} // It has ended meanwhile.
                    Err(Error::Failed(fault)) => return Err(fault),
                }
            }
            if cancelled == 0 {
                return Ok(());
            }
        }
    }

    /// Locks or unlocks an API key.
    ///
    /// # Errors
    /// Refuses an unknown key, and a key that has this state already.
    pub async fn set_api_key_state(
        &self,
        actor: &Actor,
        id: ApiKeyId,
        state: CredentialState,
    ) -> Result<ApiKey, AdminError> {
        let found = self.store.read().api_key_by_id(id).await?.ok_or(AdminRefusal::UnknownKey)?;
        if found.state == state {
            return Err(AdminRefusal::Unchanged.into());
        }
        let kind = match state {
            CredentialState::Active => EventKind::ApiKeyUnlocked,
            CredentialState::Locked => EventKind::ApiKeyLocked,
        };
        let event = self.event_of_key(&found, kind, actor);
        match self.commit(Change::SetApiKeyState { id, state }, vec![event]).await? {
            Committed::Written => Ok(ApiKey { state, ..found }),
            // Another operator was faster.
            _ => Err(AdminRefusal::Unchanged.into()),
        }
    }

    /// Deletes an API key.
    ///
    /// # Errors
    /// Refuses an unknown key.
    pub async fn delete_api_key(&self, actor: &Actor, id: ApiKeyId) -> Result<(), AdminError> {
        let found = self.store.read().api_key_by_id(id).await?.ok_or(AdminRefusal::UnknownKey)?;
        let event = self.event_of_key(&found, EventKind::ApiKeyDeleted, actor);
        match self.commit(Change::DeleteApiKey { id }, vec![event]).await? {
            Committed::Written => Ok(()),
            _ => Err(AdminRefusal::UnknownKey.into()),
        }
    }

    fn event_of_key(&self, key: &ApiKey, kind: EventKind, actor: &Actor) -> NewEvent {
        NewEvent {
            tenant: key.tenant.clone(),
            at: self.now(),
            kind,
            actor: actor.clone(),
            subject: Subject::ApiKey(key.id),
            details: vec![("kind", key.kind.as_str().to_owned())],
        }
    }

    /// Signs a tenant's access tokens with a new key. Tokens of the present key are accepted until
    /// `keep_until`, and no longer if it is `None`.
    ///
    /// # Errors
    /// Refuses an unknown tenant.
    pub async fn replace_token_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        public_key: PublicKey,
        key: StoredKey,
        keep_until: Option<Timestamp>,
    ) -> Result<(), AdminError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found = self.store.read().tenant(tenant).await?;
            let expected = found.ok_or(AdminRefusal::UnknownTenant)?.token_keys;
            let details = vec![("before", before(keep_until))];
            let kind = EventKind::TokenKeyReplaced;
            let event = self.event(tenant, kind, actor, Subject::Tenant, details);
            let keys = expected.replaced_by(public_key, keep_until);
            let (tenant, key) = (tenant.clone(), key.clone());
            let change = TokenKeyChange { tenant, expected, keys, key };
            let change = Change::ReplaceTokenKey(Box::new(change));
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }

    /// Takes a trusted root back. Identities whose chain ends in it cannot sign from then on.
    /// `root` is the root's certificate, DER. `sha256` is the certificate's digest, hex, for the
    /// event.
    ///
    /// # Errors
    /// Refuses an unknown tenant, a root that the tenant does not trust, and its own authority.
    pub async fn distrust_root(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        root: &[u8],
        sha256: &str,
    ) -> Result<(), AdminError> {
        let found = self.existing_tenant(tenant).await?;
        if found.authority_certificate == root {
            return Err(AdminRefusal::OwnAuthority.into());
        }
        let details = vec![("sha256", sha256.to_owned())];
        let event = self.event(tenant, EventKind::RootDistrusted, actor, Subject::Tenant, details);
        let change = Change::DistrustRoot { tenant: tenant.clone(), root: root.to_vec() };
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            _ => Err(AdminRefusal::UnknownRoot.into()),
        }
    }
}

/// The detail of an event that says until when a replaced secret or key is valid.
fn before(keep_until: Option<Timestamp>) -> String {
    keep_until.map_or_else(|| "ended".to_owned(), |end| format!("until {}", end.0))
}
