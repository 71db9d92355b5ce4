//! `countersign key …`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use clap::{Subcommand, ValueEnum};
use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::all_pages;
use countersign_core::tenant::{ApiKey, KeyKind};
use serde::Serialize;
use zeroize::ZeroizeOnDrop;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::client::random;
use super::table::Table;
use countersign_http::caller::secret_digest;
use countersign_http::time_format;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an API key, which an application uses on all phones that run it.
    ///
    /// It is shown only once.
    #[command(
        after_help = "Example:\n  countersign key create --tenant acme --kind front-end --json"
    )]
    Create {
        /// The tenant that it may access [default: all tenants]
        #[arg(long)]
        tenant: Option<TenantName>,
        /// The calls that it may make
        #[arg(long)]
        kind: KeyScope,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// List API keys, with their purposes but not the keys themselves.
    List {
        /// Only those that may access this tenant
        #[arg(long)]
        tenant: Option<TenantName>,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

/// The calls that an API key may make.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum KeyScope {
    /// Calls of phones
    FrontEnd,
    /// Calls of a bank's own systems
    BackEnd,
}

/// A new key. Only its digest is stored.
#[derive(Serialize, ZeroizeOnDrop)]
struct CreatedKey {
    id: String,
    /// 256 random bits.
    api_key: String,
    #[zeroize(skip)]
    kind: &'static str,
    /// The tenant that it may access; null for all.
    tenant: Option<String>,
}

#[derive(Serialize)]
struct KeyView {
    id: String,
    kind: &'static str,
    tenant: Option<String>,
    created_at: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { tenant, kind, place } => create(tenant, kind.into(), &place).await,
            Self::List { tenant, place } => list(tenant.as_ref(), &place).await,
        }
    }
}

async fn create(
    tenant: Option<TenantName>,
    kind: KeyKind,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place)?;
    if let Some(tenant) = &tenant {
        admin.check_tenant(tenant).await?;
    }
    let (id, api_key) = make(&admin, tenant.as_ref(), kind).await?;
    let tenant = tenant.map(|tenant| tenant.to_string());
    let made = CreatedKey { id: id.to_string(), api_key, kind: kind.as_str(), tenant };
    answer::print(admin.json, &made, || {
        let whose = made.tenant.as_deref().unwrap_or("all tenants");
        let kind = made.kind;
        format!("A {kind} key for {whose} is made. It is shown once:\n\n{}", made.api_key)
    })?;
    admin.close().await
}

/// Creates a key for `tenant`, or for all. The key is only in the return value.
pub(super) async fn make(
    admin: &Admin,
    tenant: Option<&TenantName>,
    kind: KeyKind,
) -> anyhow::Result<(ApiKeyId, String)> {
    let id = ApiKeyId(u128::from_be_bytes(*random::<16>()));
    let api_key = format!("csk_{}", BASE64URL.encode(*random::<32>()));
    let digest = secret_digest(&api_key);
    let key = ApiKey { id, tenant: tenant.cloned(), kind, digest, created_at: admin.now() };
    admin.core.create_api_key(&admin.actor, key).await?;
    Ok((id, api_key))
}

async fn list(tenant: Option<&TenantName>, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place)?;
    let keys = all_pages(async |page| admin.core.read().api_keys(tenant, page).await).await?;
    let rows: Vec<KeyView> = keys
        .iter()
        .map(|key| KeyView {
            id: key.id.to_string(),
            kind: key.kind.as_str(),
            tenant: key.tenant.as_ref().map(ToString::to_string),
            created_at: time_format::exact(key.created_at),
        })
        .collect();
    answer::print(admin.json, &rows, || shown(&rows))?;
    admin.close().await
}

fn shown(rows: &[KeyView]) -> String {
    let mut table = Table::new(&["ID", "KIND", "TENANT", "MADE"]);
    for row in rows {
        let tenant = row.tenant.as_deref().unwrap_or("(all)");
        table.row(&[&row.id, row.kind, tenant, &row.created_at]);
    }
    table.text("There are no API keys.")
}

impl From<KeyScope> for KeyKind {
    fn from(kind: KeyScope) -> Self {
        match kind {
            KeyScope::FrontEnd => Self::FrontEnd,
            KeyScope::BackEnd => Self::BackEnd,
        }
    }
}
