//! `countersign user …`.

use anyhow::{bail, ensure};
use clap::Subcommand;
use countersign_core::id::{TenantName, UserName};
use countersign_core::port::all_pages;
use countersign_core::refusal::{UserError, UserRefusal};
use countersign_core::time::Timestamp;
use countersign_core::user::{Lock, User};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::shell::quoted;
use super::table::{self, Table};
use countersign_http::time_format;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user: a person who may be asked to sign.
    #[command(after_help = "Example:\n  countersign user create jane --tenant acme")]
    Create {
        #[command(flatten)]
        who: Who,
    },
    /// List the users of a tenant.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Show a user: whether they are locked, and how many devices they have.
    Show {
        #[command(flatten)]
        who: Who,
    },
    /// Delete a user, with their devices and activation codes.
    ///
    /// Open transactions are cancelled; ended ones stay. The name is free for somebody else.
    Delete {
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

/// A user in a list.
#[derive(Serialize)]
struct ListedUser {
    user: String,
    tenant: String,
    locked: bool,
    /// The cause of the lock: `administrator`, `not-me` or `wrong-tries`.
    by: Option<&'static str>,
    /// When the lock ends by itself.
    until: Option<String>,
    created_at: String,
}

#[derive(Serialize)]
struct UserDetails {
    #[serde(flatten)]
    user: ListedUser,
    /// The number of their devices, without retired ones.
    devices: usize,
}

#[derive(Serialize)]
struct DeletedUser {
    user: String,
    tenant: String,
    /// Whether there was such a user.
    existed: bool,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { who } => {
                let admin = Admin::at(&who.place).await?;
                let (user, tenant) = (&who.user, &who.tenant);
                ensure!(
                    create(&admin, tenant, user).await?,
                    "tenant {tenant} has a user {user} already"
                );
                let made = CreatedUser { user: user.to_string(), tenant: tenant.to_string() };
                answer::print(admin.json, &made, || {
                    let argument = quoted(user.as_str());
                    // A name that begins with a dash would be read as an option.
                    let arguments = if user.as_str().starts_with('-') {
                        format!("--tenant {tenant} -- {argument}")
                    } else {
                        format!("{argument} --tenant {tenant}")
                    };
                    format!(
                        "User {user} of {tenant} is made. For a device: \
                         `countersign activation create {arguments}`."
                    )
                })?;
                admin.close().await
            }
            Self::List { tenant, place } => list(&tenant, &place).await,
            Self::Show { who } => who.show().await,
            Self::Delete { who } => who.delete().await,
            Self::Lock { who } => who.set(true).await,
            Self::Unlock { who } => who.set(false).await,
        }
    }
}

impl Who {
    async fn show(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let found = admin.user(&self.tenant, &self.user).await?.value;
        let read = admin.core.read();
        let devices = read.user_with_devices(&self.tenant, &self.user).await?;
        let devices = devices.map_or(0, |found| found.devices.len());
        let view = UserDetails { user: listed(&found, admin.now()), devices };
        answer::print(admin.json, &view, || {
            let UserDetails { user, devices } = &view;
            table::list(&[
                ("user", user.user.clone()),
                ("tenant", user.tenant.clone()),
                ("state", user.state().to_owned()),
                ("locked until", user.until.clone().unwrap_or_default()),
                ("devices", devices.to_string()),
                ("created", user.created_at.clone()),
            ])
        })?;
        admin.close().await
    }

    /// Deletes the user; no user of that name is no failure.
    async fn delete(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, user) = (&self.tenant, &self.user);
        admin.check_tenant(tenant).await?;
        let existed = match admin.core.delete_user(&admin.actor, tenant, user).await {
            Ok(()) => true,
            Err(UserError::Refused(UserRefusal::UnknownUser)) => false,
            Err(error) => return Err(error.into()),
        };
        let deleted = DeletedUser { user: user.to_string(), tenant: tenant.to_string(), existed };
        answer::print(admin.json, &deleted, || {
            if existed {
                format!("User {user} of {tenant} is deleted, with their devices.")
            } else {
                format!("There is no user {user} of {tenant}: nothing was deleted.")
            }
        })?;
        admin.close().await
    }

    /// Sets the lock; retried if the lock state was changed by another commit. A user who has this
    /// state already keeps it.
    async fn set(self, locked: bool) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        let (tenant, user) = (&self.tenant, &self.user);
        admin.user(tenant, user).await?;
        let lock = match admin.core.set_user_lock(&admin.actor, tenant, user, locked).await {
            Ok(lock_state) => lock_state.lock,
            Err(UserError::Refused(UserRefusal::Unchanged)) => {
                admin.user(tenant, user).await?.value.lock_state.lock
            }
            Err(error) => return Err(error.into()),
        };
        answer::print(admin.json, &shown(tenant, user, &lock), || {
            format!("User {user} of {tenant} is {}.", said(&lock))
        })?;
        admin.close().await
    }
}

async fn list(tenant: &TenantName, place: &LedgerArgs) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(tenant).await?;
    let (read, now) = (admin.core.read(), admin.now());
    let users = all_pages(async |page| read.users(tenant, page).await).await?;
    let rows: Vec<ListedUser> = users.iter().map(|user| listed(&user.value, now)).collect();
    answer::print(admin.json, &rows, || {
        let mut table = Table::new(&["USER", "STATE", "LOCKED BY", "UNTIL", "CREATED"]);
        for row in &rows {
            let (by, until) = (row.by.unwrap_or_default(), row.until.as_deref());
            table.row(&[&row.user, row.state(), by, until.unwrap_or_default(), &row.created_at]);
        }
        table.text("There are no users: `countersign user create NAME`.")
    })?;
    admin.close().await
}

/// A user at `now`: a lock that has ended is none.
fn listed(user: &User, now: Timestamp) -> ListedUser {
    let is_locked = user.lock_state.check(now).is_err();
    let lock = if is_locked { user.lock_state.lock } else { Lock::Open };
    let UserView { locked, by, until, .. } = shown(&user.tenant, &user.name, &lock);
    ListedUser {
        user: user.name.to_string(),
        tenant: user.tenant.to_string(),
        locked,
        by,
        until,
        created_at: time_format::exact(user.created_at),
    }
}

impl ListedUser {
    fn state(&self) -> &'static str {
        if self.locked { "locked" } else { "active" }
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
        Err(UserError::Refused(UserRefusal::ManyUsers)) => bail!(
            "tenant {tenant} has as many users as `[enrolment] users_per_tenant_max` allows: delete \
             some, or raise it"
        ),
        Err(error) => Err(error.into()),
    }
}
