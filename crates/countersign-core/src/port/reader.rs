//! The reads of a ledger, one function for each thing that is read.

use super::{
    ApiKeyCursor, Credential, CredentialKey, DeliveryCursor, DeviceCursor, DeviceFilter,
    DomainFilter, EndSnapshot, Handle, Ledger, Listed, OutboxEntry, Page, Part, Query,
    QuerySubject, Snapshot, StepSnapshot, TransactionCursor, UserWithDevices, Versioned,
};
use crate::device::Device;
use crate::enrolment::Activation;
use crate::event::RecordedEvent;
use crate::id::{
    ApiKeyId, ClientId, DeviceId, IdentityId, SerialNumber, TenantName, TransactionId, UserName,
};
use crate::key::TokenKeys;
use crate::push_policy::Contact;
use crate::refusal::Fault;
use crate::tenant::{ApiKey, Client, Tenant, TenantDomain};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::user::User;

/// The reads of a ledger. They cannot change it, so that an edge may have them.
#[derive(Debug)]
pub struct Reader<'a, S>(&'a S);

impl<S> Clone for Reader<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Reader<'_, S> {}

impl<'a, S: Ledger> Reader<'a, S> {
    /// The reads of `ledger`.
    pub fn new(ledger: &'a S) -> Self {
        Self(ledger)
    }

