//! `countersign tenant …`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use clap::Subcommand;
use countersign_core::id::{DomainName, TenantName};
use countersign_core::limits::ROOTS_PER_TENANT_MAX;
use countersign_core::port::{Keys as _, Signer as _, SigningRole, all_pages};
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::tenant::Tenant;
use countersign_proof::Roots;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::client::VALID_SECONDS_MAX;
use super::table::Table;
use super::validity::Validity;
use countersign_http::time_format;
use countersign_node::authority::found_tenant;

mod domains;
mod states;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a tenant, with a certificate authority of its own.
    ///
    /// The name is part of host names (acme.sign.example.com) and paths (/auth/realms/acme), so it
    /// is one DNS label in lower case. The ledger is created if it does not exist.
    #[command(after_help = "Example:
  countersign tenant create acme --domain mydomain.com --data data")]
    Create {
        /// The tenant's name: lower-case letters, digits and dashes
        name: TenantName,
        /// A further name of the tenant, as OneSpan's calls name it; may be repeated
        #[arg(long, value_name = "DOMAIN")]
        domain: Vec<DomainName>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Add a domain to a tenant: a further name, such as mydomain.com, by which OneSpan's calls
    /// name it.
    ///
    /// A domain is unique among the names and domains of all tenants. One that the tenant has
    /// already is no failure.
    #[command(after_help = "Example:\n  countersign tenant add-domain acme mydomain.com")]
    AddDomain {
        /// The tenant's name
        name: TenantName,
        /// The domain: lower-case letters, digits and dashes, with dots between them
        domain: DomainName,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Remove a domain from a tenant; one that it does not have is no failure.
    #[command(after_help = "Example:\n  countersign tenant remove-domain acme mydomain.com")]
    RemoveDomain {
        /// The tenant's name
        name: TenantName,
        /// The domain
        domain: DomainName,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Make a tenant trust one more root: its devices may import identities whose certificates
    /// chain to it.
    #[command(after_help = "Example:
  countersign tenant trust acme --root national-id-ca.pem")]
    Trust {
        /// The tenant's name
        name: TenantName,
        /// The root's certificate, PEM
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Take a trusted root back: identities whose certificates chain to it cannot sign any more.
    #[command(after_help = "Example:
  countersign tenant distrust acme --root national-id-ca.pem")]
    Distrust {
        /// The tenant's name
        name: TenantName,
        /// The root's certificate, PEM
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Sign a tenant's access tokens with a new key.
    ///
    /// Tokens of the old key are refused at once, unless --keep-old names a time for which they are
    /// still accepted.
    #[command(after_help = "Example:
  countersign tenant rotate-token-key acme --keep-old 3600")]
    RotateTokenKey {
        /// The tenant's name
        name: TenantName,
        /// How long tokens of the old key are accepted [default: they end at once]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        keep_old: Option<u64>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Lock a tenant: no call of its clients, keys and devices is accepted from the next one on.
    ///
    /// It starts no transactions and issues no tokens. Open transactions end at their own
    /// deadlines, and their callbacks are made. A tenant that is locked already stays so.
    #[command(after_help = "Example:\n  countersign tenant lock acme")]
    Lock {
        /// The tenant's name
        name: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Unlock a tenant; one that is not locked stays so.
    #[command(after_help = "Example:\n  countersign tenant unlock acme")]
    Unlock {
        /// The tenant's name
        name: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Delete a locked tenant, for good: its clients, keys, users, devices, activation codes,
    /// transactions and deliveries, and its private keys.
    ///
    /// Evidence of signatures and events stay: `transaction list|show`, `ca export` and `history`
    /// go on answering, and the name is not free. With --with-evidence nothing stays.
    ///
    /// It asks no question, but the tenant must be locked before. The rows go in small batches, so
    /// that a running server goes on; a deletion that was interrupted is continued by the next.
    /// What is deleted already is no failure.
    #[command(after_help = "Example:
  countersign tenant lock acme
  countersign tenant delete acme")]
    Delete {
        /// The tenant's name
        name: TenantName,
        /// Delete the evidence of signatures and the events too, so that the name is free again
        #[arg(long)]
        with_evidence: bool,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Serialize)]
struct CreatedTenant {
    name: String,
    /// `active`, `locked` or `deleted`.
    state: &'static str,
    created_at: String,
    /// The tenant's further names.
    domains: Vec<String>,
    /// The authority that issues the tenant's certificates.
    authority: Option<Validity>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { name, domain, place } => {
                let admin = Admin::at_new(&place).await?;
                domains::check_free(&admin, &domain).await?;
                let Some(tenant) = create(&admin, &name).await? else {
                    bail!("{}", states::taken(&admin, &name).await?);
                };
                for domain in domain {
                    domains::add_to(&admin, &name, domain).await?;
                }
                let made = made(&admin, &tenant).await?;
                answer::print(admin.json, &made, || {
                    format!(
                        "Tenant {name} is made, with its own CA: `countersign ca export --tenant {name}`."
                    )
                })?;
                admin.close().await
            }
            Self::AddDomain { name, domain, place } => domains::add(&name, domain, &place).await,
            Self::RemoveDomain { name, domain, place } => {
                domains::remove(&name, domain, &place).await
            }
            Self::Trust { name, root, place } => trust(&name, &root, &place).await,
            Self::Distrust { name, root, place } => distrust(&name, &root, &place).await,
            Self::RotateTokenKey { name, keep_old, place } => {
                rotate_token_key(&name, keep_old.map(Duration::from_secs), &place).await
            }
            Self::Lock { name, place } => states::set_lock(&name, true, &place).await,
            Self::Unlock { name, place } => states::set_lock(&name, false, &place).await,
            Self::Delete { name, with_evidence, place } => {
                states::delete(&name, with_evidence, &place).await
            }
            Self::List { place } => {
                let admin = Admin::at(&place).await?;
                let mut tenants = Vec::new();
                let read = admin.core.read();
                for name in all_pages(async |page| read.tenants(page).await).await? {
                    let tenant = read.tenant(&name).await?;
                    if let Some(tenant) = tenant {
                        tenants.push(made(&admin, &tenant).await?);
                    }
                }
                answer::print(admin.json, &tenants, || {
                    let mut table =
                        Table::new(&["TENANT", "STATE", "CREATED", "CA VALID UNTIL", "DOMAINS"]);
                    for made in &tenants {
                        let until = made.authority.as_ref().map(Validity::text);
                        table.row(&[
                            &made.name,
                            made.state,
                            &made.created_at,
                            &until.unwrap_or_default(),
                            &made.domains.join(" "),
                        ]);
                    }
                    table.text("There are no tenants yet: `countersign tenant create NAME`.")
                })?;
                admin.close().await
            }
        }
    }
}

#[derive(Serialize)]
struct Trusted {
    name: String,
    /// SHA-256 of the root's certificate.
    root: String,
}

/// Makes a tenant trust the root in a file.
async fn trust(name: &TenantName, root: &Path, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    let (der, digest) = certificate(root)?;
    Roots::new([&*der]).with_context(|| format!("{} holds no root", root.display()))?;
    match admin.core.trust_root(&admin.actor, name, &der, &digest).await {
        // It may be trusted already.
        Ok(()) | Err(AdminError::Refused(AdminRefusal::Exists)) => {}
        Err(AdminError::Refused(AdminRefusal::ManyRoots)) => {
            bail!("a tenant trusts at most {ROOTS_PER_TENANT_MAX} roots")
        }
        Err(error) => return Err(error.into()),
    }
    let trusted = Trusted { name: name.to_string(), root: digest };
    answer::print(admin.json, &trusted, || format!("Tenant {name} trusts {}.", trusted.root))?;
    admin.close().await
}

/// The certificate in a PEM file, and its SHA-256, hex.
fn certificate(file: &Path) -> anyhow::Result<(CertificateDer<'static>, String)> {
    let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.ok().filter(|found| found.len() == 1);
    let der = found.with_context(|| format!("{} does not hold one PEM", file.display()))?.remove(0);
    let digest = hex::encode(digest::digest(&digest::SHA256, &der));
    Ok((der, digest))
}

/// Takes back the root in a file; a root that is not trusted is no failure.
async fn distrust(name: &TenantName, root: &Path, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    let (der, digest) = certificate(root)?;
    match admin.core.distrust_root(&admin.actor, name, &der, &digest).await {
        Ok(()) | Err(AdminError::Refused(AdminRefusal::UnknownRoot)) => {}
        Err(AdminError::Refused(AdminRefusal::OwnAuthority)) => {
            bail!("this root is the own authority of tenant {name}, which issues its certificates")
        }
        Err(error) => return Err(error.into()),
    }
    let distrusted = Trusted { name: name.to_string(), root: digest };
    answer::print(admin.json, &distrusted, || {
        format!("Tenant {name} does not trust {}.", distrusted.root)
    })?;
    admin.close().await
}

#[derive(Serialize)]
struct RotatedTokenKey {
    name: String,
    /// When tokens of the old key end; null if they have ended.
    old_key_expires_at: Option<String>,
}

/// Gives a tenant another key for its access tokens. Tokens of the present one are accepted for
/// `keep`.
async fn rotate_token_key(
    name: &TenantName,
    keep: Option<Duration>,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    let (signer, key) = admin.keys.generate(name, SigningRole::Tokens).await?;
    let keep_until = keep.map(|keep| admin.now() + keep);
    let public_key = *signer.public_key();
    admin.core.replace_token_key(&admin.actor, name, public_key, key, keep_until).await?;
    let old_key_expires_at = keep_until.map(time_format::exact);
    let rotated = RotatedTokenKey { name: name.to_string(), old_key_expires_at };
    answer::print(admin.json, &rotated, || {
        let old = match &rotated.old_key_expires_at {
            None => "Tokens of the old key have ended.".to_owned(),
            Some(end) => format!("Tokens of the old key are accepted until {end}."),
        };
        format!("Access tokens of {name} are signed with a new key. {old}")
    })?;
    admin.close().await
}

async fn made(admin: &Admin, tenant: &Tenant) -> anyhow::Result<CreatedTenant> {
    Ok(CreatedTenant {
        name: tenant.name.to_string(),
        state: tenant.state.as_str(),
        created_at: time_format::brief(tenant.created_at),
        domains: domains::of(admin, &tenant.name).await?,
        authority: Validity::of(&tenant.authority_certificate, admin.now()),
    })
}

/// Creates a tenant. `None` if the name is in use.
///
/// # Errors
/// If the ledger fails.
pub(super) async fn create(admin: &Admin, name: &TenantName) -> anyhow::Result<Option<Tenant>> {
    let new = found_tenant(&admin.keys, name.clone(), admin.authority_terms()).await?;
    let tenant = new.tenant.clone();
    match admin.core.create_tenant(&admin.actor, new).await {
        Ok(()) => Ok(Some(tenant)),
        Err(AdminError::Refused(AdminRefusal::Exists)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
