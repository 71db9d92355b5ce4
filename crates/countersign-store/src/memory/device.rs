//! Devices, and the identities that they hold.

use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::id::TenantName;
use countersign_core::port::{Changed, Versioned};

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

    /// Changes what may change in a device, if the version still holds.
    pub(super) fn change_device(&mut self, device: Device, expected: u32) -> Changed {
        let key = (device.tenant.clone(), device.id);
        if self.devices.get(&key).is_some_and(|row| row.version == expected) {
            self.give_address_to(&device);
        }
        match self.devices.get_mut(&key) {
            Some(row) if row.version == expected => {
                row.value.status = device.status;
                row.value.pin = device.pin;
                row.value.push = device.push;
                row.value.identities = device.identities;
                row.version += 1;
                Changed::Written
            }
            _ => Changed::Stale,
        }
    }
}
