//! Tests that need the inside of the store: batches, a full disk, and query plans.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use countersign_core::delivery::DeliveryKind;
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::limits::{COMMITS_QUEUED_MAX, DELETED_ROWS_MAX};
use countersign_core::port::{
    Change, Commit, Committed, Handle, Keys, Ledger as _, Page, SigningRole, StoredMax,
    TransactionChange,
};
use countersign_core::spec::{Content, TransactionSpec};
use countersign_core::tenant::TenantState;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Timeout, Transaction};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{OpenFor, Sqlite};
use crate::Store;
use crate::seal::{Owner, SealContext};
use crate::sql::error::StoreError;
use crate::sql::hot_queries::{HotQuery, hot_queries};
use crate::sql::{sealed, tenant_deletion};

#[expect(dead_code, reason = "shared with the integration tests, which use all of it")]
#[path = "../../tests/it/world.rs"]
mod world;

use world::{Changes as _, HasKeys};
use world::{
    activation, commit, create_activation, device, enrolment, populate, spec, taken, waiting,
    with_deliveries,
};

impl HasKeys for Sqlite {
    fn private_keys(&self) -> impl Keys {
        Store::Sqlite(self.clone()).private_keys()
    }
}

fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path(), None, OpenFor::Serve).unwrap();
    (directory, store)
}

/// Blocks the writer until the answer is dropped, so that all units queued meanwhile become one
/// batch.
async fn hold(store: &Sqlite) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let entered = std::sync::Mutex::new(Some(entered));
    let store = store.clone();
    tokio::spawn(async move {
        let wait = async move |_: &Connection| {
            if let Some(entered) = entered.lock().unwrap().take() {
                entered.send(()).unwrap();
            }
            let _ = released.recv();
            Ok(())
        };
        store.0.writer.write("holding the writer", wait).await
    });
    inside.await.unwrap();
    release
}

fn begin(
    store: &Sqlite,
    commit: TransactionChange,
) -> JoinHandle<Result<Committed, countersign_core::Fault>> {
    let store = store.clone();
    tokio::spawn(async move { store.step(commit).await })
}

async fn load(store: &Sqlite, id: u128) -> Option<u32> {
    let handle = Handle::Id(TransactionId(id));
    store
        .read()
        .transaction(&"acme".parse().unwrap(), &handle)
        .await
        .unwrap()
        .map(|found| found.version)
}

#[tokio::test]
async fn a_stale_commit_writes_nothing_and_does_not_roll_its_batch_back() {
    let (_directory, store) = store();
    store.step(commit(waiting(spec(1)), None)).await.unwrap();
    let syncs = store.stats().syncs;
    let held = hold(&store).await;
    let asked = [
        begin(&store, commit(taken(waiting(spec(1)), 500), Some(1))),
        begin(&store, commit(taken(waiting(spec(1)), 600), Some(1))),
        begin(&store, commit(waiting(spec(2)), None)),
    ];
    tokio::task::yield_now().await;
    drop(held);
    let mut outcomes = Vec::new();
    for asked in asked {
        outcomes.push(asked.await.unwrap().unwrap());
    }
    assert_eq!(outcomes, [Committed::Written, Committed::Stale, Committed::Written]);
    assert_eq!((load(&store, 1).await, load(&store, 2).await), (Some(2), Some(1)));
    assert_eq!(store.stats().syncs, syncs + 1, "the batch shared one sync");
}

#[tokio::test]
async fn a_unit_that_breaks_a_constraint_fails_alone_and_writes_nothing() {
    let (_directory, store) = store();
    let with_deliveries =
        |id| with_deliveries(commit(waiting(spec(id)), None), &[(7, DeliveryKind::Callback)]);
    store.step(with_deliveries(1)).await.unwrap();
    let held = hold(&store).await;
    let asked = [
        begin(&store, commit(waiting(spec(2)), None)),
        begin(&store, with_deliveries(3)),
        begin(&store, commit(waiting(spec(4)), None)),
    ];
    tokio::task::yield_now().await;
    drop(held);
    let mut written = Vec::new();
    for asked in asked {
        written.push(asked.await.unwrap().is_ok());
    }
    assert_eq!(written, [true, false, true]);
    assert_eq!(load(&store, 2).await, Some(1));
    assert_eq!(
        load(&store, 3).await,
        None,
        "the transaction of a failed unit is not written either"
    );
    assert_eq!(load(&store, 4).await, Some(1));
}

