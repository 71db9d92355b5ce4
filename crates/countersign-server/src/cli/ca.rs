//! `countersign ca …`: the certificate authorities of a tenant.

use anyhow::{Context as _, anyhow, bail, ensure};
use aws_lc_rs::digest;
use clap::{Args, Subcommand};
use countersign_core::id::TenantName;
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::tenant::Tenant;
use der::pem::{LineEnding, encode_string};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::table::Table;
use super::validity::Validity;
use super::verify::Signer;
use countersign_node::authority::further_authority;

/// The digits of a SHA-256 that a table shows.
const SHOWN_DIGITS: usize = 16;
/// The digits of a SHA-256 that name an authority.
const DIGITS_MIN: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a tenant's root certificates, PEM, with which its signatures can be verified anywhere.
    #[command(after_help = "Example:\n  countersign ca export --tenant acme > acme-ca.pem\n  \
                            openssl cms -verify -cades -inform DER -in payment.p7m -CAfile acme-ca.pem")]
    Export(TenantArgs),
    /// List the authorities that a tenant trusts: its own, older ones, and imported roots.
    List(TenantArgs),
    /// Make a new authority for a tenant. All further certificates come from it.
    ///
    /// The tenant goes on to trust the old authority, until that ends or is taken back, so that its
    /// certificates go on to sign. Give the new `ca export` to everybody who verifies signatures.
    #[command(after_help = "Example:\n  countersign ca renew --tenant acme\n  \
                            countersign ca export --tenant acme > acme-ca.pem")]
    Renew(TenantArgs),
    /// Take an older authority back: its certificates sign no more, and devices renew them.
    ///
    /// Signatures that were accepted before stay verifiable with its certificate: keep the `ca
    /// export` from before.
    #[command(after_help = "Example:\n  countersign ca list --tenant acme\n  \
                            countersign ca retire 5f0c… --tenant acme")]
    Retire {
        /// SHA-256 of the authority's certificate, or its first digits: `countersign ca list`
        sha256: String,
        #[command(flatten)]
        one: TenantArgs,
    },
}

#[derive(Args, Debug)]
pub(super) struct TenantArgs {
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct ExportedAuthority {
    certificates: Vec<String>,
}

/// An authority that a tenant trusts.
#[derive(Serialize)]
struct AuthorityView {
    /// Of the certificate, hex.
    sha256: String,
    /// `issuing`: new certificates come from it; `trusted`: its certificates may sign.
    state: &'static str,
    subject: String,
    serial_number: String,
    #[serde(flatten)]
    validity: Validity,
    /// PEM.
    certificate: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Export(TenantArgs { tenant, place }) => {
                let admin = Admin::at(&place).await?;
                let certificates = roots(&admin.tenant(&tenant).await?)?;
                let exported = ExportedAuthority { certificates };
                answer::print(admin.json, &exported, || exported.certificates.concat())?;
                admin.close().await
            }
            Self::List(TenantArgs { tenant, place }) => {
                let admin = Admin::at(&place).await?;
                let tenant = admin.tenant(&tenant).await?;
                let views: anyhow::Result<Vec<_>> =
                    tenant.roots.iter().map(|root| view(&admin, &tenant, root)).collect();
                let views = views?;
                answer::print(admin.json, &views, || table(&views))?;
                admin.close().await
            }
            Self::Renew(one) => one.renew().await,
            Self::Retire { sha256, one } => one.retire(&sha256).await,
        }
    }
}

impl TenantArgs {
    async fn renew(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let old = admin.tenant(&self.tenant).await?;
        let name = &self.tenant;
        let (certificate, key) =
            further_authority(&admin.keys, name, admin.authority_terms()).await?;
        let sha256 = sha256(&certificate);
        let made =
            admin.core.replace_authority(&admin.actor, &old, certificate.clone(), key, &sha256);
        match made.await {
            Ok(()) => {}
            Err(AdminError::Refused(AdminRefusal::ManyRoots)) => bail!(
                "a tenant trusts at most {ROOTS_PER_TENANT_MAX} roots: take one back with \
                 `countersign ca retire`"
            ),
            Err(AdminError::Refused(AdminRefusal::Exists)) => {
                bail!("tenant {name} got another authority at the same time")
            }
            Err(error) => return Err(error.into()),
        }
        let view = view(&admin, &admin.tenant(name).await?, &certificate)?;
        answer::print(admin.json, &view, || {
            format!(
                "Tenant {name} has a new authority, {}, until {}.\nThe old one is trusted until it \
                 ends or is taken back (`countersign ca retire`).\nGive the new root to everybody \
                 who verifies signatures: `countersign ca export --tenant {name}`.",
                view.sha256,
                view.validity.until()
            )
        })?;
        admin.close().await
    }

    async fn retire(self, wanted: &str) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let name = &self.tenant;
        let tenant = admin.tenant(name).await?;
        let wanted = wanted.to_ascii_lowercase();
        ensure!(
            wanted.len() >= DIGITS_MIN,
            "at least {DIGITS_MIN} digits of the SHA-256 are needed"
        );
        let mut named = tenant.roots.iter().filter(|root| sha256(root).starts_with(&wanted));
        let root = named.next().with_context(|| {
            format!("tenant {name} trusts no authority {wanted}: `countersign ca list`")
        })?;
        ensure!(named.next().is_none(), "several authorities begin with {wanted}");
        let wanted = sha256(root);
        match admin.core.distrust_root(&admin.actor, name, root, &wanted).await {
            Ok(()) => {}
            Err(AdminError::Refused(AdminRefusal::OwnAuthority)) => bail!(
                "the certificates of tenant {name} come from this authority: make a new one first \
                 (`countersign ca renew`)"
            ),
            Err(error) => return Err(error.into()),
        }
        let mut view = view(&admin, &tenant, root)?;
        view.state = "retired";
        answer::print(admin.json, &view, || {
            format!(
                "Tenant {name} trusts {wanted} no longer. Its devices renew their certificates."
            )
        })?;
        admin.close().await
    }
}

fn view(admin: &Admin, tenant: &Tenant, root: &[u8]) -> anyhow::Result<AuthorityView> {
    let signer = Signer::of(root)?;
    let state = if tenant.authority_certificate == root { "issuing" } else { "trusted" };
    Ok(AuthorityView {
        sha256: sha256(root),
        state,
        subject: signer.name,
        serial_number: signer.serial_number,
        validity: Validity::of(root, admin.now()).context("a root is no certificate")?,
        certificate: pem(root)?,
    })
}

fn table(views: &[AuthorityView]) -> String {
    let mut table = Table::new(&["SHA-256", "STATE", "SUBJECT", "VALID UNTIL"]);
    for view in views {
        table.row(&[
            &view.sha256[..SHOWN_DIGITS],
            view.state,
            &view.subject,
            &view.validity.text(),
        ]);
    }
    table.text("The tenant trusts no authority.")
}

fn sha256(certificate: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, certificate))
}

fn pem(der: &[u8]) -> anyhow::Result<String> {
    let written = encode_string("CERTIFICATE", LineEnding::LF, der);
    written.map_err(|error| anyhow!("a root cannot be written: {error}"))
}

/// A tenant's roots, each in PEM.
///
/// # Errors
/// If one is too long to be a certificate.
pub(super) fn roots(tenant: &Tenant) -> anyhow::Result<Vec<String>> {
    tenant.roots.iter().map(|root| pem(root)).collect()
}
