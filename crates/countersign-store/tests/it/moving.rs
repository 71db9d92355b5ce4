//! Moving a ledger from a file into PostgreSQL: all of it arrives, an interrupted move goes on, and
//! what differs is found.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use countersign_core::delivery::{DeliveryKind, Settlement, Verdict};
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::port::{
    Change, Commit, Committed, DeviceFilter, DomainFilter, Keys as _, Ledger as _, Page,
    Preconditions, Settle, Signer as _, SigningRole, StoredMax, TransactionChange,
};
use countersign_core::spec::TransactionSpec;
use countersign_core::tenant::{KeyKind, TenantDomain, TenantState};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_postgres::{new_schema, shared};
use countersign_proof::{Proof, Raw};
use countersign_store::{
    Move, MoveError, MoveProgress, PostgresError, ServerLock, Store, TableCheck,
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::deliveries::settled;
use crate::keys::key;
use crate::world::Changes as _;
use crate::world::{
    activation, claim, client, commit, create_activation, create_client, device_id, populate,
    proof, raw, spec, taken, waiting, with_deliveries,
};
use crate::{location, now};

fn tenant(name: &str) -> TenantName {
    name.parse().unwrap()
}

/// A ledger in a file, and the schema into which it is moved.
struct Fixture {
    directory: TempDir,
    schema: String,
}

impl Fixture {
    /// With rows in every table.
    async fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap(), schema: new_schema() };
        let store = fixture.source();
        fill(&store).await;
        store.close().await.unwrap();
        drop(store);
        // More than two batches.
        let many = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2500)
            INSERT INTO used_signatures (tenant, mark) SELECT 'acme', randomblob(32) FROM n";
        fixture.sqlite(many);
        fixture
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn key(&self) -> PathBuf {
        self.path().join("master.key")
    }

    fn source(&self) -> Store {
        Store::sqlite(self.path(), None).unwrap()
    }

    fn sqlite(&self, sql: &str) {
        Connection::open(self.path().join("ledger.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn postgres(&self, sql: &str) -> String {
        shared().sql(&format!("SET search_path TO {}; {sql}", self.schema)).unwrap()
    }

    async fn target(&self) -> Result<Store, PostgresError> {
        Store::postgres(&location(self.schema.clone()), &self.key(), false, now()).await
    }

    async fn begin(&self) -> Result<Move, MoveError> {
        Move::begin(self.path(), &self.key(), &location(self.schema.clone()), now()).await
    }

    async fn refused(&self) -> String {
        self.begin().await.unwrap_err().to_string()
    }

    /// Moves all that is not yet moved, without the check.
    async fn moved(&self) -> Move {
        let mut begun = self.begin().await.unwrap();
        while begun.step().await.unwrap().is_some() {}
        begun
    }

    /// The tables that a check finds to differ.
    async fn differing(&self) -> Vec<&'static str> {
        let checks = self.moved().await.finish(|_| ()).await.unwrap();
        let differing = checks.iter().filter(|check| !check.is_same());
        differing.map(|check| check.table).collect()
    }
}

fn ended(spec: TransactionSpec, at: u64, end: End) -> Transaction {
    Transaction { state: State::Ended { at: Timestamp(at), end }, ..taken(waiting(spec), 1) }
}

/// Writes a transaction that ended with this proof, with a callback and a push.
async fn finish(store: &Store, id: u128, at: u64, proof: Proof) {
    let end = End::Finished { by: device_id(1), proof, identity: None };
    let queued = [(id, DeliveryKind::Callback), (id + 1_000, DeliveryKind::Push(device_id(1)))];
    let started = with_deliveries(commit(waiting(spec(id)), None), &queued);
    assert_eq!(store.step(started).await.unwrap(), Committed::Written);
    let event = Event::Ended(Outcome::Finished);
    let finish = TransactionChange { event, ..commit(ended(spec(id), at, end), Some(1)) };
    assert_eq!(store.step(finish).await.unwrap(), Committed::Written);
}

