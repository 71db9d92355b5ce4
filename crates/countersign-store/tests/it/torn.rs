//! Recovery from a log that was torn while it was written, as after a power failure. Acknowledged
//! commits are there, and each later commit is there completely or not at all.
//!
//! SQLite syncs a commit's frames before the commit is answered, so a power failure does not damage
//! them. The bytes behind them may have any value. Frames carry checksums that continue from frame
//! to frame (SQLite's file format, section 4.2).

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use countersign_core::delivery::DeliveryKind;
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{Handle, Ledger, Page, TransactionChange};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Transaction};
use countersign_store::Store;
use tempfile::TempDir;

use crate::world::Changes as _;
use crate::world::{commit, device_id, populate, proof, spec, taken, waiting, with_deliveries};

/// A header and a page of 8 KiB.
const FRAME_BYTES: usize = 24 + 8192;
/// The transactions that are started and finished while snapshots are taken.
const TRANSACTIONS: u128 = 2;

/// The ledger's files at one moment, as a crash at that moment leaves them.
struct FileSnapshot {
    ledger: Vec<u8>,
    log: Vec<u8>,
    /// The acknowledged versions of the transactions.
    acknowledged: Vec<u32>,
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn signed(id: u128) -> Transaction {
    let end = End::Finished { by: device_id(1), proof: proof(id), identity: None };
    Transaction { state: State::Ended { at: Timestamp(200), end }, ..taken(waiting(spec(id)), 1) }
}

/// A finish with its delivery.
fn finish(id: u128) -> TransactionChange {
    with_deliveries(commit(signed(id), Some(1)), &[(id, DeliveryKind::Callback)])
}

impl FileSnapshot {
    fn of(directory: &TempDir, acknowledged: &[u32]) -> Self {
        let read = |file: &str| std::fs::read(directory.path().join(file)).unwrap();
        let (ledger, log) = (read("ledger.db"), read("ledger.db-wal"));
        Self { ledger, log, acknowledged: acknowledged.to_vec() }
    }
}

/// Starts and finishes a few transactions. Answers a snapshot after each acknowledged commit, and
/// the master key.
async fn pictures() -> (Vec<FileSnapshot>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    populate(&store).await;
    let mut acknowledged = vec![0; TRANSACTIONS as usize];
    let mut pictures = vec![FileSnapshot::of(&directory, &acknowledged)];
    for id in 1..=TRANSACTIONS {
        for step in [commit(waiting(spec(id)), None), finish(id)] {
            store.step(step).await.unwrap();
            acknowledged[id as usize - 1] += 1;
            pictures.push(FileSnapshot::of(&directory, &acknowledged));
        }
    }
    let grows = pictures.windows(2).all(|two| two[1].log.starts_with(&two[0].log));
    assert!(grows, "the log was not restarted, so each snapshot continues the one before");
    (pictures, std::fs::read(directory.path().join("master.key")).unwrap())
}

/// The version of each transaction. Checks that each is complete, with or without its delivery.
async fn versions(directory: &Path) -> Vec<u32> {
    let store = Store::sqlite(directory, None).unwrap();
    let outbox = store.deliveries(&acme(), false, Page::first(u16::MAX)).await.unwrap().rows;
    let mut versions = Vec::new();
    for id in 1..=TRANSACTIONS {
        let found =
            store.read().transaction(&acme(), &Handle::Id(TransactionId(id))).await.unwrap();
        let has_delivery = outbox.iter().any(|one| one.delivery.transaction == TransactionId(id));
        versions.push(match found {
            None => 0,
            Some(found) => {
                let whole = if found.version == 1 { waiting(spec(id)) } else { signed(id) };
                assert_eq!(found.value, whole);
                found.version
            }
        });
        assert_eq!(
            has_delivery,
            *versions.last().unwrap() == 2,
            "a finish and its delivery are one commit"
        );
    }
    versions
}

/// Writes the files of a snapshot to a new directory, with another log.
fn crashed(before: &FileSnapshot, log: &[u8], key: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [("ledger.db", before.ledger.as_slice()), ("ledger.db-wal", log)] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    let key_file = directory.path().join("master.key");
    std::fs::write(&key_file, key).unwrap();
    std::fs::set_permissions(&key_file, Permissions::from_mode(0o600)).unwrap();
    directory
}

/// Checks the ledger after a crash, continues from there, and checks it again.
async fn recovers(before: &FileSnapshot, log: &[u8], after: &FileSnapshot, key: &[u8], tear: &str) {
    let directory = crashed(before, log, key);
    let found = versions(directory.path()).await;
    let either = found == before.acknowledged || found == after.acknowledged;
    assert!(either, "{tear}: {found:?}, and {:?} was acknowledged", before.acknowledged);
    if found == before.acknowledged {
        // A caller without an answer repeats the call. The remaining frames of the torn log must
        // not reappear.
        let id = found.iter().position(|version| *version < 2).unwrap() as u128 + 1;
        let store = Store::sqlite(directory.path(), None).unwrap();
        let fresh = found[id as usize - 1] == 0;
        let again = if fresh { commit(waiting(spec(id)), None) } else { finish(id) };
        store.step(again).await.unwrap();
        drop(store);
        assert_eq!(versions(directory.path()).await, after.acknowledged, "{tear}, and went on");
    }
}

#[tokio::test]
async fn a_log_torn_anywhere_behind_the_acknowledged_commits_loses_none_of_them() {
    let (pictures, key) = pictures().await;
    let mut tears = 0;
    for two in pictures.windows(2) {
        let [before, after] = two else { unreachable!("windows of two") };
        let (acknowledged, whole) = (before.log.len(), after.log.len());
        let frames = (acknowledged..=whole).step_by(FRAME_BYTES);
        for cut in frames.flat_map(|at| [at, at + 1, at + 23, at + 24 + 4096]) {
            if cut > whole {
                continue;
            }
            recovers(before, &after.log[..cut], after, &key, &format!("cut at {cut}")).await;
            // The file had grown, but its new blocks were not written and contain zeros.
            let mut zeros = after.log[..cut].to_vec();
            zeros.resize(whole, 0);
            recovers(before, &zeros, after, &key, &format!("zeros from {cut}")).await;
            tears += 2;
        }
    }
    println!("{tears} tears");
    assert!(tears > 100, "{tears} tears are few");
}

/// Shows that the tests in this file can fail.
#[tokio::test]
async fn a_log_cut_before_an_acknowledged_commit_does_lose_it() {
    let (pictures, key) = pictures().await;
    for snapshot in &pictures[1..] {
        let directory = crashed(snapshot, &snapshot.log[..snapshot.log.len() - 1], &key);
        assert_ne!(versions(directory.path()).await, snapshot.acknowledged);
    }
}

#[tokio::test]
async fn a_log_damaged_behind_the_acknowledged_commits_loses_none_of_them() {
    let (pictures, key) = pictures().await;
    for two in pictures.windows(2) {
        let [before, after] = two else { unreachable!("windows of two") };
        let (acknowledged, whole) = (before.log.len(), after.log.len());
        for at in (acknowledged..whole).step_by(FRAME_BYTES - 7) {
            let mut spoilt = after.log.clone();
            spoilt[at] ^= 0x10;
            recovers(before, &spoilt, after, &key, &format!("a bit at {at}")).await;
            // Blocks reach the disk in any order: here a later block was written, but this one was
            // not.
            let end = whole.min(at / 4096 * 4096 + 4096);
            let mut hole = after.log.clone();
            hole[at.max(acknowledged)..end].fill(0);
            recovers(before, &hole, after, &key, &format!("a hole from {at}")).await;
        }
    }
}
