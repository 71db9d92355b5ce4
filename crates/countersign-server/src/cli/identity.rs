//! `countersign identity …`: the signing identities in the ledger.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use countersign_core::Error;
use countersign_core::id::{DeviceId, IdentityId, TenantName, UserName};
use countersign_core::limits::{LABELS_PER_IDENTITY_MAX, LISTED_MAX, REASON_BYTES_MAX};
use countersign_core::name;
use countersign_core::selector::{Filter, Held};
use serde::Serialize;

use super::answer;
use super::desk::{Desk, Place};
use super::table::Table;

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
        /// Only those that have this label; may be repeated, and then all of them
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Let an identity sign again.
    Enable(Status),
    /// Keep an identity from signing, until `enable`.
    Disable(Status),
    /// Give an identity other labels, in place of those that it has.
    Label {
        #[command(flatten)]
        one: One,
        /// A label; may be repeated
        #[arg(long = "label", value_name = "LABEL")]
        labels: Vec<String>,
    },
    /// Delete an identity, for good. What it signed stays verifiable.
    Delete(One),
}

#[derive(Args, Debug)]
pub(super) struct One {
    /// The identity's id: `countersign identity list`
    id: IdentityId,
    /// The tenant
    #[arg(long)]
    tenant: TenantName,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    one: One,
    /// Why, for whoever asks
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    #[serde(rename = "use")]
    usage: &'static str,
    user: String,
    device_id: String,
    labels: Vec<String>,
    /// What the device asked to be labelled.
    proposed_labels: Vec<String>,
    enabled: bool,
    status_reason: String,
    /// Base64 of DER.
    certificate: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, user, device, labels, place } => {
                let desk = Desk::at(&place)?;
                desk.tenant(&tenant).await?;
                let filter = Filter { user, device, labels };
                let held = desk.core().identities(&tenant, &filter, LISTED_MAX).await?;
                let shown: Vec<Shown> = held.iter().map(shown).collect();
                answer::print(desk.json, &shown, || table(&shown))?;
                desk.close().await
            }
            Self::Enable(status) => status.set(true).await,
            Self::Disable(status) => status.set(false).await,
            Self::Label { one, labels } => {
                let labels = checked_labels(labels)?;
                let desk = one.desk().await?;
                let held = desk.core().set_identity_labels(&one.tenant, one.id, &labels).await;
                one.done(desk, held, "has other labels").await
            }
            Self::Delete(one) => {
                let desk = one.desk().await?;
                let held = desk.core().delete_identity(&one.tenant, one.id).await;
                one.done(desk, held, "is deleted").await
            }
        }
    }
}

/// # Errors
/// Refuses labels that no identity may have.
pub(super) fn checked_labels(mut labels: Vec<String>) -> anyhow::Result<Vec<String>> {
    ensure!(
        labels.len() <= LABELS_PER_IDENTITY_MAX,
        "an identity has at most {LABELS_PER_IDENTITY_MAX} labels"
    );
    name::normalize(&mut labels)?;
    Ok(labels)
}

impl Status {
    async fn set(self, enabled: bool) -> anyhow::Result<()> {
        let Self { one, reason } = self;
        ensure!(reason.len() <= REASON_BYTES_MAX, "a reason has at most {REASON_BYTES_MAX} bytes");
        let desk = one.desk().await?;
        let set = desk.core().set_identity_status(&one.tenant, one.id, enabled, &reason).await;
        one.done(desk, set, if enabled { "is enabled" } else { "is disabled" }).await
    }
}

impl One {
    async fn desk(&self) -> anyhow::Result<Desk> {
        let desk = Desk::at(&self.place)?;
        desk.tenant(&self.tenant).await?;
        Ok(desk)
    }

    async fn done(
        &self,
        desk: Desk,
        outcome: Result<Held, Error>,
        what: &str,
    ) -> anyhow::Result<()> {
        let held = outcome.with_context(|| format!("identity {} of {}", self.id, self.tenant))?;
        answer::print(desk.json, &shown(&held), || {
            format!("Identity {} of {} {what}.", held.identity.id, held.device.user)
        })?;
        desk.close().await
    }
}

fn shown(held: &Held) -> Shown {
    let identity = &held.identity;
    Shown {
        id: identity.id.to_string(),
        usage: identity.purpose.as_str(),
        user: held.device.user.to_string(),
        device_id: held.device.id.to_string(),
        labels: identity.labels.clone(),
        proposed_labels: identity.proposed_labels.clone(),
        enabled: identity.enabled,
        status_reason: identity.status_reason.clone(),
        certificate: BASE64.encode(&identity.certificate),
    }
}

fn table(identities: &[Shown]) -> String {
    let mut table =
        Table::new(&["IDENTITY", "USE", "USER", "DEVICE", "STATE", "LABELS", "PROPOSED"]);
    for shown in identities {
        table.row(&[
            &shown.id,
            shown.usage,
            &shown.user,
            &shown.device_id,
            if shown.enabled { "enabled" } else { "disabled" },
            &shown.labels.join(", "),
            &shown.proposed_labels.join(", "),
        ]);
    }
    table.text("There are no such identities.")
}
