//! How a device is woken that is not connected: its push address, which is one of the device's
//! values.

use core::fmt;

use crate::time::Timestamp;

/// Who wakes a device.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Provider {
    /// Apple's.
    Apns,
    /// Google's.
    Fcm,
    /// A browser's, or any that speaks RFC 8030; that of `UnifiedPush` too.
    WebPush,
    /// A sender of the operator's own.
    Webhook,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Apns, Self::Fcm, Self::WebPush, Self::Webhook];

    /// Its name on the wire, in the ledger and in the configuration.
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

/// How a push service knows a device. Whoever has it can wake the device, so it is shown nowhere.
#[derive(Clone, Eq, PartialEq)]
pub struct PushAddress {
    /// Which service.
    pub provider: Provider,
    /// The service's name for the device, in its one spelling; a URL with Web Push. One device's in
    /// a tenant, and no other's.
    pub token: String,
    /// What Web Push encrypts to.
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

/// Where a device is woken from some moment on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// Where.
    pub address: PushAddress,
    /// What its owner reads (BCP 47), as it said, such as `de` or `pt-BR`.
    pub language: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// Whether a device can be woken.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Push {
    /// It never said how, or took it back.
    #[default]
    None,
    /// It can.
    At(Registration),
    /// It could, until then.
    Retired {
        /// Which service it was.
        provider: Provider,
        /// Until when.
        at: Timestamp,
        /// Why not any more.
        why: Retirement,
    },
}

/// Why an address is no longer used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retirement {
    /// Its service said that it is nobody's.
    Gone,
    /// Another device registered it.
    Moved,
}

impl Retirement {
    /// Its name in the ledger and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Moved => "moved",
        }
    }
}

impl Push {
    /// The registration that holds, if one does.
    #[must_use]
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::At(registration) => Some(registration),
            Self::None | Self::Retired { .. } => None,
        }
    }
}

impl PushAddress {
    /// The receiver's name within its tenant, as [`crate::delivery::Destination`] has it. `app` is
    /// what the device says that it is. No callback's host looks so: a host holds no slash.
    #[must_use]
    pub fn destination(&self, app: &str) -> String {
        let whose = match self.provider {
            Provider::WebPush => host(&self.token),
            Provider::Apns | Provider::Fcm | Provider::Webhook => app,
        };
        format!("{LANE}{}/{whose}", self.provider.as_str())
    }
}

/// What every push's lane begins with.
const LANE: &str = "push/";

/// Whether this is the lane of pushes, and not a callback's host.
pub(crate) fn is_push_endpoint(host: &str) -> bool {
    host.starts_with(LANE)
}

/// Host and port of a URL in its normal form: a scheme, `//`, host and port, the rest.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The token would let anybody wake the device.
impl fmt::Debug for PushAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushAddress").field("provider", &self.provider).finish_non_exhaustive()
    }
}
