//! `countersign pin …`.

use clap::Subcommand;

use super::device::DeviceArgs;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Have the PIN of a device forgotten, so that the person sets a new one on the device.
    ///
    /// Only if the configuration allows it: `[locks] pin_reset = "allowed"`. The device does not
    /// ask for the old PIN then, so ask who is calling before you reset one. Counts of wrong PINs
    /// and locks of the user stay: `countersign user unlock`. A device without a PIN stays so.
    #[command(after_help = "Example:\n  countersign pin reset CSN0000001-1 --tenant acme")]
    Reset(DeviceArgs),
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Reset(device) => device.reset_pin().await,
        }
    }
}
