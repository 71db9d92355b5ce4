//! The ledger's contract on transactions.

use countersign_core::delivery::{DeliveryKind, Settlement, Verdict};
use countersign_core::device::{About, Usage};
use countersign_core::id::{
    DeliveryId, IdentityId, RequestKey, TenantName, TransactionId, UserName,
};
use countersign_core::port::{
    Committed, Due, Handle, Ledger, Page, Preconditions, Settle, TransactionChange, Versioned,
};
use countersign_core::spec::{
    AcceptedFormats, Clocks, Content, Dialect, Digits, MediaType, Notify, Operation, Recipients,
    TransactionSpec,
};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Decline, End, IdentitySnapshot, State, Timeout, Transaction};
use countersign_core::user::{Factor, Lock, LockState};
use countersign_store::Store;

use crate::deliveries::settled;
use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    claim, code, commit, device, device_id, populate, proof, raw, spec, taken, waiting,
    with_deliveries,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn jane() -> UserName {
    "jane".parse().unwrap()
}

async fn load(store: &Store, id: u128) -> Option<Versioned<Transaction>> {
    store.read().transaction(&acme(), &Handle::Id(TransactionId(id))).await.unwrap()
}

fn end(transaction: Transaction, end: End) -> Transaction {
    Transaction { state: State::Ended { at: Timestamp(200), end }, ..transaction }
}

async fn write(store: &Store, commit: TransactionChange) -> Committed {
    store.step(commit).await.unwrap()
}

/// The identity that made a raw signature.
fn snapshot() -> Box<IdentitySnapshot> {
    Box::new(IdentitySnapshot {
        id: IdentityId(7),
        usage: Usage::Digest,
        labels: vec!["main".into(), "zweit".into()],
        status_reason: "found again".into(),
        about: About { name: "a phone".into(), app: "bank".into(), ..About::default() },
    })
}

#[tokio::test]
async fn a_transaction_is_read_back_as_it_was_written_in_every_state() {
    on_every_store(async |store| {
        let by = device_id(1);
        let states =
            [State::Waiting { reached: false }, State::Taken { deadline: Timestamp(7_777) }];
        let ends = [
            End::Finished { by, proof: proof(3), identity: None },
            End::Finished { by, proof: code(4), identity: None },
            End::Finished { by, proof: raw(5, None), identity: None },
            End::Finished { by, proof: raw(6, Some(&[7; 48])), identity: Some(snapshot()) },
            End::Declined { by, reason: Decline::User, words: String::new() },
            End::Declined { by, reason: Decline::NotMe, words: "no: never".into() },
            End::Failed { by, reason: "no key, \"sorry\"".into() },
            End::Failed { by, reason: String::new() },
            End::Expired(Timeout::GoOnline),
            End::Expired(Timeout::Sign),
            End::Cancelled,
            End::Locked { by, factor: Factor::Pin },
            End::Locked { by, factor: Factor::Code },
        ];
        let ends = ends.map(|end| State::Ended { at: Timestamp(8_888), end });
        for (id, state) in (1..).zip(states.into_iter().chain(ends)) {
            let begun = waiting(TransactionSpec {
                user: format!("user {id}").parse().unwrap(),
                ..spec(id)
            });
            assert_eq!(write(&store, commit(begun.clone(), None)).await, Committed::Written);
            let read = load(&store, id).await.unwrap();
            assert_eq!(read, Versioned { value: begun.clone(), version: 1 });

            let discarded = id % 2 == 0 && state.is_ended();
            let next = Transaction { state, discarded, ..taken(begun, 1) };
            assert_eq!(write(&store, commit(next.clone(), Some(1))).await, Committed::Written);
            let read = load(&store, id).await.unwrap();
            assert_eq!(read, Versioned { value: next, version: 2 });
        }
    })
    .await;
}

