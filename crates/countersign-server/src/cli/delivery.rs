//! `countersign delivery …`.

use anyhow::ensure;
use clap::Subcommand;
use countersign_core::delivery::DeliveryKind;
use countersign_core::id::{DeliveryId, TenantName};
use countersign_core::limits::DELIVERIES_CHANGED_MAX;
use countersign_core::port::{DeliveryCursor, OutboxEntry};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::count::Count;
use super::table::Table;
use countersign_http::time_format;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a tenant's deliveries that have not been accepted yet, the oldest first.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Only dead letters, which `replay` tries again
        #[arg(long)]
        dead_letters: bool,
        #[command(flatten)]
        count: Count,
        /// Begin after the last row of an earlier list, whose note told this cursor
        #[arg(long)]
        cursor: Option<DeliveryCursor>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// Try dead letters again, as if they were new: one delivery, or all.
    #[command(after_help = "Example:\n  countersign delivery replay --all --tenant acme")]
    Replay {
        /// Its id (32 hex digits), as `list` shows it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<DeliveryId>,
        /// All dead letters of the tenant
        #[arg(long)]
        all: bool,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Serialize)]
struct DeliveryView {
    id: String,
    transaction: String,
    kind: &'static str,
    /// Host and port of a callback; the service of a push, and its application.
    host: String,
    state: &'static str,
    /// Attempts since it was queued or replayed.
    attempts: u16,
    queued_at: String,
    /// The time of the next attempt; during an attempt, the time at which its lease ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    /// The outcome of the last attempt.
    outcome: Option<String>,
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, dead_letters, count, cursor, place } => {
                let admin = Admin::at(&place).await?;
                admin.check_tenant(&tenant).await?;
                let read = admin.core.read();
                let outbox = count.read("--cursor", cursor, async |page| {
                    read.deliveries(&tenant, dead_letters, page).await
                });
                let outbox = outbox.await?;
                let shown: Vec<DeliveryView> = outbox.into_iter().map(shown).collect();
                answer::print(admin.json, &shown, || table(&shown))?;
                admin.close().await
            }
            Self::Replay { id, all: _, tenant, place } => {
                let admin = Admin::at(&place).await?;
                admin.check_tenant(&tenant).await?;
                let mut replayed = 0;
                loop {
                    let count = admin.core.replay(&admin.actor, &tenant, id).await?;
                    replayed += u64::from(count);
                    if count < DELIVERIES_CHANGED_MAX {
                        break;
                    }
                }
                if let Some(id) = id {
                    ensure!(replayed == 1, "tenant {tenant} has no dead letter {id}");
                }
                answer::print(admin.json, &Replayed { replayed }, || {
                    format!("{replayed} deliveries of {tenant} are tried again")
                })?;
                admin.close().await
            }
        }
    }
}

fn shown(outbox: OutboxEntry) -> DeliveryView {
    let delivery = outbox.delivery;
    DeliveryView {
        id: delivery.id.to_string(),
        transaction: delivery.transaction.to_string(),
        kind: match delivery.kind {
            DeliveryKind::Callback => "callback",
            DeliveryKind::Push(_) => "push",
        },
        host: delivery.destination.host().to_string(),
        state: if outbox.due_at.is_some() { "waiting" } else { "dead_letter" },
        attempts: delivery.attempts,
        queued_at: time_format::exact(delivery.queued_at),
        due_at: outbox.due_at.map(time_format::exact),
        outcome: outbox.outcome,
    }
}

fn table(outbox: &[DeliveryView]) -> String {
    let mut table = Table::new(&["ID", "HOST", "STATE", "ATTEMPTS", "NEXT", "LAST OUTCOME"]);
    for shown in outbox {
        table.row(&[
            &shown.id,
            &shown.host,
            shown.state,
            &shown.attempts.to_string(),
            shown.due_at.as_deref().unwrap_or_default(),
            shown.outcome.as_deref().unwrap_or_default(),
        ]);
    }
    table.text("There are no deliveries.")
}