    /// Reads the query's subject and parts, all at one moment.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn snapshot(self, tenant: &TenantName, query: Query<'_>) -> Result<Snapshot, Fault> {
        self.0.snapshot(tenant, query).await
    }

    /// Reads a tenant.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn tenant(self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        Ok(self.subject(name, QuerySubject::Tenant).await?.tenant)
    }

    /// Reads a client.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn client(
        self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> Result<Option<Versioned<Client>>, Fault> {
        Ok(match self.0.credential(CredentialKey::Client(tenant, id)).await? {
            Some(Credential::Client(client)) => Some(client),
            _ => None,
        })
    }

    /// Finds the client of that id, in any tenant.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn client_by_id(self, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(match self.0.credential(CredentialKey::AnyClient(id)).await? {
            Some(Credential::Client(client)) => Some(client.value),
            _ => None,
        })
    }

    /// Reads the client of a tenant that an access token names, with the tenant's token keys.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn token_holder(
        self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> Result<Option<(Client, TokenKeys)>, Fault> {
        Ok(match self.0.credential(CredentialKey::TokenHolder(tenant, id)).await? {
            Some(Credential::TokenHolder(client, keys)) => Some((client, keys)),
            _ => None,
        })
    }

    /// Reads the open transactions that a client started, oldest first, at most
    /// [`LISTED_MAX`](crate::limits::LISTED_MAX).
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn open_of_client(
        self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let query = Query { subject: QuerySubject::Tenant, parts: &[Part::OpenOfClient(id)] };
        Ok(self.0.snapshot(tenant, query).await?.open)
    }

    /// Finds the API key of that digest, in any tenant.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn api_key(self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        Ok(match self.0.credential(CredentialKey::ApiKey(digest)).await? {
            Some(Credential::ApiKey(key)) => Some(key),
            _ => None,
        })
    }

    /// Finds the API key of that id, in any tenant.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn api_key_by_id(self, id: ApiKeyId) -> Result<Option<ApiKey>, Fault> {
        Ok(match self.0.credential(CredentialKey::ApiKeyId(id)).await? {
            Some(Credential::ApiKey(key)) => Some(key),
            _ => None,
        })
    }

    /// Reads a user.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn user(
        self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        Ok(self.subject(tenant, QuerySubject::User(name)).await?.user)
    }

    /// Reads a user and the user's devices without retired ones. `None` if there is no such user.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn user_with_devices(
        self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<UserWithDevices>, Fault> {
        let query = Query { subject: QuerySubject::User(name), parts: &[Part::Devices] };
        let Snapshot { user, devices, .. } = self.0.snapshot(tenant, query).await?;
        Ok(user.map(|user| UserWithDevices { user, devices }))
    }

    /// Reads a user's open transactions, oldest first.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn open(
        self,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<Vec<Versioned<Transaction>>, Fault> {
        let query = Query { subject: QuerySubject::User(user), parts: &[Part::Open] };
        Ok(self.0.snapshot(tenant, query).await?.open)
    }

    /// Reads a user's activations that have not expired at `now`, newest first.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn activations(
        self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        let parts = &[Part::Activations(now)];
        let query = Query { subject: QuerySubject::User(user), parts };
        Ok(self.0.snapshot(tenant, query).await?.activations)
    }

    /// Reads a device, even a retired one.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn device(
        self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.subject(tenant, QuerySubject::Device(id)).await?.device)
    }

    /// Finds a device by its serial number, unless it is retired.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn device_by_serial(
        self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.subject(tenant, QuerySubject::Serial(serial)).await?.device)
    }

    /// Finds the device that holds an identity.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn device_by_identity(
        self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.subject(tenant, QuerySubject::Identity(id)).await?.device)
    }

    /// Reads the user who holds an identity, with only the device that has it. `None` for an
    /// identity on a retired device.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn holder(
        self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<UserWithDevices>, Fault> {
        let query = Query { subject: QuerySubject::Identity(id), parts: &[Part::User] };
        let Snapshot { user, device, .. } = self.0.snapshot(tenant, query).await?;
        Ok(user.zip(device).map(|(user, device)| UserWithDevices { user, devices: vec![device] }))
    }

    /// Reads a transaction.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn transaction(
        self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Result<Option<Versioned<Transaction>>, Fault> {
        Ok(self.subject(tenant, QuerySubject::Transaction(handle)).await?.transaction)
    }

    /// Reads the contacts with devices about a transaction, by device.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn contacts(
        self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Vec<Contact>, Fault> {
        let handle = Handle::Id(id);
        let query = Query { subject: QuerySubject::Transaction(&handle), parts: &[Part::Contacts] };
        Ok(self.0.snapshot(tenant, query).await?.contacts)
    }

    /// Reads a device, its user and a transaction of its tenant. `None` if there is no such
    /// device.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn step_snapshot(
        self,
        tenant: &TenantName,
        device: DeviceId,
        id: TransactionId,
    ) -> Result<Option<StepSnapshot>, Fault> {
        let handle = Handle::Id(id);
        let parts = &[Part::User, Part::Transaction(&handle)];
        let query = Query { subject: QuerySubject::Device(device), parts };
        let Snapshot { device, user, transaction, .. } = self.0.snapshot(tenant, query).await?;
        Ok(device.map(|device| StepSnapshot { device, user, transaction }))
    }

    /// Reads the result of a transaction and its signer. For an open one it reads almost nothing,
    /// so that polling costs little.
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn end_snapshot(
        self,
        tenant: &TenantName,
        id: TransactionId,
    ) -> Result<Option<EndSnapshot>, Fault> {
        Ok(self.subject(tenant, QuerySubject::End(id)).await?.end)
    }

    /// Lists transactions: see [`Ledger::transactions`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn transactions(
        self,
        tenant: &TenantName,
        user: Option<&UserName>,
        page: Page<TransactionCursor>,
    ) -> Result<Listed<Versioned<Transaction>, TransactionCursor>, Fault> {
        self.0.transactions(tenant, user, page).await
    }

    /// Lists devices: see [`Ledger::devices`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn devices(
        self,
        tenant: &TenantName,
        filter: DeviceFilter<'_>,
        page: Page<DeviceCursor>,
    ) -> Result<Listed<Versioned<Device>, DeviceCursor>, Fault> {
        self.0.devices(tenant, filter, page).await
    }

    /// Lists the names of tenants: see [`Ledger::tenants`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn tenants(
        self,
        page: Page<TenantName>,
    ) -> Result<Listed<TenantName, TenantName>, Fault> {
        self.0.tenants(page).await
    }

    /// Lists domains of tenants: see [`Ledger::domains`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn domains(self, filter: DomainFilter<'_>) -> Result<Vec<TenantDomain>, Fault> {
        self.0.domains(filter).await
    }

    /// Lists the clients of a tenant: see [`Ledger::clients`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn clients(
        self,
        tenant: &TenantName,
        page: Page<ClientId>,
    ) -> Result<Listed<Client, ClientId>, Fault> {
        self.0.clients(tenant, page).await
    }

    /// Lists the users of a tenant: see [`Ledger::users`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn users(
        self,
        tenant: &TenantName,
        page: Page<UserName>,
    ) -> Result<Listed<Versioned<User>, UserName>, Fault> {
        self.0.users(tenant, page).await
    }

    /// Lists API keys: see [`Ledger::api_keys`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn api_keys(
        self,
        tenant: Option<&TenantName>,
        page: Page<ApiKeyCursor>,
    ) -> Result<Listed<ApiKey, ApiKeyCursor>, Fault> {
        self.0.api_keys(tenant, page).await
    }

    /// Lists unsettled deliveries: see [`Ledger::deliveries`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn deliveries(
        self,
        tenant: &TenantName,
        dead_letters: bool,
        page: Page<DeliveryCursor>,
    ) -> Result<Listed<OutboxEntry, DeliveryCursor>, Fault> {
        self.0.deliveries(tenant, dead_letters, page).await
    }

    /// Lists events: see [`Ledger::events`].
    ///
    /// # Errors
    /// Fails if the store does.
    pub async fn events(
        self,
        tenant: Option<&TenantName>,
        page: Page<u64>,
    ) -> Result<Listed<RecordedEvent, u64>, Fault> {
        self.0.events(tenant, page).await
    }

    async fn subject(
        self,
        tenant: &TenantName,
        subject: QuerySubject<'_>,
    ) -> Result<Snapshot, Fault> {
        self.0.snapshot(tenant, Query { subject, parts: &[] }).await
    }
}
