//! A doorbell that keeps a note of who rang, and that may be deaf, or half deaf.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::{Bell, Doorbell};
use countersign_core::terms::Addressed;

use crate::Dice;

/// A node's doorbell. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Wires>>);

#[derive(Debug, Default)]
struct Wires {
    hearing: Hearing,
    rings: Vec<Ring>,
    present: BTreeSet<(TenantName, UserName, DeviceId)>,
}

#[derive(Debug, Default)]
enum Hearing {
    #[default]
    All,
    Nothing,
    /// Every other ring or so.
    Half(Dice),
}

/// A ring that was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ring {
    /// There is something to sign.
    Offer(TransactionId),
    /// It has ended.
    Ended(TransactionId),
}

impl Board {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears nothing from here on.
    pub fn deafen(&self) {
        self.wires().hearing = Hearing::Nothing;
    }

    /// Loses rings from here on, as the dice fall.
    pub fn half_deafen(&self, dice: Dice) {
        self.wires().hearing = Hearing::Half(dice);
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
    pub fn rings(&self) -> Vec<Ring> {
        self.wires().rings.clone()
    }
}

impl Doorbell for Board {
    fn ring(&self, bell: Bell) {
        let mut wires = self.wires();
        let heard = match &mut wires.hearing {
            Hearing::All => true,
            Hearing::Nothing => false,
            Hearing::Half(dice) => dice.one_in(2),
        };
        if heard {
            match bell {
                Bell::Offer(transaction) => wires.rings.push(Ring::Offer(transaction.terms.id)),
                Bell::Ended(transaction) => wires.rings.push(Ring::Ended(transaction.terms.id)),
                // A worker looks by itself.
                Bell::Owed => {}
                Bell::HungUp { tenant, user, addressed } => wires.present.retain(|present| {
                    present.0 != tenant || present.1 != user || !addressed.covers(present.2)
                }),
            }
        }
    }

    fn online(&self, tenant: &TenantName, user: &UserName, addressed: &Addressed) -> bool {
        let is_meant = |(of, at, device): &(TenantName, UserName, DeviceId)| {
            of == tenant && at == user && addressed.covers(*device)
        };
        self.wires().present.iter().any(is_meant)
    }
}
