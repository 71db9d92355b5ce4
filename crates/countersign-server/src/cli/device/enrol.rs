//! `countersign device enrol`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use countersign_device::{
    ActivationCode, Code, DeviceDescription, EnrolUri, Enrolment, Error, KeyKind, PhoneFile, Pin,
    authority, enrol,
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
    /// The scanned text, `countersign:enrol?…`, in place of --server, --tenant, --user and --code
    #[arg(long, value_name = "URI", conflicts_with_all = ["server", "tenant", "user", "code"])]
    uri: Option<String>,
    /// The server's address: `https://host`, or `https://host:port`
    #[arg(long, value_name = "URL", required_unless_present = "uri")]
    server: Option<String>,
    /// The only CA to trust, PEM, such as the server's tls/ca.pem [default: the one that --uri
    /// names, or else the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The tenant
    #[arg(long, required_unless_present = "uri")]
    tenant: Option<String>,
    /// The user
    #[arg(long, required_unless_present = "uri")]
    user: Option<String>,
    /// The activation code: `countersign activation create`
    #[arg(long, value_parser = ActivationCode::parse, required_unless_present = "uri")]
    code: Option<ActivationCode>,
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
        let uri = match (&self.uri, self.server, self.tenant, self.user, self.code) {
            (Some(uri), ..) => EnrolUri::parse(uri)?,
            (None, Some(server), Some(tenant), Some(user), Some(code)) => {
                EnrolUri { server, tenant, user, code, authority: None }
            }
            _ => bail!("--server, --tenant, --user and --code are required without --uri"),
        };
        let server_ca = server_ca(self.ca.as_deref(), &uri).await?;
        let mut enrolment = Enrolment {
            server: uri.server,
            server_ca,
            tenant: uri.tenant,
            user: uri.user,
            code: uri.code,
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
        let phone = enrolled.map_err(|error| match error {
            Error::Untrusted(_) if self.ca.is_none() => {
                anyhow!("{error}: give the certificate of that authority with --ca")
            }
            error => error.into(),
        })?;
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

/// The certificates to trust, PEM: those in a file, or the authority that the URI names.
async fn server_ca(file: Option<&Path>, uri: &EnrolUri) -> anyhow::Result<Option<String>> {
    let Some(path) = file else { return Ok(authority(uri).await?) };
    let read = std::fs::read_to_string(path);
    read.map(Some).with_context(|| format!("the CA {} cannot be read", path.display()))
}
