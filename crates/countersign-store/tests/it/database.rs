//! What only a shared database can do: other nodes, commits beside each other, and databases that
//! cannot be used.

use std::time::Duration;

use countersign_core::delivery::DeliveryKind;
use countersign_core::event::{Actor, NewEvent};
use countersign_core::port::{
    Change, Commit, Committed, Handle, Ledger as _, Preconditions, TransactionChange,
};
use countersign_core::tenant::TenantState;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, State, Transaction};
use countersign_postgres::{Server, new_schema, shared};
use countersign_store::{PostgresLocation, Store};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::world::{
    Changes as _, commit, device_id, populate, spec, taken, waiting, with_deliveries,
};
use crate::{location, now, postgres};

/// Opens a ledger; answers the error's sentence.
async fn refusal(location: &PostgresLocation, directory: &TempDir, at: Timestamp) -> String {
    let key = directory.path().join("master.key");
    match Store::postgres(location, &key, false, at).await {
        Ok(_) => panic!("it opened: {location:?}"),
        Err(error) => error.to_string(),
    }
}

/// A second node on the schema of `location`, with the same master key.
async fn node(location: &PostgresLocation, directory: &TempDir) -> Store {
    let key = directory.path().join("master.key");
    Store::postgres(location, &key, false, now()).await.unwrap()
}

