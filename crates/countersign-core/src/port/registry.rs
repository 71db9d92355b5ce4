//! Who there is, kept for good: the second half of the durable truth.

use core::future::Future;

use super::{Changed, Created, Registered, UserWithDevices, Versioned};
use crate::device::Device;
use crate::enrolment::{Activation, Addition, Enrolment};
use crate::id::{ClientId, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use crate::refusal::Fault;
use crate::secret::Key32;
use crate::tenant::{ApiKey, Client, Tenant};
use crate::time::Timestamp;
use crate::user::{LockState, User};

/// Who there is: tenants, clients, users, devices, activation codes. Secrets are sealed at rest by
/// the adapter; in memory they are `Secret`s.
pub trait Registry: Send + Sync {
    /// Makes a tenant.
    fn create_tenant(&self, tenant: Tenant) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a tenant.
    fn tenant(
        &self,
        name: &TenantName,
    ) -> impl Future<Output = Result<Option<Tenant>, Fault>> + Send;

    /// Has a tenant trust one more root, DER. The tenant is there.
    fn trust(
        &self,
        tenant: &TenantName,
        root: &[u8],
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Names all tenants, in order.
    fn tenants(&self) -> impl Future<Output = Result<Vec<TenantName>, Fault>> + Send;

    /// Makes a client; its id and its name are both unique in the tenant.
    fn create_client(&self, client: Client) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a client.
    fn client(
        &self,
        tenant: &TenantName,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Finds the client of that id, whichever tenant's it is: ids are drawn, so one is another's
    /// nowhere.
    fn client_by_id(
        &self,
        id: &ClientId,
    ) -> impl Future<Output = Result<Option<Client>, Fault>> + Send;

    /// Changes the keys of a client's callbacks: the newest, and the one that signs beside it.
    fn set_webhook_keys(
        &self,
        tenant: &TenantName,
        id: &ClientId,
        newest: Key32,
        before: Option<Key32>,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Makes an API key; its id and its digest are both unique.
    fn create_key(&self, key: ApiKey) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Finds the API key of that digest, whichever tenant's it is.
    fn key(&self, digest: &[u8; 32]) -> impl Future<Output = Result<Option<ApiKey>, Fault>> + Send;

    /// Reads the API keys that are good for `tenant`, or all there are, oldest first, at most
    /// [`crate::limits::LISTED_MAX`].
    fn keys(
        &self,
        tenant: Option<&TenantName>,
    ) -> impl Future<Output = Result<Vec<ApiKey>, Fault>> + Send;

    /// Makes a user, with a serial base that no other user of the tenant has or had, and standing
    /// and counts fresh. `profile` is [`User::profile`].
    fn create_user(
        &self,
        tenant: &TenantName,
        name: &UserName,
        profile: Option<&str>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Created, Fault>> + Send;

    /// Reads a user.
    fn user(
        &self,
        tenant: &TenantName,
        name: &UserName,
    ) -> impl Future<Output = Result<Option<Versioned<User>>, Fault>> + Send;

    /// Changes a user's standing, if the version still holds.
    fn set_lock_state(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
        lock_state: LockState,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Removes a user, if the version still holds and none of their transactions is open. In the
    /// same commit their devices are retired and their activations removed; ended transactions
    /// stay.
    ///
    /// The name is free again. Its next user has another serial base and no device, and begins at
    /// version 1: a decision on the old one's version cannot be taken for one on theirs, because it
    /// stood on a device as well, and that was retired; or it was a start, which names a person by
    /// nothing but the name.
    fn delete_user(
        &self,
        tenant: &TenantName,
        user: &UserName,
        expected: u32,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Reads a device, retired ones included.
    fn device(
        &self,
        tenant: &TenantName,
        id: DeviceId,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Finds a device by its serial number, retired ones aside.
    fn device_by_serial(
        &self,
        tenant: &TenantName,
        serial: SerialNumber,
    ) -> impl Future<Output = Result<Option<Versioned<Device>>, Fault>> + Send;

    /// Reads the devices of one user, or of all, retired ones aside, by user and sequence, at most
    /// [`crate::limits::LISTED_MAX`].
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

    /// Reads the devices that hold an identity with all of these labels, as `devices`, at most
    /// `limit`.
    fn devices_by_labels(
        &self,
        tenant: &TenantName,
        labels: &[String],
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Versioned<Device>>, Fault>> + Send;

    /// Reads a user and their devices, retired ones aside, together where a store can. `None` where
    /// there is no such user.
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

    /// Reads the user who holds an identity, and of their devices the one that it is on, together
    /// where a store can. Nobody holds what is on a retired device.
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

    /// Changes a device's status, PIN, push address or identities, if the version still holds.
    /// Everything else in `device` is as it was read. No identity is added this way.
    ///
    /// An address is one device's in a tenant: whichever other device has it loses it in the same
    /// commit, as [`crate::push::Retirement::Moved`]. So it is when a device enrols.
    fn change_device(
        &self,
        device: Device,
        expected: u32,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// The same for a device's PIN, if its user's version still holds as well; in the same commit
    /// the user comes to have that standing, where one is given.
    fn change_pin(
        &self,
        device: Device,
        expected: u32,
        user_expected: u32,
        lock_state: Option<LockState>,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Makes an activation code, if as many as `expected` were made for its user before. Stale as
    /// well if there is no such user, or if the activation's id is taken.
    ///
    /// The user's version stays: nothing else is decided on this count.
    fn create_activation(
        &self,
        activation: Activation,
        expected: u32,
    ) -> impl Future<Output = Result<Changed, Fault>> + Send;

    /// Reads a user's activations that have not expired at `now`, newest first, used ones included,
    /// at most [`crate::limits::ACTIVATIONS_LISTED_MAX`].
    fn activations(
        &self,
        tenant: &TenantName,
        user: &UserName,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Versioned<Activation>>, Fault>> + Send;

    /// Uses an activation and makes its device, if both versions still hold.
    ///
    /// A public key is one identity's in a tenant for good: the digest of each key, and the serial
    /// number of each certificate that the tenant's authority issued, are written in the same
    /// commit and never removed, whatever becomes of the identity, its device and its user.
    fn enrol(&self, enrolment: Enrolment)
    -> impl Future<Output = Result<Registered, Fault>> + Send;

    /// Gives a device one more identity, if the versions of the device and of its user still hold.
    /// Keys and serial numbers are held as [`Self::enrol`] holds them.
    fn add_identity(
        &self,
        addition: Addition,
    ) -> impl Future<Output = Result<Registered, Fault>> + Send;

    /// Removes at most `limit` activations that had expired by `before`, used ones included, and
    /// answers how many.
    fn purge_activations(
        &self,
        before: Timestamp,
        limit: u16,
    ) -> impl Future<Output = Result<u16, Fault>> + Send;
}
