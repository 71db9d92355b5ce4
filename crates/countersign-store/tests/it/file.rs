//! The contract of the store on disk: durability, sealed secrets, error texts, and access by
//! several processes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_core::Fault;
use countersign_core::delivery::DeliveryKind;
use countersign_core::id::{RequestKey, TenantName, TransactionId};
use countersign_core::port::{
    Committed, Handle, Keys as _, Ledger, Page, Signer as _, SigningRole,
};
use countersign_core::secret::Key32;
use countersign_core::spec::TransactionSpec;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Transaction};
use countersign_store::{MasterKeyError, OpenError, OpenFor, Store};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::world::Changes as _;
use crate::world::{
    CODE, CODE_KEY, PAYLOAD_KEY, PIN_DIGEST, claim, client, commit, create_client, device_id,
    new_tenant, populate, proof, spec, taken, waiting, with_deliveries,
};

fn open(directory: &TempDir) -> Store {
    Store::sqlite(directory.path(), None).unwrap()
}

fn refused(directory: &Path) -> OpenError {
    Store::sqlite(directory, None).unwrap_err()
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn signed(id: u128) -> Transaction {
    let end = End::Finished { by: device_id(1), proof: proof(id), identity: None };
    Transaction { state: State::Ended { at: Timestamp(200), end }, ..taken(waiting(spec(id)), 1) }
}

/// Creates tenants, users, devices, a client, and a finished transaction with its deliveries.
/// Answers the client's callback key.
async fn fill(store: &Store) -> Key32 {
    populate(store).await;
    let (made, callback_key) = create_client(store, client("acme", "bank", "The Bank")).await;
    assert_eq!(made.unwrap(), Committed::Written);
    store.step(commit(waiting(spec(1)), None)).await.unwrap();
    let signing = with_deliveries(commit(signed(1), Some(1)), &[(1, DeliveryKind::Callback)]);
    store.step(signing).await.unwrap();
    callback_key
}

async fn assert_filled(store: &Store) {
    let found =
        store.read().transaction(&acme(), &Handle::Id(TransactionId(1))).await.unwrap().unwrap();
    assert_eq!((found.version, found.value), (2, signed(1)));
    let device = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap().value;
    assert_eq!(device.payload_key.expose(), &PAYLOAD_KEY);
    let tenant = store.read().tenant(&acme()).await.unwrap().unwrap();
    let tokens = store.private_keys().prepare(&acme(), SigningRole::Tokens).await.unwrap();
    assert_eq!(*tokens.public_key(), tenant.token_keys.newest);
    let claimed = store.claim(claim(500, 500, 9)).await.unwrap();
    assert_eq!(claimed.deliveries.len(), 1);
}

#[tokio::test]
async fn acknowledged_commits_are_there_when_the_ledger_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    fill(&store).await;
    store.close().await.unwrap();
    drop(store);
    let again = open(&directory);
    assert_filled(&again).await;
    drop(again);
    assert_filled(&open(&directory)).await;
}

#[tokio::test]
async fn acknowledged_commits_are_in_the_files_even_if_the_store_was_not_closed() {
    let (directory, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&directory);
    fill(&store).await;
    // The files that a crash would leave now: the log contains commits that the ledger file does
    // not.
    for file in ["ledger.db", "ledger.db-wal", "master.key"] {
        let (from, to) = (directory.path().join(file), image.path().join(file));
        assert_ne!(std::fs::copy(from, to).unwrap(), 0, "{file}");
    }
    assert_filled(&open(&image)).await;
}

#[tokio::test]
async fn no_secret_is_in_the_files_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let callback_key = fill(&store).await;
    let scan = || {
        let files = ["ledger.db", "ledger.db-wal"].map(|file| directory.path().join(file));
        let bytes = files.map(|file| std::fs::read(file).unwrap_or_default()).concat();
        let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        assert!(holds(b"https://bank.example/done"), "values that are not secret are in the clear");
        assert!(!holds(CODE));
        assert!(!holds(callback_key.expose()));
        for secret in [PAYLOAD_KEY, CODE_KEY, PIN_DIGEST] {
            assert!(!holds(&secret), "{}", String::from_utf8_lossy(&secret));
        }
    };
    scan();
    store.close().await.unwrap();
    scan();
}

#[tokio::test]
async fn only_their_owner_may_use_the_files_and_the_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("new/data");
    let store = Store::sqlite(&directory, None).unwrap();
    fill(&store).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.turn", "master.key"] {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_ledger_with_secrets_does_not_open_without_its_master_key() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("master.key");
    drop(open(&directory));
    std::fs::remove_file(&key).unwrap();
    let store = open(&directory);
    assert!(key.exists(), "nothing is sealed yet, so a new key is created");
    fill(&store).await;
    drop(store);

    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("key");
    std::fs::rename(&key, &moved).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::MasterKey(MasterKeyError::Missing { .. })), "{error}");
    assert!(error.to_string().contains("restore the file from its backup"), "{error}");
    assert!(!key.exists(), "no new key is created");
    assert_filled(&Store::sqlite(directory.path(), Some(&moved)).unwrap()).await;
}

