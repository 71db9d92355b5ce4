//! `countersign activation …`.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::id::{TenantName, UserName};
use countersign_core::limits::ACTIVATIONS_PER_USER_MAX;
use countersign_core::port::all_pages;
use countersign_core::refusal::{UserError, UserRefusal};
use countersign_core::secret::Secret;
use countersign_core::time::Timestamp;
use countersign_wire::code::ActivationCode;
use countersign_wire::uri::EnrolUri;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::identity::checked_labels;
use super::qr::qr;
use super::table::Table;
use countersign_config::{PublicAddress, Tls};
use countersign_http::time_format;
use countersign_http::tls::own_ca_digest;

/// The longest lifetime of a code, in seconds: a year.
const VALID_SECONDS_MAX: u64 = 365 * 86_400;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an activation code, with which one device of the user can be enrolled once.
    ///
    /// Prints the code as text, as a URI, and as a QR code that a phone reads.
    #[command(
        after_help = "Example:\n  countersign activation create jane --tenant acme \\\n      \
                            --server https://sign.example.com"
    )]
    Create {
        /// The user whose device is to be enrolled
        user: UserName,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// The address at which the device reaches the server [default: the first configured public
        /// address]
        #[arg(long, value_name = "URL")]
        server: Option<PublicAddress>,
        /// The lifetime of the code [default: as configured, 86400]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        valid: Option<u64>,
        /// A label for the identities that are enrolled with the code; clients select identities by
        /// labels; may be repeated
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// List the activation codes that have not expired: who made each one, but not the code itself.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Only those of one user
        #[arg(long)]
        user: Option<UserName>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Delete an activation code, so that no device can be enrolled with it.
    Delete {
        /// The code's id, which is not the code: `countersign activation list`
        #[arg(value_parser = activation_id)]
        id: u128,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

/// An activation in a list.
#[derive(Serialize)]
struct ListedActivation {
    id: String,
    user: String,
    /// `open` or `used`.
    state: &'static str,
    /// The application or the operator that made it, as events name it.
    created_by: String,
    /// Whether applications' lists leave it out.
    secret: bool,
    labels: Vec<String>,
    expires_at: String,
}

#[derive(Serialize)]
struct DeletedActivation {
    id: String,
    /// Whether there was such a code.
    existed: bool,
}

#[derive(Serialize)]
struct ActivationView<'a> {
    id: String,
    code: &'a str,
    expires_at: String,
    uri: &'a str,
    tenant: String,
    user: String,
}

/// A new code.
#[derive(Debug)]
pub(super) struct CreatedActivation {
    pub(super) id: u128,
    pub(super) code: ActivationCode,
    pub(super) expires_at: Timestamp,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (user, tenant, server, valid, labels, place) = match self {
            Self::Create { user, tenant, server, valid, labels, place } => {
                (user, tenant, server, valid, labels, place)
            }
            Self::List { tenant, user, place } => return list(&tenant, user, &place).await,
            Self::Delete { id, tenant, place } => return delete(id, &tenant, &place).await,
        };
        let labels = checked_labels(labels)?;
        let admin = Admin::at(&place).await?;
        let server = match server {
            Some(server) => server,
            None => configured(&admin)?,
        };
        let valid = valid.map_or(admin.config.enrolment.code_lifetime, Duration::from_secs);
        let made = create(&admin, &tenant, &user, valid, labels).await?;
        let uri = EnrolUri {
            server: server.to_string(),
            tenant: tenant.to_string(),
            user: user.to_string(),
            code: made.code.clone(),
            authority: own_authority(&admin),
        };
        let uri = uri.to_text();
        let shown = ActivationView {
            id: format!("{:032x}", made.id),
            code: made.code.as_str(),
            expires_at: time_format::exact(made.expires_at),
            uri: &uri,
            tenant: tenant.to_string(),
            user: user.to_string(),
        };
        answer::print(admin.json, &shown, || {
            let (code, expires) = (made.code.grouped(), &shown.expires_at);
            let qr = qr(&uri).unwrap_or_default();
            format!(
                "For a device of {user} ({tenant}), once, until {expires}:\n\n  {}\n\n{qr}\n{}",
                *code, *uri
            )
        })?;
        admin.close().await
    }
}

