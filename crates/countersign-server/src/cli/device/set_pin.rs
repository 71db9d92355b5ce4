//! `countersign device set-pin`.

use std::path::PathBuf;

use clap::Args;
use countersign_device::{Device, Error, PhoneFile, Pin};
use serde::Serialize;

use crate::cli::answer;

/// Set the PIN of a device, or change it.
///
/// A first PIN needs no old one, and neither does one that the server's operator has reset. If the
/// answer of the server is lost, repeat the command.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  countersign device set-pin phone.json --pin 1357 --old 2468")]
pub(in crate::cli) struct SetPin {
    /// The device's file, of `countersign device enrol`
    file: PathBuf,
    /// The new PIN
    #[arg(long, value_parser = Pin::parse)]
    pin: Pin,
    /// The present PIN, if the device has one
    #[arg(long, value_parser = Pin::parse)]
    old: Option<Pin>,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ChangedPin {
    device_id: String,
    pin_set: bool,
}

impl SetPin {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut device = Device::open(&PhoneFile::at(&self.file))?;
        match &self.old {
            None => device.set_pin(&self.pin).await?,
            Some(old) => match device.change_pin(old, &self.pin).await {
                // It was reset, so that no PIN is to be proved.
                Err(Error::NoPin) => device.set_pin(&self.pin).await?,
                outcome => outcome?,
            },
        }
        let device_id = device.phone().device_id.to_string();
        let changed = ChangedPin { device_id, pin_set: true };
        answer::print(self.json, &changed, || {
            format!("The PIN of device {} is set.", changed.device_id)
        })
    }
}