#[tokio::test]
async fn on_a_full_disk_every_unit_of_the_batch_fails_and_writes_nothing() {
    let (_directory, store) = store();
    let limit = async |pages: &'static str| {
        let set = async move |sql: &Connection| -> Result<(), StoreError> {
            let now: u32 = sql.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let pages = if pages == "tight" { now + 4 } else { now + 1_000 };
            sql.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        };
        store.0.writer.write("limiting the file", set).await.unwrap();
    };
    let big = |id| {
        let content = Content { bytes: vec![7; 60_000], ..spec(id).content };
        let commit = commit(waiting(TransactionSpec { content, ..spec(id) }), None);
        with_deliveries(commit, &[(id, DeliveryKind::Callback)])
    };
    limit("tight").await;
    let held = hold(&store).await;
    let asked = [begin(&store, commit(waiting(spec(1)), None)), begin(&store, big(2))];
    tokio::task::yield_now().await;
    drop(held);
    for asked in asked {
        let fault = asked.await.unwrap().unwrap_err();
        let source = std::error::Error::source(&fault).unwrap().to_string();
        assert!(source.contains("the disk is full: free some space"), "{source}");
    }
    assert_eq!((load(&store, 1).await, load(&store, 2).await), (None, None));

    limit("wide").await;
    assert_eq!(store.step(big(2)).await.unwrap(), Committed::Written);
    assert_eq!(store.step(commit(waiting(spec(1)), None)).await.unwrap(), Committed::Written);
}

#[tokio::test]
async fn commits_above_the_queues_capacity_are_refused() {
    let (_directory, store) = store();
    let held = hold(&store).await;
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..COMMITS_QUEUED_MAX {
        let mut asked = pin!(store.step(commit(waiting(spec(1)), Some(9))));
        assert!(asked.as_mut().poll(&mut context).is_pending());
    }
    let fault = store.step(commit(waiting(spec(1)), None)).await.unwrap_err();
    let source = std::error::Error::source(&fault).unwrap().to_string();
    assert_eq!(source, "too many commits wait for the disk");
    drop(held);
    // `close` completes the queued work. The queue may be full for a moment.
    while store.step(commit(waiting(spec(2)), None)).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(load(&store, 2).await, Some(1));
}

#[tokio::test]
async fn the_stored_counts_match_the_transactions() {
    let (_directory, store) = store();
    let max = StoredMax { client: 3_000, ..StoredMax::NONE };
    let start = |id, client: &str| {
        let spec = TransactionSpec { client: client.parse().unwrap(), callback: None, ..spec(id) };
        let end = State::Ended { at: Timestamp(100), end: End::Expired(Timeout::GoOnline) };
        let ended = Transaction { state: end, ..waiting(spec) };
        TransactionChange { stored_max: max, ..commit(ended, None) }
    };
    let counted_right = async |sql: &Connection| {
        let difference = "SELECT count(*) FROM (
            SELECT tenant, client, transactions, bytes FROM stored WHERE transactions <> 0
            EXCEPT SELECT tenant, client, count(*), sum(stored_bytes)
              FROM transactions GROUP BY tenant, client)";
        let count = |query| sql.query_row(query, [], |row| row.get::<_, u32>(0));
        assert_eq!(count(difference)?, 0);
        Ok(count("SELECT sum(transactions) FROM stored")?)
    };
    let counted = || store.0.readers.read("counting", counted_right).unwrap();
    let mut written = 0;
    for id in 1..20 {
        let client = if id % 2 == 0 { "bank" } else { "shop" };
        match store.step(start(id, client)).await.unwrap() {
            Committed::Written => written += 1,
            other => assert_eq!(other, Committed::ClientFull),
        }
        assert_eq!(counted(), written);
    }
    // A repeated start is stale, and is not counted.
    assert_eq!(store.step(start(1, "shop")).await.unwrap(), Committed::Stale);
    assert!(2 < written && written < 19, "{written}");
    assert_eq!(store.purge_ended(Timestamp(100), 2).await.unwrap(), 2);
    assert_eq!(counted(), written - 2);
}

#[tokio::test]
async fn no_signing_key_is_in_the_files_in_the_clear() {
    let (directory, store) = store();
    populate(&store).await;
    let acme = "acme".parse().unwrap();
    let files = ["ledger.db", "ledger.db-wal"].map(|file| directory.path().join(file));
    let bytes = files.map(|file| std::fs::read(file).unwrap()).concat();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for (role, owner) in
        [(SigningRole::Authority, Owner::AuthorityKey), (SigningRole::Tokens, Owner::TokenKey)]
    {
        let stored = store.signing_key(&acme, role).unwrap().unwrap();
        let place = SealContext { tenant: &acme, owner };
        let pkcs8 = store.master_keys().open(place, stored.as_bytes()).unwrap();
        // RFC 5915, section 3: the private number is an octet string of 32 bytes.
        let start = pkcs8.windows(2).position(|window| window == [0x04, 0x20]).unwrap() + 2;
        assert!(holds(stored.as_bytes()), "the sealed key is there");
        assert!(!holds(&pkcs8[start..start + 32]), "{role:?}");
    }
}

