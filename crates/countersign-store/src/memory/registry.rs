//! The registry, in memory.

use countersign_core::Fault;
use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::enrolment::Activation;
use countersign_core::id::{ClientId, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use countersign_core::limits::{ACTIVATIONS_LISTED_MAX, LISTED_MAX};
use countersign_core::port::{Registry, Versioned};
use countersign_core::tenant::{ApiKey, Client, Tenant};
use countersign_core::time::Timestamp;
use countersign_core::user::User;

use super::Memory;

impl Registry for Memory {
    async fn tenant(&self, name: &TenantName) -> Result<Option<Tenant>, Fault> {
        Ok(self.0.lock().tenants.get(name).cloned())
    }

    async fn tenants(&self) -> Result<Vec<TenantName>, Fault> {
        Ok(self.0.lock().tenants.keys().cloned().collect())
    }

    async fn client(&self, tenant: &TenantName, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(self.0.lock().clients.get(&(tenant.clone(), id.clone())).cloned())
    }

    async fn client_by_id(&self, id: &ClientId) -> Result<Option<Client>, Fault> {
        Ok(self.0.lock().clients.values().find(|client| client.id == *id).cloned())
    }

    async fn key(&self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
        Ok(self.0.lock().keys.iter().find(|key| key.digest == *digest).cloned())
    }

    async fn keys(&self, tenant: Option<&TenantName>) -> Result<Vec<ApiKey>, Fault> {
        let tables = self.0.lock();
        let good = tables.keys.iter().filter(|key| tenant.is_none_or(|tenant| key.covers(tenant)));
        Ok(good.take(LISTED_MAX.into()).cloned().collect())
    }

    async fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> Result<Option<Versioned<User>>, Fault> {
        Ok(self.0.lock().users.get(&(tenant.clone(), name.clone())).cloned())
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
}
