//! The devices of a user, as each of them may list them.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::encoding::millis;
use crate::id::DeviceId;

/// A device of the user, by what it said of itself when it was enrolled.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserDevice {
    /// The device's number in its tenant.
    pub id: DeviceId,
    /// The name that its user gave it.
    pub name: String,
    /// The platform.
    pub platform: String,
    /// The application that runs on it.
    pub app: String,
    /// When it was enrolled, since the Unix epoch.
    #[serde(with = "millis")]
    pub enrolled_at: Duration,
}

/// `GET /device/v1/devices`: all devices of the user without retired ones, the calling one
/// included, in the order of their enrolment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserDevices {
    /// The devices.
    pub devices: Vec<UserDevice>,
}
