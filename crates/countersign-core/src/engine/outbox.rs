//! Which deliveries an event requires.

use crate::delivery::{DeliveryKind, Destination, NewDelivery};
use crate::device::Device;
use crate::id::DeliveryId;
use crate::push_policy::PushPolicy;
use crate::transaction::{Event, Transaction};

/// What `event` owes to those who are not on the line. `recipients` are the devices that are to be
/// told, and whether each is on the line.
#[must_use]
pub(super) fn deliveries_for(
    event: Event,
    transaction: &Transaction,
    recipients: &[(&Device, bool)],
    policy: &PushPolicy,
    mut random_u128: impl FnMut() -> DeliveryId,
) -> Vec<NewDelivery> {
    match event {
        Event::Started => {
            let push = |(device, is_present): &(&Device, bool)| {
                let wait = policy.wait(*is_present)?;
                let address = &device.push.registration()?.address;
                let host = address.destination(&device.about.app);
                Some(NewDelivery {
                    id: random_u128(),
                    kind: DeliveryKind::Push(device.id),
                    destination: Destination { tenant: transaction.spec.tenant.clone(), host },
                    due_at: transaction.spec.started_at + wait,
                })
            };
            recipients.iter().filter_map(push).collect()
        }
        Event::Ended(_) => NewDelivery::callback(random_u128(), transaction).into_iter().collect(),
        Event::Reached
        | Event::Taken
        | Event::PinProved
        | Event::PinMistaken
        | Event::CodeMistaken
        | Event::Discarded => Vec::new(),
    }
}
