//! Kills at random moments under load: acknowledged data is there afterwards, and no transaction
//! ends twice.
//!
//! The random numbers of a fixed seed choose what users and applications do, and after how many
//! answers the process is killed; how far the process is by then depends on the machine.
//! `CRASHES=1000` kills more often. These tests do not lose data that is only in the kernel, as a
//! power cut would; the store's torn logs test that.

mod journal;
mod keeping;
mod load;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_proof::{Roots, cms};
use countersign_sim::Prng;

use self::journal::Row;
use self::load::Cluster;
use crate::test_server::openssl_verifies;

/// Half of a hundred: there are two such tests, which can use two cores.
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
    let mut prng = Prng::seeded(seed);
    let mut cluster = Cluster::new(seed).await;
    for round in 0..crashes() {
        let answers = 1 + prng.roll(40);
        let then = Duration::from_micros(prng.roll(5_000) as u64);
        let load = cluster.under_load(round, &mut prng).await;
        cluster.journal.until(PATIENCE, |journal| journal.answers_since_crash() >= answers).await;
        // The only timed wait of these tests: how far the process is in a step when it is killed.
        let _ = tokio::time::timeout(then, std::future::pending::<()>()).await;
        cluster.server.kill();
        load.ended().await;
        let rows = what_is_on_disk(&cluster.server.data());
        cluster.journal.compare(&rows);
        cluster.server.restart();
        cluster.asks_again(&mut prng, 5).await;
    }

    let load = cluster.until_all_is_over(&mut prng).await;
    cluster.journal.until(PATIENCE, journal::Journal::is_settled).await;
    load.ended().await;
    cluster.asks_again(&mut prng, usize::MAX).await;
    cluster.server.kill();
    cluster.journal.compare(&what_is_on_disk(&cluster.server.data()));
    verifies(&cluster);
    println!("seed {seed}, {} crashes: {}", crashes(), cluster.journal.summary());
    cluster.journal.assert_worth_it();
}

/// The data in the files, read by SQLite's own program from a copy: the server's recovery has not
/// run yet, and must find the files as they were left.
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

/// Every signature that was answered is verified by our offline verifier, and some by OpenSSL as
/// well.
fn verifies(cluster: &Cluster) {
    let ca = cluster.ca.as_path();
    let pem = std::fs::read_to_string(ca).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let roots = Roots::new([BASE64.decode(body).unwrap().as_slice()]).unwrap();
    for (place, (reference, signature)) in cluster.journal.signatures().into_iter().enumerate() {
        let message = BASE64.decode(signature).unwrap();
        let found = cms::inspect_when_signed(&message, &roots).unwrap();
        assert_eq!(found.content, reference.as_bytes());
        if place % 32 == 0 {
            assert_eq!(openssl_verifies(&message, ca), reference.as_bytes());
        }
    }
}
