//! `countersign device renew`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use countersign_device::{Device, KeyKind, PhoneFile};
use countersign_http::time_format;
use serde::Serialize;

use crate::cli::answer;

/// Renew the certificates of a device now.
///
/// `device run` and `device scan` do so by themselves, when two thirds of a certificate's life have
/// passed. Certificates of other authorities (`device import`) are not renewed.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  countersign device renew phone.json --new-key")]
pub(in crate::cli) struct Renew {
    /// The device's file, of `countersign device enrol`
    file: PathBuf,
    /// Only this identity's [default: all]
    #[arg(long, value_name = "ID")]
    identity: Option<String>,
    /// Make new keys; each is proved by the key before it
    #[arg(long)]
    new_key: bool,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RenewedView {
    identity: String,
    valid_until: String,
}

impl Renew {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut device = Device::open(&PhoneFile::at(&self.file))?;
        let wanted = |id: &str| self.identity.as_deref().is_none_or(|wanted| wanted == id);
        let identities = device.phone().identities.iter();
        let identities = identities.filter(|one| wanted(&one.id) && !one.imported);
        let identities: Vec<_> = identities.map(|one| one.id.clone()).collect();
        ensure!(!identities.is_empty(), "the device has no such identity");
        let key = self.new_key.then(KeyKind::default);
        let mut renewed = Vec::new();
        for identity in identities {
            let end = device.renew_identity(&identity, key).await?;
            renewed.push(RenewedView { identity, valid_until: time_format::of_seconds(end) });
        }
        answer::print(self.json, &renewed, || {
            let line = |one: &RenewedView| {
                format!("The certificate of {} is valid until {}.", one.identity, one.valid_until)
            };
            renewed.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }
}
