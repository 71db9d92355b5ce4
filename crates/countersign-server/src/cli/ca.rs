//! `countersign ca …`.

use anyhow::anyhow;
use clap::Subcommand;
use countersign_core::id::TenantName;
use countersign_core::tenant::Tenant;
use der::pem::{LineEnding, encode_string};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a tenant's root certificates, PEM, with which its signatures can be verified anywhere.
    #[command(after_help = "Example:\n  countersign ca export --tenant acme > acme-ca.pem\n  \
                            openssl cms -verify -cades -inform DER -in payment.p7m -CAfile acme-ca.pem")]
    Export {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Serialize)]
struct ExportedAuthority {
    certificates: Vec<String>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Export { tenant, place } = self;
        let admin = Admin::at(&place)?;
        let certificates = roots(&admin.tenant(&tenant).await?)?;
        let exported = ExportedAuthority { certificates };
        answer::print(admin.json, &exported, || exported.certificates.concat())?;
        admin.close().await
    }
}

/// A tenant's roots, each in PEM.
///
/// # Errors
/// If one is too long to be a certificate.
pub(super) fn roots(tenant: &Tenant) -> anyhow::Result<Vec<String>> {
    let pem = |der: &Vec<u8>| encode_string("CERTIFICATE", LineEnding::LF, der);
    let written: Result<_, _> = tenant.roots.iter().map(pem).collect();
    written.map_err(|error| anyhow!("a root cannot be written: {error}"))
}
