//! `countersign delivery …`.

use anyhow::ensure;
use clap::Subcommand;
use countersign_core::delivery::Debt;
use countersign_core::id::{DeliveryId, TenantName};
use countersign_core::limits::{DELIVERIES_CHANGED_MAX, LISTED_MAX};
use countersign_core::port::{Ledger as _, Unpaid};
use serde::Serialize;

use super::answer;
use super::desk::{Desk, Place};
use super::table::Table;
use crate::moment;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List what a tenant's receivers have not taken yet, the oldest first.
    List {
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// Only what was given up, and waits for `replay`
        #[arg(long)]
        given_up: bool,
        /// How many at the most
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(LISTED_MAX)))]
        limit: u16,
        #[command(flatten)]
        place: Place,
    },
    /// Try again what was given up, as if it were owed only now: one delivery, or all.
    #[command(after_help = "Example:\n  countersign delivery replay --all --tenant acme")]
    Replay {
        /// Its id (32 hex digits), as `list` shows it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<DeliveryId>,
        /// All that the tenant has
        #[arg(long)]
        all: bool,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Shown {
    id: String,
    transaction: String,
    debt: &'static str,
    /// Host and port of a callback; the service of a push, and what is behind it.
    host: String,
    state: &'static str,
    /// Since it was owed, or replayed.
    attempts: u16,
    owed_at: String,
    /// When it is tried next; while it is being tried, when that is over at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    /// What came of the last attempt.
    outcome: Option<String>,
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, given_up, limit, place } => {
                let desk = Desk::at(&place)?;
                desk.tenant(&tenant).await?;
                let unpaid = desk.store.deliveries(&tenant, given_up, limit).await?;
                let shown: Vec<Shown> = unpaid.into_iter().map(shown).collect();
                answer::print(desk.json, &shown, || table(&shown))?;
                desk.close().await
            }
            Self::Replay { id, all: _, tenant, place } => {
                let desk = Desk::at(&place)?;
                desk.tenant(&tenant).await?;
                let mut replayed = 0;
                loop {
                    let count = desk.store.replay(&tenant, id, desk.now()).await?;
                    replayed += u64::from(count);
                    if count < DELIVERIES_CHANGED_MAX {
                        break;
                    }
                }
                if let Some(id) = id {
                    ensure!(replayed == 1, "tenant {tenant} has given up no delivery {id}");
                }
                answer::print(desk.json, &Replayed { replayed }, || {
                    format!("{replayed} deliveries of {tenant} are tried again")
                })?;
                desk.close().await
            }
        }
    }
}

fn shown(unpaid: Unpaid) -> Shown {
    let delivery = unpaid.delivery;
    Shown {
        id: delivery.id.to_string(),
        transaction: delivery.transaction.to_string(),
        debt: match delivery.debt {
            Debt::Callback => "callback",
            Debt::Push(_) => "push",
        },
        host: delivery.lane.host,
        state: if unpaid.due_at.is_some() { "waiting" } else { "given_up" },
        attempts: delivery.attempts,
        owed_at: moment::exact(delivery.owed_at),
        due_at: unpaid.due_at.map(moment::exact),
        outcome: unpaid.outcome,
    }
}

fn table(unpaid: &[Shown]) -> String {
    let mut table = Table::new(&["ID", "HOST", "STATE", "ATTEMPTS", "NEXT", "LAST OUTCOME"]);
    for shown in unpaid {
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
