//! The clients in the ledger: list, show, lock, unlock, set roles, delete, and replace a secret.

pub(in crate::cli) mod password;

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::all_pages;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::role::{Role, Roles};
use countersign_core::tenant::{Client, ClientSecret, CredentialState};
use serde::Serialize;
use zeroize::ZeroizeOnDrop;

use super::new_secret;
use crate::cli::admin::{Admin, LedgerArgs};
use crate::cli::answer;
use crate::cli::table::{self, Table};
use countersign_http::caller::secret_digest;
use countersign_http::time_format;

/// The longest time that may be named for a secret or a key, in seconds: ten years.
pub(in crate::cli) const VALID_SECONDS_MAX: u64 = 3_650 * 86_400;

/// A part of what a client may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum ClientRole {
    /// Start transactions, cancel them, read its own ones
    Ask,
    /// Read and change users, their devices and their signing identities
    People,
    /// Create, read and delete activation codes
    Enrol,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ListClients {
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct ClientArgs {
    /// The client's id: `countersign client list`
    id: ClientId,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

/// A client as it is listed.
#[derive(Serialize)]
struct ClientView {
    client_id: String,
    name: String,
    tenant: String,
    roles: Vec<&'static str>,
    /// `active` or `locked`.
    state: &'static str,
    /// The scopes of its tokens; null for all.
    scopes: Option<Vec<String>>,
    /// The account with which it obtains tokens by password; null if it may not.
    password_account: Option<String>,
    /// When its secret ends; null for never.
    secret_expires_at: Option<String>,
    /// When the secret before it ends; null if only one is accepted.
    old_secret_expires_at: Option<String>,
    created_at: String,
}

/// The data for a client that gets another secret.
#[derive(Serialize, ZeroizeOnDrop)]
struct RotatedSecret {
    client_id: String,
    /// 256 random bits.
    client_secret: String,
    #[zeroize(skip)]
    secret_expires_at: Option<String>,
    /// When the old secret ends; null if it has ended.
    #[zeroize(skip)]
    old_secret_expires_at: Option<String>,
}

#[derive(Serialize)]
struct DeletedClient {
    client_id: String,
    tenant: String,
    /// Whether there was such a client.
    existed: bool,
}

impl ListClients {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        let (read, now) = (admin.core.read(), admin.now());
        let clients = all_pages(async |page| read.clients(&self.tenant, page).await).await?;
        let rows: Vec<ClientView> =
            clients.iter().map(|client| ClientView::of(client, now)).collect();
        answer::print(admin.json, &rows, || {
            let mut table = Table::new(&["CLIENT", "NAME", "ROLES", "STATE", "SECRET ENDS"]);
            for row in &rows {
                let end = row.secret_expires_at.as_deref().unwrap_or("never");
                table.row(&[&row.client_id, &row.name, &row.roles.join(" "), row.state, end]);
            }
            table.text("There are no clients: `countersign client create NAME` makes one.")
        })?;
        admin.close().await
    }
}

impl ClientArgs {
    pub(super) async fn show(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        let client = self.client(&admin).await?;
        print(&admin, &client)?;
        admin.close().await
    }

    /// Locks or unlocks the client; a client that has this state already keeps it.
    pub(super) async fn set_state(self, state: CredentialState) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        let (actor, core) = (&admin.actor, &admin.core);
        let changed = core.set_client_state(actor, &self.tenant, &self.id, state).await;
        let client = self.changed(&admin, changed).await?;
        print(&admin, &client)?;
        admin.close().await
    }

    pub(super) async fn set_roles(self, roles: Vec<ClientRole>) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        let (actor, core) = (&admin.actor, &admin.core);
        let changed = core.set_client_roles(actor, &self.tenant, &self.id, of(&roles)).await;
        let client = self.changed(&admin, changed).await?;
        print(&admin, &client)?;
        admin.close().await
    }

    /// Deletes the client; no client of that id is no failure.
    pub(super) async fn delete(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id) = (&self.tenant, &self.id);
        admin.check_tenant(tenant).await?;
        let existed = match admin.core.delete_client(&admin.actor, tenant, id).await {
            Ok(()) => true,
            Err(AdminError::Refused(AdminRefusal::UnknownClient)) => false,
            Err(error) => return Err(error.into()),
        };
        let (client_id, tenant) = (id.to_string(), tenant.to_string());
        let deleted = DeletedClient { client_id, tenant, existed };
        answer::print(admin.json, &deleted, || {
            let DeletedClient { client_id, tenant, .. } = &deleted;
            if existed {
                format!("Client {client_id} of {tenant} is deleted, with its tokens.")
            } else {
                format!("There is no client {client_id} of {tenant}: nothing was deleted.")
            }
        })?;
        admin.close().await
    }

    /// Gives the client another secret. `keep` is the time for which the old one stays valid.
    pub(super) async fn rotate_secret(
        self,
        keep: Option<Duration>,
        valid: Option<Duration>,
    ) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, id, now) = (&self.tenant, &self.id, admin.now());
        admin.check_tenant(tenant).await?;
        let client_secret = new_secret();
        let not_after = valid.map(|valid| now + valid);
        let secret = ClientSecret { digest: secret_digest(&client_secret), not_after };
        let keep_until = keep.map(|keep| now + keep);
        let (actor, core) = (&admin.actor, &admin.core);
        let client = core.rotate_client_secret(actor, tenant, id, secret, keep_until).await;
        let client = match client {
            Ok(client) => client,
            Err(AdminError::Refused(AdminRefusal::UnknownClient)) => {
                bail!("tenant {tenant} has no client {id}: `countersign client list`")
            }
            Err(error) => return Err(error.into()),
        };
        let ClientView { secret_expires_at, old_secret_expires_at, .. } =
            ClientView::of(&client, now);
        let rotated = RotatedSecret {
            client_id: id.to_string(),
            client_secret,
            secret_expires_at,
            old_secret_expires_at,
        };
        answer::print(admin.json, &rotated, || {
            let old = match &rotated.old_secret_expires_at {
                None => "The old one has ended, with its tokens.".to_owned(),
                Some(end) => format!("The old one ends at {end}, with its tokens."),
            };
            let secret = &rotated.client_secret;
            format!("Client {id} has a new secret, which is shown once:\n\n{secret}\n\n{old}")
        })?;
        admin.close().await
    }

    async fn client(&self, admin: &Admin) -> anyhow::Result<Client> {
        let (tenant, id) = (&self.tenant, &self.id);
        let found = admin.core.read().client(tenant, id).await?;
        let found = found.with_context(|| {
            format!("tenant {tenant} has no client {id}: `countersign client list`")
        })?;
        Ok(found.value)
    }

    /// The client after a change that may have been made before.
    async fn changed(
        &self,
        admin: &Admin,
        changed: Result<Client, AdminError>,
    ) -> anyhow::Result<Client> {
        match changed {
            Ok(client) => Ok(client),
            Err(AdminError::Refused(AdminRefusal::Unchanged | AdminRefusal::UnknownClient)) => {
                self.client(admin).await
            }
            Err(error) => bail!(error),
        }
    }
}