/// Writes rows into every table.
async fn fill(store: &Store) {
    populate(store).await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    let (made, _) = create_client(store, client("acme", "bank", "The Bank")).await;
    assert_eq!(made.unwrap(), Committed::Written);
    let bank = "bank".parse().unwrap();
    let (_, next) = store.private_keys().generate_callback_key(&acme, &bank).await.unwrap();
    store.rotate_callback_key(&acme, &bank, next).await.unwrap();
    for (id, tenant) in [(1, Some("acme")), (2, None), (3, Some("beta"))] {
        store.create_key(key(id, tenant, KeyKind::BackEnd)).await.unwrap();
    }
    let domain = TenantDomain { domain: "acme.example".parse().unwrap(), tenant: acme.clone() };
    let added = Commit { change: Change::AddDomain(domain), events: Vec::new() };
    assert_eq!(store.commit(added).await.unwrap(), Committed::Written);
    create_activation(store, activation("acme", "joe", 7)).await;

    let ecdsa = |id, r| {
        let Raw { algorithm, .. } = raw(id, None).raw().unwrap().clone();
        let kept = Raw { algorithm, ..raw(id, None).raw().unwrap().clone() };
        let signature = vec![0x30, 0x06, 0x02, 0x01, r, 0x02, 0x01, 9];
        Proof::recorded_raw(u128::to_be_bytes(id), [11; 32], [12; 32], signature, kept)
    };
    for (id, proof) in [(11, proof(11)), (12, ecdsa(12, 7))] {
        finish(store, id, 200, proof).await;
    }
    settle_all(store).await;
    assert_eq!(store.purge_ended(Timestamp(200), 9).await.unwrap(), 2);
    finish(store, 13, 300, ecdsa(13, 8)).await;
    finish(store, 14, 300, proof(14)).await;
    let claimed = store.claim(claim(500, 600, 1)).await.unwrap().deliveries.remove(0);
    let given_up = Settlement { verdict: Verdict::GiveUp, ..settled(&claimed) };
    store.settle(Settle::Claimed(given_up)).await.unwrap();
    for id in 21..25 {
        store.step(commit(waiting(spec(id)), None)).await.unwrap();
    }
    let open = commit(taken(waiting(spec(22)), 9_000), Some(1));
    assert_eq!(store.step(open).await.unwrap(), Committed::Written);
    store.note_reached(&acme, device_id(1), vec![TransactionId(21)], Timestamp(130)).await.unwrap();
    let (expected, state) = (TenantState::Active, TenantState::Locked);
    let lock = Change::SetTenantState { tenant: beta.clone(), expected, state };
    assert_eq!(store.change(&beta, lock).await.unwrap(), Committed::Written);
}

async fn settle_all(store: &Store) {
    loop {
        let claimed = store.claim(claim(9_999, 10_000, 9)).await.unwrap().deliveries;
        if claimed.is_empty() {
            return;
        }
        for delivery in claimed {
            store.settle(Settle::Claimed(settled(&delivery))).await.unwrap();
        }
    }
}

