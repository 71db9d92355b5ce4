//! Devices' authentication keys, cached ready for verification.
//!
//! A device keeps the key of its enrolment, and its number is never used again, so a cached key
//! cannot become wrong. Only the key is cached; whether a device or its user may do something is
//! checked with each call.

use std::sync::Arc;

use countersign_core::id::{DeviceId, TenantName};
use countersign_core::limited_cache::LimitedCache;
use countersign_core::limits::AUTH_KEYS_REMEMBERED_MAX;
use countersign_wire::jwk::VerifyingKey;
use parking_lot::Mutex;

/// The key includes the tenant, because two tenants may both have a device 7.
pub(super) struct DeviceKeys(Mutex<LimitedCache<(TenantName, DeviceId), Arc<VerifyingKey>>>);

impl Default for DeviceKeys {
    fn default() -> Self {
        Self(Mutex::new(LimitedCache::new(AUTH_KEYS_REMEMBERED_MAX)))
    }
}

impl DeviceKeys {
    /// The key of this device, if it is cached.
    pub(super) fn known(&self, tenant: &TenantName, device: DeviceId) -> Option<Arc<VerifyingKey>> {
        self.0.lock().get(&(tenant.clone(), device)).map(|key| Arc::clone(key))
    }

    /// Caches the key of an authenticated device.
    pub(super) fn remember(&self, tenant: &TenantName, device: DeviceId, key: &Arc<VerifyingKey>) {
        let (mut known, name) = (self.0.lock(), (tenant.clone(), device));
        if known.get(&name).is_none() {
            known.insert(name, Arc::clone(key), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_wire::jwk::PrivateJwk;

    use super::*;

    #[test]
    fn a_key_is_of_one_device_of_one_tenant() {
        let (acme, beta): (TenantName, TenantName) =
            ("acme".parse().unwrap(), "beta".parse().unwrap());
        let [seven, eight] = [7, 8].map(|number| DeviceId::try_from(number).unwrap());
        let keys = DeviceKeys::default();
        assert!(keys.known(&acme, seven).is_none());
        let key = Arc::new(PrivateJwk::generate().public().verifying());
        keys.remember(&acme, seven, &key);
        assert!(Arc::ptr_eq(&keys.known(&acme, seven).unwrap(), &key));
        assert!(keys.known(&acme, eight).is_none() && keys.known(&beta, seven).is_none());
    }

    #[test]
    fn no_more_keys_are_remembered_than_may_be() {
        let acme: TenantName = "acme".parse().unwrap();
        let keys = DeviceKeys::default();
        let key = Arc::new(PrivateJwk::generate().public().verifying());
        for number in 1..=AUTH_KEYS_REMEMBERED_MAX as u64 + 1 {
            keys.remember(&acme, DeviceId::try_from(number).unwrap(), &key);
            assert!(keys.0.lock().len() <= AUTH_KEYS_REMEMBERED_MAX);
        }
        assert!(keys.known(&acme, DeviceId::try_from(1).unwrap()).is_none());
    }
}
