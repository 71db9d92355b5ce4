//! Events: numbered in each tenant, written with their change or not at all, and purged from the
//! oldest on.

use countersign_core::event::{Actor, EventKind, NewEvent, Subject};
use countersign_core::id::TenantName;
use countersign_core::port::{Change, Commit, Committed, Ledger as _, Page, Purge};
use countersign_core::time::Timestamp;
use countersign_core::user::LockState;
use countersign_store::Store;

use crate::on_every_store;
use crate::world::populate;

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn event(tenant: Option<&TenantName>, at: u64, details: &[(&'static str, &str)]) -> NewEvent {
    NewEvent {
        tenant: tenant.cloned(),
        at: Timestamp(at),
        kind: EventKind::UserLocked,
        actor: Actor::CommandLine("root:0".into()),
        subject: Subject::User("jane".parse().unwrap()),
        details: details.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    }
}

async fn record(store: &Store, events: Vec<NewEvent>) {
    let commit = Commit { change: Change::Nothing, events };
    assert_eq!(store.commit(commit).await.unwrap(), Committed::Written);
}

/// The times of a tenant's events, by their numbers.
async fn times(store: &Store, tenant: Option<&TenantName>, after: u64) -> Vec<(u64, u64)> {
    let events =
        store.events(tenant, Page { after: Some(after), limit: u16::MAX }).await.unwrap().rows;
    events.into_iter().map(|event| (event.number, event.at.0)).collect()
}

#[tokio::test]
async fn each_tenant_numbers_its_events_without_a_gap_and_reads_back_what_was_written() {
    on_every_store(async |store| {
        let (acme, beta) = (acme(), "beta".parse().unwrap());
        let first = event(Some(&acme), 5, &[("by", "administrator")]);
        record(&store, vec![first.clone(), event(Some(&acme), 6, &[])]).await;
        record(&store, vec![event(Some(&beta), 7, &[]), event(None, 8, &[])]).await;
        record(&store, vec![event(Some(&acme), 9, &[])]).await;
        assert_eq!(times(&store, Some(&acme), 0).await, [(1, 5), (2, 6), (3, 9)]);
        assert_eq!(times(&store, Some(&acme), 2).await, [(3, 9)]);
        assert_eq!(times(&store, Some(&beta), 0).await, [(1, 7)]);
        assert_eq!(times(&store, None, 0).await, [(1, 8)]);

        let read = store.events(Some(&acme), Page { after: Some(0), limit: 1 }).await.unwrap().rows;
        assert_eq!(read.len(), 1, "the limit holds");
        let read = &read[0];
        assert_eq!((read.kind, &read.actor), (first.kind, &first.actor));
        assert_eq!(read.subject, first.subject);
        assert_eq!(read.details, [("by".to_owned(), "administrator".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn a_change_that_is_not_written_writes_no_event() {
    on_every_store(async |store| {
        populate(&store).await;
        let (tenant, user) = (acme(), "jane".parse().unwrap());
        let before = times(&store, Some(&tenant), 0).await.len();
        let stale = Change::SetLockState {
            tenant: tenant.clone(),
            user,
            expected: 99,
            lock_state: LockState::default(),
        };
        let commit = Commit { change: stale, events: vec![event(Some(&tenant), 9, &[])] };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Stale);
        let nothing = Change::Replay { tenant: tenant.clone(), which: None, at: Timestamp(9) };
        let commit = Commit { change: nothing, events: vec![event(Some(&tenant), 9, &[])] };
        assert_eq!(store.commit(commit).await.unwrap(), Committed::Replayed(0));
        assert_eq!(times(&store, Some(&tenant), 0).await.len(), before);
    })
    .await;
}

#[tokio::test]
async fn old_events_are_purged_from_the_oldest_on_and_no_number_is_given_twice() {
    on_every_store(async |store| {
        populate(&store).await;
        let beta: TenantName = "beta".parse().unwrap();
        let purge = async |before, limit| {
            store.purge(Purge::Events(Timestamp(before)), limit).await.unwrap()
        };
        while purge(1_000, 50).await > 0 {}
        let newest = times(&store, Some(&beta), 0).await;
        assert_eq!(newest.len(), 1, "the newest stays");
        let first = newest[0].0 + 1;
        for at in [2_001, 2_002, 2_003, 2_004] {
            record(&store, vec![event(Some(&beta), at, &[])]).await;
        }
        assert_eq!(purge(2_002, 2).await, 2, "the newest of before, and one more");
        assert_eq!(times(&store, Some(&beta), 0).await[0], (first + 1, 2_002));
        assert_eq!(purge(2_002, 2).await, 1);
        assert_eq!(purge(2_002, 2).await, 0);
        assert_eq!(purge(9_999, 50).await, 1);
        record(&store, vec![event(Some(&beta), 3_000, &[])]).await;
        let left = times(&store, Some(&beta), 0).await;
        assert_eq!(left, [(first + 3, 2_004), (first + 4, 3_000)]);
    })
    .await;
}
