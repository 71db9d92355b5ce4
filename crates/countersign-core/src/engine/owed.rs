//! Which deliveries an event requires.

use crate::delivery::{Debt, Lane, Owed};
use crate::device::Device;
use crate::id::DeliveryId;
use crate::transaction::{Event, Transaction};
use crate::waking::PushPolicy;

/// What `event` owes to those who are not on the line. `addressed` are the devices that are to be told,
/// and whether each is on the line.
#[must_use]
pub(super) fn owed(
    event: Event,
    transaction: &Transaction,
    addressed: &[(&Device, bool)],
    policy: &PushPolicy,
    mut draw: impl FnMut() -> DeliveryId,
) -> Vec<Owed> {
    match event {
        Event::Started => {
            let push = |(device, is_present): &(&Device, bool)| {
                let wait = policy.wait(*is_present)?;
                let address = &device.push.registration()?.address;
                let host = address.lane(&device.about.app);
                Some(Owed {
                    id: draw(),
                    debt: Debt::Push(device.id),
                    lane: Lane { tenant: transaction.terms.tenant.clone(), host },
                    due_at: transaction.terms.started_at + wait,
                })
            };
            addressed.iter().filter_map(push).collect()
        }
        Event::Ended(_) => Owed::callback(draw(), transaction).into_iter().collect(),
        Event::Reached
        | Event::Taken
        | Event::PinProved
        | Event::PinMistaken
        | Event::CodeMistaken
        | Event::Discarded => Vec::new(),
    }
}
