//! `PUT` and `GET /device/v1/push`: where a device is woken.

use serde::{Deserialize, Serialize};

use crate::encoding::{name, name_option};
use crate::limits::{LANGUAGE_BYTES_MAX, NAME_BYTES_MAX, PUSH_TOKEN_BYTES_MAX};

/// Where to wake a device. [`Push::address`] checks its form.
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
    /// What its owner reads (BCP 47), such as `de` or `pt-BR`: for a text that may be shown.
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
    /// Where the device is woken from now on; `null`: nowhere.
    pub push: Option<Push>,
}

/// The answer to both: 200. Read leniently by the device.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PushAnswer {
    /// Whether the device can be woken.
    pub state: PushState,
    /// The services that this server can wake this device's application through.
    pub providers: Vec<String>,
    /// With `webpush`: the sender's public key, base64url, which a browser asks for as
    /// `applicationServerKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vapid_key: Option<String>,
}

/// Whether a device can be woken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PushState {
    /// It never said how, or took it back.
    None,
    /// It can.
    Registered,
    /// It could; its address is dead, or another device's by now. It should register again.
    Retired,
    /// What a newer server says.
    #[serde(other)]
    Unknown,
}
