//! The refusals to operators who reset a PIN.

use super::Refusal;

/// The reason for not resetting a device's PIN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PinResetRefusal {
    /// The configuration forbids it.
    #[error("the configuration forbids to reset a PIN")]
    Forbidden,
    /// The device does not exist, or is retired.
    #[error("no such device")]
    UnknownDevice,
    /// The device has no PIN.
    #[error("the device has no PIN")]
    Unchanged,
}

impl Refusal for PinResetRefusal {
    fn kind(&self) -> &'static str {
        match self {
            Self::Forbidden => "pin_reset_forbidden",
            Self::UnknownDevice => "unknown_device",
            Self::Unchanged => "unchanged",
        }
    }
}