#[tokio::test]
async fn a_master_key_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let key = directory.path().join("master.key");
    for mode in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(directory.path());
        assert!(matches!(error, OpenError::MasterKey(MasterKeyError::Exposed(_))), "{error}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).unwrap();
    drop(open(&directory));
}

#[tokio::test]
async fn a_ledger_that_others_may_use_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let ledger = directory.path().join("ledger.db");
    for (path, mode, wanted) in [(ledger.as_path(), 0o640, 600), (directory.path(), 0o770, 700)] {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(directory.path());
        assert!(matches!(error, OpenError::Exposed(_)), "{error}");
        let told = format!("chmod {wanted} {}", path.display());
        assert!(error.to_string().contains(&told), "{error}");
        std::fs::set_permissions(path, before).unwrap();
    }
    drop(open(&directory));
}

#[tokio::test]
async fn another_ledgers_master_key_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(&open(&directory)).await;
    drop(open(&other));
    let key = |directory: &TempDir| directory.path().join("master.key");
    std::fs::copy(key(&other), key(&directory)).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::MasterKey(MasterKeyError::Other { .. })), "{error}");
    assert!(error.to_string().contains("acme"), "{error}");
}

#[test]
fn no_empty_ledger_is_made_where_there_was_one() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.db");
    drop(open(&directory));
    std::fs::remove_file(&ledger).unwrap();
    for purpose in [OpenFor::Serve, OpenFor::Administration] {
        let error = Store::sqlite_for(directory.path(), None, purpose).unwrap_err();
        assert!(matches!(error, OpenError::Lost { .. }), "{error}");
        assert!(error.to_string().contains("master.key is there"), "{error}");
        assert!(error.to_string().contains("countersign init"), "{error}");
        assert!(!ledger.exists());
    }
    std::fs::write(&ledger, "").unwrap();
    for purpose in [OpenFor::Serve, OpenFor::Administration] {
        let error = Store::sqlite_for(directory.path(), None, purpose).unwrap_err();
        assert!(matches!(error, OpenError::Empty { .. }), "{error}");
        assert_eq!(std::fs::read(&ledger).unwrap(), b"");
    }
    drop(Store::sqlite_for(directory.path(), None, OpenFor::Init).unwrap());
    let error = Store::sqlite_for(directory.path(), None, OpenFor::Init).unwrap_err();
    assert!(matches!(error, OpenError::Exists { .. }), "{error}");
    drop(open(&directory));
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
    names.sort();
    assert_eq!(names, ["ledger.db", "ledger.turn", "master.key"]);
}

/// The log has commits that the file does not have, so it is the larger part of a ledger.
#[tokio::test]
async fn a_log_whose_ledger_is_missing_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    fill(&store).await;
    let image = tempfile::tempdir().unwrap();
    let log = image.path().join("ledger.db-wal");
    std::fs::copy(directory.path().join("ledger.db-wal"), &log).unwrap();
    let before = std::fs::read(&log).unwrap();
    let error = refused(image.path());
    assert!(matches!(error, OpenError::Lost { .. }), "{error}");
    assert_eq!(std::fs::read(&log).unwrap(), before);
}

#[test]
fn processes_that_make_the_ledger_at_once_make_one() {
    let directory = tempfile::tempdir().unwrap();
    let made = || Store::sqlite(directory.path(), None).map(drop);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(made)).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
}

#[tokio::test]
async fn a_newer_programs_ledger_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&directory));
    let sql = Connection::open(directory.path().join("ledger.db")).unwrap();
    sql.pragma_update(None, "user_version", 1_000).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Newer { found: 1_000, .. }), "{error}");
}

#[test]
fn a_file_that_is_not_a_ledger_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    std::fs::write(&file, b"Dear diary, nothing of this is a database.".repeat(99)).unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(refused(directory.path()), OpenError::Foreign { .. }));
    assert_eq!(std::fs::read(&file).unwrap(), before);

    std::fs::remove_file(&file).unwrap();
    let sql = Connection::open(&file).unwrap();
    sql.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(sql);
    assert!(matches!(refused(directory.path()), OpenError::Foreign { .. }));
    assert!(!directory.path().join("master.key").exists());
}

#[test]
fn a_directory_that_is_a_file_or_cannot_be_written_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = refused(&file);
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
    let error = refused(&file.join("data"));
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{error}");
    // No user can create files in /proc, not even root.
    let error = refused(Path::new("/proc"));
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("/proc/ledger.db"), "{error}");
}

fn whole(fault: &Fault) -> String {
    let source = std::error::Error::source(fault).unwrap();
    format!("{fault}: {source}")
}

