//! What every store must do, and what the one on disk must do besides.

mod contract;
mod file;
mod registry;
mod story;
mod world;

use std::ops::AsyncFn;

use countersign_store::Store;

/// Tells the same story to every kind of store.
async fn on_every_store(story: impl AsyncFn(Store)) {
    story(Store::memory()).await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    story(store.clone()).await;
    store.close().await.unwrap();
}