#[tokio::test]
async fn terms_without_optional_fields_are_read_back_as_they_were_written() {
    on_every_store(async |store| {
        let sparse = waiting(TransactionSpec {
            reference: None,
            recipients: Recipients::Any,
            pin_required: false,
            once: false,
            announced: Notify::Online,
            sealed_for: None,
            online: false,
            content: Content { media_type: MediaType::Octets, bytes: vec![0] },
            dialect: Dialect::OneSpan,
            operation: Operation::Login,
            formats: AcceptedFormats::CodeOrCms(Digits::new(7).unwrap()),
            clocks: Clocks::One(std::time::Duration::from_secs(5)),
            callback: None,
            notice: None,
            selectors: Vec::new(),
            document: None,
            request: None,
            ..spec(1)
        });
        write(&store, commit(sparse.clone(), None)).await;
        assert_eq!(load(&store, 1).await.unwrap().value, sparse);
    })
    .await;
}

#[tokio::test]
async fn a_commit_at_another_version_is_stale_and_changes_nothing() {
    on_every_store(async |store| {
        let begun = waiting(spec(1));
        let early = commit(begun.clone(), Some(1));
        assert_eq!(write(&store, early).await, Committed::Stale, "there is no transaction yet");
        write(&store, commit(begun.clone(), None)).await;
        for expected in [None, Some(0), Some(2)] {
            let next = end(begun.clone(), End::Cancelled);
            let stale = with_deliveries(commit(next, expected), &[(1, DeliveryKind::Callback)]);
            assert_eq!(write(&store, stale).await, Committed::Stale, "{expected:?}");
        }
        assert_eq!(load(&store, 1).await, Some(Versioned { value: begun, version: 1 }));
        assert!(store.claim(claim(9_999, 9_999, 9)).await.unwrap().deliveries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_lock_acknowledged_before_a_commit_makes_it_stale() {
    on_every_store(async |store| {
        populate(&store).await;
        let read = Preconditions { user: Some(2), device: Some((device_id(1), 1)) };
        let start =
            |id| TransactionChange { preconditions: read, ..commit(waiting(spec(id)), None) };
        assert_eq!(write(&store, start(1)).await, Committed::Written);

        let locked = LockState { lock: Lock::Administrator, ..LockState::default() };
        let set = store.set_lock_state(&acme(), &jane(), 2, locked).await.unwrap();
        assert_eq!(set, Committed::Written);
        assert_eq!(write(&store, start(2)).await, Committed::Stale);

        let changed = store.change_device(device("acme", "jane", 1, 1), 1).await.unwrap();
        assert_eq!(changed, Committed::Written);
        let on_device = Preconditions { user: None, ..read };
        let finish =
            TransactionChange { preconditions: on_device, ..commit(waiting(spec(1)), Some(1)) };
        assert_eq!(write(&store, finish).await, Committed::Stale);

        let nobody = Preconditions { user: None, device: Some((device_id(404), 1)) };
        let unknown = TransactionChange { preconditions: nobody, ..commit(waiting(spec(3)), None) };
        assert_eq!(write(&store, unknown).await, Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn a_lock_state_is_written_with_its_event_or_not_at_all() {
    on_every_store(async |store| {
        populate(&store).await;
        let wrong = LockState { wrong_pins: 1, ..LockState::default() };
        let mistaken = |expected, version| TransactionChange {
            preconditions: Preconditions { user: Some(version), device: None },
            lock_state: Some(wrong),
            ..commit(waiting(spec(1)), expected)
        };
        assert_eq!(write(&store, mistaken(Some(1), 2)).await, Committed::Stale);
        let user = store.read().user(&acme(), &jane()).await.unwrap().unwrap();
        assert_eq!((user.version, user.value.lock_state), (2, LockState::default()));

        assert_eq!(write(&store, mistaken(None, 2)).await, Committed::Written);
        let user = store.read().user(&acme(), &jane()).await.unwrap().unwrap();
        assert_eq!((user.version, user.value.lock_state), (3, wrong));

        assert_eq!(write(&store, mistaken(Some(1), 2)).await, Committed::Stale);
        assert_eq!(load(&store, 1).await.unwrap().version, 1);
    })
    .await;
}

#[tokio::test]
async fn a_reference_is_unique_for_good_for_its_client_and_tenant() {
    on_every_store(async |store| {
        let named = |id| TransactionSpec { reference: spec(1).reference, ..spec(id) };
        write(&store, commit(waiting(named(1)), None)).await;
        write(&store, commit(end(waiting(named(1)), End::Cancelled), Some(1))).await;
        let again = write(&store, commit(waiting(named(2)), None)).await;
        assert_eq!(again, Committed::ReferenceTaken);
        let other_client = TransactionSpec { client: "shop".parse().unwrap(), ..named(3) };
        assert_eq!(write(&store, commit(waiting(other_client), None)).await, Committed::Written);
        let other_tenant = TransactionSpec { tenant: "beta".parse().unwrap(), ..named(4) };
        assert_eq!(write(&store, commit(waiting(other_tenant), None)).await, Committed::Written);

        let handle = Handle::Reference("bank".parse().unwrap(), "order 1".into());
        let found = store.read().transaction(&acme(), &handle).await.unwrap().unwrap();
        assert_eq!(found.value.spec.id, TransactionId(1));
        let handle = Handle::Reference("bank".parse().unwrap(), "order 2".into());
        assert_eq!(store.read().transaction(&acme(), &handle).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_request_key_is_free_again_when_its_transaction_has_ended() {
    on_every_store(async |store| {
        let key = RequestKey::drawn(42);
        let keyed = |id| TransactionSpec { request_key: key, ..spec(id) };
        let found = async || {
            let found = store.read().transaction(&acme(), &Handle::Key(key)).await.unwrap();
            found.map(|found| found.value.spec.id.0)
        };
        assert_eq!(found().await, None);
        write(&store, commit(waiting(keyed(1)), None)).await;
        assert_eq!(
            write(&store, commit(waiting(keyed(2)), None)).await,
            Committed::RequestKeyTaken
        );
        let other_tenant = TransactionSpec { tenant: "beta".parse().unwrap(), ..keyed(3) };
        assert_eq!(write(&store, commit(waiting(other_tenant), None)).await, Committed::Written);

        write(&store, commit(end(waiting(keyed(1)), End::Cancelled), Some(1))).await;
        assert_eq!(found().await, Some(1), "the one that had it last");
        assert_eq!(write(&store, commit(waiting(keyed(4)), None)).await, Committed::Written);
        assert_eq!(found().await, Some(4), "the open one");
        write(&store, commit(end(waiting(keyed(4)), End::Cancelled), Some(1))).await;
        assert_eq!(found().await, Some(4), "the one that had it last");
    })
    .await;
}

#[tokio::test]
async fn a_user_with_the_maximum_of_open_transactions_gets_a_new_one_only_after_an_end() {
    on_every_store(async |store| {
        let start = |id| TransactionChange { open_max: 2, ..commit(waiting(spec(id)), None) };
        write(&store, start(1)).await;
        write(&store, start(2)).await;
        assert_eq!(write(&store, start(3)).await, Committed::TooManyOpen);
        let joes = TransactionSpec { user: "joe".parse().unwrap(), ..spec(4) };
        let joes = TransactionChange { open_max: 2, ..commit(waiting(joes), None) };
        assert_eq!(write(&store, joes).await, Committed::Written);
        // The maximum applies to new transactions only. Open ones continue.
        let goes_on =
            TransactionChange { open_max: 1, ..commit(taken(waiting(spec(1)), 500), Some(1)) };
        assert_eq!(write(&store, goes_on).await, Committed::Written);
        write(&store, commit(end(waiting(spec(2)), End::Cancelled), Some(1))).await;
        assert_eq!(write(&store, start(5)).await, Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn open_transactions_are_read_oldest_first_and_lists_newest_first() {
    on_every_store(async |store| {
        for id in [5, 3, 9, 7] {
            write(&store, commit(waiting(spec(id)), None)).await;
        }
        let joes = TransactionSpec { user: "joe".parse().unwrap(), ..spec(1) };
        write(&store, commit(waiting(joes), None)).await;
        let elsewhere = TransactionSpec { tenant: "beta".parse().unwrap(), ..spec(2) };
        write(&store, commit(waiting(elsewhere), None)).await;
        write(&store, commit(end(waiting(spec(3)), End::Cancelled), Some(1))).await;

        let ids = |found: Vec<Versioned<Transaction>>| {
            found.into_iter().map(|t| t.value.spec.id.0).collect::<Vec<_>>()
        };
        assert_eq!(ids(store.read().open(&acme(), &jane()).await.unwrap()), [5, 9, 7]);
        assert_eq!(
            ids(store.transactions(&acme(), Some(&jane()), Page::first(9)).await.unwrap().rows),
            [7, 9, 3, 5]
        );
        assert_eq!(
            ids(store.transactions(&acme(), None, Page::first(3)).await.unwrap().rows),
            [1, 7, 9]
        );
        assert_eq!(
            ids(store.transactions(&acme(), None, Page::first(0)).await.unwrap().rows),
            [0; 0]
        );
    })
    .await;
}

#[tokio::test]
async fn transactions_with_a_passed_deadline_are_due_earliest_first() {
    on_every_store(async |store| {
        for (id, deadline) in [(1, 900), (2, 700), (3, 800), (4, 600)] {
            write(&store, commit(waiting(spec(id)), None)).await;
            write(&store, commit(taken(waiting(spec(id)), deadline), Some(1))).await;
        }
        write(&store, commit(end(waiting(spec(4)), End::Cancelled), Some(2))).await;
        let due = async |now, limit| store.due(Timestamp(now), limit).await.unwrap();
        let named = |id| (acme(), TransactionId(id));
        let none = Due { now: vec![], next: Some(Timestamp(700)) };
        assert_eq!(due(699, 9).await, none);
        let two = Due { now: vec![named(2), named(3)], next: Some(Timestamp(900)) };
        assert_eq!(due(800, 9).await, two);
        assert_eq!(due(900, 1).await, Due { now: vec![named(2)], next: None });
    })
    .await;
}

#[tokio::test]
async fn a_tenant_cannot_reach_another_tenants_rows() {
    on_every_store(async |store| {
        populate(&store).await;
        let deliveries = [(7, DeliveryKind::Callback)];
        write(&store, with_deliveries(commit(waiting(spec(1)), None), &deliveries)).await;
        let beta: TenantName = "beta".parse().unwrap();
        let by_id = store.read().transaction(&beta, &Handle::Id(TransactionId(1))).await.unwrap();
        let by_key =
            store.read().transaction(&beta, &Handle::Key(spec(1).request_key)).await.unwrap();
        assert_eq!((by_id, by_key), (None, None));
        assert!(store.read().open(&beta, &jane()).await.unwrap().is_empty());
        assert!(store.transactions(&beta, None, Page::first(9)).await.unwrap().rows.is_empty());
        let theirs = TransactionSpec { tenant: beta.clone(), ..spec(1) };
        let theirs = commit(end(waiting(theirs), End::Cancelled), Some(1));
        assert_eq!(write(&store, theirs).await, Committed::Stale);
        let theirs = store.claim(claim(500, 500, 9)).await.unwrap().deliveries.remove(0);
        let settlement = Settlement {
            tenant: beta.clone(),
            id: theirs.id,
            lease: theirs.lease,
            verdict: Verdict::Done,
            outcome: String::new(),
            at: Timestamp(101),
        };
        store.settle(Settle::Claimed(settlement)).await.unwrap();
        assert!(store.deliveries(&beta, false, Page::first(9)).await.unwrap().rows.is_empty());
        let claimed = store.claim(claim(500, 600, 9)).await.unwrap().deliveries;
        assert_eq!(claimed.len(), 1, "another tenant's settling does not pay it");
        store
            .settle(Settle::Claimed(Settlement {
                verdict: Verdict::GiveUp,
                ..settled(&claimed[0])
            }))
            .await
            .unwrap();
        assert_eq!(store.replay(&beta, Some(DeliveryId(7)), Timestamp(1)).await.unwrap(), 0);
        assert_eq!(store.replay(&beta, None, Timestamp(1)).await.unwrap(), 0);
    })
    .await;
}