async fn list(
    tenant: &TenantName,
    user: Option<UserName>,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    let (read, now) = (admin.core.read(), admin.now());
    let users = if let Some(user) = user {
        vec![admin.user(tenant, &user).await?]
    } else {
        admin.check_tenant(tenant).await?;
        all_pages(async |page| read.users(tenant, page).await).await?
    };
    let mut rows = Vec::new();
    for user in users {
        let found = read.activations(tenant, &user.value.name, now).await?;
        rows.extend(found.iter().map(|found| listed(&found.value)));
    }
    answer::print(admin.json, &rows, || {
        let mut table = Table::new(&["ID", "USER", "STATE", "MADE BY", "EXPIRES"]);
        for row in &rows {
            table.row(&[&row.id, &row.user, row.state, &row.created_by, &row.expires_at]);
        }
        table.text("There are no activation codes: `countersign activation create USER`.")
    })?;
    admin.close().await
}

fn listed(activation: &Activation) -> ListedActivation {
    ListedActivation {
        id: format!("{:032x}", activation.id),
        user: activation.user.to_string(),
        state: match activation.state {
            ActivationState::Open => "open",
            ActivationState::Used { .. } => "used",
        },
        created_by: activation.maker.to_string(),
        secret: activation.secret,
        labels: activation.labels.clone(),
        expires_at: time_format::exact(activation.not_after),
    }
}

/// Deletes a code; no code of that id is no failure.
async fn delete(id: u128, tenant: &TenantName, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(tenant).await?;
    let existed = match admin.core.delete_activation(&admin.actor, tenant, id).await {
        Ok(()) => true,
        Err(UserError::Refused(UserRefusal::UnknownCode)) => false,
        Err(error) => return Err(error.into()),
    };
    let deleted = DeletedActivation { id: format!("{id:032x}"), existed };
    answer::print(admin.json, &deleted, || {
        let id = &deleted.id;
        if existed {
            format!("Activation code {id} of {tenant} is deleted.")
        } else {
            format!("There is no activation code {id} of {tenant}: nothing was deleted.")
        }
    })?;
    admin.close().await
}

/// An activation's id: 32 hex digits.
fn activation_id(text: &str) -> anyhow::Result<u128> {
    ensure!(text.len() == 32, "an id has 32 hex digits");
    u128::from_str_radix(text, 16).context("an id has 32 hex digits")
}

/// The digest of the server's own authority, if it has made one.
fn own_authority(admin: &Admin) -> Option<[u8; 32]> {
    let Tls::Own = admin.config.server.tls else { return None };
    own_ca_digest(&admin.config.store.data).ok()
}

fn configured(admin: &Admin) -> anyhow::Result<PublicAddress> {
    let server = &admin.config.server;
    let port = server.listen.port();
    let address = server.public_addresses(port).swap_remove(0);
    // Only the server knows which free port it took.
    ensure!(
        !address.as_str().ends_with(":0"),
        "--server must name the address at which the device reaches the server"
    );
    Ok(address)
}

/// Creates a code for a device of the user, valid for `valid`; its identities get the labels.
///
/// # Errors
/// If the user does not exist or has too many usable codes, or the ledger fails.
pub(super) async fn create(
    admin: &Admin,
    tenant: &TenantName,
    user: &UserName,
    valid: Duration,
    labels: Vec<String>,
) -> anyhow::Result<CreatedActivation> {
    admin.user(tenant, user).await?;
    let now = admin.now();
    let code = ActivationCode::generate();
    // A whole second, so that the printed time is the exact one.
    let expires_at = Timestamp((now + valid).seconds() * 1_000);
    let id = admin.core.random_u128();
    let activation = Activation {
        id,
        tenant: tenant.clone(),
        user: user.clone(),
        code: Secret::new(code.as_str().as_bytes().to_vec()),
        not_after: expires_at,
        maker: admin.actor.clone(),
        secret: false,
        chosen: false,
        labels,
        state: ActivationState::Open,
    };
    match admin.core.create_activation(&admin.actor, activation).await {
        Ok(()) => Ok(CreatedActivation { id, code, expires_at }),
        Err(UserError::Refused(UserRefusal::ManyCodes)) => bail!(
            "user {user} of {tenant} has {ACTIVATIONS_PER_USER_MAX} usable activation codes, and no \
             more may be made until one is used or has expired"
        ),
        Err(UserError::Refused(UserRefusal::ManyDevices)) => bail!(
            "tenant {tenant} has as many devices, retired ones included, as \
             `[enrolment] devices_per_tenant_max` allows: raise it"
        ),
        Err(error) => Err(error.into()),
    }
}
