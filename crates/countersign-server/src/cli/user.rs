//! `countersign user …`.

use anyhow::{bail, ensure};
use clap::Subcommand;
use countersign_core::id::{TenantName, UserName};
use countersign_core::limits::COMMIT_TRIES_MAX;
use countersign_core::port::{Changed, Created, Registry as _};
use countersign_core::user::{Lock, Standing};
use serde::Serialize;

use super::answer;
use super::desk::{Desk, Place};
use super::shell::quoted;
use crate::moment;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user: a person who may be asked to sign.
    #[command(after_help = "Example:\n  countersign user create jane --tenant acme")]
    Create {
        #[command(flatten)]
        who: Who,
    },
    /// Lock a user: from now on nothing is started, shown or finished, until `unlock`.
    ///
    /// What is open ends in its own time; a signature that comes after the lock is refused.
    Lock {
        #[command(flatten)]
        who: Who,
    },
    /// Unlock a user, whoever locked them: an administrator, wrong PINs, or "this was not me".
    ///
    /// The counts of wrong PINs and codes begin anew.
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
    place: Place,
}

#[derive(Serialize)]
struct Made {
    name: String,
    tenant: String,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    tenant: String,
    locked: bool,
    /// `administrator`, `not-me` or `wrong-tries`, where locked.
    by: Option<&'static str>,
    /// When a lock opens by itself.
    until: Option<String>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { who } => {
                let desk = Desk::at(&who.place)?;
                let (user, tenant) = (&who.user, &who.tenant);
                ensure!(
                    create(&desk, tenant, user).await?,
                    "tenant {tenant} has a user {user} already"
                );
                let made = Made { name: user.to_string(), tenant: tenant.to_string() };
                answer::print(desk.json, &made, || {
                    let argument = quoted(user.as_str());
                    format!(
                        "User {user} of {tenant} is made. For a device: \
                         `countersign activation create {argument} --tenant {tenant}`."
                    )
                })?;
                desk.close().await
            }
            Self::Lock { who } => who.set(Lock::Administrator).await,
            Self::Unlock { who } => who.set(Lock::Open).await,
        }
    }
}

impl Who {
    /// Sets the lock; whoever decides on the user's standing as it was before, decides again.
    async fn set(self, lock: Lock) -> anyhow::Result<()> {
        let desk = Desk::at(&self.place)?;
        let (tenant, user) = (&self.tenant, &self.user);
        for _ in 0..COMMIT_TRIES_MAX {
            let found = desk.user(tenant, user).await?;
            let standing = found.value.standing;
            let next = match lock {
                Lock::Open => Standing::default(),
                lock => Standing { lock, ..standing },
            };
            ensure!(
                next != standing,
                "user {user} of {tenant} is {} already",
                said(&standing.lock)
            );
            let changed = desk.store.set_standing(tenant, user, found.version, next).await?;
            if changed == Changed::Stale {
                continue;
            }
            let shown = shown(tenant, user, &next.lock);
            answer::print(desk.json, &shown, || {
                format!("User {user} of {tenant} is {}.", said(&next.lock))
            })?;
            return desk.close().await;
        }
        bail!("user {user} of {tenant} kept changing meanwhile: try again")
    }
}

fn shown(tenant: &TenantName, user: &UserName, lock: &Lock) -> Shown {
    let (by, until) = match lock {
        Lock::Open => (None, None),
        Lock::Administrator => (Some("administrator"), None),
        Lock::Disowned => (Some("not-me"), None),
        Lock::Until(end) => (Some("wrong-tries"), Some(moment::exact(*end))),
    };
    let locked = by.is_some();
    Shown { name: user.to_string(), tenant: tenant.to_string(), locked, by, until }
}

fn said(lock: &Lock) -> &'static str {
    match lock {
        Lock::Open => "unlocked",
        _ => "locked",
    }
}

/// Makes a user; answers whether there was none of that name before.
///
/// # Errors
/// When there is no such tenant, or the ledger fails.
pub(super) async fn create(
    desk: &Desk,
    tenant: &TenantName,
    user: &UserName,
) -> anyhow::Result<bool> {
    desk.tenant(tenant).await?;
    Ok(desk.store.create_user(tenant, user, None, desk.now()).await? == Created::Made)
}
