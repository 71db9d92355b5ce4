//! The contract of private keys: what is committed signs, and only for its tenant or client.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use countersign_core::id::{ClientId, TenantName};
use countersign_core::port::{
    CallbackMacs, Change, Commit, Committed, Keys as _, Ledger as _, Page, Signer as _,
    SigningRole, StoredKey,
};
use countersign_core::secret::Key32;
use countersign_core::tenant::NewTenant;
use countersign_store::Store;
use rusqlite::Connection;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{client, create_client, new_tenant, populate, tenant};

const MESSAGE: &[u8] = b"a message";

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn bank() -> ClientId {
    "bank".parse().unwrap()
}

fn mac(key: &Key32) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    hmac::sign(&key, MESSAGE).as_ref().try_into().unwrap()
}

async fn macs(store: &Store) -> CallbackMacs {
    store.private_keys().callback_macs(&acme(), &bank(), MESSAGE).await.unwrap().unwrap()
}

/// A new callback key of the client `bank`.
async fn callback_key(store: &Store) -> (Key32, StoredKey) {
    store.private_keys().generate_callback_key(&acme(), &bank()).await.unwrap()
}

#[tokio::test]
async fn a_tenants_keys_sign_once_the_tenant_is_committed() {
    on_every_store(async |store| {
        let keys = store.private_keys();
        let (generated, authority_key) =
            keys.generate(&acme(), SigningRole::Authority).await.unwrap();
        let (_, token_key) = keys.generate(&acme(), SigningRole::Tokens).await.unwrap();
        let fault = keys.prepare(&acme(), SigningRole::Authority).await.unwrap_err();
        let told = std::error::Error::source(&fault).unwrap().to_string();
        assert_eq!(told, "the key for authority of tenant acme: there is none");
        let new = NewTenant { tenant: tenant("acme"), authority_key, token_key };
        assert_eq!(store.create_tenant(new).await.unwrap(), Committed::Written);

        // The second time it is opened already, the third time another process opens it.
        for keys in [&keys, &keys, &store.private_keys()] {
            let signer = keys.prepare(&acme(), SigningRole::Authority).await.unwrap();
            assert_eq!(signer.public_key(), generated.public_key());
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.public_key());
            public.verify(MESSAGE, &signer.sign(MESSAGE).unwrap()).unwrap();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.public_key());
            public.verify(MESSAGE, &signer.sign_der(MESSAGE).unwrap()).unwrap();
            let tokens = keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
            assert_ne!(tokens.public_key(), signer.public_key());
        }
        let beta = "beta".parse().unwrap();
        assert!(keys.prepare(&beta, SigningRole::Tokens).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_is_refused_leaves_the_keys_of_its_name_as_they_are() {
    on_every_store(async |store| {
        populate(&store).await;
        let keys = store.private_keys();
        let before = keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
        let again = new_tenant(&store, "acme").await;
        assert_eq!(store.create_tenant(again).await.unwrap(), Committed::Exists);
        let after = keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
        assert_eq!(before.public_key(), after.public_key());
    })
    .await;
}

#[tokio::test]
async fn during_a_rotation_both_callback_keys_sign_and_then_only_the_newest() {
    on_every_store(async |store| {
        populate(&store).await;
        let (made, first) = create_client(&store, client("acme", "bank", "The Bank")).await;
        assert_eq!(made.unwrap(), Committed::Written);
        assert_eq!(macs(&store).await, CallbackMacs { newest: mac(&first), before: None });

        let (second, key) = callback_key(&store).await;
        let rotated = store.rotate_callback_key(&acme(), &bank(), key).await;
        assert_eq!(rotated.unwrap(), Committed::Written);
        let both = CallbackMacs { newest: mac(&second), before: Some(mac(&first)) };
        assert_eq!(macs(&store).await, both);

        let (_, key) = callback_key(&store).await;
        let third = store.rotate_callback_key(&acme(), &bank(), key).await;
        assert_eq!(third.unwrap(), Committed::Stale, "two keys sign already");
        assert_eq!(macs(&store).await, both);

        // Retiring the older key again changes nothing.
        for _ in 0..2 {
            let retired = store.retire_callback_key(&acme(), &bank()).await;
            assert_eq!(retired.unwrap(), Committed::Written);
            assert_eq!(macs(&store).await, CallbackMacs { newest: mac(&second), before: None });
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_rotations_at_once_one_is_stale() {
    on_every_store(async |store| {
        populate(&store).await;
        let (made, _) = create_client(&store, client("acme", "bank", "The Bank")).await;
        made.unwrap();
        let ((one, one_key), (two, two_key)) =
            (callback_key(&store).await, callback_key(&store).await);
        let (tenant, client) = (acme(), bank());
        let (first, second) = tokio::join!(
            store.rotate_callback_key(&tenant, &client, one_key),
            store.rotate_callback_key(&tenant, &client, two_key),
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        let newest = macs(&store).await.newest;
        match (first, second) {
            (Committed::Written, Committed::Stale) => assert_eq!(newest, mac(&one)),
            (Committed::Stale, Committed::Written) => assert_eq!(newest, mac(&two)),
            both => panic!("{both:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_exist_has_no_callback_key() {
    on_every_store(async |store| {
        populate(&store).await;
        let (made, _) = create_client(&store, client("beta", "bank", "The Bank")).await;
        assert_eq!(made.unwrap(), Committed::Written);
        let found = store.private_keys().callback_macs(&acme(), &bank(), MESSAGE).await;
        assert_eq!(found.unwrap(), None);
        let (_, key) = callback_key(&store).await;
        let rotated = store.rotate_callback_key(&acme(), &bank(), key).await;
        assert_eq!(rotated.unwrap(), Committed::Stale);
        let retired = store.retire_callback_key(&acme(), &bank()).await;
        assert_eq!(retired.unwrap(), Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn another_clients_key_and_another_tenants_key_are_not_used() {
    on_every_store(async |store| {
        populate(&store).await;
        let keys = store.private_keys();
        let (_, others) =
            keys.generate_callback_key(&acme(), &"shop".parse().unwrap()).await.unwrap();
        let client = client("acme", "bank", "The Bank");
        assert_eq!(store.create_client(client, others).await.unwrap(), Committed::Written);
        let fault = keys.callback_macs(&acme(), &bank(), MESSAGE).await.unwrap_err();
        let told = std::error::Error::source(&fault).unwrap().to_string();
        assert!(told.contains("client bank of tenant acme: it was sealed for another"), "{told}");

        let new = new_tenant(&store, "acme").await;
        let name: TenantName = "gamma".parse().unwrap();
        let new = NewTenant { tenant: tenant("gamma"), ..new };
        let change = Change::CreateTenant(Box::new(new));
        store.commit(Commit { change, events: Vec::new() }).await.unwrap();
        for role in [SigningRole::Authority, SigningRole::Tokens] {
            let fault = keys.prepare(&name, role).await.unwrap_err();
            let told = std::error::Error::source(&fault).unwrap().to_string();
            assert!(told.contains("tenant gamma: it was sealed for another context"), "{told}");
        }
    })
    .await;
}

#[tokio::test]
async fn reading_tenants_and_clients_reads_no_private_key() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    populate(&store).await;
    create_client(&store, client("acme", "bank", "The Bank")).await.0.unwrap();
    let sql = Connection::open(directory.path().join("ledger.db")).unwrap();
    sql.execute_batch("DROP TABLE signing_keys; DROP TABLE callback_keys").unwrap();
    assert!(store.private_keys().prepare(&acme(), SigningRole::Tokens).await.is_err());
    assert!(store.private_keys().callback_macs(&acme(), &bank(), MESSAGE).await.is_err());

    assert!(store.read().tenant(&acme()).await.unwrap().is_some());
    assert!(store.read().tenant(&"gamma".parse().unwrap()).await.unwrap().is_none());
    assert_eq!(store.tenants(Page::first(9)).await.unwrap().rows.len(), 2);
    assert!(store.read().client(&acme(), &bank()).await.unwrap().is_some());
    assert!(store.read().client_by_id(&bank()).await.unwrap().is_some());
    assert_eq!(store.trust(&acme(), b"a root").await.unwrap(), Committed::Written);
}

#[tokio::test]
async fn private_keys_are_removed_with_their_client_and_their_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::sqlite(directory.path(), None).unwrap();
    populate(&store).await;
    for (tenant, id) in [("acme", "bank"), ("acme", "shop"), ("beta", "bank")] {
        create_client(&store, client(tenant, id, id)).await.0.unwrap();
    }
    let sql = Connection::open(directory.path().join("ledger.db")).unwrap();
    sql.execute_batch("DELETE FROM clients WHERE tenant = 'acme' AND id = 'bank'").unwrap();
    let found = store.private_keys().callback_macs(&acme(), &bank(), MESSAGE).await;
    assert_eq!(found.unwrap(), None);
    let keys = store.private_keys();
    keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
    sql.execute_batch("DELETE FROM tenants WHERE name = 'acme'").unwrap();
    assert!(keys.prepare(&acme(), SigningRole::Tokens).await.is_err(), "not even if it was open");
    let count = |table| {
        let query = format!("SELECT count(*) FROM {table}");
        sql.query_row(&query, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!((count("signing_keys"), count("callback_keys")), (2, 2));
}
