//! Devices, and the identities that they hold.

use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::id::TenantName;
use countersign_core::port::Versioned;

use super::World;

impl World {
    /// A tenant's devices, retired ones aside, by user and sequence.
    pub(super) fn listed(
        &self,
        tenant: &TenantName,
        is_meant: impl Fn(&Device) -> bool,
    ) -> Vec<Versioned<Device>> {
        let mut listed: Vec<_> = self
            .devices
            .values()
            .filter(|d| d.value.tenant == *tenant && d.value.status != DeviceStatus::Retired)
            .filter(|d| is_meant(&d.value))
            .cloned()
            .collect();
        listed.sort_by_key(|d| (d.value.user.clone(), d.value.serial_number.sequence));
        listed
    }

    /// Those that hold such an identity.
    pub(super) fn holding(
        &self,
        tenant: &TenantName,
        is_such: impl Fn(&Identity) -> bool,
    ) -> Vec<Versioned<Device>> {
        self.listed(tenant, |device| device.identities.iter().any(&is_such))
    }
}
