//! Rotations of the master key.

use std::path::Path;

use countersign_core::id::TenantName;
use countersign_core::port::{Keys as _, Ledger as _, Signer as _, SigningRole};
use countersign_store::{MasterKeyError, MasterKeyUse, OpenError, RotationError, Store};
use tempfile::TempDir;

use crate::world::{CODE_KEY, PAYLOAD_KEY, PIN_DIGEST, client, create_client, device_id, populate};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn open(directory: &TempDir) -> Store {
    Store::sqlite(directory.path(), None).unwrap()
}

async fn filled(directory: &TempDir) -> Store {
    let store = open(directory);
    populate(&store).await;
    create_client(&store, client("acme", "bank", "The Bank")).await.0.unwrap();
    store
}

/// Reads secrets of each kind.
async fn assert_opens(store: &Store) {
    let device = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap().value;
    assert_eq!(device.payload_key.expose(), &PAYLOAD_KEY);
    assert_eq!(device.code_key.expose(), &CODE_KEY);
    assert_eq!(device.pin.unwrap().digest.expose(), &PIN_DIGEST);
    let keys = store.private_keys();
    let tenant = store.read().tenant(&acme()).await.unwrap().unwrap();
    let tokens = keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
    assert_eq!(*tokens.public_key(), tenant.token_keys.newest);
    let bank = "bank".parse().unwrap();
    assert!(keys.callback_macs(&acme(), &bank, b"message").await.unwrap().is_some());
}

async fn uses(store: &Store) -> Vec<MasterKeyUse> {
    store.master_key_uses().await.unwrap()
}

async fn reseal_all(store: &Store, limit: u16) -> u64 {
    let mut values = 0;
    loop {
        match store.reseal(limit).await.unwrap() {
            0 => return values,
            some => values += u64::from(some),
        }
    }
}

#[tokio::test]
async fn a_rotation_seals_every_secret_again_beside_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = filled(&directory).await;
    let [old] = uses(&server).await[..] else { panic!("one key") };
    assert!(old.values > 5, "{old:?}");

    let operator = open(&directory);
    let (new, added) = operator.add_master_key().await.unwrap();
    assert!(added && new != old.key);
    assert_eq!(reseal_all(&operator, 2).await, old.values);
    let expected =
        [MasterKeyUse { key: new, values: old.values }, MasterKeyUse { key: old.key, values: 0 }];
    assert_eq!(uses(&operator).await, expected);

    assert_opens(&server).await;
    operator.remove_master_key(old.key).await.unwrap();
    assert_eq!(uses(&operator).await.len(), 1);
    assert_opens(&server).await;
    assert_opens(&open(&directory)).await;
}

#[tokio::test]
async fn what_the_server_seals_during_a_rotation_is_sealed_with_the_new_key() {
    let directory = tempfile::tempdir().unwrap();
    let server = filled(&directory).await;
    let operator = open(&directory);
    let (new, _) = operator.add_master_key().await.unwrap();
    create_client(&server, client("acme", "late", "Late")).await.0.unwrap();
    let sealed = uses(&operator).await[0];
    assert_eq!(sealed, MasterKeyUse { key: new, values: 1 });
}

#[tokio::test]
async fn a_rotation_that_was_interrupted_anywhere_is_completed_with_the_same_key() {
    for batches in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let all = uses(&filled(&directory).await).await[0].values;
        let (new, _) = open(&directory).add_master_key().await.unwrap();
        for _ in 0..batches {
            // The process ends after each batch; nothing remembers how far it came.
            assert_eq!(open(&directory).reseal(1).await.unwrap(), 1);
        }
        assert_opens(&open(&directory)).await;
        let again = open(&directory);
        assert_eq!(again.add_master_key().await.unwrap(), (new, false));
        assert_eq!(reseal_all(&again, 100).await, all - batches);
        assert_eq!(uses(&again).await[0], MasterKeyUse { key: new, values: all });
        assert_opens(&again).await;
        let (newer, added) = again.add_master_key().await.unwrap();
        assert!(added && newer != new, "the rotation is complete, so the next one begins");
    }
}

#[tokio::test]
async fn a_key_that_is_needed_or_seals_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory).await;
    let old = uses(&store).await[0].key;
    let (new, _) = store.add_master_key().await.unwrap();
    for (key, told) in [
        (old, "secrets are sealed under it"),
        (new, "is the newest"),
        ("0123456789abcdef".parse().unwrap(), "has no key 0123456789abcdef"),
    ] {
        let error = store.remove_master_key(key).await.unwrap_err();
        assert!(matches!(error, RotationError::File(_)), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(uses(&store).await.len(), 2);
}

fn refused(directory: &Path) -> OpenError {
    Store::sqlite(directory, None).unwrap_err()
}

#[tokio::test]
async fn a_file_without_a_key_that_secrets_need_is_refused_with_that_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("master.key");
    let store = filled(&directory).await;
    let old = std::fs::read(&file).unwrap();
    let (new, _) = store.add_master_key().await.unwrap();
    let both = std::fs::read(&file).unwrap();
    create_client(&store, client("acme", "late", "Late")).await.0.unwrap();
    drop(store);

    // A copy from before the rotation opens each authority's key, but not the newest secret.
    std::fs::write(&file, &old).unwrap();
    let error = refused(directory.path());
    let expected = |error: &OpenError| match error {
        OpenError::MasterKey(MasterKeyError::Lacking { key, values, .. }) => Some((*key, *values)),
        _ => None,
    };
    assert_eq!(expected(&error), Some((new, 1)), "{error}");
    assert!(error.to_string().contains("restore its newest copy"), "{error}");

    std::fs::write(&file, &both).unwrap();
    let store = open(&directory);
    assert_opens(&store).await;
    reseal_all(&store, 100).await;
    drop(store);
    std::fs::write(&file, &old).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::MasterKey(MasterKeyError::Other { .. })), "{error}");
    assert!(error.to_string().contains("or is older than it"), "{error}");
}
