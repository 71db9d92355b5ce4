//! `countersign device goodbye`.

use std::path::PathBuf;

use clap::Args;
use countersign_device::{Device, PhoneFile};
use serde::Serialize;

use crate::cli::answer;

/// Give a device up: the server retires it, and its file is removed.
///
/// Its signatures stay valid. If the answer of the server is lost, repeat the command.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  countersign device goodbye phone.json")]
pub(in crate::cli) struct Goodbye {
    /// The device's file, of `countersign device enrol`
    file: PathBuf,
    /// Keep the file, although its keys are good for nothing any more
    #[arg(long)]
    keep_file: bool,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Retired {
    device_id: String,
    serial_number: String,
    state: &'static str,
}

impl Goodbye {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let file = PhoneFile::at(&self.file);
        let mut device = Device::open(&file)?;
        device.say_goodbye().await?;
        if !self.keep_file {
            file.remove()?;
        }
        let phone = device.into_phone();
        let device_id = phone.device_id.to_string();
        let retired = Retired { device_id, serial_number: phone.serial_number, state: "retired" };
        answer::print(self.json, &retired, || {
            format!("Device {} is retired, for good.", retired.serial_number)
        })
    }
}