/// All that the port reads.
async fn read_all(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    let mut note = |name: &str, value: &dyn std::fmt::Debug| all.push(format!("{name}: {value:?}"));
    note("tenants", &store.tenants(Page::first(100)).await.unwrap());
    note("API keys", &store.api_keys(None, Page::first(2)).await.unwrap());
    note("due", &store.due(Timestamp(9_999), 100).await.unwrap());
    note("backlog", &store.backlog().await.unwrap());
    note("operators", &store.events_of_operators(Timestamp(0), 100).await.unwrap());
    let ends = store.certificate_ends(Timestamp(1), Timestamp(9_000_000)).await.unwrap();
    note("ends of certificates", &ends);
    note("the server's events", &store.events(None, Page::first(100)).await.unwrap());
    for name in ["acme", "beta"].map(tenant) {
        note("tenant", &store.read().tenant(&name).await.unwrap());
        note("clients", &store.clients(&name, Page::first(100)).await.unwrap());
        note("domains", &store.domains(DomainFilter::Tenant(&name)).await.unwrap());
        note("users", &store.users(&name, Page::first(100)).await.unwrap());
        note("devices", &store.devices(&name, DeviceFilter::All, Page::first(100)).await.unwrap());
        let labels = DeviceFilter::Labels(&["private".into()]);
        note("labelled", &store.devices(&name, labels, Page::first(100)).await.unwrap());
        let device = store.read().device(&name, device_id(1)).await.unwrap().unwrap().value;
        note("payload key", device.payload_key.expose());
        note("PIN", &device.pin.map(|pin| *pin.digest.expose()));
        let signer = store.private_keys().prepare(&name, SigningRole::Tokens).await.unwrap();
        note("token key", signer.public_key());
        let bank = "bank".parse().unwrap();
        note("MACs", &store.private_keys().callback_macs(&name, &bank, b"x").await.unwrap());
        for user in ["jane", "joe"].map(|user| user.parse().unwrap()) {
            let codes = store.read().activations(&name, &user, Timestamp(1)).await.unwrap();
            note("codes", &codes.iter().map(|c| c.value.code.expose()).collect::<Vec<_>>());
            note("activations", &codes);
            note("open", &store.read().open(&name, &user).await.unwrap());
        }
        let mut cursor = Some(Page::first(3));
        while let Some(page) = cursor {
            let listed = store.transactions(&name, None, page).await.unwrap();
            note("transactions", &listed);
            for row in &listed.rows {
                let id = row.value.spec.id;
                note("contacts", &store.read().contacts(&name, id).await.unwrap());
            }
            cursor = listed.next.map(|after| Page { after: Some(after), limit: 3 });
        }
        for dead in [false, true] {
            note("deliveries", &store.deliveries(&name, dead, Page::first(100)).await.unwrap());
        }
        note("events", &store.events(Some(&name), Page::first(100)).await.unwrap());
    }
    all
}

fn assert_same(left: &[String], right: &[String]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left, right);
    }
}

#[tokio::test]
async fn everything_that_the_port_reads_is_the_same_after_a_move() {
    let fixture = Fixture::new().await;
    let source = fixture.source();
    let before = read_all(&source).await;
    source.close().await.unwrap();
    drop(source);

    let begun = fixture.moved().await;
    assert!(!begun.is_resumed());
    let MoveProgress { done, rows, .. } = begun.progress();
    assert_eq!(done, rows);
    let mut told = Vec::new();
    let checks = begun.finish(|progress| told.push(progress)).await.unwrap();
    assert!(checks.iter().all(TableCheck::is_same), "{checks:?}");
    let empty: Vec<_> = checks.iter().filter(|check| check.source.rows == 0).collect();
    assert!(empty.is_empty(), "this test moves rows of every table: {empty:?}");
    assert_eq!(checks.iter().map(|check| check.target.rows).sum::<u64>(), rows);
    assert_eq!(told.last().unwrap().done, rows);

    let target = fixture.target().await.unwrap();
    assert_same(&before, &read_all(&target).await);
    target.close().await.unwrap();
}

