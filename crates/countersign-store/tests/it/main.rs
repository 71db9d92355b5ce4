//! The contract of every store, and of the store on disk.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod certificates;
mod contract;
mod credentials;
mod deliveries;
mod domains;
mod events;
mod file;
mod identities;
mod keys;
mod listings;
mod model;
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
use countersign_store::Store;

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
}