#[tokio::test]
async fn hot_queries_use_their_index_and_sort_nothing() {
    let (_directory, store) = store();
    let plans = hot_queries();
    let explain = async |sql: &Connection| {
        for HotQuery { statement: query, sqlite: index, .. } in &plans {
            let mut explained = sql.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
            let mut rows = explained.raw_query();
            let mut plan = String::new();
            while let Some(row) = rows.next()? {
                plan += &row.get::<_, String>("detail")?;
                plan += "\n";
            }
            let by_key = *index == "PRIMARY KEY" && plan.contains(" USING PRIMARY KEY (");
            let by_index = plan.contains(&format!(" INDEX {index} ("));
            assert!(by_key || by_index, "{query}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{query}\n{plan}");
            for table in
                ["deliveries", "transactions", "devices", "identit", "stored", "one", "other"]
            {
                assert!(!plan.contains(&format!("SCAN {table}")), "{query}\n{plan}");
            }
        }
        Ok(())
    };
    store.0.readers.read("explaining", explain).unwrap();
}

/// Creates users of acme with a device and an identity each, on the writer's connection.
async fn crowd(store: &Sqlite, from: u32, to: u32) {
    const USERS: &str = "WITH RECURSIVE one (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM one WHERE n < ?2)
        INSERT INTO users (tenant, name, version, id, serial_base, devices_made, activations_made, wrong_pins,
                           wrong_codes, pin_locks_in_a_row, code_locks_in_a_row, lock, created_at)
        SELECT 'acme', printf('user-%07d', n), 2, randomblob(16), 100 + n, 1, 1, 0, 0, 0, 0, 'open', 0 FROM one";
    const DEVICES: &str = "WITH RECURSIVE one (n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM one WHERE n < ?2)
        INSERT INTO devices (tenant, id, version, user_name, serial_base, sequence, status, auth_key,
                             payload_key, code_key, enrolled_at, about, identities)
        SELECT 'acme', 1000 + n, 1, printf('user-%07d', n), 100 + n, 1, status, auth_key, payload_key,
               code_key, enrolled_at, about, json_set(identities, '$[0].id', printf('%032x', 1000 + n))
          FROM one, devices WHERE tenant = 'acme' AND devices.id = 1";
    for first in (from..=to).step_by(20_000) {
        let last = to.min(first + 19_999);
        let write = async move |sql: &Connection| {
            assert_eq!(sql.execute(USERS, [first, last])?, sql.execute(DEVICES, [first, last])?);
            Ok(())
        };
        store.0.writer.write("adding many users", write).await.unwrap();
    }
}

/// The shortest time in which joe's devices are listed.
async fn shortest_listing(store: &Sqlite) -> Duration {
    let (tenant, joe) = ("acme".parse().unwrap(), "joe".parse().unwrap());
    let mut shortest = Duration::MAX;
    for _ in 0..2_000 {
        let began = Instant::now();
        let found = store.devices(&tenant, Some(&joe).into(), Page::first(99)).await.unwrap().rows;
        shortest = shortest.min(began.elapsed());
        assert_eq!(found.len(), 20);
    }
    shortest
}

/// `USERS=1000000` reproduces the measurement in `docs/performance-history.md`.
#[tokio::test]
async fn a_users_devices_are_listed_as_fast_among_many_users_as_among_few() {
    let (directory, mut store) = store();
    populate(&store).await;
    for nth in 1..=20 {
        let number = 100 + u64::from(nth);
        let code = activation("acme", "joe", u128::from(number));
        create_activation(&store, code.clone()).await;
        let enrolled = store.enrol(enrolment(code, device("acme", "joe", number, nth), nth)).await;
        assert_eq!(enrolled.unwrap(), Committed::Written);
    }
    let many = std::env::var("USERS").map_or(20_000, |users| users.parse().unwrap());
    crowd(&store, 1, 1_000).await;
    let among_few = shortest_listing(&store).await;
    crowd(&store, 1_001, many).await;
    // Recent writes are in the log, and reading slows down as the log grows.
    store.close().await.unwrap();
    store = Sqlite::open(directory.path(), None, OpenFor::Serve).unwrap();
    let among_many = shortest_listing(&store).await;
    println!("20 devices among 1,000 users: {among_few:?}; among {many}: {among_many:?}");
    assert!(among_many < 3 * among_few, "{among_few:?} has become {among_many:?}");
    store.close().await.unwrap();
}

