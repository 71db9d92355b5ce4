//! Hints that nodes send to each other: which user, device or transaction to look at. A hint has
//! ids only, and may be lost.

use std::fmt;

use countersign_core::id::{DeviceId, TenantName, TransactionId, UserName};
use countersign_core::port::Notification;
use countersign_core::spec::Recipients;

use super::by_user::UserKey;

/// A hint. Its text is one line, whose fields are separated by tabs: no name has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Hint {
    /// There is a transaction for the user's devices.
    Offer(UserKey, TransactionId),
    /// A transaction has ended.
    Ended(UserKey, TransactionId),
    /// A device was enrolled.
    DeviceAdded(UserKey, DeviceId),
    /// The channels of the user's devices, or of one, are closed.
    Disconnect(UserKey, Option<DeviceId>),
    /// The channels of the tenant's devices are closed.
    DisconnectTenant(TenantName),
    /// Hints were lost: look at everything.
    AskTheLedger,
}

impl Hint {
    /// The hint for a notification that can concern other nodes.
    pub(super) fn of(notification: &Notification) -> Option<Self> {
        Some(match notification {
            Notification::Offer(transaction) => {
                let spec = &transaction.spec;
                Self::Offer((spec.tenant.clone(), spec.user.clone()), spec.id)
            }
            Notification::Ended(transaction) => {
                let spec = &transaction.spec;
                Self::Ended((spec.tenant.clone(), spec.user.clone()), spec.id)
            }
            Notification::DeviceAdded(device) => {
                Self::DeviceAdded((device.tenant.clone(), device.user.clone()), device.id)
            }
            Notification::Disconnect { tenant, user, recipients } => {
                let device = match recipients {
                    Recipients::Device(device) => Some(*device),
                    Recipients::Any | Recipients::Devices(_) => None,
                };
                Self::Disconnect((tenant.clone(), user.clone()), device)
            }
            Notification::DisconnectTenant(tenant) => Self::DisconnectTenant(tenant.clone()),
            Notification::NewDelivery => return None,
        })
    }

    /// Reads a line. `None` if a newer program wrote it.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let user = |tenant: &str, user: &str| -> Option<UserKey> {
            Some((tenant.parse().ok()?, user.parse::<UserName>().ok()?))
        };
        let transaction = |id: &str| u128::from_str_radix(id, 16).ok().map(TransactionId);
        let device = |id: &str| id.parse::<u64>().ok().and_then(|id| DeviceId::try_from(id).ok());
        Some(match fields[..] {
            ["offer", tenant, name, id] => Self::Offer(user(tenant, name)?, transaction(id)?),
            ["ended", tenant, name, id] => Self::Ended(user(tenant, name)?, transaction(id)?),
            ["added", tenant, name, id] => Self::DeviceAdded(user(tenant, name)?, device(id)?),
            ["disconnect", tenant, name] => Self::Disconnect(user(tenant, name)?, None),
            ["disconnect", tenant, name, id] => {
                Self::Disconnect(user(tenant, name)?, Some(device(id)?))
            }
            ["disconnect_tenant", tenant] => Self::DisconnectTenant(tenant.parse().ok()?),
            ["ask"] => Self::AskTheLedger,
            _ => return None,
        })
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer((tenant, user), id) => write!(f, "offer\t{tenant}\t{user}\t{:x}", id.0),
            Self::Ended((tenant, user), id) => write!(f, "ended\t{tenant}\t{user}\t{:x}", id.0),
            Self::DeviceAdded((tenant, user), device) => {
                write!(f, "added\t{tenant}\t{user}\t{}", device.number())
            }
            Self::Disconnect((tenant, user), None) => write!(f, "disconnect\t{tenant}\t{user}"),
            Self::Disconnect((tenant, user), Some(device)) => {
                write!(f, "disconnect\t{tenant}\t{user}\t{}", device.number())
            }
            Self::DisconnectTenant(tenant) => write!(f, "disconnect_tenant\t{tenant}"),
            Self::AskTheLedger => f.write_str("ask"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hint_is_read_as_it_was_written_and_unknown_ones_are_skipped() {
        let jane: UserKey = ("acme".parse().unwrap(), "Jane O'Neil \u{e9}".parse().unwrap());
        let (device, id) = (DeviceId::try_from(7).unwrap(), TransactionId(u128::MAX));
        for hint in [
            Hint::Offer(jane.clone(), id),
            Hint::Ended(jane.clone(), TransactionId(1)),
            Hint::DeviceAdded(jane.clone(), device),
            Hint::Disconnect(jane.clone(), None),
            Hint::Disconnect(jane, Some(device)),
            Hint::DisconnectTenant("acme".parse().unwrap()),
            Hint::AskTheLedger,
        ] {
            assert_eq!(Hint::parse(&hint.to_string()), Some(hint));
        }
        for line in ["", "offer\tacme", "later\tacme\tjane", "offer\tacme\tjane\tx"] {
            assert_eq!(Hint::parse(line), None);
        }
    }
}
