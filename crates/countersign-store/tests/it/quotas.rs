//! The ledger's contract on quotas: the bytes that stored transactions may occupy.

use countersign_core::port::{Committed, StoredMax, TransactionChange};
use countersign_core::spec::{Content, MediaType, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, State, Timeout, Transaction};
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{commit, spec, waiting};

const CONTENT_BYTES: usize = 50_000;
/// Space for two transactions but not for a third. The quota is checked before one is added.
const TWO: u64 = 60_000;

fn large(id: u128, tenant: &str, client: &str) -> TransactionSpec {
    let content = Content { media_type: MediaType::Text, bytes: vec![b'a'; CONTENT_BYTES] };
    let (tenant, client) = (tenant.parse().unwrap(), client.parse().unwrap());
    TransactionSpec { content, tenant, client, ..spec(id) }
}

async fn start(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    store.step(TransactionChange { stored_max, ..commit(waiting(spec), None) }).await.unwrap()
}

/// Starts a transaction that ends at once, and so is never open.
async fn start_ended(store: &Store, spec: TransactionSpec, stored_max: StoredMax) -> Committed {
    let end = State::Ended { at: Timestamp(100), end: End::Expired(Timeout::GoOnline) };
    let ended = Transaction { state: end, ..waiting(spec) };
    store.step(TransactionChange { stored_max, ..commit(ended, None) }).await.unwrap()
}

#[tokio::test]
async fn a_client_stays_within_its_quota_even_if_its_transactions_end_at_once() {
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
        // The quota applies to new transactions only. Existing ones continue.
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
async fn all_clients_of_a_tenant_together_stay_within_the_tenants_quota() {
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
async fn retention_frees_the_quota_of_removed_transactions() {
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
