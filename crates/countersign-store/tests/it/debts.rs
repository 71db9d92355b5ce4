//! What a ledger owes: claimed, settled, given up and replayed, sentence by sentence.

use countersign_core::delivery::{Debt, Delivery, Lane, Room, Settlement, Verdict};
use countersign_core::id::{DeliveryId, TenantName};
use countersign_core::port::{Claim, Claimed, Commit, Committed, Ledger};
use countersign_core::terms::{Callback, Terms};
use countersign_core::time::Timestamp;
use countersign_store::Store;

use crate::on_every_store;
use crate::world::{claim, commit, device_id, populate, terms, waiting};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// A claimed delivery, as it is settled when it was paid.
pub(crate) fn settled(delivery: &Delivery) -> Settlement {
    Settlement {
        tenant: delivery.lane.tenant.clone(),
        id: delivery.id,
        lease: delivery.lease,
        verdict: Verdict::Done,
        outcome: "answered 503".into(),
    }
}

async fn settle(store: &Store, delivery: &Delivery, verdict: Verdict) {
    store.settle(Settlement { verdict, ..settled(delivery) }).await.unwrap();
}

/// Commits a transaction that owes a call to this host, with the same number as the delivery's id.
async fn owe(store: &Store, number: u128, tenant: &str, host: &str) {
    let callback = Some(Callback { url: format!("https://{host}/done?x=/"), headers: vec![] });
    let owing = waiting(Terms { tenant: tenant.parse().unwrap(), callback, ..terms(number) });
    let debts = vec![(DeliveryId(number), Debt::Callback)];
    let owing = Commit { debts, ..commit(owing, None) };
    assert_eq!(store.commit(owing).await.unwrap(), Committed::Written);
}

fn numbers(claimed: &Claimed) -> Vec<u128> {
    claimed.deliveries.iter().map(|delivery| delivery.id.0).collect()
}

