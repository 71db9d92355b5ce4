//! A doorbell that keeps a note of who rang, and that may be deaf, or half deaf.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Notification, Notifier};
use countersign_core::spec::Recipients;

use crate::Prng;

/// A node's doorbell. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct FakeNotifier(Arc<Mutex<FakeConnections>>);

#[derive(Debug, Default)]
struct FakeConnections {
    hearing: Reachability,
    rings: Vec<Received>,
    present: BTreeSet<(TenantName, UserName, DeviceId)>,
}

#[derive(Debug, Default)]
enum Reachability {
    #[default]
    All,
    Nothing,
    /// Every other ring or so.
    Half(Prng),
}

/// A ring that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// There is something to sign.
    Offer(TransactionId),
    /// It has ended.
    Ended(TransactionId),
}

impl FakeNotifier {
    fn wires(&self) -> MutexGuard<'_, FakeConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears nothing from here on.
    pub fn deafen(&self) {
        self.wires().hearing = Reachability::Nothing;
    }

    /// Loses rings from here on, as the dice fall.
    pub fn half_deafen(&self, prng: Prng) {
        self.wires().hearing = Reachability::Half(prng);
    }

    /// The device is connected.
    pub fn connect(&self, tenant: &TenantName, user: &UserName, device: DeviceId) {
        self.wires().present.insert((tenant.clone(), user.clone(), device));
    }

    /// The device is gone.
    pub fn disconnect(&self, tenant: &TenantName, user: &UserName, device: DeviceId) {
        self.wires().present.remove(&(tenant.clone(), user.clone(), device));
    }

    /// What was heard, in order.
    #[must_use]
    pub fn rings(&self) -> Vec<Received> {
        self.wires().rings.clone()
    }
}

impl Notifier for FakeNotifier {
    fn notify(&self, bell: Notification) {
        let mut wires = self.wires();
        let heard = match &mut wires.hearing {
            Reachability::All => true,
            Reachability::Nothing => false,
            Reachability::Half(prng) => prng.one_in(2),
        };
        if heard {
            match bell {
                Notification::Offer(transaction) => {
                    wires.rings.push(Received::Offer(transaction.spec.id));
                }
                Notification::Ended(transaction) => {
                    wires.rings.push(Received::Ended(transaction.spec.id));
                }
                // A worker looks by itself.
                Notification::NewDelivery => {}
                Notification::Disconnect { tenant, user, recipients } => {
                    wires.present.retain(|present| {
                        present.0 != tenant || present.1 != user || !recipients.includes(present.2)
                    });
                }
            }
        }
    }

    fn online(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool {
        let is_meant = |(of, at, device): &(TenantName, UserName, DeviceId)| {
            of == tenant && at == user && recipients.includes(*device)
        };
        self.wires().present.iter().any(is_meant)
    }
}
