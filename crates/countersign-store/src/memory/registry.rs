//! Who there is, in memory.

use countersign_core::Fault;
use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::enrolment::{Activation, ActivationState, Addition, Enrolment};
use countersign_core::id::{
    ClientId, DeviceId, IdentityId, SerialBase, SerialNumber, TenantName, UserName,
};
use countersign_core::limits::{ACTIVATIONS_LISTED_MAX, LISTED_MAX};
use countersign_core::port::{Changed, Created, Registered, Registry, Versioned};
use countersign_core::secret::Key32;
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::user::{LockState, User};

use super::{Memory, Tables};

impl Registry for Memory {
    async fn create_tenant(&self, tenant: Tenant) -> Result<Created, Fault> {
        let mut tables = self.0.lock();
        if tables.tenants.contains_key(&tenant.name) {
            return Ok(Created::Exists);
        }
        tables.tenants.insert(tenant.name.clone(), tenant);
        Ok(Created::Made)
    }

    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        Ok(self.0.lock().tenants.get(name).cloned())
    }

    async fn trust(&self, tenant: &TenantName, root: &[u8]) -> Result<Created, Fault> {
        let mut tables = self.0.lock();
        tables.check_tenant(tenant, "trusting a root")?;
        let found = tables.tenants.get_mut(tenant).expect("it was looked for");
        if found.roots.iter().any(|one| one == root) {
            return Ok(Created::Exists);
        }
        found.roots.push(root.to_vec());
        Ok(Created::Made)
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        Ok(self.0.lock().tenants.keys().cloned().collect())
    }

    async fn create_client(&self, client: Client) -> Result<Created, Fault> {
        let mut tables = self.0.lock();
        tables.check_tenant(&client.tenant, "making a client")?;
        let taken = |(_, other): (_, &Client)| {
            other.tenant == client.tenant && (other.id == client.id || other.name == client.name)
        };
        if tables.clients.iter().any(taken) {
            return Ok(Created::Exists);
        }
        tables.clients.insert((client.tenant.clone(), client.id.clone()), client);
        Ok(Created::Made)
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(self.0.lock().clients.get(&(tenant.clone(), id.clone())).cloned())
    }

    async fn client_by_id(&self, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(self.0.lock().clients.values().find(|client| client.id == *id).cloned())
    }

    async fn set_webhook_keys(
        &self,
        tenant: &TenantName,
        id: &ClientId,
        newest: Key32,
        before: Option<Key32>,
    ) -> Result<Changed, Fault> {
        let mut tables = self.0.lock();
        let Some(client) = tables.clients.get_mut(&(tenant.clone(), id.clone())) else {
            return Ok(Changed::Stale);
        };
        client.webhook_key = newest;
        client.webhook_key_before = before;
        Ok(Changed::Written)
    }

    async fn create_key(&self, key: ApiKey) -> Result<Created, Fault> {
        let mut tables = self.0.lock();
        if let Some(tenant) = &key.tenant {
            tables.check_tenant(tenant, "making an API key")?;
        }
        if tables.keys.iter().any(|other| other.id == key.id || other.digest == key.digest) {
            return Ok(Created::Exists);
        }
        tables.keys.push(key);
        Ok(Created::Made)
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        Ok(self.0.lock().keys.iter().find(|key| key.digest == *digest).cloned())
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        let tables = self.0.lock();
        let good = tables.keys.iter().filter(|key| tenant.is_none_or(|tenant| key.covers(tenant)));
        Ok(good.take(LISTED_MAX.into()).cloned().collect())
    }

    async fn create_user(
        &self,
        tenant: &TenantName,
        name: &UserName,
        profile: Option<&str>,
        now: Timestamp,
    ) -> Result<Created, Fault> {
        let mut tables = self.0.lock();
        tables.check_tenant(tenant, "making a user")?;
        let key = (tenant.clone(), name.clone());
        if tables.users.contains_key(&key) {
            return Ok(Created::Exists);
        }
        let made = tables.users_made.entry(tenant.clone()).or_default();
        *made += 1;
        let value = User {
            tenant: tenant.clone(),
            name: name.clone(),
            serial_base: SerialBase(*made),
            devices_made: 0,
            activations_made: 0,
            lock_state: LockState::default(),
            profile: profile.map(str::to_owned),
            created_at: now,
        };
        tables.users.insert(key, Versioned { value, version: 1 });
        Ok(Created::Made)
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        Ok(self.0.lock().users.get(&(tenant.clone(), name.clone())).cloned())
    }

    async fn set_lock_state(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        lock_state: LockState,
    ) -> Result<Changed, Fault> {
        let mut tables = self.0.lock();
        match tables.users.get_mut(&(tenant.clone(), user.clone())) {
            Some(user) if user.version == expected => {
                user.value.lock_state = lock_state;
                user.version += 1;
                Ok(Changed::Written)
            }
            _ => Ok(Changed::Stale),
        }
    }

    async fn delete_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> Result<Changed, Fault> {
        Ok(self.0.lock().delete_user(tenant, user, expected))
    }

    async fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.0.lock().devices.get(&(tenant.clone(), id)).cloned())
    }

    async fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        let tables = self.0.lock();
        let this = |d: &&Versioned<Device>| {
            d.value.tenant == *tenant
                && d.value.serial_number == serial
                && d.value.status != DeviceStatus::Retired
        };
        Ok(tables.devices.values().find(this).cloned())
    }

    async fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let is_theirs = |device: &Device| user.is_none_or(|user| device.user == *user);
        let mut listed = self.0.lock().listed(tenant, is_theirs);
        listed.truncate(LISTED_MAX.into());
        Ok(listed)
    }

    async fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> Result<Option<Versioned<Device>>, Fault> {
        Ok(self.0.lock().holding(tenant, |identity| identity.id == id).into_iter().next())
    }

    async fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> Result<Vec<Versioned<Device>>, Fault> {
        let all = |own: &Identity| {
            !labels.is_empty() && labels.iter().all(|label| own.labels.contains(label))
        };
        let mut found = self.0.lock().holding(tenant, all);
        found.truncate(limit.into());
        Ok(found)
    }

    async fn change_device(&self, device: Device, expected: u32) -> Result<Changed, Fault> {
        Ok(self.0.lock().change_device(device, expected))
    }

    async fn change_pin(
        &self,
        device: Device,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> Result<Changed, Fault> {
        let mut tables = self.0.lock();
        let whose = (device.tenant.clone(), device.user.clone());
        if tables.users.get(&whose).is_none_or(|user| user.version != user_expected) {
            return Ok(Changed::Stale);
        }
        let changed = tables.change_device(device, expected);
        if let (Changed::Written, Some(lock_state)) = (changed, lock_state) {
            let user = tables.users.get_mut(&whose).expect("looked at above");
            user.value.lock_state = lock_state;
            user.version += 1;
        }
        Ok(changed)
    }

    async fn create_activation(
        &self,
        activation: Activation,
        expected: u32,
    ) -> Result<Changed, Fault> {
        let mut tables = self.0.lock();
        tables.check_tenant(&activation.tenant, "making an activation")?;
        if tables.activation(&activation).is_some() {
            return Ok(Changed::Stale);
        }
        let user = tables.users.get_mut(&(activation.tenant.clone(), activation.user.clone()));
        let Some(user) = user.filter(|user| user.value.activations_made == expected) else {
            return Ok(Changed::Stale);
        };
        user.value.activations_made += 1;
        tables.activations.push(Versioned { value: activation, version: 1 });
        Ok(Changed::Written)
    }

    async fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> Result<Vec<Versioned<Activation>>, Fault> {
        let tables = self.0.lock();
        let theirs = |a: &&Versioned<Activation>| {
            a.value.tenant == *tenant && a.value.user == *user && now < a.value.not_after
        };
        let newest = tables.activations.iter().rev().filter(theirs);
        Ok(newest.take(ACTIVATIONS_LISTED_MAX).cloned().collect())
    }

    async fn enrol(&self, enrolment: Enrolment) -> Result<Registered, Fault> {
        let mut tables = self.0.lock();
        if !enrolment.keys_fit() {
            return Err(Fault::new("enrolling a device", Enrolment::KEYS_UNFIT));
        }
        let Enrolment { activation, expected, user_expected, request, answer, device, keys } =
            enrolment;
        let Some(at) = tables.activation(&activation) else { return Ok(Registered::Stale) };
        let key = (device.tenant.clone(), device.id);
        if tables.activations[at].version != expected || tables.devices.contains_key(&key) {
            return Ok(Registered::Stale);
        }
        let user = tables.users.get(&(device.tenant.clone(), device.user.clone()));
        let Some(user) = user.filter(|user| user.version == user_expected) else {
            return Ok(Registered::Stale);
        };
        if device.serial_number.sequence != user.value.devices_made + 1 {
            return Err(Fault::new("enrolling a device", "its sequence number is not the next"));
        }
        let checked = tables.check_keys(&device.tenant, &keys);
        if checked != Registered::Written {
            return Ok(checked);
        }
        tables.keep_keys(&device.tenant, &keys);
        let user = tables.users.get_mut(&(device.tenant.clone(), device.user.clone()));
        let user = user.expect("looked at above");
        user.value.devices_made += 1;
        user.version += 1;
        let row = &mut tables.activations[at];
        row.value.state = ActivationState::Used { request, answer };
        row.version += 1;
        tables.give_address_to(&device);
        tables.devices.insert(key, Versioned { value: device, version: 1 });
        Ok(Registered::Written)
    }

    async fn add_identity(&self, addition: Addition) -> Result<Registered, Fault> {
        if !addition.key_fits() {
            return Err(Fault::new("adding an identity", Enrolment::KEYS_UNFIT));
        }
        Ok(self.0.lock().add_identity(addition))
    }

    async fn purge_activations(&self, before: Timestamp, limit: u16) -> Result<u16, Fault> {
        Ok(self.0.lock().purge_activations(before, limit))
    }
}

impl Tables {
    fn check_tenant(&self, tenant: &TenantName, doing: &'static str) -> Result<(), Fault> {
        if self.tenants.contains_key(tenant) {
            return Ok(());
        }
        Err(Fault::new(doing, "there is no such tenant"))
    }

    fn activation(&self, activation: &Activation) -> Option<usize> {
        let this = |a: &Versioned<Activation>| {
            a.value.tenant == activation.tenant && a.value.id == activation.id
        };
        self.activations.iter().position(this)
    }
}
