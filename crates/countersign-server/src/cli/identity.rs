//! `countersign identity …`: the signing identities in the ledger.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use countersign_core::id::{DeviceId, IdentityId, TenantName, UserName};
use countersign_core::limits::{LABELS_PER_IDENTITY_MAX, REASON_BYTES_MAX};
use countersign_core::name;
use countersign_core::refusal::IdentityError;
use countersign_core::selector::{Filter, HeldIdentity};
use countersign_core::time::Timestamp;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::table::Table;
use super::validity::Validity;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the identities of a tenant, by user and device.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Only those of one user
        #[arg(long)]
        user: Option<UserName>,
        /// Only those of one device
        #[arg(long)]
        device: Option<DeviceId>,
        /// Only those with this label; if repeated, only those with all of these labels
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
        /// Only those whose certificates end within so many days, or have ended
        #[arg(long, value_name = "DAYS")]
        ends_within: Option<u32>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Let an identity sign again.
    Enable(IdentityStatusView),
    /// Prevent an identity from signing, until `enable`.
    Disable(IdentityStatusView),
    /// Replace the labels of an identity.
    Label {
        #[command(flatten)]
        one: IdentityArgs,
        /// A label; may be repeated
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
    },
    /// Delete an identity permanently. Its signatures remain verifiable.
    Delete(IdentityArgs),
}

#[derive(Args, Debug)]
pub(super) struct IdentityArgs {
    /// The identity's id: `countersign identity list`
    id: IdentityId,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Args, Debug)]
pub(super) struct IdentityStatusView {
    #[command(flatten)]
    one: IdentityArgs,
    /// The reason, which readers of the identity see
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Serialize)]
struct IdentityView {
    id: String,
    #[serde(rename = "use")]
    usage: &'static str,
    user: String,
    device_id: String,
    labels: Vec<String>,
    /// The labels that the device proposed.
    proposed_labels: Vec<String>,
    enabled: bool,
    status_reason: String,
    #[serde(flatten)]
    validity: Validity,
    /// Whether another authority than the tenant's own issued the certificate.
    imported: bool,
    /// Base64 of DER.
    certificate: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, user, device, labels, ends_within, place } => {
                let admin = Admin::at(&place).await?;
                admin.check_tenant(&tenant).await?;
                let filter = Filter { user, device, labels };
                let mut held = admin.core.identities(&tenant, &filter, usize::MAX).await?;
                let now = admin.now();
                if let Some(days) = ends_within {
                    let until = now + Duration::from_hours(24) * days;
                    held.retain(|held| held.identity.valid_until <= until);
                }
                let shown: Vec<IdentityView> = held.iter().map(|held| shown(held, now)).collect();
                answer::print(admin.json, &shown, || table(&shown))?;
                admin.close().await
            }
            Self::Enable(status) => status.set(true).await,
            Self::Disable(status) => status.set(false).await,
            Self::Label { one, labels } => {
                let labels = checked_labels(labels)?;
                let admin = one.admin().await?;
                let held = admin
                    .core
                    .set_identity_labels(&admin.actor, &one.tenant, one.id, &labels)
                    .await;
                one.done(admin, held, "has other labels").await
            }
            Self::Delete(one) => {
                let admin = one.admin().await?;
                let held = admin.core.delete_identity(&admin.actor, &one.tenant, one.id).await;
                one.done(admin, held, "is deleted").await
            }
        }
    }
}

/// # Errors
/// Refuses invalid labels.
pub(super) fn checked_labels(mut labels: Vec<String>) -> anyhow::Result<Vec<String>> {
    ensure!(
        labels.len() <= LABELS_PER_IDENTITY_MAX,
        "an identity has at most {LABELS_PER_IDENTITY_MAX} labels"
    );
    name::normalize(&mut labels)?;
    Ok(labels)
}

impl IdentityStatusView {
    async fn set(self, enabled: bool) -> anyhow::Result<()> {
        let Self { one, reason } = self;
        ensure!(reason.len() <= REASON_BYTES_MAX, "a reason has at most {REASON_BYTES_MAX} bytes");
        let admin = one.admin().await?;
        let set = admin
            .core
            .set_identity_status(&admin.actor, &one.tenant, one.id, enabled, &reason)
            .await;
        one.done(admin, set, if enabled { "is enabled" } else { "is disabled" }).await
    }
}

impl IdentityArgs {
    async fn admin(&self) -> anyhow::Result<Admin> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        Ok(admin)
    }

    async fn done(
        &self,
        admin: Admin,
        outcome: Result<HeldIdentity, IdentityError>,
        what: &str,
    ) -> anyhow::Result<()> {
        let held = outcome.with_context(|| format!("identity {} of {}", self.id, self.tenant))?;
        answer::print(admin.json, &shown(&held, admin.now()), || {
            format!("Identity {} of {} {what}.", held.identity.id, held.device.user)
        })?;
        admin.close().await
    }
}

fn shown(held: &HeldIdentity, now: Timestamp) -> IdentityView {
    let identity = &held.identity;
    IdentityView {
        id: identity.id.to_string(),
        usage: identity.usage.as_str(),
        user: held.device.user.to_string(),
        device_id: held.device.id.to_string(),
        labels: identity.labels.clone(),
        proposed_labels: identity.proposed_labels.clone(),
        enabled: identity.enabled,
        status_reason: identity.status_reason.clone(),
        validity: Validity::of_path(&identity.certificate, identity.valid_until, now),
        imported: identity.imported,
        certificate: BASE64.encode(&identity.certificate),
    }
}

fn table(identities: &[IdentityView]) -> String {
    let head = ["IDENTITY", "USE", "USER", "DEVICE", "STATE", "VALID UNTIL", "LABELS", "PROPOSED"];
    let mut table = Table::new(&head);
    for shown in identities {
        table.row(&[
            &shown.id,
            shown.usage,
            &shown.user,
            &shown.device_id,
            if shown.enabled { "enabled" } else { "disabled" },
            &shown.validity.text(),
            &shown.labels.join(", "),
            &shown.proposed_labels.join(", "),
        ]);
    }
    table.text("There are no such identities.")
}