#[tokio::test]
async fn a_corrupt_row_is_reported_with_its_table_its_column_and_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    fill(&store).await;
    let sql = Connection::open(directory.path().join("ledger.db")).unwrap();
    let id = Handle::Id(TransactionId(1));
    for (column, value, blamed) in [
        ("state", "'asleep'", "state"),
        ("state", "'waiting'", "state"),
        ("due_at", "-1", "due_at"),
        ("takes", "'[{]'", "takes"),
        ("end_reason", "'because'", "state"),
        ("ended_by", "0", "ended_by"),
        ("proof_signer", "x'00'", "proof_signer"),
        ("dialect", "'nobody'", "dialect"),
        ("client", "''", "client"),
        ("request_key", "-1", "request_key"),
        ("reference", "NULL", "reference"),
        ("body", "'{}'", "body"),
    ] {
        sql.execute(&format!("UPDATE transactions SET {column} = {value}"), []).unwrap();
        let told = whole(&store.read().transaction(&acme(), &id).await.unwrap_err());
        let row = "row acme/00000000000000000000000000000001 of table transactions is corrupt";
        assert!(told.contains(&format!("{row}: column {blamed}: ")), "{column}: {told}");
        sql.execute("DELETE FROM transactions", []).unwrap();
        store.step(commit(signed(1), None)).await.unwrap();
    }

    sql.execute("UPDATE users SET lock = 'until'", []).unwrap();
    let told = whole(&store.read().user(&acme(), &"jane".parse().unwrap()).await.unwrap_err());
    assert!(told.contains("row acme/jane of table users is corrupt: column lock"), "{told}");
    sql.execute("UPDATE devices SET code_key = payload_key", []).unwrap();
    let told = whole(&store.read().device(&acme(), device_id(1)).await.unwrap_err());
    assert!(told.contains("row acme/1 of table devices is corrupt: column code_key"), "{told}");
    sql.execute("UPDATE deliveries SET kind = 'push'", []).unwrap();
    let told = whole(&store.claim(claim(500, 500, 9)).await.unwrap_err());
    assert!(told.contains("of table deliveries is corrupt: column kind"), "{told}");
}

#[tokio::test]
async fn two_processes_see_each_others_writes_and_versions_prevent_lost_updates() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (open(&directory), open(&directory));
    populate(&one).await;
    assert_eq!(two.tenants(Page::first(9)).await.unwrap().rows.len(), 2);
    one.step(commit(waiting(spec(1)), None)).await.unwrap();
    let read =
        two.read().transaction(&acme(), &Handle::Id(TransactionId(1))).await.unwrap().unwrap();
    let next = || commit(taken(read.value.clone(), 500), Some(read.version));
    let (first, second) = tokio::join!(one.step(next()), two.step(next()));
    let mut outcomes = [first.unwrap(), second.unwrap()];
    outcomes.sort_by_key(|outcome| *outcome != Committed::Written);
    assert_eq!(outcomes, [Committed::Written, Committed::Stale]);
    let taken_too = TransactionSpec { request_key: spec(2).request_key, ..spec(3) };
    one.step(commit(waiting(spec(2)), None)).await.unwrap();
    let outcome = two.step(commit(waiting(taken_too), None)).await.unwrap();
    assert_eq!(outcome, Committed::RequestKeyTaken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_can_write_while_the_first_writes_without_pause() {
    let directory = tempfile::tempdir().unwrap();
    let (busy, beside) = (open(&directory), open(&directory));
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..8_u128 {
        let (busy, done) = (busy.clone(), done.clone());
        writers.spawn(async move {
            let mut id = writer << 64;
            while !done.load(Ordering::Relaxed) {
                id += 1;
                let spec = TransactionSpec { reference: None, ..spec(id) };
                let user = format!("user {id}").parse().unwrap();
                let spec = TransactionSpec { user, request_key: RequestKey::drawn(id), ..spec };
                busy.step(commit(waiting(spec), None)).await.unwrap();
            }
        });
    }
    for name in ["a", "b", "c", "d", "e"] {
        beside.create_tenant(new_tenant(&beside, name).await).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert_eq!(busy.tenants(Page::first(9)).await.unwrap().rows.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_commits_share_their_syncs() {
    const CALLERS: u128 = 256;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    let before = store.stats();
    let mut callers = JoinSet::new();
    for id in 1..=CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            let user = format!("user {id}").parse().unwrap();
            let start = commit(waiting(TransactionSpec { user, ..spec(id) }), None);
            store.step(start).await.unwrap()
        });
    }
    while let Some(outcome) = callers.join_next().await {
        assert_eq!(outcome.unwrap(), Committed::Written);
    }
    let stats = store.stats();
    assert_eq!(stats.commits - before.commits, 256);
    let syncs = stats.syncs - before.syncs;
    assert!((1..=64).contains(&syncs), "{syncs} syncs for 256 commits");
}

#[tokio::test]
async fn a_closed_ledger_is_checkpointed_and_accepts_no_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory);
    fill(&store).await;
    store.ready().unwrap();
    store.close().await.unwrap();
    let log = std::fs::metadata(directory.path().join("ledger.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
    assert!(store.ready().is_err());
    assert!(store.step(commit(waiting(spec(2)), None)).await.is_err());
    assert!(store.close().await.is_err());
    let found = store.read().transaction(&acme(), &Handle::Id(TransactionId(1))).await.unwrap();
    assert!(found.is_some(), "reads still work");
}
