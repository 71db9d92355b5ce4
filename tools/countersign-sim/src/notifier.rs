//! A notifier that records its notifications, and can be told to lose all or some of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Notification, Notifier};
use countersign_core::spec::Recipients;
use countersign_core::time::Timestamp;

use crate::Prng;

/// The notifier of a node. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FakeNotifier(Arc<Mutex<FakeConnections>>);

#[derive(Debug, Default)]
struct FakeConnections {
    reachability: Reachability,
    received: Vec<Received>,
    present: BTreeSet<(TenantName, UserName, DeviceId)>,
}

#[derive(Debug, Default)]
enum Reachability {
    #[default]
    All,
    Nothing,
    /// Loses about every second notification.
    Half(Prng),
}

/// A recorded notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// A transaction was offered.
    Offer(TransactionId),
    /// A transaction ended.
    Ended(TransactionId),
}

impl FakeNotifier {
    fn connections(&self) -> MutexGuard<'_, FakeConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, loses every notification.
    pub fn lose_all(&self) {
        self.connections().reachability = Reachability::Nothing;
    }

    /// From now on, loses notifications at random.
    pub fn lose_half(&self, prng: Prng) {
        self.connections().reachability = Reachability::Half(prng);
    }

    /// Marks a device as connected.
    pub fn connect(&self, tenant: &TenantName, user: &UserName, device: DeviceId) {
        self.connections().present.insert((tenant.clone(), user.clone(), device));
    }

    /// Marks a device as disconnected.
    pub fn disconnect(&self, tenant: &TenantName, user: &UserName, device: DeviceId) {
        self.connections().present.remove(&(tenant.clone(), user.clone(), device));
    }

    /// The recorded notifications, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.connections().received.clone()
    }
}

impl Notifier for FakeNotifier {
    fn notify(&self, notification: Notification) {
        let mut connections = self.connections();
        let arrives = match &mut connections.reachability {
            Reachability::All => true,
            Reachability::Nothing => false,
            Reachability::Half(prng) => prng.one_in(2),
        };
        if arrives {
            match notification {
                Notification::Offer(transaction) => {
                    connections.received.push(Received::Offer(transaction.spec.id));
                }
                Notification::Ended(transaction) => {
                    connections.received.push(Received::Ended(transaction.spec.id));
                }
                // Ignored: a worker of the simulation polls, and no device of it tells its user.
                Notification::NewDelivery | Notification::DeviceAdded(_) => {}
                Notification::Disconnect { tenant, user, recipients } => {
                    connections.present.retain(|present| {
                        present.0 != tenant || present.1 != user || !recipients.includes(present.2)
                    });
                }
                Notification::DisconnectTenant(tenant) => {
                    connections.present.retain(|present| present.0 != tenant);
                }
            }
        }
    }

    fn connected(&self, tenant: &TenantName, user: &UserName, recipients: &Recipients) -> bool {
        let is_meant = |(of, at, device): &(TenantName, UserName, DeviceId)| {
            of == tenant && at == user && recipients.includes(*device)
        };
        self.connections().present.iter().any(is_meant)
    }

    /// No device of the simulation polls.
    fn online(
        &self,
        tenant: &TenantName,
        user: &UserName,
        recipients: &Recipients,
        _now: Timestamp,
    ) -> bool {
        self.connected(tenant, user, recipients)
    }
}
