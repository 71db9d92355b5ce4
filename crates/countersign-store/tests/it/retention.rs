//! Removal: deleted users, and the retention of transactions and activations.

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::DeviceStatus;
use countersign_core::enrolment::Activation;
use countersign_core::id::{RequestKey, SerialBase, TransactionId, UserId};
use countersign_core::port::{
    Committed, Handle, Ledger, Page, Preconditions, TransactionChange, Versioned,
};
use countersign_core::spec::{Content, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_core::user::{Lock, LockState};
use countersign_proof::raw::{Algorithm, Hash};
use countersign_proof::{Proof, Raw};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    activation, code, commit, create_activation, device, device_id, enrolment, populate, proof,
    raw, spec, taken, waiting, with_deliveries,
};

fn ended(spec: TransactionSpec, at: u64, end: End) -> Transaction {
    Transaction { state: State::Ended { at: Timestamp(at), end }, ..taken(waiting(spec), 1) }
}

fn signed(id: u128) -> End {
    End::Finished { by: device_id(1), proof: proof(id), identity: None }
}

async fn write(store: &Store, transaction: Transaction) -> Committed {
    store.step(commit(transaction, None)).await.unwrap()
}

async fn found(store: &Store, handle: Handle) -> Option<Transaction> {
    let found = store.read().transaction(&"acme".parse().unwrap(), &handle).await.unwrap();
    found.map(|found| found.value)
}

async fn by_id(store: &Store, id: u128) -> Option<Transaction> {
    found(store, Handle::Id(TransactionId(id))).await
}

async fn purge(store: &Store, before: u64, limit: u16) -> u16 {
    store.purge_ended(Timestamp(before), limit).await.unwrap()
}

#[tokio::test]
async fn the_evidence_of_a_signed_transaction_stays_and_is_found_as_before() {
    on_every_store(async |store| {
        let whole = ended(spec(1), 200, signed(1));
        write(&store, whole.clone()).await;
        assert_eq!(purge(&store, 199, 9).await, 0);
        assert_eq!(by_id(&store, 1).await, Some(whole));
        assert_eq!(purge(&store, 200, 9).await, 1);
        assert_eq!(purge(&store, 200, 9).await, 0);

        let content = Content { bytes: Vec::new(), ..spec(1).content };
        let kept =
            TransactionSpec { content, callback: None, notice: None, request: None, ..spec(1) };
        let kept = ended(kept, 200, signed(1));
        let named = Handle::Reference("bank".parse().unwrap(), "order 1".into());
        for handle in
            [Handle::Id(TransactionId(1)), Handle::Key(spec(1).request_key), named.clone()]
        {
            assert_eq!(found(&store, handle.clone()).await, Some(kept.clone()), "{handle:?}");
        }
        let beta = store.read().transaction(&"beta".parse().unwrap(), &named).await.unwrap();
        assert_eq!(beta, None);
    })
    .await;
}

/// A proof with a raw ECDSA signature of this *r* and *s*.
fn ecdsa(id: u128, algorithm: Algorithm, r: u8, s: u8) -> Proof {
    let raw = Raw { algorithm, ..raw(id, None).raw().unwrap().clone() };
    let signature = vec![0x30, 0x06, 0x02, 0x01, r, 0x02, 0x01, s];
    Proof::recorded_raw(id.to_be_bytes(), [11; 32], [12; 32], signature, raw)
}

