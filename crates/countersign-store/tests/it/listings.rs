//! Listings: walked page by page, each gives every row once, in its order.

use core::fmt::Debug;
use std::ops::AsyncFn;

use countersign_core::Fault;
use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{Device, Identity};
use countersign_core::id::{ApiKeyId, IdentityId, TenantName, UserName};
use countersign_core::port::{DeviceFilter, Ledger as _, Listed, Page};
use countersign_core::tenant::{ApiKey, CredentialState, KeyKind};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Transaction};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    activation, commit, create_activation, device, device_id, enrolment, new_tenant, populate,
    proof, spec, taken, waiting, with_deliveries,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// Walks a listing with pages of each size, and compares the rows with one large page.
async fn walk<T: Debug + PartialEq, C>(
    expected: usize,
    read: impl AsyncFn(Page<C>) -> Result<Listed<T, C>, Fault>,
) {
    let whole = read(Page::first(1_000)).await.unwrap();
    assert_eq!(whole.rows.len(), expected, "{:?}", whole.rows);
    assert!(whole.next.is_none(), "a page that is not full is the last one");
    for limit in [1, 2, 3, expected as u16] {
        let mut rows = Vec::new();
        let mut page = Page::first(limit);
        loop {
            let listed = read(page).await.unwrap();
            assert!(listed.rows.len() <= limit.into());
            rows.extend(listed.rows);
            let Some(after) = listed.next else { break };
            page = Page { after: Some(after), limit };
        }
        assert_eq!(rows, whole.rows, "pages of {limit}");
    }
}

#[tokio::test]
async fn transactions_are_walked_from_the_newest_to_the_oldest_evidence() {
    on_every_store(async |store| {
        let jane: UserName = "jane".parse().unwrap();
        for id in 1..=5 {
            let end = End::Finished { by: device_id(1), proof: proof(id), identity: None };
            let state = State::Ended { at: Timestamp(100 + id as u64), end };
            let ended = Transaction { state, ..taken(waiting(spec(id)), 1) };
            store.step(commit(ended, None)).await.unwrap();
        }
        for id in 6..=7 {
            store.step(commit(waiting(spec(id)), None)).await.unwrap();
        }
        assert_eq!(store.purge_ended(Timestamp(103), 9).await.unwrap(), 3);
        for user in [None, Some(&jane)] {
            walk(7, async |page| store.transactions(&acme(), user, page).await).await;
        }
        let joe = "joe".parse().unwrap();
        walk(0, async |page| store.transactions(&acme(), Some(&joe), page).await).await;
    })
    .await;
}

#[tokio::test]
async fn a_walk_over_transactions_misses_none_that_retention_removes_meanwhile() {
    on_every_store(async |store| {
        for id in 1..=6 {
            let end = End::Finished { by: device_id(1), proof: proof(id), identity: None };
            let state = State::Ended { at: Timestamp(100 + id as u64), end };
            let ended = Transaction { state, ..taken(waiting(spec(id)), 1) };
            store.step(commit(ended, None)).await.unwrap();
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut page = Page::first(2);
        loop {
            let listed = store.transactions(&acme(), None, page).await.unwrap();
            seen.extend(listed.rows.iter().map(|row| row.value.spec.id.0));
            store.purge_ended(Timestamp(999), 1).await.unwrap();
            let Some(after) = listed.next else { break };
            page = Page { after: Some(after), limit: 2 };
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    })
    .await;
}

/// Enrols devices of jane and joe at acme. Each second one has an identity labelled `work`.
async fn enrol(store: &Store) {
    let (mut jane, mut joe) = (1, 0);
    for number in 10..17 {
        let (user, nth) = if number % 3 == 0 { ("jane", &mut jane) } else { ("joe", &mut joe) };
        let code = activation("acme", user, u128::from(number) + 100);
        create_activation(store, code.clone()).await;
        let plain = device("acme", user, number, *nth + 1);
        let labels = if number % 2 == 0 { vec!["work".to_owned()] } else { Vec::new() };
        let identity =
            Identity { id: IdentityId(number.into()), labels, ..plain.identities[0].clone() };
        let device = Device { identities: vec![identity], ..plain };
        store.enrol(enrolment(code, device, *nth + 1)).await.unwrap();
        *nth += 1;
    }
}

#[tokio::test]
async fn devices_are_walked_by_user_and_sequence() {
    on_every_store(async |store| {
        populate(&store).await;
        enrol(&store).await;
        let (jane, joe) = ("jane".parse().unwrap(), "joe".parse().unwrap());
        let labels = ["work".to_owned()];
        for (filter, expected) in [
            (DeviceFilter::All, 8),
            (DeviceFilter::User(&jane), 3),
            (DeviceFilter::User(&joe), 5),
            (DeviceFilter::Labels(&labels), 4),
            (DeviceFilter::Labels(&[]), 0),
        ] {
            walk(expected, async |page| store.devices(&acme(), filter, page).await).await;
        }
    })
    .await;
}

#[tokio::test]
async fn tenants_and_api_keys_are_walked_in_order() {
    on_every_store(async |store| {
        for name in ["delta", "acme", "beta", "gamma"] {
            let new = new_tenant(&store, name).await;
            store.create_tenant(new).await.unwrap();
        }
        walk(4, async |page| store.tenants(page).await).await;
        for number in 1..=6_u8 {
            let name = ["acme", "beta"].get(usize::from(number % 3));
            let key = ApiKey {
                // Ids are random: their order is not the order of creation.
                id: ApiKeyId(u128::from(number) * 7 % 11),
                tenant: name.map(|name| name.parse().unwrap()),
                kind: KeyKind::BackEnd,
                digest: [number; 32],
                state: CredentialState::Active,
                not_after: None,
                tenant_locked: false,
                created_at: Timestamp(5),
            };
            store.create_key(key).await.unwrap();
        }
        walk(6, async |page| store.api_keys(None, page).await).await;
        walk(4, async |page| store.api_keys(Some(&acme()), page).await).await;
    })
    .await;
}

#[tokio::test]
async fn deliveries_and_events_are_walked_from_the_oldest_on() {
    on_every_store(async |store| {
        for id in 1..=5 {
            let queued = [(20 - id, DeliveryKind::Callback)];
            store.step(with_deliveries(commit(waiting(spec(id)), None), &queued)).await.unwrap();
        }
        walk(5, async |page| store.deliveries(&acme(), false, page).await).await;
        walk(0, async |page| store.deliveries(&acme(), true, page).await).await;
        walk(5, async |page| store.events(Some(&acme()), page).await).await;
    })
    .await;
}
