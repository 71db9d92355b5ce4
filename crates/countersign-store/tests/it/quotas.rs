//! The ledger's contract on quotas: what stored transactions may occupy.

use countersign_core::port::{Committed, StoredMax, TransactionChange};
use countersign_core::spec::{Content, MediaType, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Timeout, Transaction};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{commit, spec, waiting};

const CONTENT_BYTES: usize = 50_000;
/// Room for two transactions and no third: the bound is looked at before one is added.
const TWO: u64 = 60_000;

fn large(id: u128, tenant: &str, client: &str) -> TransactionSpec {
    let content = Content { media_type: MediaType::Text, bytes: vec![b'a'; CONTENT_BYTES] };
    let (tenant, client) = (tenant.parse().unwrap(), client.parse().unwrap());
    TransactionSpec { content, tenant, client, ..spec(id) }
}

async fn start(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    store.step(TransactionChange { stored_max, ..commit(waiting(spec), None) }).await.unwrap()
}

/// It has ended as it starts: it is never open.
async fn start_ended(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    let end = State::Ended { at: Timestamp(100), end: End::Expired(Timeout::GoOnline) };
    let ended = Transaction { state: end, ..waiting(spec) };
    store.step(TransactionChange { stored_max, ..commit(ended, None) }).await.unwrap()
}

#[tokio::test]
async fn a_client_stores_no_more_than_it_may_even_if_all_that_it_starts_has_ended_at_once() {
    on_every_store(async |store| {
        let max = StoredMax { client: TWO, tenant: u64::MAX };
        for id in [1, 2] {
            let started = start_ended(&store, large(id, "acme", "bank"), max).await;
            assert_eq!(started, Committed::Written);
        }
        let third = start_ended(&store, large(3, "acme", "bank"), max).await;
        assert_eq!(third, Committed::ClientFull);
        assert_eq!(start(&store, large(4, "acme", "shop"), max).await, Committed::Written);
        assert_eq!(start(&store, large(5, "beta", "bank"), max).await, Committed::Written);
        // The bound is on new ones: what is there goes on.
        let goes_on =
            TransactionChange { stored_max: StoredMax { client: 0, tenant: 0 }, ..cancelled(4) };
        assert_eq!(store.step(goes_on).await.unwrap(), Committed::Written);
    })
    .await;
}

fn cancelled(id: u128) -> TransactionChange {
    let end = State::Ended { at: Timestamp(200), end: End::Cancelled };
    let ended = Transaction { state: end, ..waiting(large(id, "acme", "shop")) };
    commit(ended, Some(1))
}

#[tokio::test]
async fn all_clients_of_a_tenant_together_store_no_more_than_the_tenant_may() {
    on_every_store(async |store| {
        let max = StoredMax { client: u64::MAX, tenant: TWO };
        for (id, client) in [(1, "bank"), (2, "shop")] {
            assert_eq!(start(&store, large(id, "acme", client), max).await, Committed::Written);
        }
        assert_eq!(start(&store, large(3, "acme", "till"), max).await, Committed::TenantFull);
        assert_eq!(start(&store, large(4, "beta", "till"), max).await, Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn what_retention_removes_makes_room_again() {
    on_every_store(async |store| {
        let max = StoredMax { client: TWO, tenant: TWO };
        let bare = |id| TransactionSpec { callback: None, ..large(id, "acme", "bank") };
        for id in [1, 2] {
            assert_eq!(start_ended(&store, bare(id), max).await, Committed::Written);
        }
        assert_eq!(start(&store, bare(3), max).await, Committed::ClientFull);
        assert_eq!(store.purge_ended(Timestamp(100), 1).await.unwrap(), 1);
        assert_eq!(start(&store, bare(4), max).await, Committed::Written);
        assert_eq!(start(&store, bare(5), max).await, Committed::ClientFull);
        assert_eq!(store.purge_ended(Timestamp(100), 9).await.unwrap(), 1);
        assert_eq!(start(&store, bare(6), max).await, Committed::Written);
    })
    .await;
}
