//! `countersign device scan`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use countersign_device::document::FetchPolicy;
use countersign_device::{AllowedHost, Device, PhoneFile, Pin, Run as Running, State, run_one};

use super::run::{Say, telling};
use crate::cli::paint::{Color, Paint};

/// Take the one transaction whose QR code was scanned, and sign or decline it.
///
/// The code contains only a request key, and a device finds only its own user's transactions. The
/// command fails if it did not end the transaction.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  countersign device scan phone.json 0047110815 --answer approve --code"
)]
pub(in crate::cli) struct Scan {
    /// The device's file, of `countersign device enrol`
    file: PathBuf,
    /// The text of the QR code: ten digits
    text: String,
    /// The answer to it
    #[arg(long, value_enum, default_value_t)]
    answer: Say,
    /// The PIN, if it is required
    #[arg(long, value_parser = Pin::parse)]
    pin: Option<Pin>,
    /// Sign with a short code if one is accepted, not only if no other format is
    #[arg(long)]
    code: bool,
    /// Also fetch documents from this host, although it is not on the public internet
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_fetch: Vec<AllowedHost>,
    /// Print JSON for programs, one event a line
    #[arg(long, conflicts_with = "color")]
    json: bool,
    /// When to use colours
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

impl Scan {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut device = Device::open(&PhoneFile::at(&self.file))?;
        device.prefer_codes(self.code);
        device.restrict_fetches(FetchPolicy::allowing(self.allow_fetch));
        // A device whose certificates have ended would be offered nothing.
        device.renew_due().await;
        let offer = device.scan(&self.text).await?;
        let once = Running { answer: self.answer.answer(), pin: self.pin, count: None };
        let tell = telling(self.json, Paint::new(self.color));
        match (run_one(&mut device, once, &offer, tell).await?, self.answer) {
            (Some(State::Finished), Say::Approve | Say::Ask)
            | (Some(State::Declined), Say::Decline | Say::Ask) => Ok(()),
            _ => bail!("this device did not end the scanned transaction"),
        }
    }
}