#[tokio::test]
async fn a_debt_is_claimed_by_one_until_its_lease_ends() {
    on_every_store(async |store| {
        let debts =
            vec![(DeliveryId(8), Debt::Push(device_id(1))), (DeliveryId(7), Debt::Callback)];
        let owing = Commit { debts, ..commit(waiting(terms(1)), None) };
        store.commit(owing).await.unwrap();
        let due = async |now: u64, limit| {
            store.claim(claim(now, now + 50, limit)).await.unwrap().deliveries
        };
        let seen = |claimed: &[Delivery]| {
            let seen = claimed.iter().map(|d| (d.id.0, d.attempts, d.lease));
            seen.collect::<Vec<_>>()
        };
        // Due at once: at the moment of the event, 100.
        let push = due(100, 1).await;
        assert_eq!(seen(&push), [(8, 0, 1)]);
        assert_eq!((&push[0].debt, &*push[0].lane.host), (&Debt::Push(device_id(1)), ""));
        let call = due(110, 9).await;
        assert_eq!(seen(&call), [(7, 0, 1)]);
        assert_eq!((&call[0].debt, &*call[0].lane.host), (&Debt::Callback, "bank.example"));
        assert_eq!(call[0].owed_at, Timestamp(100));
        assert_eq!(due(149, 9).await, []);
        let again = due(150, 9).await;
        assert_eq!(seen(&again), [(8, 1, 2)], "its lease has ended");

        settle(&store, &again[0], Verdict::Retry(Timestamp(5_000))).await;
        settle(&store, &call[0], Verdict::Done).await;
        assert_eq!(due(4_999, 9).await, []);
        let last = due(5_000, 9).await;
        assert_eq!(seen(&last), [(8, 2, 3)]);
        settle(&store, &last[0], Verdict::GiveUp).await;
        assert_eq!(due(u64::MAX / 4, 9).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_verdict_that_comes_after_its_lease_says_nothing_of_the_next_one() {
    on_every_store(async |store| {
        owe(&store, 1, "acme", "a.example").await;
        let late = store.claim(claim(100, 150, 9)).await.unwrap().deliveries.remove(0);
        let next = store.claim(claim(150, 200, 9)).await.unwrap().deliveries.remove(0);
        for verdict in [Verdict::Done, Verdict::GiveUp, Verdict::Retry(Timestamp(0))] {
            settle(&store, &late, verdict).await;
            let unpaid = store.deliveries(&acme(), false, 9).await.unwrap();
            assert_eq!(unpaid[0].due_at, Some(Timestamp(200)), "{verdict:?}");
            assert_eq!(unpaid[0].outcome, None);
        }
        settle(&store, &next, Verdict::Done).await;
        assert!(store.deliveries(&acme(), false, 9).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn each_receiver_of_each_tenant_gets_its_share_of_the_room() {
    on_every_store(async |store| {
        populate(&store).await;
        for number in 1..=6 {
            owe(&store, number, "acme", "slow.example").await;
        }
        owe(&store, 7, "acme", "fast.example:8443").await;
        owe(&store, 8, "beta", "slow.example").await;
        let mut room = Room::new(16, 2);
        let ask = |room: &Room, after| Claim { room: room.clone(), after, ..claim(100, 500, 16) };
        let claimed = store.claim(ask(&room, None)).await.unwrap();
        assert_eq!(numbers(&claimed), [7, 1, 2, 8]);
        let fast = Lane { tenant: acme(), host: "fast.example:8443".into() };
        assert_eq!(claimed.resume, Some(fast), "the next claim begins behind it");

        let slow = claimed.deliveries[1].lane.clone();
        room.take(&slow, 2);
        let claimed = store.claim(ask(&room, claimed.resume)).await.unwrap();
        assert_eq!(numbers(&claimed), [0_u128; 0], "its places are taken");
        room.leave(&slow);
        assert_eq!(numbers(&store.claim(ask(&room, claimed.resume)).await.unwrap()), [3]);
        room.narrow([(slow, 0)]);
        assert_eq!(numbers(&store.claim(ask(&room, None)).await.unwrap()), [0_u128; 0]);
    })
    .await;
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_replayed_as_if_it_were_owed_only_now() {
    on_every_store(async |store| {
        for number in 1..=3 {
            owe(&store, number, "acme", "a.example").await;
        }
        for delivery in store.claim(claim(100, 150, 9)).await.unwrap().deliveries {
            settle(&store, &delivery, Verdict::GiveUp).await;
        }
        owe(&store, 4, "acme", "a.example").await;
        let listed = async |given_up| {
            let listed = store.deliveries(&acme(), given_up, 9).await.unwrap();
            listed
                .into_iter()
                .map(|unpaid| (unpaid.delivery.id.0, unpaid.due_at))
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(true).await, [(1, None), (2, None), (3, None)]);
        assert_eq!(listed(false).await.len(), 4);
        assert_eq!(store.deliveries(&acme(), false, 2).await.unwrap().len(), 2);

        let replay = async |which| store.replay(&acme(), which, Timestamp(900)).await.unwrap();
        assert_eq!(replay(Some(DeliveryId(2))).await, 1);
        assert_eq!(replay(Some(DeliveryId(2))).await, 0, "it is not given up any more");
        assert_eq!(replay(Some(DeliveryId(4))).await, 0, "it never was");
        assert_eq!(replay(None).await, 2);
        let claimed = store.claim(claim(900, 999, 9)).await.unwrap();
        assert_eq!(numbers(&claimed), [4, 1, 2, 3]);
        let first = &claimed.deliveries[1];
        assert_eq!((first.attempts, first.owed_at, first.lease), (0, Timestamp(900), 2));
        let unpaid = store.deliveries(&acme(), false, 9).await.unwrap();
        assert_eq!(unpaid[0].outcome.as_deref(), Some("answered 503"), "told until the next one");
    })
    .await;
}

#[tokio::test]
async fn only_what_waits_too_long_in_that_lane_and_is_not_on_its_way_is_forsaken() {
    on_every_store(async |store| {
        for (number, host) in [(1, "a.example"), (2, "a.example"), (3, "b.example")] {
            owe(&store, number, "acme", host).await;
        }
        let room = Room::new(1, 1);
        let claimed = store.claim(Claim { room, ..claim(100, 500, 1) }).await.unwrap();
        let lane = claimed.deliveries[0].lane.clone();
        let forsake = async |now, owed_before| {
            let (now, before) = (Timestamp(now), Timestamp(owed_before));
            store.forsake(&lane, now, before, "given up unheard").await.unwrap()
        };
        assert_eq!(forsake(200, 99).await, 0);
        assert_eq!(forsake(200, 100).await, 1);
        let given_up = store.deliveries(&acme(), true, 9).await.unwrap();
        assert_eq!(given_up[0].delivery.id, DeliveryId(2));
        assert_eq!(given_up[0].outcome.as_deref(), Some("given up unheard"));
        assert_eq!(forsake(500, 100).await, 1, "its lease has ended");
    })
    .await;
}
