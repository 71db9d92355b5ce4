//! `PUT` and `GET /device/v1/push`: the address at which a device is woken.

use serde::{Deserialize, Serialize};

use crate::encoding::{name, name_option};
use crate::limits::{LANGUAGE_BYTES_MAX, NAME_BYTES_MAX, PUSH_TOKEN_BYTES_MAX};

/// The address at which a device is woken. [`Push::address`] checks its form.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// `apns`, `fcm`, `webpush` or `webhook`.
    #[serde(deserialize_with = "name::<_, NAME_BYTES_MAX>")]
    pub provider: String,
    /// The address within the provider.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "name_option::<_, PUSH_TOKEN_BYTES_MAX>"
    )]
    pub token: Option<String>,
    /// The user's language (BCP 47), such as `de` or `pt-BR`, for the text of a notification.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "name_option::<_, LANGUAGE_BYTES_MAX>"
    )]
    pub language: Option<String>,
}

impl core::fmt::Debug for Push {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Push").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// The body of `PUT /device/v1/push`. Read strictly by the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PushBody {
    /// The new address of the device; `null` removes it.
    pub push: Option<Push>,
}

/// The answer to both methods: 200. Read leniently by the device.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PushAnswer {
    /// Whether the device can be woken.
    pub state: PushState,
    /// The push services through which this server can wake this device's application.
    pub providers: Vec<String>,
    /// With `webpush`: the sender's public key, base64url. A browser takes it as
    /// `applicationServerKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vapid_key: Option<String>,
}

/// Whether a device can be woken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PushState {
    /// The device never registered an address, or removed it.
    None,
    /// The device can be woken.
    Registered,
    /// The address is no longer valid, or is another device's now. The device should register
    /// again.
    Retired,
    /// A state that this program does not know; a newer server sent it.
    #[serde(other)]
    Unknown,
}
