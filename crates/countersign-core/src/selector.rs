//! Selectors of signing identities. Several selectors are alternatives; within one selector every
//! condition must hold.

use std::sync::Arc;

use crate::device::{Device, Identity, Usage};
use crate::id::{DeviceId, IdentityId, UserName};
use crate::time::Timestamp;

/// Conditions on an identity. A selector without conditions matches every identity.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector {
    /// The identity's id.
    pub id: Option<IdentityId>,
    /// Labels that the identity must all have.
    pub labels: Vec<String>,
    /// The device that must hold it.
    pub device: Option<DeviceId>,
    /// The identity's certificate, DER.
    pub certificate: Option<Vec<u8>>,
}

impl Selector {
    /// The size of its conditions, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(String::len).sum::<usize>();
        labels + self.certificate.as_ref().map_or(0, Vec::len)
    }

    /// Whether `identity`, held by `device`, meets every condition.
    #[must_use]
    pub fn matches(&self, device: &Device, identity: &Identity) -> bool {
        self.id.is_none_or(|id| id == identity.id)
            && self.labels.iter().all(|label| identity.labels.contains(label))
            && self.device.is_none_or(|id| id == device.id)
            && self.certificate.as_ref().is_none_or(|own| identity.has_certificate(own))
    }

    /// Whether one of `selectors` matches, or the list is empty.
    #[must_use]
    pub fn any(selectors: &[Self], device: &Device, identity: &Identity) -> bool {
        selectors.is_empty() || selectors.iter().any(|one| one.matches(device, identity))
    }
}

/// An identity, with the device that holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeldIdentity {
    /// The device.
    pub device: Arc<Device>,
    /// The identity, one of the device's.
    pub identity: Identity,
}

/// The conditions of a list of identities. Every condition must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// The user.
    pub user: Option<UserName>,
    /// The device that holds it.
    pub device: Option<DeviceId>,
    /// Labels that the identity must all have.
    pub labels: Vec<String>,
}

impl Filter {
    /// Whether `identity`, held by `device`, meets every condition.
    #[must_use]
    pub fn matches(&self, device: &Device, identity: &Identity) -> bool {
        self.user.as_ref().is_none_or(|user| *user == device.user)
            && self.device.is_none_or(|id| id == device.id)
            && self.labels.iter().all(|label| identity.labels.contains(label))
    }
}

impl Device {
    /// The identities that may sign for `usage` at `now` and that one of `selectors` matches.
    pub fn fit<'a>(
        &'a self,
        usage: Usage,
        selectors: &'a [Selector],
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Identity> {
        self.enabled(usage, selectors).filter(move |identity| identity.is_valid(now))
    }

    /// Whether the device could sign, if the certificates of all identities that fit had not ended.
    #[must_use]
    pub fn has_only_ended(&self, usage: Usage, selectors: &[Selector], now: Timestamp) -> bool {
        let mut enabled = self.enabled(usage, selectors).peekable();
        enabled.peek().is_some() && enabled.all(|identity| !identity.is_valid(now))
    }

    /// The same as [`Device::fit`], also with identities whose certificates have ended.
    pub fn enabled<'a>(
        &'a self,
        usage: Usage,
        selectors: &'a [Selector],
    ) -> impl Iterator<Item = &'a Identity> {
        self.identities.iter().filter(move |identity| {
            identity.enabled && identity.usage == usage && Selector::any(selectors, self, identity)
        })
    }
}
