//! The port for reading tenants, clients, users, devices and activations.

use core::future::Future;

use super::{UserWithDevices, Versioned};
use crate::device::Device;
use crate::enrolment::Activation;
use crate::id::{ClientId, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use crate::refusal::Fault;
use crate::tenant::{ApiKey, Client, Tenant};
use crate::time::Timestamp;
use crate::user::User;

/// Reads of the registry: tenants, clients, users, devices and activations. Only
/// [`Ledger::commit`](super::Ledger::commit) changes them. The adapter seals secrets at rest; in
/// memory they are `Secret`s. No read answers a private key: only [`Keys`](super::Keys) uses them.
pub trait Registry: Send + Sync {
    /// Reads a tenant.
    fn tenant(
        &self,
        name: &TenantName,
    ) -> impl Future<Output = Result<Option<Tenant>, Fault>> + Send;

    /// Reads the names of all tenants, in order.
    fn tenants(&self) -> impl Future<Output = Result<Vec<TenantName>, Fault>> + Send;

    /// Reads a client.
    fn client(
        &self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Finds the client of that id, in any tenant. Ids are random, so that no two tenants share
    /// one.
    fn client_by_id(
        &self,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Finds the API key of that digest, in any tenant.
    fn key(&self, digest: &[u8; 32]) -> impl Future<Output = Result<Option<ApiKey>, Fault>> + Send;

    /// Reads the API keys that are valid for `tenant`, or all, oldest first, at most
    /// [`crate::limits::LISTED_MAX`].
    fn keys(
        &self,
        tenant: Option<&TenantName>,
    ) -> impl Future<Output = Result<Vec<ApiKey>, Fault>> + Send;

    /// Reads a user.
    fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> impl Future<Output = Result<Option<Versioned<User>>, Fault>> + Send;

    /// Reads a device, even a retired one.
    fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Finds a device by its serial number, unless it is retired.
    fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Reads the devices of one user, or of all users, without retired ones, by user and sequence,
    /// at most [`crate::limits::LISTED_MAX`].
    fn devices(
        &self,
        tenant: &TenantName,
        user: Option<&UserName>,
    ) -> impl Future<Output = Result<Vec<Versioned<Device>>, Fault>> + Send;

    /// Finds the device that holds an identity.
    fn device_by_identity(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Reads the devices that hold an identity with all of these labels, in the order of `devices`,
    /// at most `limit`.
    fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Versioned<Device>>, Fault>> + Send;

    /// Reads a user and the user's devices without retired ones, together if the store can. `None`
    /// if there is no such user.
    fn user_with_devices(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> impl Future<Output = Result<Option<UserWithDevices>, Fault>> + Send {
        async move {
            let Some(user) = self.user(tenant, name).await? else { return Ok(None) };
            let devices = self.devices(tenant, Some(name)).await?;
            Ok(Some(UserWithDevices { user, devices }))
        }
    }

    /// Reads the user who holds an identity, with only the device that has it, together if the
    /// store can. `None` for an identity on a retired device.
    fn holder(
        &self,
        tenant: &TenantName,
        id: IdentityId,
    ) -> impl Future<Output = Result<Option<UserWithDevices>, Fault>> + Send {
        async move {
            let Some(device) = self.device_by_identity(tenant, id).await? else { return Ok(None) };
            let user = self.user(tenant, &device.value.user).await?;
            Ok(user.map(|user| UserWithDevices { user, devices: vec![device] }))
        }
    }

    /// Reads a user's activations that have not expired at `now`, used ones included, newest first,
    /// at most [`crate::limits::ACTIVATIONS_LISTED_MAX`].
    fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Versioned<Activation>>, Fault>> + Send;
}