#[tokio::test]
async fn an_ecdsa_signature_is_used_once_in_its_tenant_even_after_retention() {
    on_every_store(async |store| {
        let finish = async |tenant: &str, id: u128, proof: Proof| {
            let spec = TransactionSpec { tenant: tenant.parse().unwrap(), ..spec(id) };
            store.step(commit(waiting(spec.clone()), None)).await.unwrap();
            let end = End::Finished { by: device_id(1), proof, identity: None };
            let event = Event::Ended(Outcome::Finished);
            let finish = TransactionChange { event, ..commit(ended(spec, 200, end), Some(1)) };
            let answer = store.step(finish.clone()).await.unwrap();
            (answer, finish)
        };
        let p256 = Algorithm::Ecdsa(Hash::Sha256);
        let (first, finish_1) = finish("acme", 1, ecdsa(1, p256, 7, 8)).await;
        assert_eq!(first, Committed::Written);
        // Deleting it afterwards uses no signature.
        let discarded = Transaction { discarded: true, ..finish_1.transaction.clone() };
        let discard = TransactionChange { event: Event::Discarded, ..commit(discarded, Some(2)) };
        assert_eq!(store.step(discard).await.unwrap(), Committed::Written);
        // (r, -s) is as valid as (r, s), so only r counts.
        let (again, refused) = finish("acme", 2, ecdsa(2, p256, 7, 9)).await;
        assert_eq!(again, Committed::SignatureUsed);
        assert_eq!(by_id(&store, 2).await, Some(waiting(spec(2))), "nothing was written");
        assert_eq!(finish("beta", 1, ecdsa(1, p256, 7, 8)).await.0, Committed::Written);
        let rsa = Algorithm::RsaPkcs1(Hash::Sha256);
        for id in [3, 4] {
            let (same_bytes, _) = finish("acme", id, ecdsa(id, rsa, 7, 8)).await;
            assert_eq!(same_bytes, Committed::Written, "PKCS #1 v1.5 is deterministic");
        }
        assert_eq!(purge(&store, 200, 9).await, 4);
        assert_eq!(store.step(refused).await.unwrap(), Committed::SignatureUsed);
        assert_eq!(finish("acme", 5, ecdsa(5, p256, 8, 7)).await.0, Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn content_outside_the_signature_stays_in_the_evidence_and_so_does_a_deletion() {
    on_every_store(async |store| {
        let proofs = [code(1), raw(2, None), raw(3, Some(&[7; 64]))];
        for (id, proof) in (1..).zip(proofs) {
            let end = End::Finished { by: device_id(1), proof, identity: None };
            let whole = Transaction { discarded: true, ..ended(spec(id), 200, end) };
            store.step(commit(waiting(spec(id)), None)).await.unwrap();
            store.step(commit(whole.clone(), Some(1))).await.unwrap();
            assert_eq!(purge(&store, 200, 9).await, 1);
            let bare = TransactionSpec { callback: None, notice: None, request: None, ..spec(id) };
            let kept = Transaction { spec: bare.into(), ..whole };
            assert_eq!(by_id(&store, id).await, Some(kept));
        }
    })
    .await;
}

#[tokio::test]
async fn an_unsigned_transaction_is_removed_with_its_reference_but_a_signed_ones_reference_stays() {
    on_every_store(async |store| {
        write(&store, ended(spec(1), 200, End::Cancelled)).await;
        write(&store, ended(spec(2), 200, signed(2))).await;
        assert_eq!(purge(&store, 200, 9).await, 2);
        assert_eq!(by_id(&store, 1).await, None);
        assert!(by_id(&store, 2).await.is_some());

        let again = |id, name: u128| {
            waiting(TransactionSpec { reference: spec(name).reference, ..spec(id) })
        };
        assert_eq!(write(&store, again(3, 1)).await, Committed::Written);
        assert_eq!(write(&store, again(4, 2)).await, Committed::ReferenceTaken);
    })
    .await;
}

#[tokio::test]
async fn a_reused_request_key_finds_its_present_transaction() {
    on_every_store(async |store| {
        let keyed = |id| TransactionSpec { request_key: RequestKey::drawn(42), ..spec(id) };
        let holder =
            async || found(&store, Handle::Key(RequestKey::drawn(42))).await.map(|t| t.spec.id.0);
        write(&store, ended(keyed(1), 200, signed(1))).await;
        purge(&store, 200, 9).await;
        assert_eq!(write(&store, waiting(keyed(2))).await, Committed::Written);
        assert_eq!(holder().await, Some(2));
        assert_eq!(write(&store, waiting(keyed(3))).await, Committed::RequestKeyTaken);
    })
    .await;
}

#[tokio::test]
async fn open_transactions_and_those_with_an_undelivered_callback_are_not_removed() {
    on_every_store(async |store| {
        write(&store, waiting(spec(1))).await;
        let calling = commit(ended(spec(2), 150, End::Cancelled), None);
        store.step(with_deliveries(calling, &[(7, DeliveryKind::Callback)])).await.unwrap();
        let pushing = commit(ended(spec(6), 151, End::Cancelled), None);
        let pushing = with_deliveries(pushing, &[(8, DeliveryKind::Push(device_id(1)))]);
        store.step(pushing).await.unwrap();
        assert_eq!(purge(&store, 151, 9).await, 1, "a push does not delay the removal");
        let delivery =
            store.deliveries(&"acme".parse().unwrap(), false, Page::first(9)).await.unwrap().rows;
        assert_eq!(delivery.len(), 1, "the push is removed with its transaction");
        for id in [3, 4, 5] {
            write(&store, ended(spec(id), 200 - id as u64, End::Cancelled)).await;
        }
        assert_eq!(purge(&store, 9_999, 2).await, 2, "the earliest first, and no more than asked");
        assert!(by_id(&store, 3).await.is_some());
        assert_eq!(purge(&store, 9_999, 9).await, 1);
        assert!(by_id(&store, 1).await.is_some());
        assert!(by_id(&store, 2).await.is_some());
        let open =
            store.read().open(&"acme".parse().unwrap(), &"jane".parse().unwrap()).await.unwrap();
        assert_eq!(open.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn evidence_is_listed_after_the_remaining_transactions() {
    on_every_store(async |store| {
        for id in [1, 2, 3] {
            write(&store, ended(spec(id), 100 + id as u64, signed(id))).await;
        }
        write(&store, waiting(spec(4))).await;
        purge(&store, 102, 9).await;
        let (acme, jane) = ("acme".parse().unwrap(), "jane".parse().unwrap());
        for user in [None, Some(&jane)] {
            let ids = async |limit| {
                let listed =
                    store.transactions(&acme, user, Page::first(limit)).await.unwrap().rows;
                listed.into_iter().map(|t| t.value.spec.id.0).collect::<Vec<_>>()
            };
            assert_eq!(ids(9).await, [4, 3, 2, 1]);
            assert_eq!(ids(3).await, [4, 3, 2]);
            assert_eq!(ids(2).await, [4, 3]);
        }
        assert!(
            store
                .transactions(&"beta".parse().unwrap(), None, Page::first(9))
                .await
                .unwrap()
                .rows
                .is_empty()
        );
        // The remaining rows can be changed as before.
        let end = ended(spec(4), 300, End::Cancelled);
        assert_eq!(store.step(commit(end, Some(1))).await.unwrap(), Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn expired_activations_are_removed_used_or_not() {
    on_every_store(async |store| {
        populate(&store).await; // One used activation in each of two tenants, good until 1000.
        let (acme, joe) = ("acme".parse().unwrap(), "joe".parse().unwrap());
        let lasting = Activation { not_after: Timestamp(2_000), ..activation("acme", "joe", 9) };
        create_activation(&store, lasting).await;
        assert_eq!(store.purge_activations(Timestamp(999), 9).await.unwrap(), 0);
        assert_eq!(store.purge_activations(Timestamp(1_000), 1).await.unwrap(), 1);
        assert_eq!(store.purge_activations(Timestamp(1_999), 9).await.unwrap(), 1);
        assert_eq!(store.read().activations(&acme, &joe, Timestamp(0)).await.unwrap().len(), 1);
        let jane = "jane".parse().unwrap();
        assert!(store.read().activations(&acme, &jane, Timestamp(0)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_profile_is_stored_unchanged() {
    on_every_store(async |store| {
        populate(&store).await;
        let (acme, ann) = ("acme".parse().unwrap(), "ann".parse().unwrap());
        let profile = Some("{\"größe\": [1, null]}");
        let made = store.create_user(&acme, &ann, profile, Timestamp(1)).await.unwrap();
        assert_eq!(made, Committed::Written);
        let locked = LockState { lock: Lock::Administrator, ..LockState::default() };
        store.set_lock_state(&acme, &ann, 1, locked).await.unwrap();
        let read = store.read().user(&acme, &ann).await.unwrap().unwrap().value;
        assert_eq!(read.profile.as_deref(), profile);
        let jane = store.read().user(&acme, &"jane".parse().unwrap()).await.unwrap().unwrap().value;
        assert_eq!(jane.profile, None);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_users_devices_and_codes_are_gone_and_the_next_user_of_the_name_is_new() {
    on_every_store(async |store| {
        populate(&store).await;
        let (acme, beta) = ("acme".parse().unwrap(), "beta".parse().unwrap());
        let (jane, joe) = ("jane".parse().unwrap(), "joe".parse().unwrap());
        create_activation(&store, activation("acme", "jane", 2)).await;
        write(&store, waiting(spec(1))).await;
        let delete = async |expected| store.delete_user(&acme, &jane, expected).await.unwrap();
        assert_eq!(delete(2).await, Committed::Stale, "a transaction is open");
        let end = ended(spec(1), 300, End::Cancelled);
        store.step(commit(end, Some(1))).await.unwrap();
        assert_eq!(delete(1).await, Committed::Stale, "the version differs");
        assert!(store.read().user(&acme, &jane).await.unwrap().is_some());
        assert_eq!(delete(2).await, Committed::Written);
        assert_eq!(delete(2).await, Committed::Stale);

        assert!(store.read().user(&acme, &jane).await.unwrap().is_none());
        assert!(store.read().activations(&acme, &jane, Timestamp(0)).await.unwrap().is_empty());
        let phone = store.read().device(&acme, device_id(1)).await.unwrap().unwrap();
        assert_eq!((phone.value.status, phone.version), (DeviceStatus::Retired, 2));
        assert!(by_id(&store, 1).await.is_some(), "ended transactions stay");
        let on_user = Preconditions { user: Some(2), device: None };
        let start = TransactionChange { preconditions: on_user, ..commit(waiting(spec(2)), None) };
        assert_eq!(store.step(start).await.unwrap(), Committed::Stale);

        assert!(
            store.read().user(&beta, &jane).await.unwrap().is_some(),
            "another tenant's user is unchanged"
        );
        let others = store.read().device(&beta, device_id(1)).await.unwrap().unwrap();
        assert_eq!(others.value.status, DeviceStatus::Active);
        assert!(store.read().user(&acme, &joe).await.unwrap().is_some());

        let again = store.create_user(&acme, &jane, None, Timestamp(50)).await.unwrap();
        assert_eq!(again, Committed::Written);
        let read = store.read().user(&acme, &jane).await.unwrap().unwrap();
        assert_eq!(read.version, 1);
        assert_eq!((read.value.serial_base, read.value.devices_made), (SerialBase(3), 0));
        assert_eq!(read.value.id, UserId::drawn(50), "another user has another id");
        assert!(
            store
                .devices(&acme, Some(&jane).into(), Page::first(99))
                .await
                .unwrap()
                .rows
                .is_empty()
        );
        let code = activation("acme", "jane", 3);
        create_activation(&store, code.clone()).await;
        let phone = device("acme", "jane", 5, 1);
        assert_eq!(
            store.enrol(enrolment(code, phone.clone(), 1)).await.unwrap(),
            Committed::Written
        );
        let listed = store.devices(&acme, Some(&jane).into(), Page::first(99)).await.unwrap().rows;
        assert_eq!(listed, [Versioned { value: phone, version: 1 }]);
        let on_old_phone = Preconditions { user: Some(2), device: Some((device_id(1), 1)) };
        let late =
            TransactionChange { preconditions: on_old_phone, ..commit(waiting(spec(3)), None) };
        assert_eq!(store.step(late).await.unwrap(), Committed::Stale);
    })
    .await;
}
