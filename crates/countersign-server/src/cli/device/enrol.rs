//! `countersign device enrol`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use countersign_device::{
    ActivationCode, Code, DeviceDescription, Enrolment, Error, KeyKind, PhoneFile, Pin, enrol,
};
use serde::Serialize;

use crate::cli::answer;
use crate::cli::shell::quoted;
use countersign_config::platform;

/// Enrol this program as a device, with an activation code, and write the device into a file.
///
/// The file contains the device's keys in the clear, so it is for tests and demonstrations. The
/// device gets two identities, one for content and one for digests.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  countersign device enrol --server https://localhost:8443 \
                        --ca data/tls/ca.pem \\\n      --tenant acme --user jane \
                        --code 7K2M-Q0XR-ZV4C-9HTD --pin 2468 --out phone.json")]
pub(in crate::cli) struct Enrol {
    /// The server's address: `https://host`, or `https://host:port`
    #[arg(long, value_name = "URL")]
    server: String,
    /// The only CA to trust, PEM, such as the server's tls/ca.pem [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The tenant
    #[arg(long)]
    tenant: String,
    /// The user
    #[arg(long)]
    user: String,
    /// The activation code: `countersign activation create`
    #[arg(long, value_parser = ActivationCode::parse)]
    code: ActivationCode,
    /// The first PIN
    #[arg(long, value_parser = Pin::parse)]
    pin: Option<Pin>,
    /// A label that the device proposes for its identities; may be repeated. Clients do not find
    /// identities by it; they find labels of `activation create --label` and `identity label`
    #[arg(long = "label", value_name = "LABEL")]
    proposed_labels: Vec<String>,
    /// The device's name
    #[arg(long, default_value = "Command line")]
    name: String,
    /// The kind of its signing keys
    #[arg(long, value_enum, default_value_t)]
    key: KeySource,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum KeySource {
    /// ECDSA on P-256
    #[default]
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA of 2048 bits
    Rsa2048,
    /// Ed25519
    Ed25519,
}

#[derive(Serialize)]
struct Enrolled {
    device_id: String,
    serial_number: String,
    tenant: String,
    user: String,
    server: String,
}

impl Enrol {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let server_ca = match &self.ca {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("the CA {} cannot be read", path.display()))?,
            ),
            None => None,
        };
        let mut enrolment = Enrolment {
            server: self.server,
            server_ca,
            tenant: self.tenant,
            user: self.user,
            code: self.code,
            proposed_labels: self.proposed_labels,
            device: DeviceDescription {
                name: self.name,
                platform: platform().to_owned(),
                os_version: String::new(),
                app: "countersign".to_owned(),
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            pin: self.pin,
            key: match self.key {
                KeySource::P256 => KeyKind::P256,
                KeySource::P384 => KeyKind::P384,
                KeySource::Rsa2048 => KeyKind::Rsa2048,
                KeySource::Ed25519 => KeyKind::Ed25519,
            },
            push: None,
        };
        let file = PhoneFile::at(&self.out);
        let mut enrolled = enrol(&file, &enrolment).await;
        // First as it was given, because a client may have chosen the code; then as a user types a
        // generated code.
        let typed = ActivationCode::typed(enrolment.code.as_str())?;
        let refused = |error: &Error| error.code() == Some(Code::EnrolmentRefused);
        if enrolled.as_ref().is_err_and(refused) && typed.as_str() != enrolment.code.as_str() {
            enrolment.code = typed;
            enrolled = enrol(&file, &enrolment).await;
        }
        let phone = enrolled?;
        let enrolled = Enrolled {
            device_id: phone.device_id.to_string(),
            serial_number: phone.serial_number,
            tenant: phone.tenant,
            user: phone.user,
            server: phone.server,
        };
        answer::print(self.json, &enrolled, || {
            let Enrolled { device_id, serial_number, user, .. } = &enrolled;
            let out = self.out.display();
            let argument = self.out.to_string_lossy();
            let argument = quoted(&argument);
            format!(
                "Device {serial_number} of {user} is enrolled, with id {device_id}, in {out}.\n\
                 Run it: `countersign device run {argument}`."
            )
        })
    }
}
