//! `countersign device import`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use countersign_device::{Device, PhoneFile, Source, Use};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::answer;

/// Give a device an identity whose certificate another authority issued.
///
/// The tenant must trust that authority's root: `countersign tenant trust`. The device proves that
/// it holds the key, which stays in its file in the clear, so this is for tests and demonstrations.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  countersign device import phone.json --use digest --key ann.key                         --certificate ann.pem --label qualified")]
pub(in crate::cli) struct Import {
    /// The device's file: `countersign device enrol`
    file: PathBuf,
    /// The identity's usage, which cannot change: content that is shown, or digests that callers
    /// give
    #[arg(long = "use", value_enum)]
    usage: Usage,
    /// The private key: PKCS#8, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its certificate, PEM, followed by the intermediate certificates
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// A label that the device proposes for it; may be repeated. Clients do not find it by this
    /// label; they find labels of `identity label`
    #[arg(long = "label", value_name = "LABEL")]
    proposed_labels: Vec<String>,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Usage {
    /// Signs content that is shown
    Content,
    /// Signs digests that callers give
    Digest,
}

#[derive(Serialize)]
struct Imported {
    id: String,
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .with_context(|| format!("{} cannot be read as PEM", path.display()))
        };
        let key = Zeroizing::new(read(&self.key)?);
        let source = Source::Brought { key, certificates: read(&self.certificate)? };
        let usage = match self.usage {
            Usage::Content => Use::Content,
            Usage::Digest => Use::Digest,
        };
        let mut device = Device::open(&PhoneFile::at(&self.file))?;
        let id = device.add_identity(usage, &self.proposed_labels, &source).await?;
        let imported = Imported { id };
        answer::print(self.json, &imported, || {
            format!("The device signs with identity {} from now on.", imported.id)
        })
    }
}
