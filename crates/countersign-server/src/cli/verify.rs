//! `countersign verify`: checks a signature without a server, by its certificates alone.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use countersign_core::limits::SIGNATURE_BYTES_MAX;
use countersign_core::port::Clock as _;
use countersign_device::View;
use countersign_proof::{Inspected, Roots, cms};
use der::Decode as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use x509_cert::Certificate;

use super::answer;
use super::evidence::ExportedEvidence;
use super::frame::frame;
use super::paint::{Color, Paint};
use super::signature_file::to_binary;
use super::table;
use countersign_http::time_format;
use countersign_node::clock::System;

/// The largest file: a signature in base64, with room for PEM's lines; for a raw one, JSON with the
/// text.
const FILE_BYTES_MAX: u64 = 2 * SIGNATURE_BYTES_MAX as u64;
/// The largest file of root certificates.
const CA_BYTES_MAX: u64 = 1024 * 1024;

/// Verifies a signature offline: a PKCS#7 (CMS) that contains its content, or what
/// `transaction show --json` prints of a signed transaction.
///
/// Certificates end, and signatures are kept longer. So a transaction is verified as of the time at
/// which the server accepted its signature, and a PKCS#7 as of now, or as of --at.
///
/// Prints the signer, the content, the transaction and the claimed time. Exits with 1, and the
/// reason, if the signature is not valid.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  countersign ca export --tenant acme > acme-ca.pem\n  \
                        countersign verify payment.p7m --ca acme-ca.pem")]
pub(super) struct Verify {
    /// The signature: DER, PEM or base64; or the JSON of the transaction
    file: PathBuf,
    /// The root certificates to trust, PEM: `countersign ca export`
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Write the content that was signed into this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Check that the certificates were valid at this time, such as 2026-11-28T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<u64>,
    /// Check that the certificates were valid at the time that the signer claims
    #[arg(long, conflicts_with = "at")]
    when_signed: bool,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct VerificationView {
    /// The certificates were valid at this time.
    verified_as_of: String,
    signer: String,
    serial_number: String,
    issuer: String,
    /// The time that the signer claims.
    signing_time: String,
    transaction: String,
    media_type: String,
    /// Base64.
    content: String,
    /// Base64 of the signer's certificate, DER.
    certificate: String,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let file = read(&self.file, FILE_BYTES_MAX)?;
        let roots = roots(&self.ca)?;
        let exported = ExportedEvidence::read(&file)
            .with_context(|| format!("{} holds no signature", self.file.display()))?;
        let at = match (self.at, &exported) {
            (Some(at), _) => at,
            (None, Some(exported)) => exported.accepted_at()?,
            (None, None) => System::default().now().seconds(),
        };
        let submission = match &exported {
            None => to_binary(&file),
            Some(exported) => match exported.cms() {
                Some(base64) => to_binary(base64.as_bytes()),
                None => return self.raw(exported, &roots, at),
            },
        };
        let submission =
            submission.with_context(|| format!("{} holds no signature", self.file.display()))?;
        let inspected = if self.when_signed {
            cms::inspect_when_signed(&submission, &roots)
        } else {
            cms::inspect(&submission, &roots, at)
        };
        let inspected = inspected.with_context(|| self.does_not_hold(at))?;
        if let Some(out) = &self.out {
            std::fs::write(out, &inspected.content)
                .with_context(|| format!("{} cannot be written", out.display()))?;
        }
        let at = if self.when_signed { inspected.signing_time } else { at };
        let verified = VerificationView::of(&inspected, at)?;
        answer::print(self.json, &verified, || verified.text(&inspected))
    }

    fn does_not_hold(&self, at: u64) -> String {
        if self.when_signed {
            return "the signature does not hold at the time that the signer claims".to_owned();
        }
        format!("the signature does not hold as of {} (see --at)", time_format::of_seconds(at))
    }

    /// A raw signature, as `transaction show --json` prints it.
    fn raw(&self, exported: &ExportedEvidence, roots: &Roots, at: u64) -> anyhow::Result<()> {
        // A raw signature does not contain its time.
        ensure!(!self.when_signed, "a raw signature does not say when it was signed");
        let checked = exported.verify(roots, at).with_context(|| self.does_not_hold(at))?;
        if let Some(out) = &self.out {
            std::fs::write(out, &checked.signed)
                .with_context(|| format!("{} cannot be written", out.display()))?;
        }
        let raw = checked.proof.raw().expect("it was verified as a raw one");
        let signer = Signer::of(&raw.certificate)?;
        let verified = VerifiedRaw {
            verified_as_of: time_format::of_seconds(at),
            signer: signer.name,
            serial_number: signer.serial_number,
            issuer: signer.issuer,
            transaction: checked.transaction,
            algorithm: raw.algorithm.as_str(),
            text: raw.digest.is_none().then(|| BASE64.encode(&checked.signed)),
            digest: raw.digest.as_ref().map(|digest| BASE64.encode(digest)),
            certificate: BASE64.encode(&raw.certificate),
        };
        answer::print(self.json, &verified, || verified.lines(&checked.signed))
    }
}

