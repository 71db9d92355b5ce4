//! The lock and the deletion of a tenant, in memory.

use std::collections::BTreeMap;

use countersign_core::id::TenantName;
use countersign_core::limits::DELETED_ROWS_MAX;
use countersign_core::port::Committed;
use countersign_core::tenant::TenantState;

use super::Tables;

impl Tables {
    pub(super) fn tenant_is_locked(&self, tenant: &TenantName) -> bool {
        self.tenants.get(tenant).is_some_and(|found| found.state != TenantState::Active)
    }

    pub(super) fn set_tenant_state(
        &mut self,
        tenant: &TenantName,
        expected: TenantState,
        state: TenantState,
    ) -> Committed {
        match self.tenants.get_mut(tenant) {
            Some(found) if found.state == expected => found.state = state,
            _ => return Committed::Stale,
        }
        let is_locked = state != TenantState::Active;
        let clients = self.clients.values_mut().map(|row| &mut row.value);
        for client in clients.filter(|client| client.tenant == *tenant) {
            client.tenant_locked = is_locked;
        }
        let keys = self.keys.iter_mut();
        for key in keys.filter(|key| key.tenant.as_ref() == Some(tenant)) {
            key.tenant_locked = is_locked;
        }
        let devices = self.devices.values_mut().map(|row| &mut row.value);
        for device in devices.filter(|device| device.tenant == *tenant) {
            device.tenant_locked = is_locked;
        }
        Committed::Written
    }

    /// Removes a batch of the rows of a tenant, or ends its deletion if none are left.
    pub(super) fn delete_tenant(&mut self, tenant: &TenantName, with_evidence: bool) -> Committed {
        if !self.tenant_is_locked(tenant) {
            return Committed::Stale;
        }
        let mut left = usize::from(DELETED_ROWS_MAX);
        let own = self.transactions.iter().filter(|(_, row)| row.value.spec.tenant == *tenant);
        let going: Vec<_> = own.map(|(at, _)| *at).take(left).collect();
        left -= going.len();
        for at in going {
            self.remove_transaction(at);
        }
        drain(&mut self.keys, &mut left, |key| key.tenant.as_ref() == Some(tenant));
        remove(&mut self.clients, &mut left, |key| key.0 == *tenant);
        drain(&mut self.activations, &mut left, |row| row.value.tenant == *tenant);
        remove(&mut self.devices, &mut left, |key| key.0 == *tenant);
        remove(&mut self.users, &mut left, |key| key.0 == *tenant);
        left -= self.deliveries.remove_of_tenant(tenant, left);
        remove(&mut self.contacts, &mut left, |key| key.0 == *tenant);
        if with_evidence {
            drain(&mut self.evidence, &mut left, |row| row.value.spec.tenant == *tenant);
            remove(&mut self.identity_keys, &mut left, |key| key.0 == *tenant);
            if let Some(events) = self.events.get_mut(&Some(tenant.clone())) {
                drain(events, &mut left, |_| true);
            }
        }
        if left == 0 {
            return Committed::More;
        }
        self.domains.retain(|_, of| of != tenant);
        self.callback_keys.retain(|key, _| key.0 != *tenant);
        self.signing_keys.retain(|key, _| key.0 != *tenant);
        if with_evidence {
            self.used_signatures.retain(|key| key.0 != *tenant);
            self.users_made.remove(tenant);
            self.tenants.remove(tenant);
        } else if let Some(found) = self.tenants.get_mut(tenant) {
            found.state = TenantState::Deleted;
        }
        Committed::Written
    }
}

/// Removes at most `left` rows that are meant, and counts them.
fn drain<T>(rows: &mut Vec<T>, left: &mut usize, is_meant: impl Fn(&T) -> bool) {
    rows.retain(|row| {
        let goes = *left > 0 && is_meant(row);
        *left -= usize::from(goes);
        !goes
    });
}

fn remove<K: Ord, V>(rows: &mut BTreeMap<K, V>, left: &mut usize, is_meant: impl Fn(&K) -> bool) {
    rows.retain(|key, _| {
        let goes = *left > 0 && is_meant(key);
        *left -= usize::from(goes);
        !goes
    });
}
