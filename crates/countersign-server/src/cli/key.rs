//! `countersign key …`.

use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use clap::{Args, Subcommand, ValueEnum};
use countersign_core::id::{ApiKeyId, TenantName};
use countersign_core::port::all_pages;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::tenant::{ApiKey, CredentialState, KeyKind};
use serde::Serialize;
use zeroize::ZeroizeOnDrop;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::client::{VALID_SECONDS_MAX, random};
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
        /// The lifetime of the key [default: for ever]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        valid: Option<u64>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Lock an API key: from the next call on it is refused.
    Lock(KeyArgs),
    /// Unlock an API key.
    Unlock(KeyArgs),
    /// Delete an API key: from the next call on it is refused, for good.
    Delete(KeyArgs),
    /// List API keys, with their purposes but not the keys themselves.
    List {
        /// Only those that may access this tenant
        #[arg(long)]
        tenant: Option<TenantName>,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// The key's id, which is not the key: `countersign key list`
    id: ApiKeyId,
    #[command(flatten)]
    place: LedgerArgs,
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
    /// When it ends; null for never.
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct KeyView {
    id: String,
    kind: &'static str,
    tenant: Option<String>,
    /// `active` or `locked`.
    state: &'static str,
    /// When it ends; null for never.
    expires_at: Option<String>,
    created_at: String,
}

#[derive(Serialize)]
struct DeletedKey {
    id: String,
    /// Whether there was such a key.
    existed: bool,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { tenant, kind, valid, place } => {
                create(tenant, kind.into(), valid.map(Duration::from_secs), &place).await
            }
            Self::Lock(one) => one.set_state(CredentialState::Locked).await,
            Self::Unlock(one) => one.set_state(CredentialState::Active).await,
            Self::Delete(one) => one.delete().await,
            Self::List { tenant, place } => list(tenant.as_ref(), &place).await,
        }
    }
}

async fn create(
    tenant: Option<TenantName>,
    kind: KeyKind,
    valid: Option<Duration>,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    if let Some(tenant) = &tenant {
        admin.check_tenant(tenant).await?;
    }
    let (key, api_key) = make(&admin, tenant.as_ref(), kind, valid).await?;
    let tenant = tenant.map(|tenant| tenant.to_string());
    let expires_at = key.not_after.map(time_format::exact);
    let made =
        CreatedKey { id: key.id.to_string(), api_key, kind: kind.as_str(), tenant, expires_at };
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
    valid: Option<Duration>,
) -> anyhow::Result<(ApiKey, String)> {
    let id = ApiKeyId(u128::from_be_bytes(*random::<16>()));
    let api_key = format!("csk_{}", BASE64URL.encode(*random::<32>()));
    let digest = secret_digest(&api_key);
    let now = admin.now();
    let key = ApiKey {
        id,
        tenant: tenant.cloned(),
        kind,
        digest,
        state: CredentialState::Active,
        not_after: valid.map(|valid| now + valid),
        tenant_locked: false,
        created_at: now,
    };
    admin.core.create_api_key(&admin.actor, key.clone()).await?;
    Ok((key, api_key))
}

impl KeyArgs {
    /// Locks or unlocks the key; a key that has this state already keeps it.
    async fn set_state(self, state: CredentialState) -> anyhow::Result<()> {
        let (admin, id) = (Admin::at(&self.place).await?, self.id);
        let key = match admin.core.set_api_key_state(&admin.actor, id, state).await {
            Ok(key) => Some(key),
            Err(AdminError::Refused(AdminRefusal::Unchanged | AdminRefusal::UnknownKey)) => {
                admin.core.read().api_key_by_id(id).await?
            }
            Err(error) => return Err(error.into()),
        };
        let key =
            key.with_context(|| format!("there is no API key {id}: `countersign key list`"))?;
        let view = KeyView::of(&key);
        answer::print(admin.json, &view, || format!("API key {id} is {}.", view.state))?;
        admin.close().await
    }

    /// Deletes the key; no key of that id is no failure.
    async fn delete(self) -> anyhow::Result<()> {
        let (admin, id) = (Admin::at(&self.place).await?, self.id);
        let existed = match admin.core.delete_api_key(&admin.actor, id).await {
            Ok(()) => true,
            Err(AdminError::Refused(AdminRefusal::UnknownKey)) => false,
            Err(error) => return Err(error.into()),
        };
        let deleted = DeletedKey { id: id.to_string(), existed };
        answer::print(admin.json, &deleted, || {
            if existed {
                format!("API key {id} is deleted.")
            } else {
                format!("There is no API key {id}: nothing was deleted.")
            }
        })?;
        admin.close().await
    }
}

impl KeyView {
    fn of(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            kind: key.kind.as_str(),
            tenant: key.tenant.as_ref().map(ToString::to_string),
            state: key.state.as_str(),
            expires_at: key.not_after.map(time_format::exact),
            created_at: time_format::exact(key.created_at),
        }
    }
}

async fn list(tenant: Option<&TenantName>, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    let keys = all_pages(async |page| admin.core.read().api_keys(tenant, page).await).await?;
    let rows: Vec<KeyView> = keys.iter().map(KeyView::of).collect();
    answer::print(admin.json, &rows, || shown(&rows))?;
    admin.close().await
}

fn shown(rows: &[KeyView]) -> String {
    let mut table = Table::new(&["ID", "KIND", "TENANT", "STATE", "ENDS", "MADE"]);
    for row in rows {
        let tenant = row.tenant.as_deref().unwrap_or("(all)");
        let end = row.expires_at.as_deref().unwrap_or("never");
        table.row(&[&row.id, row.kind, tenant, row.state, end, &row.created_at]);
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
