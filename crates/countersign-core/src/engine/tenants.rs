//! Use cases of operators: tenants, trusted roots, clients and API keys.

use super::Engine;
use crate::event::{Actor, EventKind, NewEvent, Subject};
use crate::id::{ClientId, TenantName};
use crate::limits::ROOTS_PER_TENANT_MAX;
use crate::port::{Change, Clock, Committed, Entropy, Ledger, Notifier, StoredKey};
use crate::refusal::{AdminError, AdminRefusal, Fault};
use crate::role::{Role, Roles};
use crate::tenant::{ApiKey, Client, NewTenant, TenantState};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Whether there is a tenant of that name that was not deleted.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn has_tenant(&self, tenant: &TenantName) -> Result<bool, Fault> {
        let found = self.store.read().tenant(tenant).await?;
        Ok(found.is_some_and(|found| found.state != TenantState::Deleted))
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// Refuses a name that exists already.
    pub async fn create_tenant(&self, actor: &Actor, new: NewTenant) -> Result<(), AdminError> {
        let name = new.tenant.name.clone();
        let event = self.event(&name, EventKind::TenantCreated, actor, Subject::Tenant, Vec::new());
        self.create(Change::CreateTenant(Box::new(new)), event).await
    }

    /// Adds a trusted root to a tenant. `root` is the root's certificate, DER. `sha256` is the
    /// certificate's digest, hex, for the event.
    ///
    /// # Errors
    /// Refuses an unknown tenant, a root that the tenant already trusts, and a root above the
    /// maximum.
    pub async fn trust_root(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        root: &[u8],
        sha256: &str,
    ) -> Result<(), AdminError> {
        let found = self.existing_tenant(tenant).await?;
        if found.roots.len() >= ROOTS_PER_TENANT_MAX {
            return Err(AdminRefusal::ManyRoots.into());
        }
        let details = vec![("sha256", sha256.to_owned())];
        let event = self.event(tenant, EventKind::RootTrusted, actor, Subject::Tenant, details);
        let change = Change::TrustRoot { tenant: tenant.clone(), root: root.to_vec() };
        self.create(change, event).await
    }

    /// Creates a client, with the key that signs its callbacks.
    ///
    /// # Errors
    /// Refuses an unknown tenant, and a name or an id that exists already.
    pub async fn create_client(
        &self,
        actor: &Actor,
        client: Client,
        callback_key: StoredKey,
    ) -> Result<(), AdminError> {
        let tenant = client.tenant.clone();
        self.check_tenant(&tenant).await?;
        let subject = Subject::Client(client.id.clone());
        let details = vec![("name", client.name.clone()), ("roles", named(client.roles))];
        let event = self.event(&tenant, EventKind::ClientCreated, actor, subject, details);
        let change = Change::CreateClient { client: Box::new(client), callback_key };
        self.create(change, event).await
    }

    /// Begins to sign a client's callbacks with `new` as well as the present key. If `new` is
    /// `None`, removes the older of two keys.
    ///
    /// # Errors
    /// Refuses an unknown client, and a third key.
    pub async fn rotate_callback_key(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: &ClientId,
        new: Option<StoredKey>,
    ) -> Result<(), AdminError> {
        let found = self.store.read().client(tenant, id).await?;
        found.ok_or(AdminRefusal::UnknownClient)?;
        let (of, client) = (tenant.clone(), id.clone());
        let (change, kind) = match new {
            Some(key) => (
                Change::RotateCallbackKey { tenant: of, client, key },
                EventKind::CallbackKeyRotated,
            ),
            None => {
                (Change::RetireCallbackKey { tenant: of, client }, EventKind::CallbackKeyRetired)
            }
        };
        let event = self.event(tenant, kind, actor, Subject::Client(id.clone()), Vec::new());
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            // Two keys sign already.
            _ => Err(AdminRefusal::ManyKeys.into()),
        }
    }

    /// Creates an API key, for one tenant or for all.
    ///
    /// # Errors
    /// Refuses an unknown tenant, and an id or a key that exists already.
    pub async fn create_api_key(&self, actor: &Actor, key: ApiKey) -> Result<(), AdminError> {
        if let Some(tenant) = &key.tenant {
            self.check_tenant(tenant).await?;
        }
        let event = NewEvent {
            tenant: key.tenant.clone(),
            at: self.now(),
            kind: EventKind::ApiKeyCreated,
            actor: actor.clone(),
            subject: Subject::ApiKey(key.id),
            details: vec![("kind", key.kind.as_str().to_owned())],
        };
        self.create(Change::CreateApiKey(key), event).await
    }

    pub(super) async fn check_tenant(&self, tenant: &TenantName) -> Result<(), AdminError> {
        if self.has_tenant(tenant).await? {
            Ok(())
        } else {
            Err(AdminRefusal::UnknownTenant.into())
        }
    }

    async fn create(&self, change: Change, event: NewEvent) -> Result<(), AdminError> {
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            Committed::TooMany => Err(AdminRefusal::ManyRoots.into()),
            _ => Err(AdminRefusal::Exists.into()),
        }
    }
}

/// The names of roles, for an event.
pub(super) fn named(roles: Roles) -> String {
    roles.iter().map(Role::as_str).collect::<Vec<_>>().join(" ")
}