impl ClientView {
    fn of(client: &Client, now: countersign_core::time::Timestamp) -> Self {
        let before = client.secret_before.filter(|before| before.is_valid(now));
        Self {
            client_id: client.id.to_string(),
            name: client.name.clone(),
            tenant: client.tenant.to_string(),
            roles: client.roles.iter().map(Role::as_str).collect(),
            state: client.state.as_str(),
            scopes: client.scopes.clone(),
            password_account: client.password.account.as_ref().map(|own| own.name.to_string()),
            secret_expires_at: client.secret.not_after.map(time_format::exact),
            old_secret_expires_at: before
                .and_then(|before| before.not_after)
                .map(time_format::exact),
            created_at: time_format::exact(client.created_at),
        }
    }
}

fn print(admin: &Admin, client: &Client) -> anyhow::Result<()> {
    let view = ClientView::of(client, admin.now());
    answer::print(admin.json, &view, || {
        let or =
            |value: &Option<String>, other: &str| value.clone().unwrap_or_else(|| other.to_owned());
        let mut entries = vec![
            ("client_id", view.client_id.clone()),
            ("name", view.name.clone()),
            ("roles", view.roles.join(" ")),
            ("state", view.state.to_owned()),
            ("scopes", view.scopes.as_ref().map_or("all".to_owned(), |own| own.join(" "))),
            ("secret ends", or(&view.secret_expires_at, "never")),
        ];
        if let Some(account) = &view.password_account {
            entries.push(("tokens by password of", account.clone()));
        }
        if let Some(end) = &view.old_secret_expires_at {
            entries.push(("old secret ends", end.clone()));
        }
        entries.push(("created", view.created_at.clone()));
        table::list(&entries)
    })
}

impl From<ClientRole> for Role {
    fn from(role: ClientRole) -> Self {
        match role {
            ClientRole::Ask => Self::Ask,
            ClientRole::People => Self::People,
            ClientRole::Enrol => Self::Enrol,
        }
    }
}

/// The roles that were named; the least if there are none.
pub(super) fn of(named: &[ClientRole]) -> Roles {
    if named.is_empty() {
        return Roles::default();
    }
    named.iter().copied().map(Role::from).collect()
}
