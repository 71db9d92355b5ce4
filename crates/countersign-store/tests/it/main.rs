//! The contract of every store, and of the store on disk.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod certificates;
mod contract;
mod credentials;
mod database;
mod deliveries;
mod domains;
mod events;
mod file;
mod identities;
mod keys;
mod listings;
mod model;
mod moving;
mod private_keys;
mod quotas;
mod registry;
mod retention;
mod rotation;
mod snapshots;
mod story;
mod tenants;
mod torn;
mod world;

use std::ops::AsyncFn;

use countersign_core::port::Keys;
use countersign_core::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_store::{PostgresLocation, Store};

impl world::HasKeys for Store {
    fn private_keys(&self) -> impl Keys {
        self.private_keys()
    }
}

/// Runs a test on every kind of store.
async fn on_every_store(tell: impl AsyncFn(Store)) {
    tell(Store::memory()).await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    tell(store.clone()).await;
    store.close().await.unwrap();
    let (_directory, store) = postgres().await;
    tell(store.clone()).await;
    store.close().await.unwrap();
}

/// A new ledger on the PostgreSQL server of this process, and the directory of its master key.
async fn postgres() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let location = location(countersign_postgres::new_schema());
    let key = directory.path().join("master.key");
    let store = Store::postgres(&location, &key, true, now()).await.unwrap();
    (directory, store)
}

/// The time of this machine.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis().try_into().unwrap())
}

/// That schema on the PostgreSQL server of this process.
fn location(schema: String) -> PostgresLocation {
    PostgresLocation {
        url: countersign_postgres::shared().url(),
        password_file: None,
        ca_file: None,
        client_certificate: None,
        schema,
        connections_max: 4,
        statement_timeout: Duration::from_secs(10),
    }
}
