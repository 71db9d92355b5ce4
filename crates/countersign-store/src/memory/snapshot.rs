//! Snapshots and credentials, in memory.

use countersign_core::device::{Device, DeviceStatus};
use countersign_core::enrolment::Activation;
use countersign_core::id::{TenantName, TransactionId, UserName};
use countersign_core::limits::{ACTIVATIONS_LISTED_MAX, LISTED_MAX, OPEN_PER_USER_MAX};
use countersign_core::port::{
    Credential, CredentialKey, EndSnapshot, Handle, Part, Query, QuerySubject, Snapshot, Versioned,
};
use countersign_core::push_policy::Contact;
use countersign_core::time::Timestamp;
use countersign_core::transaction::Transaction;

use super::{Tables, named};

impl Tables {
    pub(super) fn snapshot(&self, tenant: &TenantName, query: Query<'_>) -> Snapshot {
        let mut found = self.subject(tenant, query.subject);
        for part in query.parts {
            self.add_part(tenant, query.subject, *part, &mut found);
        }
        found
    }

    fn subject(&self, tenant: &TenantName, subject: QuerySubject<'_>) -> Snapshot {
        let mut found = Snapshot::default();
        match subject {
            QuerySubject::Tenant => found.tenant = self.tenants.get(tenant).cloned(),
            QuerySubject::User(name) => {
                found.user = self.users.get(&(tenant.clone(), name.clone())).cloned();
            }
            QuerySubject::Device(id) => {
                found.device = self.devices.get(&(tenant.clone(), id)).cloned();
            }
            QuerySubject::Serial(serial) => {
                let this = |d: &&Versioned<Device>| {
                    d.value.tenant == *tenant
                        && d.value.serial_number == serial
                        && d.value.status != DeviceStatus::Retired
                };
                found.device = self.devices.values().find(this).cloned();
            }
            QuerySubject::Identity(id) => {
                let held = self.holding(tenant, |identity| identity.id == id);
                found.device = held.into_iter().next();
            }
            QuerySubject::Transaction(handle) => {
                found.transaction = self.transaction(tenant, handle);
            }
            QuerySubject::End(id) => {
                let transaction = self.transaction(tenant, &Handle::Id(id));
                found.end = transaction.map(|transaction| {
                    let signer = EndSnapshot::signer_of(&transaction.value);
                    let signer = signer.and_then(|by| self.devices.get(&(tenant.clone(), by)));
                    EndSnapshot::new(transaction.value, signer.map(|device| device.value.clone()))
                });
            }
        }
        found
    }

    fn add_part(
        &self,
        tenant: &TenantName,
        subject: QuerySubject<'_>,
        part: Part<'_>,
        found: &mut Snapshot,
    ) {
        let user = found.user_name(subject);
        match (part, user) {
            (Part::Tenant, _) => found.tenant = self.tenants.get(tenant).cloned(),
            (Part::Transaction(handle), _) => found.transaction = self.transaction(tenant, handle),
            (Part::Contacts, _) => {
                let id = found.transaction_id(subject);
                found.contacts = id.map_or_else(Vec::new, |id| self.contacts_about(tenant, id));
            }
            (Part::User, Some(name)) => {
                found.user = self.users.get(&(tenant.clone(), name.clone())).cloned();
            }
            (Part::Devices, Some(name)) => {
                let mut devices = self.listed(tenant, |device| device.user == *name);
                devices.truncate(LISTED_MAX.into());
                found.devices = devices;
            }
            (Part::Open, Some(name)) => {
                let theirs = self.of(tenant).filter(|t| t.value.spec.user == *name);
                let open = theirs.filter(|t| t.value.end().is_none());
                found.open = open.take(OPEN_PER_USER_MAX.into()).cloned().collect();
            }
            (Part::OpenOfClient(client), _) => {
                let own = self.of(tenant).filter(|t| t.value.spec.client == *client);
                let open = own.filter(|t| t.value.end().is_none());
                found.open = open.take(LISTED_MAX.into()).cloned().collect();
            }
            (Part::Activations(now), Some(name)) => {
                found.activations = self.activations_of(tenant, name, now);
            }
            (Part::User | Part::Devices | Part::Open | Part::Activations(_), None) => {}
        }
    }

    /// Finds a transaction, or the evidence of a removed one.
    pub(super) fn transaction(
        &self,
        tenant: &TenantName,
        handle: &Handle,
    ) -> Option<Versioned<Transaction>> {
        match handle {
            Handle::Id(id) => match self.places.get(&(tenant.clone(), *id)) {
                Some(place) => self.transactions.get(place).cloned(),
                None => self.newest(tenant, |t| t.spec.id == *id),
            },
            Handle::Key(key) => {
                // The request key of an open transaction is not given again, so an open one is
                // always the newest.
                self.newest(tenant, |t| t.spec.request_key == *key)
            }
            Handle::Reference(client, name) => self.newest(tenant, |t| named(t, client, name)),
        }
    }

    fn contacts_about(&self, tenant: &TenantName, id: TransactionId) -> Vec<Contact> {
        let all = self.contacts.iter().filter(|(key, _)| key.0 == *tenant && key.1 == id);
        all.map(|(_, contact)| contact.clone()).collect()
    }

    fn activations_of(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Vec<Versioned<Activation>> {
        let theirs = |a: &&Versioned<Activation>| {
            a.value.tenant == *tenant && a.value.user == *user && now < a.value.not_after
        };
        let newest = self.activations.iter().rev().filter(theirs);
        newest.take(ACTIVATIONS_LISTED_MAX).cloned().collect()
    }

    pub(super) fn credential(&self, key: CredentialKey<'_>) -> Option<Credential> {
        match key {
            CredentialKey::Client(tenant, id) => {
                let client = self.clients.get(&(tenant.clone(), id.clone())).cloned();
                client.map(Credential::Client)
            }
            CredentialKey::AnyClient(id) => {
                let client = self.clients.values().find(|client| client.value.id == *id).cloned();
                client.map(Credential::Client)
            }
            CredentialKey::TokenHolder(tenant, id) => {
                let client = self.clients.get(&(tenant.clone(), id.clone()))?;
                let keys = self.tenants.get(tenant)?.token_keys;
                Some(Credential::TokenHolder(client.value.clone(), keys))
            }
            CredentialKey::ApiKeyId(id) => {
                let key = self.keys.iter().find(|key| key.id == id).cloned();
                key.map(Credential::ApiKey)
            }
            CredentialKey::ApiKey(digest) => {
                let key = self.keys.iter().find(|key| key.digest == *digest).cloned();
                key.map(Credential::ApiKey)
            }
        }
    }
}
