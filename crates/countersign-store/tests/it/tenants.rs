//! The contract for whole tenants: locked, unlocked, deleted.

use countersign_core::delivery::DeliveryKind;
use countersign_core::id::{TenantName, TransactionId};
use countersign_core::limits::DELETED_ROWS_MAX;
use countersign_core::port::{
    Change, Commit, Committed, Handle, Keys as _, Ledger as _, Page, Preconditions, SigningRole,
    TransactionChange,
};
use countersign_core::tenant::{ApiKey, KeyKind, TenantState};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Transaction};
use countersign_store::Store;

use crate::keys::key;
use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    client, commit, create_client, device_id, populate, proof, spec, taken, waiting,
    with_deliveries,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

async fn set(store: &Store, expected: TenantState, state: TenantState) -> Committed {
    let change = Change::SetTenantState { tenant: acme(), expected, state };
    store.change(&acme(), change).await.unwrap()
}

async fn delete(store: &Store, with_evidence: bool) -> Committed {
    let change = Change::DeleteTenant { tenant: acme(), with_evidence };
    store.commit(Commit { change, events: Vec::new() }).await.unwrap()
}

/// A commit that depends on jane, or on her device.
fn depends(id: u128, preconditions: Preconditions) -> TransactionChange {
    TransactionChange { preconditions, ..commit(waiting(spec(id)), None) }
}

/// Whether client, token holder, client of any tenant, key and device are read as locked.
async fn locked(store: &Store, key: &ApiKey) -> [bool; 5] {
    let (read, acme, id) = (store.read(), acme(), "shop".parse().unwrap());
    [
        read.client(&acme, &id).await.unwrap().unwrap().value.tenant_locked,
        read.token_holder(&acme, &id).await.unwrap().unwrap().0.tenant_locked,
        read.client_by_id(&id).await.unwrap().unwrap().tenant_locked,
        read.api_key(&key.digest).await.unwrap().unwrap().tenant_locked,
        read.device(&acme, device_id(1)).await.unwrap().unwrap().value.tenant_locked,
    ]
}

#[tokio::test]
async fn what_a_locked_tenant_has_is_read_as_locked_and_no_commit_may_depend_on_it() {
    on_every_store(async |store| {
        populate(&store).await;
        create_client(&store, client("acme", "shop", "Shop")).await.0.unwrap();
        let own = key(1, Some("acme"), KeyKind::FrontEnd);
        let every = key(2, None, KeyKind::FrontEnd);
        for key in [&own, &every] {
            store.create_key(key.clone()).await.unwrap();
        }
        let user = Preconditions { user: Some(2), device: None };
        let device = Preconditions { user: None, device: Some((device_id(1), 1)) };
        let (active, lock) = (TenantState::Active, TenantState::Locked);
        assert_eq!(set(&store, lock, active).await, Committed::Stale);
        assert_eq!(locked(&store, &own).await, [false; 5]);
        assert_eq!(set(&store, active, lock).await, Committed::Written);
        assert_eq!(set(&store, active, lock).await, Committed::Stale);
        assert_eq!(locked(&store, &own).await, [true; 5]);
        assert!(!store.read().api_key(&every.digest).await.unwrap().unwrap().tenant_locked);
        for on in [user, device] {
            assert_eq!(store.step(depends(1, on)).await.unwrap(), Committed::Stale, "{on:?}");
        }
        // The clocks, and an operator who cancels, depend on nothing else.
        assert_eq!(store.step(depends(2, Preconditions::default())).await.unwrap(), WRITTEN);
        assert_eq!(set(&store, lock, active).await, Committed::Written);
        assert_eq!(locked(&store, &own).await, [false; 5]);
        assert_eq!(store.step(depends(1, user)).await.unwrap(), WRITTEN);
    })
    .await;
}

const WRITTEN: Committed = Committed::Written;

