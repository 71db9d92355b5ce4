//! The push address of a device, which wakes a device that is not connected.

use core::fmt;

use crate::time::Timestamp;

/// A push service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, by Google.
    Fcm,
    /// Web Push: a browser's service, or any other that implements RFC 8030, such as `UnifiedPush`.
    WebPush,
    /// The operator's own sender.
    Webhook,
}

impl Provider {
    /// All providers.
    pub const ALL: [Self; 4] = [Self::Apns, Self::Fcm, Self::WebPush, Self::Webhook];

    /// The provider's name on the wire, in the ledger and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::WebPush => "webpush",
            Self::Webhook => "webhook",
        }
    }
}

/// The address of a device at a push service. It is never shown, because it allows its holder to
/// wake the device.
#[derive(Clone, Eq, PartialEq)]
pub struct PushAddress {
    /// The push service.
    pub provider: Provider,
    /// The service's name for the device, in a normal form; with Web Push, a URL. In a tenant, it
    /// belongs to one device only.
    pub token: String,
    /// The keys to which Web Push encrypts.
    pub keys: Option<SubscriptionKeys>,
}

/// A Web Push subscription's keys (RFC 8291, section 2).
#[derive(Clone, Eq, PartialEq)]
pub struct SubscriptionKeys {
    /// The receiver's public key: an uncompressed P-256 point.
    pub p256dh: [u8; 65],
    /// The authentication secret.
    pub auth: [u8; 16],
}

/// The registration of a device for pushes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// The push address.
    pub address: PushAddress,
    /// The user's language (BCP 47) as the device sent it, such as `de` or `pt-BR`.
    pub language: Option<String>,
    /// The time of the registration.
    pub since: Timestamp,
}

/// The push state of a device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Push {
    /// The device never registered an address, or removed it.
    #[default]
    None,
    /// The device has a registration.
    At(Registration),
    /// The device's address was retired.
    Retired {
        /// The push service of the retired address.
        provider: Provider,
        /// The time of the retirement.
        at: Timestamp,
        /// The reason.
        why: Retirement,
    },
}

/// The reason for retiring an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retirement {
    /// The push service reported that the address is no longer registered.
    Gone,
    /// Another device registered it.
    Moved,
}

impl Retirement {
    /// The reason's name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Moved => "moved",
        }
    }
}

impl Push {
    /// The current registration, if there is one.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::At(registration) => Some(registration),
            Self::None | Self::Retired { .. } => None,
        }
    }
}

/// Host and port of a URL in normal form: a scheme, `//`, host and port, the rest.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Hides the token, because it would allow its reader to wake the device.
impl fmt::Debug for PushAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushAddress").field("provider", &self.provider).finish_non_exhaustive()
    }
}