/// What is written to a ledger after its move goes on with its numbers, quotas and locks.
#[tokio::test]
async fn a_moved_ledger_goes_on_where_it_was() {
    let fixture = Fixture::new().await;
    let checks = fixture.moved().await.finish(|_| ()).await.unwrap();
    assert!(checks.iter().all(TableCheck::is_same));
    let locked = fixture.postgres("SELECT tenant, locked FROM event_numbers ORDER BY tenant");
    assert_eq!(locked, "acme|0\nbeta|1");
    let (source, target) = (fixture.source(), fixture.target().await.unwrap());
    for store in [&source, &target] {
        let (made, _) = create_client(store, client("acme", "shop", "The Shop")).await;
        assert_eq!(made.unwrap(), Committed::Written);
        store.create_key(key(4, None, KeyKind::BackEnd)).await.unwrap();
        create_activation(store, activation("acme", "joe", 8)).await;
        finish(store, 31, 400, proof(31)).await;
        // The bytes and transactions that the ledger has count.
        let one_more = StoredMax { client: 1, ..StoredMax::NONE };
        let refused = TransactionChange { stored_max: one_more, ..commit(waiting(spec(32)), None) };
        assert_eq!(store.step(refused).await.unwrap(), Committed::ClientFull);
        // An ECDSA signature of before the move was used.
        let kept = raw(33, None).raw().unwrap().clone();
        let signature = vec![0x30, 0x06, 0x02, 0x01, 7, 0x02, 0x01, 9];
        let used = Proof::recorded_raw(33_u128.to_be_bytes(), [11; 32], [12; 32], signature, kept);
        let end = End::Finished { by: device_id(1), proof: used, identity: None };
        store.step(commit(waiting(spec(33)), None)).await.unwrap();
        let event = Event::Ended(Outcome::Finished);
        let again = TransactionChange { event, ..commit(ended(spec(33), 400, end), Some(1)) };
        assert_eq!(store.step(again).await.unwrap(), Committed::SignatureUsed);
        // Tenant beta is locked.
        let elsewhere = TransactionSpec { tenant: tenant("beta"), ..spec(34) };
        let preconditions = Preconditions { user: Some(2), device: None };
        let elsewhere = TransactionChange { preconditions, ..commit(waiting(elsewhere), None) };
        assert_eq!(store.step(elsewhere).await.unwrap(), Committed::Stale);
    }
    let (before, after) = (read_all(&source).await, read_all(&target).await);
    let shown = |all: &[String]| {
        all.iter().filter(|line| !line.starts_with("MACs")).cloned().collect::<Vec<_>>()
    };
    assert_same(&shown(&before), &shown(&after));
    for store in [source, target] {
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_move_that_is_interrupted_at_any_batch_goes_on() {
    let fixture = Fixture::new().await;
    let (mut batches, mut rows) = (0, 0);
    loop {
        let mut begun = fixture.begin().await.unwrap();
        assert_eq!(begun.is_resumed(), batches > 0);
        assert_eq!(begun.progress().done, rows, "nothing is moved twice");
        let Some(progress) = begun.step().await.unwrap() else { break };
        assert!(progress.done > rows && progress.done <= progress.rows);
        (batches, rows) = (batches + 1, progress.done);
        drop(begun);
        let error = fixture.target().await.unwrap_err();
        assert!(matches!(error, PostgresError::Moving(_)), "{error}");
        assert!(error.to_string().contains("countersign migrate --from"), "{error}");
    }
    assert!(batches >= 19 + 2, "a batch for each table, and two more: {batches}");
    let checks = fixture.moved().await.finish(|_| ()).await.unwrap();
    assert!(checks.iter().all(TableCheck::is_same), "{checks:?}");
    fixture.target().await.unwrap().close().await.unwrap();
    let error = fixture.refused().await;
    assert!(error.contains("has a ledger already; it was not changed"), "{error}");
}

#[tokio::test]
async fn a_row_that_differs_is_found_and_the_ledger_stays_closed() {
    let fixture = Fixture::new().await;
    drop(fixture.moved().await);
    let change = |sql: &str| fixture.postgres(sql);
    for (table, spoil, mend) in [
        (
            "users",
            "UPDATE users SET wrong_pins = wrong_pins + 1 WHERE tenant = 'acme' AND name = 'joe'",
            "UPDATE users SET wrong_pins = wrong_pins - 1 WHERE tenant = 'acme' AND name = 'joe'",
        ),
        (
            "evidence",
            "UPDATE evidence SET seq = seq + 100 WHERE request_key > 0",
            "UPDATE evidence SET seq = seq - 100 WHERE request_key > 0",
        ),
        (
            "used_signatures",
            "INSERT INTO used_signatures (tenant, mark) VALUES ('acme', '\\x00')",
            "DELETE FROM used_signatures WHERE mark = '\\x00'",
        ),
        (
            "clients",
            "UPDATE clients SET scopes = '' WHERE scopes IS NULL",
            "UPDATE clients SET scopes = NULL WHERE scopes = ''",
        ),
    ] {
        // The numbers of rows are given by the database alone.
        let by_hand = "ALTER TABLE evidence ALTER COLUMN seq SET GENERATED BY DEFAULT;";
        let always = "ALTER TABLE evidence ALTER COLUMN seq SET GENERATED ALWAYS;";
        change(&format!("{by_hand} {spoil}; {always}"));
        assert_eq!(fixture.differing().await, [table]);
        assert!(matches!(fixture.target().await, Err(PostgresError::Moving(_))));
        change(&format!("{by_hand} {mend}; {always}"));
    }
    assert_eq!(fixture.differing().await, [""; 0]);
    fixture.target().await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn only_a_ledger_that_nobody_uses_is_moved_and_only_to_where_there_is_none() {
    let fixture = Fixture::new().await;
    let lock = ServerLock::take(fixture.path()).unwrap();
    let error = fixture.refused().await;
    assert!(error.contains("another server (process "), "{error}");
    drop(lock);

    let hidden = fixture.path().join("elsewhere");
    std::fs::rename(fixture.key(), &hidden).unwrap();
    let error = fixture.refused().await;
    assert!(error.contains("master.key"), "{error}");
    std::fs::rename(hidden, fixture.key()).unwrap();

    let nothing = tempfile::tempdir().unwrap();
    let to = location(fixture.schema.clone());
    let empty = Move::begin(nothing.path(), &fixture.key(), &to, now()).await.unwrap_err();
    assert!(matches!(empty, MoveError::NoLedger(_)), "{empty}");
    assert!(std::fs::read_dir(nothing.path()).unwrap().next().is_none(), "nothing is made there");
    let made =
        fixture.postgres("SELECT count(*) FROM pg_namespace WHERE nspname = current_schema()");
    assert_eq!(made, "0", "a refused move makes no schema");

    // An empty ledger is as good as none, unless a node runs on it. One with a tenant is not.
    let store = fixture.target().await.unwrap();
    store.close().await.unwrap();
    fixture.postgres("INSERT INTO nodes (until) VALUES (9000000000000)");
    let error = fixture.refused().await;
    assert!(error.contains("nodes run on the ledger in schema"), "{error}");
    fixture.postgres("UPDATE nodes SET until = 1");
    drop(fixture.begin().await.unwrap());
    fixture.postgres("DROP TABLE moving_in");
    let store = fixture.target().await.unwrap();
    populate(&store).await;
    store.close().await.unwrap();
    let error = fixture.refused().await;
    assert!(error.contains("has a ledger already; it was not changed"), "{error}");
}

#[tokio::test]
async fn a_move_of_another_ledger_or_of_one_that_was_changed_is_not_continued() {
    let fixture = Fixture::new().await;
    fixture.begin().await.unwrap().step().await.unwrap();
    let other = Fixture { schema: fixture.schema.clone(), ..Fixture::new().await };
    let error = other.refused().await;
    assert!(error.contains("a part of another ledger") && error.contains("DROP SCHEMA"), "{error}");
    // While it is moved, nothing can be written to it; between two calls it can.
    let source = fixture.source();
    let (jim, acme) = ("jim".parse().unwrap(), tenant("acme"));
    source.create_user(&acme, &jim, None, Timestamp(9)).await.unwrap();
    source.close().await.unwrap();
    drop(source);
    assert_eq!(fixture.refused().await, error);
    fixture.postgres(&format!("DROP SCHEMA {} CASCADE", fixture.schema));
    assert_eq!(fixture.differing().await, [""; 0]);
}

#[tokio::test]
async fn text_that_postgresql_cannot_store_is_named() {
    let fixture = Fixture::new().await;
    fixture
        .sqlite("UPDATE users SET profile = 'a' || char(0) WHERE tenant = 'acme' AND name = 'joe'");
    let mut begun = fixture.begin().await.unwrap();
    let error = loop {
        match begun.step().await {
            Ok(progress) => assert!(progress.is_some(), "it was moved"),
            Err(MoveError::Interrupted(fault)) => break fault.source().unwrap().to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(error.contains("row acme/joe of table users is corrupt: column profile"), "{error}");
}
