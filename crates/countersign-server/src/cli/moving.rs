//! `countersign migrate --from DIR --to URL`: a ledger, moved from a file into PostgreSQL.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use countersign_config::{Config, Overrides};
use countersign_core::event::EventKind;
use countersign_core::port::Clock as _;
use countersign_node::clock::System;
use countersign_store::{Move, MoveProgress, TableCheck, TableSum};
use serde::Serialize;

use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::table::Table;
use crate::ledger_location;

/// The characters of the bar on a terminal.
const BAR_WIDTH: u64 = 30;
/// How many lines tell of a phase if there is no terminal.
const LINES: u64 = 10;

#[derive(Serialize)]
struct MovedView {
    from: String,
    ledger: String,
    /// Whether a move that was interrupted went on.
    resumed: bool,
    /// Whether both ledgers are the same, so that nodes can open the new one.
    same: bool,
    rows: u64,
    tables: Vec<TableView>,
}

#[derive(Serialize)]
struct TableView {
    table: &'static str,
    same: bool,
    source: SumView,
    target: SumView,
}

#[derive(Serialize)]
struct SumView {
    rows: u64,
    sha256: String,
}

/// Moves the ledger, or goes on with a move that was interrupted.
pub(super) async fn run(from: PathBuf, to: String, place: &LedgerArgs) -> anyhow::Result<()> {
    let overrides = Overrides { data: Some(from.clone()), to: Some(to), listen: None };
    let config = Config::load(place.config.as_deref(), overrides)?;
    let postgres = config.store.postgres.as_ref().context("--to names no database")?;
    let (key, location) = (&config.store.master_key_file, ledger_location::location(postgres));
    let mut begun = Move::begin(&from, key, &location, System::default().now()).await?;
    let resumed = begun.is_resumed();
    let MoveProgress { rows, .. } = begun.progress();
    let mut meter = Meter::new("moving");
    while let Some(progress) = begun.step().await.context(GO_ON)? {
        meter.show(progress);
    }
    meter.end();
    let mut meter = Meter::new("comparing");
    let checks = begun.finish(|progress| meter.show(progress)).await.context(GO_ON)?;
    meter.end();

    let same = checks.iter().all(TableCheck::is_same);
    let ledger = ledger_location::name(&config);
    let tables = checks.iter().map(TableView::of).collect();
    let view = MovedView { from: from.display().to_string(), ledger, resumed, same, rows, tables };
    let postgres = (location.url.as_str(), location.schema.as_str());
    answer::print(place.json, &view, || view.told(&key.display().to_string(), postgres))?;
    if !same {
        bail!(
            "the ledgers differ, and no node can open the new one: something else wrote to it; \
             remove its schema (`DROP SCHEMA {} CASCADE`) and begin again",
            location.schema
        );
    }
    record(&config, rows).await
}

const GO_ON: &str = "the move was interrupted; the same command goes on where it was";

/// Opens the new ledger as every other command does, and records the move in it.
async fn record(config: &Config, rows: u64) -> anyhow::Result<()> {
    let admin = Admin::with(config.clone(), false).await?;
    let details = vec![("rows", rows.to_string())];
    admin.core.record_ledger_act(&admin.actor, EventKind::LedgerMoved, details).await?;
    admin.close().await
}

impl TableView {
    fn of(check: &TableCheck) -> Self {
        let sum = |sum: TableSum| SumView { rows: sum.rows, sha256: hex::encode(sum.sha256) };
        let (source, target) = (sum(check.source), sum(check.target));
        Self { table: check.table, same: check.is_same(), source, target }
    }
}

impl MovedView {
    fn told(&self, master_key: &str, (url, schema): (&str, &str)) -> String {
        let mut table = Table::new(&["TABLE", "ROWS", "SHA-256", "MOVED", "SHA-256"]);
        for TableView { table: name, same, source, target } in &self.tables {
            let (rows, moved) = (source.rows.to_string(), target.rows.to_string());
            let end = if *same { "the same" } else { &target.sha256[..16] };
            table.row(&[name, &rows, &source.sha256[..16], &moved, end]);
        }
        let table = table.text("");
        let Self { from, ledger, rows, .. } = self;
        if !self.same {
            return table;
        }
        format!(
            "{table}\n\
             The ledger in {from} is moved: {rows} rows, the same in {ledger}.\n\
             All nodes need a copy of the master key file {master_key}, and in their \
             configuration:\n\
             [store]\n\
             url = \"{url}\"\n\
             schema = \"{schema}\"\n\
             {from} was not changed. Move ledger.db away from it, so that no server serves it again."
        )
    }
}

/// Tells on standard error how far a phase is: a bar on a terminal, a few lines elsewhere.
struct Meter {
    doing: &'static str,
    is_terminal: bool,
    /// The last step that was shown; each is drawn once.
    shown: Option<u64>,
}

impl Meter {
    fn new(doing: &'static str) -> Self {
        Self { doing, is_terminal: io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, progress: MoveProgress) {
        let MoveProgress { done, rows, .. } = progress;
        // On a terminal, each thousandth is drawn.
        let steps = if self.is_terminal { 1_000 } else { LINES };
        let step = (done * steps).checked_div(rows).unwrap_or(steps);
        if self.shown == Some(step) {
            return;
        }
        self.shown = Some(step);
        let line = line(self.doing, progress, self.is_terminal);
        let line = if self.is_terminal { format!("\r{line}") } else { format!("{line}\n") };
        // A progress that cannot be shown must not end the move.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn end(self) {
        if self.is_terminal && self.shown.is_some() {
            eprintln!();
        }
    }
}

/// One line, which covers an earlier one on a terminal.
fn line(doing: &str, MoveProgress { table, done, rows }: MoveProgress, with_bar: bool) -> String {
    let part = |whole: u64| (done.min(rows) * whole).checked_div(rows).unwrap_or(whole);
    let percent = part(100);
    if !with_bar {
        return format!("{doing}: {percent} %, {done} of {rows} rows, table {table}");
    }
    let full = usize::try_from(part(BAR_WIDTH)).unwrap_or_default();
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(BAR_WIDTH as usize - full));
    format!("{doing:<9} [{bar}] {percent:>3} %  {done}/{rows}  {table:<16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_to_its_width_and_keeps_its_length() {
        let at = |done, table| line("moving", MoveProgress { table, done, rows: 1_000 }, true);
        let half = at(500, "devices");
        assert!(half.contains(&format!("[{}{}]  50 %", "#".repeat(15), "-".repeat(15))), "{half}");
        assert!(at(1_000, "events").contains(&format!("[{}] 100 %", "#".repeat(30))));
        assert_eq!(at(100, "tenants").len(), at(999, "used_signatures").len());
    }

    #[test]
    fn a_ledger_without_rows_is_moved_at_once() {
        let nothing = MoveProgress { table: "events", done: 0, rows: 0 };
        assert_eq!(line("moving", nothing, false), "moving: 100 %, 0 of 0 rows, table events");
    }
}