#[derive(Serialize)]
struct VerifiedRaw {
    /// The certificates were valid at this time.
    verified_as_of: String,
    signer: String,
    serial_number: String,
    issuer: String,
    /// By the file; a raw signature does not name it.
    transaction: String,
    algorithm: &'static str,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Base64 of the signer's certificate, DER.
    certificate: String,
}

impl VerifiedRaw {
    fn lines(&self, signed: &[u8]) -> String {
        let is_text = self.text.is_some();
        let over = if is_text { "a text".to_owned() } else { hex::encode(signed) };
        let entries = table::list(&[
            ("signer", self.signer.clone()),
            ("certificate", format!("{}, issued by {}", self.serial_number, self.issuer)),
            ("valid as of", self.verified_as_of.clone()),
            ("algorithm", self.algorithm.to_owned()),
            ("over", over),
        ]);
        let head = "The signature holds. It names neither its time nor its transaction.";
        let view = is_text.then(|| View::Text(String::from_utf8_lossy(signed).into_owned()));
        let shown = view.map(|view| frame("What was signed", &view, Paint::new(Color::Never)));
        let shown = shown.map(|lines| format!("\n\n{}", lines.join("\n"))).unwrap_or_default();
        format!("{head}\n\n{entries}{shown}")
    }
}

impl VerificationView {
    fn of(inspected: &Inspected, at: u64) -> anyhow::Result<Self> {
        let signer = Signer::of(&inspected.certificate)?;
        Ok(Self {
            verified_as_of: time_format::of_seconds(at),
            signer: signer.name,
            serial_number: signer.serial_number,
            issuer: signer.issuer,
            signing_time: time_format::of_seconds(inspected.signing_time),
            transaction: hex::encode(inspected.transaction),
            media_type: inspected.media_type.clone(),
            content: BASE64.encode(&inspected.content),
            certificate: BASE64.encode(&inspected.certificate),
        })
    }

    fn text(&self, inspected: &Inspected) -> String {
        let entries = table::list(&[
            ("signer", self.signer.clone()),
            ("certificate", format!("{}, issued by {}", self.serial_number, self.issuer)),
            ("valid as of", self.verified_as_of.clone()),
            ("claimed time", self.signing_time.clone()),
            ("transaction", self.transaction.clone()),
            ("content", format!("{}, {} bytes", self.media_type, inspected.content.len())),
        ]);
        let shown = match View::of(&inspected.media_type, &inspected.content) {
            Ok(view) => frame("What was signed", &view, Paint::new(Color::Never)).join("\n"),
            Err(_) => "The content cannot be shown in a terminal: see --out.".to_owned(),
        };
        format!("The signature holds.\n\n{entries}\n\n{shown}")
    }
}

/// The subject of a certificate.
pub(super) struct Signer {
    /// RFC 4514.
    pub(super) name: String,
    pub(super) serial_number: String,
    pub(super) issuer: String,
}

impl Signer {
    /// Reads a certificate, DER.
    ///
    /// # Errors
    /// If it is not a certificate.
    pub(super) fn of(certificate: &[u8]) -> anyhow::Result<Self> {
        let certificate = Certificate::from_der(certificate).context("no certificate")?;
        let certificate = certificate.tbs_certificate;
        Ok(Self {
            name: certificate.subject.to_string(),
            serial_number: hex::encode(certificate.serial_number.as_bytes()),
            issuer: certificate.issuer.to_string(),
        })
    }
}

fn moment(text: &str) -> Result<u64, String> {
    let seconds = time_format::parse_seconds(text);
    seconds.ok_or_else(|| "it is not a time such as 2026-11-28T10:00:00Z (RFC 3339)".to_owned())
}

fn roots(path: &Path) -> anyhow::Result<Roots> {
    let pem = read(path, CA_BYTES_MAX)
        .context("--ca takes a file in PEM, such as `countersign ca export` prints")?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not PEM", path.display()))?;
    ensure!(!certificates.is_empty(), "{} holds no certificate in PEM", path.display());
    Roots::new(certificates.iter().map(AsRef::as_ref))
        .with_context(|| format!("{} contains a certificate that is not a CA's", path.display()))
}

fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("{} cannot be read", path.display());
    ensure!(!path.is_dir(), "{} is a directory, and one file is needed", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).with_context(cannot)?;
    ensure!(bytes.len() as u64 <= bytes_max, "{} is larger than {bytes_max} bytes", path.display());
    Ok(bytes)
}
