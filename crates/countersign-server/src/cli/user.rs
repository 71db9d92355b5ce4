//! `countersign user …`.

use anyhow::{bail, ensure};
use clap::Subcommand;
use countersign_core::id::{TenantName, UserName};
use countersign_core::refusal::{UserError, UserRefusal};
use countersign_core::user::Lock;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::shell::quoted;
use countersign_http::time_format;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user: a person who may be asked to sign.
    #[command(after_help = "Example:\n  countersign user create jane --tenant acme")]
    Create {
        #[command(flatten)]
        who: Who,
    },
    /// Lock a user: until `unlock`, no transaction is started, shown or finished.
    ///
    /// Open transactions end at their own deadlines; a signature that arrives after the lock is
    /// refused.
    Lock {
        #[command(flatten)]
        who: Who,
    },
    /// Unlock a user, whether an administrator, wrong PINs, or "this was not me" locked them.
    ///
    /// The counts of wrong PINs and codes start again at zero.
    Unlock {
        #[command(flatten)]
        who: Who,
    },
}

#[derive(clap::Args, Debug)]
pub(super) struct Who {
    /// The user's name, 1 to 255 bytes
    user: UserName,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct CreatedUser {
    user: String,
    tenant: String,
}

#[derive(Serialize)]
struct UserView {
    user: String,
    tenant: String,
    locked: bool,
    /// The cause of the lock: `administrator`, `not-me` or `wrong-tries`.
    by: Option<&'static str>,
    /// When the lock ends by itself.
    until: Option<String>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { who } => {
                let admin = Admin::at(&who.place)?;
                let (user, tenant) = (&who.user, &who.tenant);
                ensure!(
                    create(&admin, tenant, user).await?,
                    "tenant {tenant} has a user {user} already"
                );
                let made = CreatedUser { user: user.to_string(), tenant: tenant.to_string() };
                answer::print(admin.json, &made, || {
                    let argument = quoted(user.as_str());
                    format!(
                        "User {user} of {tenant} is made. For a device: \
                         `countersign activation create {argument} --tenant {tenant}`."
                    )
                })?;
                admin.close().await
            }
            Self::Lock { who } => who.set(true).await,
            Self::Unlock { who } => who.set(false).await,
        }
    }
}

impl Who {
    /// Sets the lock; retried if the lock state was changed by another commit.
    async fn set(self, locked: bool) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place)?;
        let (tenant, user) = (&self.tenant, &self.user);
        admin.user(tenant, user).await?;
        let lock = match admin.core.set_user_lock(&admin.actor, tenant, user, locked).await {
            Ok(lock_state) => lock_state.lock,
            Err(UserError::Refused(UserRefusal::Unchanged)) => {
                let state = if locked { "locked" } else { "unlocked" };
                bail!("user {user} of {tenant} is {state} already")
            }
            Err(error) => return Err(error.into()),
        };
        answer::print(admin.json, &shown(tenant, user, &lock), || {
            format!("User {user} of {tenant} is {}.", said(&lock))
        })?;
        admin.close().await
    }
}

fn shown(tenant: &TenantName, user: &UserName, lock: &Lock) -> UserView {
    let (by, until) = match lock {
        Lock::Open => (None, None),
        Lock::Administrator => (Some("administrator"), None),
        Lock::ReportedByUser => (Some("not-me"), None),
        Lock::Until(end) => (Some("wrong-tries"), Some(time_format::exact(*end))),
    };
    let locked = by.is_some();
    UserView { user: user.to_string(), tenant: tenant.to_string(), locked, by, until }
}

fn said(lock: &Lock) -> &'static str {
    match lock {
        Lock::Open => "unlocked",
        _ => "locked",
    }
}

/// Creates a user; returns whether the name was free.
///
/// # Errors
/// If the tenant does not exist, or the ledger fails.
pub(super) async fn create(
    admin: &Admin,
    tenant: &TenantName,
    user: &UserName,
) -> anyhow::Result<bool> {
    admin.check_tenant(tenant).await?;
    match admin.core.create_user(&admin.actor, tenant, user, None).await {
        Ok(()) => Ok(true),
        Err(UserError::Refused(UserRefusal::Exists)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
