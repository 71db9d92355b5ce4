//! A whole tenant: locked, unlocked, deleted.

use anyhow::bail;
use countersign_core::id::TenantName;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::tenant::TenantState;
use serde::Serialize;

use super::Admin;
use crate::cli::admin::LedgerArgs;
use crate::cli::answer;

#[derive(Serialize)]
struct TenantInState {
    name: String,
    state: &'static str,
}

#[derive(Serialize)]
struct DeletedTenant {
    name: String,
    /// Whether there was something to delete.
    existed: bool,
    /// Whether evidence and events of the tenant stay.
    evidence_kept: bool,
}

/// Locks or unlocks a tenant; one that has this state already keeps it.
pub(super) async fn set_lock(
    name: &TenantName,
    is_locked: bool,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(name).await?;
    match admin.core.set_tenant_lock(&admin.actor, name, is_locked).await {
        Ok(()) | Err(AdminError::Refused(AdminRefusal::Unchanged)) => {}
        Err(error) => return Err(error.into()),
    }
    let state = if is_locked { TenantState::Locked } else { TenantState::Active };
    let shown = TenantInState { name: name.to_string(), state: state.as_str() };
    answer::print(admin.json, &shown, || {
        if is_locked {
            format!(
                "Tenant {name} is locked: none of its clients, keys and devices is served.\n\
                 Open transactions end at their own deadlines."
            )
        } else {
            format!("Tenant {name} is not locked.")
        }
    })?;
    admin.close().await
}

/// Deletes a locked tenant; one that is deleted already is no failure.
pub(super) async fn delete(
    name: &TenantName,
    with_evidence: bool,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    let existed = match admin.core.delete_tenant(&admin.actor, name, with_evidence).await {
        Ok(()) => true,
        Err(AdminError::Refused(AdminRefusal::UnknownTenant | AdminRefusal::Unchanged)) => false,
        Err(AdminError::Refused(AdminRefusal::NotLocked)) => {
            bail!("tenant {name} is not locked: `countersign tenant lock {name}` first")
        }
        Err(error) => return Err(error.into()),
    };
    let evidence_kept = admin.core.read().tenant(name).await?.is_some();
    let deleted = DeletedTenant { name: name.to_string(), existed, evidence_kept };
    answer::print(admin.json, &deleted, || match (existed, evidence_kept) {
        (false, _) => format!("There is no tenant {name} in use: nothing was deleted."),
        (true, true) => format!(
            "Tenant {name} is deleted. Its events and the evidence of its signatures are kept:\n\
             `countersign tenant delete {name} --with-evidence` deletes them too."
        ),
        (true, false) => format!("Tenant {name} is deleted, with all that belonged to it."),
    })?;
    admin.close().await
}

/// The reason why no tenant of that name can be made.
pub(super) async fn taken(admin: &Admin, name: &TenantName) -> anyhow::Result<String> {
    Ok(match admin.tenant(name).await?.state {
        TenantState::Active | TenantState::Locked => format!("there is a tenant {name} already"),
        TenantState::Deleted => format!(
            "there was a tenant {name}, whose evidence is kept under this name: `countersign \
             tenant delete {name} --with-evidence` deletes that too"
        ),
    })
}
