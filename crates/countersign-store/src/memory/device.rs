//! Devices and their identities, in memory.

use countersign_core::Fault;
use countersign_core::device::{Device, DeviceStatus, Identity};
use countersign_core::enrolment::{Addition, Enrolment, IdentityKey, Renewal};
use countersign_core::id::TenantName;
use countersign_core::port::{CertificateEnds, Committed, Versioned};
use countersign_core::time::Timestamp;

use super::Tables;

impl Tables {
    /// A tenant's devices, without retired ones, by user and sequence.
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

    /// The devices that hold a matching identity.
    pub(super) fn holding(
        &self,
        tenant: &TenantName,
        is_such: impl Fn(&Identity) -> bool,
    ) -> Vec<Versioned<Device>> {
        self.listed(tenant, |device| device.identities.iter().any(&is_such))
    }

    /// Adds an identity to a device, if both versions are unchanged and its key is new.
    pub(super) fn add_identity(&mut self, addition: Addition) -> Result<Committed, Fault> {
        if !addition.key_fits() {
            return Err(Fault::new("adding an identity", Enrolment::KEYS_UNFIT));
        }
        let Addition { device, expected, user_expected, key } = addition;
        let user = self.users.get(&(device.tenant.clone(), device.user.clone()));
        let present = self.devices.get(&(device.tenant.clone(), device.id));
        if user.is_none_or(|user| user.version != user_expected)
            || present.is_none_or(|device| device.version != expected)
        {
            return Ok(Committed::Stale);
        }
        let tenant = device.tenant.clone();
        let checked = self.check_keys(&tenant, &[key]);
        if checked == Committed::Written {
            self.keep_keys(&tenant, &[key]);
            self.change_device(device, expected);
        }
        Ok(checked)
    }

    /// Checks that these keys, and the serial numbers of their certificates, are new.
    pub(super) fn check_keys(&self, tenant: &TenantName, keys: &[IdentityKey]) -> Committed {
        let used = |serial: u128| {
            let all = self.identity_keys.iter();
            all.filter(|(key, _)| key.0 == *tenant).any(|(_, kept)| kept.1 == Some(serial))
        };
        for (at, key) in keys.iter().enumerate() {
            let others = &keys[..at];
            if self.identity_keys.contains_key(&(tenant.clone(), key.key_digest))
                || others.iter().any(|other| other.key_digest == key.key_digest)
            {
                return Committed::KeyUsed;
            }
            let Some(serial) = key.certificate_serial else { continue };
            if used(serial) || others.iter().any(|other| other.certificate_serial == Some(serial)) {
                return Committed::SerialUsed;
            }
        }
        Committed::Written
    }

    /// Renews the certificate of an identity, if both versions are unchanged and its key is not
    /// another identity's.
    pub(super) fn renew_identity(&mut self, renewal: Renewal) -> Committed {
        let Renewal { device, expected, user_expected, key } = renewal;
        let user = self.users.get(&(device.tenant.clone(), device.user.clone()));
        let present = self.devices.get(&(device.tenant.clone(), device.id));
        if user.is_none_or(|user| user.version != user_expected)
            || present.is_none_or(|device| device.version != expected)
        {
            return Committed::Stale;
        }
        let tenant = device.tenant.clone();
        let place = (tenant.clone(), key.key_digest);
        if self.identity_keys.get(&place).is_some_and(|kept| kept.0 != key.identity) {
            return Committed::KeyUsed;
        }
        let mut of_tenant = self.identity_keys.iter().filter(|(kept, _)| kept.0 == tenant);
        let serial = key.certificate_serial;
        if serial.is_some() && of_tenant.any(|(_, kept)| kept.1 == serial) {
            return Committed::SerialUsed;
        }
        self.keep_keys(&tenant, &[key]);
        self.change_device(device, expected)
    }

    /// Counts the certificates of enabled identities by their ends.
    pub(super) fn certificate_ends(&self, now: Timestamp, until: Timestamp) -> CertificateEnds {
        let now = Timestamp::of_seconds(now.seconds());
        let mut ends = CertificateEnds::default();
        let devices = self.devices.values().map(|row| &row.value);
        let devices = devices.filter(|device| device.status != DeviceStatus::Retired);
        for identity in devices.flat_map(|device| &device.identities).filter(|one| one.enabled) {
            let end = identity.valid_until;
            if end < now {
                ends.ended += 1;
                continue;
            }
            ends.ending += u64::from(end <= until);
            ends.first = Some(ends.first.map_or(end, |first| first.min(end)));
        }
        ends
    }

    /// Records keys permanently.
    pub(super) fn keep_keys(&mut self, tenant: &TenantName, keys: &[IdentityKey]) {
        for key in keys {
            let kept = (key.identity, key.certificate_serial);
            self.identity_keys.insert((tenant.clone(), key.key_digest), kept);
        }
    }

    /// Changes the mutable fields of a device, if its version is unchanged.
    pub(super) fn change_device(&mut self, device: Device, expected: u32) -> Committed {
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
                Committed::Written
            }
            _ => Committed::Stale,
        }
    }
}
