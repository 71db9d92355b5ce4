//! `countersign event`: what happened, when, and by whom.

use std::collections::BTreeMap;

use clap::Subcommand;
use countersign_core::event::RecordedEvent;
use countersign_core::id::TenantName;
use countersign_http::time_format;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::count::Count;
use super::table::Table;

/// Show what happened, when, and by whom
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the events of a tenant, oldest first
    List {
        /// Whose events [default: those of the server itself, such as API keys for all tenants]
        #[arg(long)]
        tenant: Option<TenantName>,
        /// Only events with a greater number: the last one of the list before
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        count: Count,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

#[derive(Serialize)]
struct EventView {
    number: u64,
    at: String,
    /// For example `transaction.started`.
    kind: &'static str,
    /// `client:…`, `device:…`, `command-line:…`, `console:…` or `server`.
    actor: String,
    /// For example `transaction:…`, `user:…`, `tenant`.
    subject: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::List { tenant, after, count, place } = self;
        let admin = Admin::at(&place)?;
        if let Some(tenant) = &tenant {
            admin.check_tenant(tenant).await?;
        }
        let read = admin.core.read();
        let page = async |page| read.events(tenant.as_ref(), page).await;
        let events = count.read(Some(after), page).await?;
        let events: Vec<EventView> = events.into_iter().map(shown).collect();
        answer::print(admin.json, &events, || table(&events))?;
        admin.close().await
    }
}

fn shown(event: RecordedEvent) -> EventView {
    EventView {
        number: event.number,
        at: time_format::exact(event.at),
        kind: event.kind.as_str(),
        actor: event.actor.to_string(),
        subject: event.subject.to_string(),
        details: event.details.into_iter().collect(),
    }
}

fn table(events: &[EventView]) -> String {
    let mut table = Table::new(&["NUMBER", "TIME", "KIND", "ACTOR", "SUBJECT", "DETAILS"]);
    for event in events {
        let details: Vec<_> =
            event.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row(&[
            &event.number.to_string(),
            &event.at,
            event.kind,
            &event.actor,
            &event.subject,
            &details.join(" "),
        ]);
    }
    table.text("There are no events.")
}