/// The tables that have rows of tenants, each with the column of the tenant's name.
fn tables_of_tenants(sql: &Connection) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut tables = sql.prepare(
        "SELECT tables.name, columns.name
           FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
          WHERE tables.type = 'table'
            AND (columns.name = 'tenant' OR (tables.name, columns.name) = ('tenants', 'name'))",
    )?;
    tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The tables in which acme has rows, and those in which it has none.
async fn tables_with_acme(sql: &Connection) -> Result<(Vec<String>, Vec<String>), StoreError> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for (table, column) in tables_of_tenants(sql)? {
        let exists = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} = 'acme')");
        let exists: bool = sql.query_row(&exists, [], |row| row.get(0))?;
        if exists { with.push(table) } else { without.push(table) }
    }
    Ok((with, without))
}

/// Gives each table in which acme has no row one, with a value of its type for each column.
async fn fill_tables(sql: &Connection) -> Result<(), StoreError> {
    for table in tables_with_acme(sql).await?.1 {
        let columns = "SELECT name, CASE WHEN name = 'tenant' THEN '''acme'''
                WHEN type = 'TEXT' THEN '''x''' WHEN type = 'BLOB' THEN 'x''00''' ELSE '1' END
            FROM pragma_table_info(?1) WHERE name <> 'seq'";
        let mut columns = sql.prepare(columns)?;
        let columns = columns.query_map([&table], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>()?;
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        sql.execute(&format!("INSERT INTO {table} ({names}) VALUES ({values})"), [])?;
    }
    Ok(())
}

#[tokio::test]
async fn of_a_tenant_that_is_deleted_with_its_evidence_no_row_of_any_table_is_left() {
    let (_directory, store) = store();
    populate(&store).await;
    store.0.writer.write("filling tables", fill_tables).await.unwrap();
    let (all, without) = store.0.readers.read("reading tables", tables_with_acme).unwrap();
    assert!(all.len() >= 17 && without.is_empty(), "{all:?} {without:?}");
    let acme: TenantName = "acme".parse().unwrap();
    for _ in 0..DELETED_ROWS_MAX {
        assert_eq!(store.change(&acme, Change::Nothing).await.unwrap(), Committed::Written);
    }

    let (expected, state) = (TenantState::Active, TenantState::Locked);
    let delete = async || {
        let change = Change::DeleteTenant { tenant: acme.clone(), with_evidence: true };
        store.commit(Commit { change, events: Vec::new() }).await.unwrap()
    };
    assert_eq!(delete().await, Committed::Stale, "it is not locked");
    let lock = Change::SetTenantState { tenant: acme.clone(), expected, state };
    assert_eq!(store.change(&acme, lock).await.unwrap(), Committed::Written);
    assert_eq!(delete().await, Committed::More, "a batch is bounded");
    assert_eq!(delete().await, Committed::Written);
    let (left, _) = store.0.readers.read("reading tables", tables_with_acme).unwrap();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(delete().await, Committed::Stale, "there is none any more");
    assert!(store.read().tenant(&"beta".parse().unwrap()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_tenant_is_deleted_by_indexes() {
    let (_directory, store) = store();
    let explain = async |sql: &Connection| {
        let statements = tenant_deletion::REGISTRY.iter().chain(&tenant_deletion::EVIDENCE);
        // Each table once; there are few API keys, and they have no index by tenant.
        for statement in statements.filter(|statement| !statement.contains("api_keys")) {
            let mut explained = sql.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
            let mut rows = explained.raw_query();
            while let Some(row) = rows.next()? {
                let step: String = row.get("detail")?;
                assert!(!step.starts_with("SCAN"), "{statement}\n{step}");
            }
        }
        Ok(())
    };
    store.0.readers.read("explaining", explain).unwrap();
}

#[tokio::test]
async fn keys_and_older_sealed_values_are_found_without_reading_all_rows() {
    let (_directory, store) = store();
    let explain = async |sql: &Connection| {
        let columns = sealed::COLUMNS.iter();
        for column in columns.filter(|c| ["devices", "activations"].contains(&c.table)) {
            for statement in [column.keys_statement(), column.older_statement()] {
                let statement = statement.replace("?1", "x'01'").replace("?2", "1");
                let mut plan = sql.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
                let steps = plan.query_map([], |row| row.get::<_, String>(3))?;
                for step in steps.map(Result::unwrap) {
                    // An index alone may be scanned in its order, for its first entry.
                    let scans = step.starts_with(&format!("SCAN {}", column.table));
                    assert!(!scans || step.contains("INDEX"), "{}: {step}", column.table);
                }
            }
        }
        Ok(())
    };
    store.0.readers.read("explaining", explain).unwrap();
}
