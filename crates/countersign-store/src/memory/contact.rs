//! Results of waking devices, and the owners of push addresses.

use countersign_core::delivery::{DeliveryKind, Settlement, Verdict};
use countersign_core::device::Device;
use countersign_core::event::NewEvent;
use countersign_core::id::{DeviceId, TenantName, TransactionId};
use countersign_core::port::Settled;
use countersign_core::push::{Push, Retirement};
use countersign_core::push_policy::{Contact, PushState, Pushed};
use countersign_core::time::Timestamp;

use super::Tables;

impl Tables {
    pub(super) fn contact(
        &mut self,
        tenant: &TenantName,
        transaction: TransactionId,
        device: DeviceId,
    ) -> &mut Contact {
        let contact = || Contact { device, push: None, reached_at: None };
        self.contacts.entry((tenant.clone(), transaction, device)).or_insert_with(contact)
    }

    /// Settles a claimed delivery.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Settled {
        let Some(delivery) = self.deliveries.settle(settlement) else {
            return Settled::default();
        };
        let DeliveryKind::Push(device) = delivery.kind else {
            return Settled { changed: 1, event: None };
        };
        let tenant = &settlement.tenant;
        self.contact(tenant, delivery.transaction, device).push = Some(Pushed {
            state: PushState::after(settlement.verdict),
            at: settlement.at,
            outcome: settlement.outcome.clone(),
        });
        if let Verdict::Retire { version } = settlement.verdict
            && let Some(row) = self.devices.get_mut(&(tenant.clone(), device))
            && row.version == version
            && row.value.push.registration().is_some()
        {
            retire(&mut row.value, settlement.at, Retirement::Gone);
            row.version += 1;
            let event = NewEvent::of_retired_push(settlement, device);
            self.record(event.clone());
            return Settled { changed: 1, event: Some(event) };
        }
        Settled { changed: 1, event: None }
    }

    /// Removes the device's push address from any other device that has it.
    pub(super) fn give_address_to(&mut self, device: &Device) {
        let Some(new) = device.push.registration() else { return };
        for row in self.devices.values_mut() {
            let other = &row.value;
            let has_it = other.push.registration().is_some_and(|held| {
                held.address.provider == new.address.provider
                    && held.address.token == new.address.token
            });
            if has_it && other.tenant == device.tenant && other.id != device.id {
                retire(&mut row.value, new.since, Retirement::Moved);
                row.version += 1;
            }
        }
    }
}

fn retire(device: &mut Device, at: Timestamp, why: Retirement) {
    if let Push::At(registration) = &device.push {
        let provider = registration.address.provider;
        device.push = Push::Retired { provider, at, why };
    }
}
