//! Killed at random moments under load: what was acknowledged is there afterwards, and nothing ends twice.
//!
//! The dice choose, from a fixed seed, what people and applications do and after how many answers the
//! process is killed; what of it the process has done by then is up to the machine. `CRASHES=1000`
//! kills more often. What the kernel would lose at a power cut is not lost here: for that see the
//! store's torn logs.

mod book;
mod load;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_proof::{Roots, cms};
use countersign_sim::Dice;

use self::book::Row;
use self::load::Town;
use crate::house::openssl_verifies;

/// Half of a hundred: there are two such tests, so that two cores have something to do.
const CRASHES: u64 = 50;
/// Longer than a whole round takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn crashes() -> u64 {
    let asked = std::env::var("CRASHES").map(|asked| asked.parse());
    asked.map_or(CRASHES, |asked: Result<u64, _>| asked.expect("CRASHES is a number") / 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_however_often_the_process_is_killed() {
    killed(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_else_acknowledged_is_lost_either() {
    killed(2).await;
}

async fn killed(seed: u64) {
    let mut dice = Dice::seeded(seed);
    let mut town = Town::new(seed).await;
    for round in 0..crashes() {
        let answers = 1 + dice.roll(40);
        let then = Duration::from_micros(dice.roll(5_000) as u64);
        let load = town.under_load(round, &mut dice).await;
        town.book.until(PATIENCE, |book| book.answers_since_crash() >= answers).await;
        // The one wait of these tests: how far into a step the process is when it dies.
        let _ = tokio::time::timeout(then, std::future::pending::<()>()).await;
        town.house.kill();
        load.ended().await;
        let rows = what_is_on_disk(&town.house.data());
        town.book.compare(&rows);
        town.house.restart();
        town.asks_again(&mut dice, 5).await;
    }

    let load = town.until_all_is_over(&mut dice).await;
    town.book.until(PATIENCE, book::Book::is_settled).await;
    load.ended().await;
    town.asks_again(&mut dice, usize::MAX).await;
    town.house.kill();
    town.book.compare(&what_is_on_disk(&town.house.data()));
    verifies(&town);
    println!("seed {seed}, {} crashes: {}", crashes(), town.book.summary());
    town.book.assert_worth_it();
}

/// What the files hold, as SQLite's own program reads a copy of them: the server's own recovery is still
/// to come, and must find them as they were left.
fn what_is_on_disk(data: &Path) -> Vec<Row> {
    let copy = tempfile::tempdir().unwrap();
    for file in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(data.join(file), copy.path().join(file)).unwrap();
    }
    let output = Command::new("sqlite3")
        .arg(copy.path().join("ledger.db"))
        .arg("PRAGMA integrity_check; PRAGMA foreign_key_check")
        .arg(Row::QUERY)
        .output()
        .expect("sqlite3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.strip_prefix("ok\n").unwrap_or_else(|| panic!("the ledger is corrupt: {text}"));
    rows.lines().map(Row::read).collect()
}

/// Every signature that was answered verifies, by our offline verifier; some by OpenSSL besides.
fn verifies(town: &Town) {
    let ca = town.ca.as_path();
    let pem = std::fs::read_to_string(ca).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let roots = Roots::new([BASE64.decode(body).unwrap().as_slice()]).unwrap();
    for (place, (reference, signature)) in town.book.signatures().into_iter().enumerate() {
        let message = BASE64.decode(signature).unwrap();
        let found = cms::inspect_when_signed(&message, &roots).unwrap();
        assert_eq!(found.content, reference.as_bytes());
        if place % 32 == 0 {
            assert_eq!(openssl_verifies(&message, ca), reference.as_bytes());
        }
    }
}