/// Fills acme with a client, a key, and transactions: one signed, with a dead callback, and many
/// that were not.
async fn fill(store: &Store) {
    populate(store).await;
    create_client(store, client("acme", "shop", "Shop")).await.0.unwrap();
    store.create_key(key(1, Some("acme"), KeyKind::FrontEnd)).await.unwrap();
    let end = End::Finished { by: device_id(1), proof: proof(1), identity: None };
    let state = State::Ended { at: Timestamp(200), end };
    let signed = Transaction { state, ..taken(waiting(spec(1)), 1) };
    let signed = with_deliveries(commit(signed, None), &[(1, DeliveryKind::Callback)]);
    assert_eq!(store.step(signed).await.unwrap(), WRITTEN);
    for id in 2..u128::from(DELETED_ROWS_MAX) {
        let open = TransactionChange { open_max: 9_999, ..commit(waiting(spec(id)), None) };
        assert_eq!(store.step(open).await.unwrap(), WRITTEN);
    }
}

#[tokio::test]
async fn a_deleted_tenant_leaves_its_name_its_roots_its_events_and_its_evidence() {
    on_every_store(async |store| {
        fill(&store).await;
        assert_eq!(delete(&store, false).await, Committed::Stale, "it is not locked");
        set(&store, TenantState::Active, TenantState::Locked).await;
        let events = store.events(Some(&acme()), Page::first(999)).await.unwrap().rows;
        assert_eq!(delete(&store, false).await, Committed::More, "a batch is bounded");
        let mut last = delete(&store, false).await;
        while last == Committed::More {
            last = delete(&store, false).await;
        }
        assert_eq!(last, WRITTEN);

        let (read, first) = (store.read(), Page::first(9));
        let found = read.tenant(&acme()).await.unwrap().unwrap();
        assert_eq!((found.state, found.roots.len()), (TenantState::Deleted, 2));
        let kept = store.transactions(&acme(), None, Page::first(9)).await.unwrap().rows;
        let kept: Vec<_> = kept.into_iter().map(|row| row.value.spec.id).collect();
        assert_eq!(kept, [TransactionId(1)]);
        let found = read.transaction(&acme(), &Handle::Id(TransactionId(1))).await.unwrap();
        assert!(matches!(found.unwrap().value.end(), Some(End::Finished { .. })));
        assert_eq!(store.events(Some(&acme()), Page::first(999)).await.unwrap().rows, events);

        assert_eq!(store.clients(&acme(), Page::first(9)).await.unwrap().rows.len(), 0);
        assert_eq!(store.users(&acme(), Page::first(9)).await.unwrap().rows.len(), 0);
        assert_eq!(
            store.devices(&acme(), None.into(), Page::first(9)).await.unwrap().rows.len(),
            0
        );
        assert!(read.device(&acme(), device_id(1)).await.unwrap().is_none());
        assert_eq!(store.deliveries(&acme(), false, first).await.unwrap().rows.len(), 0);
        assert_eq!(store.api_keys(None, Page::first(9)).await.unwrap().rows.len(), 0);
        for role in [SigningRole::Authority, SigningRole::Tokens] {
            assert!(store.private_keys().prepare(&acme(), role).await.is_err());
        }
        let beta = "beta".parse().unwrap();
        assert_eq!(store.users(&beta, Page::first(9)).await.unwrap().rows.len(), 2);

        let user = "ann".parse().unwrap();
        let again = store.create_user(&acme(), &user, None, Timestamp(1)).await;
        assert!(again.is_err(), "it is deleted: {again:?}");
        while delete(&store, true).await == Committed::More {}
        assert!(read.tenant(&acme()).await.unwrap().is_none());
        let kept = store.transactions(&acme(), None, Page::first(9)).await.unwrap().rows;
        assert_eq!(kept.len(), 0);
        assert_eq!(store.events(Some(&acme()), Page::first(9)).await.unwrap().rows, []);
    })
    .await;
}
