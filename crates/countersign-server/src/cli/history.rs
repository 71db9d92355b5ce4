//! `countersign history`: what happened, when, and by whom.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Args;
use countersign_core::event::{EventKind, RecordedEvent};
use countersign_core::id::TenantName;
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{Listed, Page};
use countersign_core::time::Timestamp;
use countersign_http::time_format;
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::count::Count;
use super::table::Table;

/// Show what happened, when, and by whom: the events of a tenant, oldest first.
///
/// With --json each line is one event, so that --all exports the history.
#[derive(Args, Debug)]
pub(super) struct History {
    /// Whose events [default: those of the server itself, such as API keys for all tenants]
    #[arg(long)]
    tenant: Option<TenantName>,
    /// Only events of this kind, such as `user.locked`, or of all kinds of a noun, such as `user`
    #[arg(long, value_parser = parse_kind)]
    kind: Option<String>,
    /// Only events by this author, such as `client:shop-1`, or by all of a sort, such as
    /// `command-line`
    #[arg(long)]
    actor: Option<String>,
    /// Only events about this, such as `user:jane`, or about all of a sort, such as `device`
    #[arg(long)]
    subject: Option<String>,
    /// Only events from this time on, such as 2026-11-28T00:00:00Z
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only events with a greater number: the last one of the list before
    #[arg(long, default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    count: Count,
    #[command(flatten)]
    place: LedgerArgs,
}

#[derive(Serialize)]
struct EventView {
    number: u64,
    at: String,
    /// For example `transaction.started`.
    kind: &'static str,
    /// `client:…`, `device:…`, `command-line:…`, `console:…`, `server` or `unknown`.
    actor: String,
    /// For example `transaction:…`, `user:…`, `tenant`.
    subject: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
}

fn parse_kind(text: &str) -> Result<String, String> {
    let is_known = |kind: &EventKind| matches_kind(kind.as_str(), text);
    if EventKind::ALL.iter().any(is_known) {
        return Ok(text.to_owned());
    }
    let all: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    Err(format!("there is no such kind; the kinds are {}", all.join(", ")))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let seconds = time_format::parse_seconds(text);
    let seconds = seconds.ok_or("it is no time of RFC 3339, such as 2026-11-28T00:00:00Z")?;
    Ok(Timestamp(seconds * 1_000))
}

/// Whether a kind is the asked one, or one of the asked noun.
fn matches_kind(kind: &str, asked: &str) -> bool {
    kind == asked || kind.split_once('.').is_some_and(|(noun, _)| noun == asked)
}

/// Whether an actor or a subject is the asked one, or one of the asked sort.
fn matches_name(name: &str, asked: &str) -> bool {
    name == asked || name.split_once(':').is_some_and(|(sort, _)| sort == asked)
}

impl History {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        if let Some(tenant) = &self.tenant {
            admin.check_tenant_or_evidence(tenant).await?;
        }
        let read = admin.core.read();
        let page = async |page: Page<u64>| {
            // A filter may leave nothing of a page, and the list ends only with the history.
            let mut after = page.after;
            let mut rows = Vec::new();
            loop {
                let listed = read.events(self.tenant.as_ref(), Page { after, limit: LISTED_MAX });
                let Listed { rows: events, next } = listed.await?;
                for event in events {
                    after = Some(event.number);
                    if self.is_asked(&event) {
                        rows.push(event);
                        if rows.len() >= usize::from(page.limit) {
                            return Ok(Listed { rows, next: after });
                        }
                    }
                }
                if next.is_none() {
                    return Ok(Listed { rows, next: None });
                }
            }
        };
        let events = self.count.read("--after", Some(self.after), page).await?;
        let events: Vec<EventView> = events.into_iter().map(shown).collect();
        if admin.json {
            for event in &events {
                let line = serde_json::to_string(event).context("an event is no JSON")?;
                answer::line(&countersign_device::display::json(&line))?;
            }
        } else {
            answer::print(false, &events, || table(&events))?;
        }
        admin.close().await
    }

    fn is_asked(&self, event: &RecordedEvent) -> bool {
        self.since.is_none_or(|since| event.at >= since)
            && self.kind.as_ref().is_none_or(|kind| matches_kind(event.kind.as_str(), kind))
            && self.actor.as_ref().is_none_or(|one| matches_name(&event.actor.to_string(), one))
            && self.subject.as_ref().is_none_or(|one| matches_name(&event.subject.to_string(), one))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_kind_and_no_other() {
        let page = include_str!("../../../../docs/history.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let listed: Vec<_> = rows.map(|(kind, _)| kind).collect();
        let all: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(listed, all);
    }

    #[test]
    fn a_filter_is_a_whole_name_or_its_sort() {
        for (name, asked, expected) in [
            ("user:jane", "user:jane", true),
            ("user:jane", "user", true),
            ("user:jane", "user:jan", false),
            ("user:jane", "us", false),
            ("server", "server", true),
        ] {
            assert_eq!(matches_name(name, asked), expected, "{name} {asked}");
        }
        assert!(parse_kind("user.locked").is_ok() && parse_kind("user").is_ok());
        assert!(parse_kind("user.lock").unwrap_err().contains("user.locked"));
        assert_eq!(parse_time("1970-01-01T00:00:02Z"), Ok(Timestamp(2_000)));
        assert!(parse_time("yesterday").is_err());
    }
}