#[tokio::test]
async fn a_finish_waits_for_a_lock_that_is_not_durable_yet_and_writes_nothing_after_it() {
    let (directory, location) = (tempfile::tempdir().unwrap(), location(new_schema()));
    let store = node(&location, &directory).await;
    populate(&store).await;
    let user = store
        .read()
        .user(&"acme".parse().unwrap(), &"jane".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    store.step(commit(waiting(spec(1)), None)).await.unwrap();
    // Another node locks the user, and takes its time to commit.
    let schema = location.schema.clone();
    let locking = std::thread::spawn(move || {
        let lock = format!(
            "BEGIN; UPDATE {schema}.users SET version = version + 1, lock = 'administrator'
              WHERE name = 'jane'; SELECT pg_sleep(1.5); COMMIT"
        );
        shared().sql(&lock).unwrap();
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let on_user = Preconditions { user: Some(user.version), ..Preconditions::default() };
    let take = TransactionChange {
        preconditions: on_user,
        ..commit(taken(waiting(spec(1)), 500), Some(1))
    };
    assert_eq!(store.step(take).await.unwrap(), Committed::Stale);
    locking.join().unwrap();
    let handle = Handle::Id(spec(1).id);
    let found = store.read().transaction(&"acme".parse().unwrap(), &handle).await.unwrap();
    assert_eq!(found.unwrap().version, 1, "nothing was written");
    store.close().await.unwrap();
}

#[tokio::test]
async fn no_commit_that_depends_on_a_tenant_is_written_after_its_lock() {
    let (directory, location) = (tempfile::tempdir().unwrap(), location(new_schema()));
    let (one, two) = (node(&location, &directory).await, node(&location, &directory).await);
    populate(&one).await;
    let acme: countersign_core::id::TenantName = "acme".parse().unwrap();
    for round in 0..20_u128 {
        let id = 100 + round;
        one.step(commit(waiting(spec(id)), None)).await.unwrap();
        let state = |from: TenantState, state| {
            let change = Change::SetTenantState { tenant: acme.clone(), expected: from, state };
            Commit { change, events: Vec::new() }
        };
        let lock = two.commit(state(TenantState::Active, TenantState::Locked));
        let user = one.read().user(&acme, &"jane".parse().unwrap()).await.unwrap().unwrap();
        let on_user = Preconditions { user: Some(user.version), ..Preconditions::default() };
        let take = TransactionChange {
            preconditions: on_user,
            ..commit(taken(waiting(spec(id)), 500), Some(1))
        };
        let (locked, _) = tokio::join!(lock, one.step(take));
        assert_eq!(locked.unwrap(), Committed::Written);
        // From here on the lock is acknowledged: nothing that depends on the tenant is written.
        one.step(TransactionChange {
            preconditions: Preconditions::default(),
            ..commit(waiting(spec(1_000 + id)), None)
        })
        .await
        .unwrap();
        let late = TransactionChange {
            preconditions: on_user,
            ..commit(taken(waiting(spec(1_000 + id)), 500), Some(1))
        };
        assert_eq!(one.step(late).await.unwrap(), Committed::Stale);
        let unlock = two.commit(state(TenantState::Locked, TenantState::Active)).await;
        assert_eq!(unlock.unwrap(), Committed::Written);
    }
}

#[tokio::test]
async fn a_unit_that_breaks_a_constraint_fails_alone_and_stale_ones_spoil_nothing() {
    let (_directory, store) = postgres().await;
    let with_deliveries =
        |id| with_deliveries(commit(waiting(spec(id)), None), &[(7, DeliveryKind::Callback)]);
    store.step(with_deliveries(1)).await.unwrap();
    let all = [
        commit(waiting(spec(2)), None),
        with_deliveries(3),
        commit(waiting(spec(4)), Some(9)),
        commit(waiting(spec(5)), None),
    ];
    let outcomes = join_all(all.map(|one| store.step(one))).await;
    assert_eq!(*outcomes[0].as_ref().unwrap(), Committed::Written);
    assert!(outcomes[1].is_err());
    assert_eq!(*outcomes[2].as_ref().unwrap(), Committed::Stale);
    assert_eq!(*outcomes[3].as_ref().unwrap(), Committed::Written);
    let acme = "acme".parse().unwrap();
    for (id, is_there) in [(2, true), (3, false), (4, false), (5, true)] {
        let found = store.read().transaction(&acme, &Handle::Id(spec(id).id)).await.unwrap();
        assert_eq!(found.is_some(), is_there, "{id}");
    }
}

#[tokio::test]
async fn of_two_nodes_one_ends_the_transactions_that_are_due_and_another_takes_over() {
    let (directory, location) = (tempfile::tempdir().unwrap(), location(new_schema()));
    let (one, two) = (node(&location, &directory).await, node(&location, &directory).await);
    one.step(commit(waiting(spec(1)), None)).await.unwrap();
    let late = Timestamp(u64::MAX >> 2);
    assert_eq!(one.due(late, 10).await.unwrap().now.len(), 1);
    assert_eq!(two.due(late, 10).await.unwrap().now.len(), 0, "the other node does it");
    drop(one);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(two.due(late, 10).await.unwrap().now.len(), 1);
}

#[tokio::test]
async fn each_database_that_cannot_be_used_is_refused_in_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let good = location(new_schema());
    let server = shared();
    let at = |url: String| PostgresLocation { url, ..good.clone() };
    let port = server.port();
    for (url, part) in [
        ("http://localhost/x".into(), "write it like postgres://"),
        (format!("postgres://postgres:secret@127.0.0.1:{port}/postgres"), "store.password_file"),
        (format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full"), "sslmode"),
        (format!("postgres://postgres@127.0.0.1:{port}/nothing"), "does not exist"),
        (format!("postgres://nobody@127.0.0.1:{port}/postgres"), "does not exist"),
        ("postgres://postgres@127.0.0.1:1/postgres".into(), "cannot be reached"),
        ("postgres://postgres@db.example/postgres".into(), "store.ca_file"),
    ] {
        let said = refusal(&at(url.clone()), &directory, now()).await;
        assert!(said.contains(part), "{url}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let bad = PostgresLocation { schema: "a b".into(), ..good.clone() };
    assert!(refusal(&bad, &directory, now()).await.contains("a-z, 0-9"));

    // Minutes apart.
    let early = Timestamp(now().0 - 180_000);
    assert!(refusal(&good, &directory, early).await.contains("clock"));

    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 \
        LC_COLLATE 'C' LC_CTYPE 'C'";
    server.sql(latin).unwrap();
    let elsewhere = |database| format!("postgres://postgres@127.0.0.1:{port}/{database}");
    let said = refusal(&at(elsewhere("latin")), &directory, now()).await;
    assert!(said.contains("UTF8"), "{said}");

    // A database in another time zone is no trouble: times are numbers.
    server.sql("CREATE DATABASE far").unwrap();
    server.sql("ALTER DATABASE far SET timezone TO 'Asia/Kathmandu'").unwrap();
    node(&at(elsewhere("far")), &directory).await.close().await.unwrap();

    // Rights.
    server.sql("CREATE ROLE reader LOGIN").unwrap();
    let reader = at(format!("postgres://reader@127.0.0.1:{port}/postgres"));
    let reader = PostgresLocation { schema: new_schema(), ..reader };
    let said = refusal(&reader, &directory, now()).await;
    assert!(said.contains("rights that docs/postgresql.md lists"), "{said}");

    // Something else's tables.
    let foreign = PostgresLocation { schema: new_schema(), ..good.clone() };
    server
        .sql(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.orders (id INT)", foreign.schema))
        .unwrap();
    assert!(refusal(&foreign, &directory, now()).await.contains("something else"));
    let left = format!(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = '{}'",
        foreign.schema
    );
    assert_eq!(server.sql(&left).unwrap(), "1", "nothing was changed");

    // A newer program's schema, and a ledger where a new one was to be made.
    let newer = PostgresLocation { schema: new_schema(), ..good.clone() };
    node(&newer, &directory).await.close().await.unwrap();
    let key = directory.path().join("master.key");
    let again = Store::postgres(&newer, &key, true, now()).await;
    assert!(again.unwrap_err().to_string().contains("has a ledger already"));
    server.sql(&format!("UPDATE {}.ledger SET version = 99", newer.schema)).unwrap();
    assert!(refusal(&newer, &directory, now()).await.contains("run the newer program"));
}

#[tokio::test]
async fn two_fleets_on_one_schema_by_mistake_are_noticed_by_their_master_keys() {
    let location = location(new_schema());
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = node(&location, &ours).await;
    let said = refusal(&location, &theirs, now()).await;
    assert!(said.contains("store.schema"), "before anything is sealed: {said}");
    populate(&store).await;
    let said = refusal(&location, &theirs, now()).await;
    assert!(said.contains("master"), "{said}");
}

#[tokio::test]
async fn a_database_that_crashes_and_comes_back_costs_no_acknowledged_commit() {
    let mut server = Server::start("").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let location = PostgresLocation { url: server.url(), ..location("ledger".into()) };
    let store = node(&location, &directory).await;
    let acme = "acme".parse().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5_u128 {
        let writing = (0..40).map(|one| {
            let (store, id) = (store.clone(), 1_000 * round + one);
            tokio::spawn(async move {
                let written = store.step(commit(waiting(spec(id)), None)).await;
                matches!(written, Ok(Committed::Written)).then_some(id)
            })
        });
        let writing: Vec<_> = writing.collect();
        tokio::task::yield_now().await;
        server.crash().unwrap();
        server.resume().unwrap();
        for one in writing {
            acknowledged.extend(one.await.unwrap());
        }
    }
    assert!(store.step(commit(waiting(spec(9_999)), None)).await.is_ok(), "it recovers by itself");
    for id in acknowledged {
        let found = store.read().transaction(&acme, &Handle::Id(spec(id).id)).await.unwrap();
        assert!(found.is_some(), "{id} was acknowledged");
    }
}

#[tokio::test]
async fn words_of_a_device_that_the_database_cannot_store_are_stored_without_that_character() {
    let (_directory, store) = postgres().await;
    store.step(commit(waiting(spec(1)), None)).await.unwrap();
    let words = String::from("no\0thanks");
    let end = End::Declined { by: device_id(1), reason: Decline::User, words };
    let state = State::Ended { at: Timestamp(300), end };
    let declined = Transaction { state, ..waiting(spec(1)) };
    assert_eq!(store.step(commit(declined, Some(1))).await.unwrap(), Committed::Written);
    let handle = Handle::Id(spec(1).id);
    let found = store.read().transaction(&"acme".parse().unwrap(), &handle).await.unwrap();
    let end = found.unwrap().value.end().cloned();
    assert!(
        matches!(&end, Some(End::Declined { words, .. }) if words == "no\u{fffd}thanks"),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_take_waits_for_a_tenants_lock_that_is_not_durable_yet_and_writes_nothing_after_it() {
    let (directory, location) = (tempfile::tempdir().unwrap(), location(new_schema()));
    let store = node(&location, &directory).await;
    populate(&store).await;
    let acme: countersign_core::id::TenantName = "acme".parse().unwrap();
    let user = store.read().user(&acme, &"jane".parse().unwrap()).await.unwrap().unwrap();
    store.step(commit(waiting(spec(1)), None)).await.unwrap();
    let schema = location.schema.clone();
    let locking = std::thread::spawn(move || {
        let lock = format!(
            "BEGIN; UPDATE {schema}.tenants SET state = 'locked' WHERE name = 'acme';
             INSERT INTO {schema}.event_numbers AS n (tenant, last, locked) VALUES ('acme', 0, 1)
             ON CONFLICT (tenant) DO UPDATE SET locked = 1; SELECT pg_sleep(1.5); COMMIT"
        );
        shared().sql(&lock).unwrap();
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let take = TransactionChange {
        preconditions: Preconditions { user: Some(user.version), ..Preconditions::default() },
        ..commit(taken(waiting(spec(1)), 500), Some(1))
    };
    let event =
        NewEvent::of_transaction(take.event, &take.transaction, Actor::Server, Timestamp(9));
    let take = Commit { change: Change::Transaction(Box::new(take)), events: vec![event] };
    assert_eq!(store.commit(take).await.unwrap(), Committed::Stale);
    locking.join().unwrap();
    let found = store.read().transaction(&acme, &Handle::Id(spec(1).id)).await.unwrap();
    assert_eq!(found.unwrap().version, 1, "nothing was written");
}
