//! The ledger's contract on deliveries: claim, settle, give up and replay.

use core::time::Duration;

use countersign_core::delivery::capacity::{Capacity, Health};
use countersign_core::delivery::{Delivery, DeliveryKind, RetryPolicy, Settlement, Verdict};
use countersign_core::event::{Actor, EventKind, Subject};
use countersign_core::id::{DeliveryId, TenantName, TransactionId};
use countersign_core::limits::DUE_PER_CLAIM_MAX;
use countersign_core::port::{
    Claim, Claimed, Committed, Ledger, Page, Settle, Settled, TransactionChange,
};
use countersign_core::push::{Provider, Push, Retirement};
use countersign_core::push_policy::{Contact, PushSnapshot, PushState, Pushed};
use countersign_core::spec::{Callback, TransactionSpec};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{End, Event, Outcome, State, Transaction};
use countersign_store::Store;

use crate::world::Changes as _;
use crate::world::{
    claim, commit, device, device_id, populate, push, spec, waiting, with_deliveries,
};
use crate::{on_every_store, world};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// The settlement of a claimed delivery that was accepted.
pub(crate) fn settled(delivery: &Delivery) -> Settlement {
    Settlement {
        tenant: delivery.destination.tenant().clone(),
        id: delivery.id,
        lease: delivery.lease,
        verdict: Verdict::Done,
        outcome: "answered 503".into(),
        at: Timestamp(77),
    }
}

async fn settle(store: &Store, delivery: &Delivery, verdict: Verdict) -> Settled {
    store.settle(Settle::Claimed(Settlement { verdict, ..settled(delivery) })).await.unwrap()
}

/// Commits a transaction with a callback to this host. The delivery's id is the transaction's
/// number.
async fn owe(store: &Store, number: u128, tenant: &str, host: &str) {
    owe_at(store, number, tenant, &format!("https://{host}/done?x={number}")).await;
}

/// Commits a transaction with a callback to this URL.
async fn owe_at(store: &Store, number: u128, tenant: &str, url: &str) {
    let callback = Some(Callback { url: url.to_owned(), headers: vec![] });
    let with_deliveries =
        waiting(TransactionSpec { tenant: tenant.parse().unwrap(), callback, ..spec(number) });
    let with_deliveries =
        world::with_deliveries(commit(with_deliveries, None), &[(number, DeliveryKind::Callback)]);
    let with_deliveries = TransactionChange { open_max: u16::MAX, ..with_deliveries };
    assert_eq!(store.step(with_deliveries).await.unwrap(), Committed::Written);
}

fn numbers(claimed: &Claimed) -> Vec<u128> {
    claimed.deliveries.iter().map(|delivery| delivery.id.0).collect()
}

#[tokio::test]
async fn a_delivery_is_claimed_by_one_node_until_its_lease_ends() {
    on_every_store(async |store| {
        let deliveries = [(8, DeliveryKind::Push(device_id(1))), (7, DeliveryKind::Callback)];
        store.step(with_deliveries(commit(waiting(spec(1)), None), &deliveries)).await.unwrap();
        let due = async |now: u64, limit| {
            store.claim(claim(now, now + 50, limit)).await.unwrap().deliveries
        };
        let seen = |claimed: &[Delivery]| {
            let seen = claimed.iter().map(|d| (d.id.0, d.attempts, d.lease));
            seen.collect::<Vec<_>>()
        };
        // Due at once: at the time of the event, 100. Callbacks and pushes have separate
        // capacities.
        let mut push = due(100, 1).await;
        let call = push.split_off(1);
        assert_eq!(seen(&push), [(8, 0, 1)]);
        let host = push[0].destination.host().to_string();
        assert_eq!((&push[0].kind, &*host), (&DeliveryKind::Push(device_id(1)), "push/apns/app"));
        assert_eq!(seen(&call), [(7, 0, 1)]);
        assert_eq!(
            (&call[0].kind, &*call[0].destination.host().to_string()),
            (&DeliveryKind::Callback, "bank.example")
        );
        assert_eq!(call[0].queued_at, Timestamp(100));
        assert_eq!(due(149, 9).await, []);
        let again = due(150, 9).await;
        assert_eq!(seen(&again), [(8, 1, 2), (7, 1, 2)], "their leases have ended");

        settle(&store, &again[1], Verdict::Retry(Timestamp(5_000))).await;
        settle(&store, &again[0], Verdict::Done).await;
        assert_eq!(due(4_999, 9).await, []);
        let last = due(5_000, 9).await;
        assert_eq!(seen(&last), [(7, 2, 3)]);
        settle(&store, &last[0], Verdict::GiveUp).await;
        assert_eq!(due(u64::MAX / 4, 9).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_settlement_after_the_end_of_its_lease_does_not_affect_the_next_lease() {
    on_every_store(async |store| {
        owe(&store, 1, "acme", "a.example").await;
        let late = store.claim(claim(100, 150, 9)).await.unwrap().deliveries.remove(0);
        let next = store.claim(claim(150, 200, 9)).await.unwrap().deliveries.remove(0);
        for verdict in [Verdict::Done, Verdict::GiveUp, Verdict::Retry(Timestamp(0))] {
            settle(&store, &late, verdict).await;
            let outbox = store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows;
            assert_eq!(outbox[0].due_at, Some(Timestamp(200)), "{verdict:?}");
            assert_eq!(outbox[0].outcome, None);
        }
        settle(&store, &next, Verdict::Done).await;
        assert!(store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows.is_empty());
    })
    .await;
}

#[tokio::test]
async fn each_destination_of_each_tenant_gets_its_share_of_the_capacity() {
    on_every_store(async |store| {
        populate(&store).await;
        for number in 1..=6 {
            owe(&store, number, "acme", "slow.example").await;
        }
        owe(&store, 7, "acme", "fast.example:8443").await;
        owe(&store, 8, "beta", "slow.example").await;
        let mut capacity = Capacity::new(16, 2);
        let ask = |capacity: &Capacity| Claim { capacity: capacity.clone(), ..claim(100, 500, 16) };
        let claimed = store.claim(ask(&capacity)).await.unwrap();
        assert_eq!(numbers(&claimed), [1, 7, 8, 2], "first, each destination gets one");
        assert!(claimed.is_partial, "deliveries of the first one wait");

        let slow = claimed.deliveries[0].destination.clone();
        capacity.acquire(&slow);
        capacity.acquire(&slow);
        let claimed = store.claim(ask(&capacity)).await.unwrap();
        assert_eq!(numbers(&claimed), [0_u128; 0], "its permits are in use");
        capacity.release(&slow, false);
        assert_eq!(numbers(&store.claim(ask(&capacity)).await.unwrap()), [3]);
        capacity.release(&slow, false);
        for _ in 0..10 {
            let (first, longest) = (Duration::from_secs(2), Duration::from_mins(1));
            let retry = RetryPolicy { first, longest, give_up_after: longest };
            capacity.heard(&slow, Health::Outage(None), false, Timestamp(100), &retry);
        }
        assert_eq!(numbers(&store.claim(ask(&capacity)).await.unwrap()), [0_u128; 0]);
        // Another path of the same client on the same host.
        owe_at(&store, 9, "acme", "https://slow.example/other").await;
        assert_eq!(numbers(&store.claim(ask(&capacity)).await.unwrap()), [9]);
    })
    .await;
}

#[tokio::test]
async fn of_many_due_deliveries_each_destination_still_gets_its_share() {
    on_every_store(async |store| {
        let many = u128::from(DUE_PER_CLAIM_MAX);
        for number in 1..=many {
            owe(&store, number, "acme", "busy.example").await;
        }
        owe_at(&store, many + 1, "acme", "https://busy.example/other").await;
        owe(&store, many + 2, "acme", "zebra.example").await;
        let mut capacity = Capacity::new(16, 2);
        let (mut after, mut seen) = (None, Vec::new());
        // One permit of the busy host is in use all the time, and the other one is given in turns.
        for _ in 0..3 {
            let ask = Claim { capacity: capacity.clone(), after, ..claim(100, 500, 16) };
            let claimed = store.claim(ask).await.unwrap();
            assert!(claimed.is_partial);
            for delivery in &claimed.deliveries {
                capacity.note_served(&delivery.destination);
                seen.push(delivery.id.0);
            }
            after = claimed.resume;
        }
        assert!(seen.contains(&(many + 1)), "{seen:?}");
        assert!(seen.contains(&(many + 2)), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_is_listed_and_is_replayed_as_if_it_were_queued_now() {
    on_every_store(async |store| {
        for number in 1..=3 {
            owe(&store, number, "acme", "a.example").await;
        }
        for delivery in store.claim(claim(100, 150, 9)).await.unwrap().deliveries {
            settle(&store, &delivery, Verdict::GiveUp).await;
        }
        owe(&store, 4, "acme", "a.example").await;
        let listed = async |dead_letters| {
            let listed =
                store.deliveries(&acme(), dead_letters, Page::first(9)).await.unwrap().rows;
            listed
                .into_iter()
                .map(|outbox| (outbox.delivery.id.0, outbox.due_at))
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(true).await, [(1, None), (2, None), (3, None)]);
        assert_eq!(listed(false).await.len(), 4);
        assert_eq!(store.deliveries(&acme(), false, Page::first(2)).await.unwrap().rows.len(), 2);

        let replay = async |which| store.replay(&acme(), which, Timestamp(900)).await.unwrap();
        assert_eq!(replay(Some(DeliveryId(2))).await, 1);
        assert_eq!(replay(Some(DeliveryId(2))).await, 0, "it is no longer a dead letter");
        assert_eq!(replay(Some(DeliveryId(4))).await, 0, "it was never a dead letter");
        assert_eq!(replay(None).await, 2);
        let claimed = store.claim(claim(900, 999, 9)).await.unwrap();
        assert_eq!(numbers(&claimed), [4, 1, 2, 3]);
        let first = &claimed.deliveries[1];
        assert_eq!((first.attempts, first.queued_at, first.lease), (0, Timestamp(900), 2));
        let outbox = store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows;
        assert_eq!(
            outbox[0].outcome.as_deref(),
            Some("answered 503"),
            "the result stays until the next attempt"
        );
    })
    .await;
}

#[tokio::test]
async fn only_old_unleased_deliveries_of_that_destination_are_given_up() {
    on_every_store(async |store| {
        for (number, host) in [(1, "a.example"), (2, "a.example"), (3, "b.example")] {
            owe(&store, number, "acme", host).await;
        }
        let capacity = Capacity::new(1, 1);
        let claimed = store.claim(Claim { capacity, ..claim(100, 500, 1) }).await.unwrap();
        let destination = claimed.deliveries[0].destination.clone();
        let give_up_expired = async |now, queued_before| {
            let (now, before) = (Timestamp(now), Timestamp(queued_before));
            let (destination, outcome) = (destination.clone(), "given up unheard".to_owned());
            let expired = Settle::Expired { destination, now, queued_before: before, outcome };
            store.settle(expired).await.unwrap().changed
        };
        assert_eq!(give_up_expired(200, 99).await, 0);
        assert_eq!(give_up_expired(200, 100).await, 1);
        let dead_letters = store.deliveries(&acme(), true, Page::first(9)).await.unwrap().rows;
        assert_eq!(dead_letters[0].delivery.id, DeliveryId(2));
        assert_eq!(dead_letters[0].outcome.as_deref(), Some("given up unheard"));
        assert_eq!(give_up_expired(500, 100).await, 1, "its lease has ended");
    })
    .await;
}

/// The contact with jane's device 1 about a transaction.
async fn contact(store: &Store, transaction: u128) -> Option<Contact> {
    let contacts = store.read().contacts(&acme(), TransactionId(transaction)).await.unwrap();
    contacts.into_iter().next()
}

#[tokio::test]
async fn the_result_of_a_push_stays_after_its_delivery_is_removed() {
    on_every_store(async |store| {
        let states = [
            (Verdict::Done, PushState::Sent, 0),
            (Verdict::Skipped, PushState::Skipped, 0),
            (Verdict::GiveUp, PushState::Failed, 0),
            (Verdict::Retry(Timestamp(500)), PushState::Waiting, 1),
        ];
        for (number, (verdict, state, left)) in (1..).zip(states) {
            let deliveries = [(number, DeliveryKind::Push(device_id(1)))];
            store
                .step(with_deliveries(commit(waiting(spec(number)), None), &deliveries))
                .await
                .unwrap();
            let push = store.claim(claim(100, 150, 9)).await.unwrap().deliveries.remove(0);
            assert_eq!(contact(&store, number).await, None);
            settle(&store, &push, verdict).await;
            let pushed = Pushed { state, at: Timestamp(77), outcome: "answered 503".into() };
            let expected = Contact { device: device_id(1), push: Some(pushed), reached_at: None };
            assert_eq!(contact(&store, number).await, Some(expected), "{verdict:?}");
            let delivery = store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows;
            assert_eq!(delivery.len(), left, "{verdict:?}");
        }
        assert_eq!(
            store.read().contacts(&"beta".parse().unwrap(), TransactionId(1)).await.unwrap(),
            []
        );
    })
    .await;
}

#[tokio::test]
async fn a_device_is_reached_when_it_first_asks_for_its_transactions() {
    on_every_store(async |store| {
        let ask = async |ids: &[u128], at| {
            let ids = ids.iter().map(|id| TransactionId(*id)).collect();
            store.note_reached(&acme(), device_id(1), ids, Timestamp(at)).await.unwrap();
        };
        let reached = async |id| contact(&store, id).await.and_then(|contact| contact.reached_at);
        ask(&[1], 5).await;
        ask(&[1, 2], 6).await;
        assert_eq!((reached(1).await, reached(2).await), (Some(Timestamp(5)), Some(Timestamp(6))));
        assert_eq!(reached(3).await, None);
    })
    .await;
}

#[tokio::test]
async fn an_end_removes_the_pushes_and_keeps_the_callback() {
    on_every_store(async |store| {
        let deliveries =
            [(8, DeliveryKind::Push(device_id(1))), (9, DeliveryKind::Push(device_id(2)))];
        store.step(with_deliveries(commit(waiting(spec(1)), None), &deliveries)).await.unwrap();
        let other = [(10, DeliveryKind::Push(device_id(1)))];
        store.step(with_deliveries(commit(waiting(spec(2)), None), &other)).await.unwrap();
        let on_its_way = store.claim(claim(100, 150, 1)).await.unwrap().deliveries.remove(0);
        let state = State::Ended { at: Timestamp(120), end: End::Cancelled };
        let ended = Transaction { state, ..waiting(spec(1)) };
        let ending = with_deliveries(commit(ended, Some(1)), &[(7, DeliveryKind::Callback)]);
        let event = Event::Ended(Outcome::Cancelled);
        store.step(TransactionChange { event, ..ending }).await.unwrap();
        let left = store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows;
        let left: Vec<_> = left.iter().map(|outbox| outbox.delivery.id.0).collect();
        assert_eq!(left, [10, 7]);
        // The settlement of the push in progress finds no delivery.
        settle(&store, &on_its_way, Verdict::Retry(Timestamp(130))).await;
        assert_eq!(store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_unregistered_address_is_retired_unless_the_device_has_changed_since() {
    on_every_store(async |store| {
        populate(&store).await;
        for (number, version, retired) in [(1, 7, false), (2, 1, true), (3, 2, false)] {
            let deliveries = [(number, DeliveryKind::Push(device_id(1)))];
            store
                .step(with_deliveries(commit(waiting(spec(number)), None), &deliveries))
                .await
                .unwrap();
            let push = store.claim(claim(100, 150, 9)).await.unwrap().deliveries.remove(0);
            let settled = settle(&store, &push, Verdict::Retire { version }).await;
            let told = settled.event.map(|event| (event.kind, event.subject));
            let expected = (EventKind::PushAddressRetired, Subject::Device(device_id(1)));
            assert_eq!((settled.changed, told), (1, (number == 2).then_some(expected)));
            assert_eq!(store.deliveries(&acme(), false, Page::first(9)).await.unwrap().rows, []);
            let found = store.read().device(&acme(), device_id(1)).await.unwrap().unwrap();
            if number == 1 {
                assert_eq!((&found.value.push, found.version), (&push_of_jane(), 1));
            } else {
                let (provider, at) = (Provider::WebPush, Timestamp(77));
                let dead = Push::Retired { provider, at, why: Retirement::Gone };
                assert_eq!((found.value.push, found.version), (dead, 2), "{retired}");
            }
            let events = store.events(Some(&acme()), Page::first(99)).await.unwrap().rows;
            let told = events.iter().filter(|one| one.kind == EventKind::PushAddressRetired);
            let told: Vec<_> = told.map(|one| (&one.actor, &one.subject, one.at)).collect();
            let expected = (&Actor::Server, &Subject::Device(device_id(1)), Timestamp(77));
            assert_eq!(told, if number == 1 { vec![] } else { vec![expected] });
        }
    })
    .await;
}

#[tokio::test]
async fn a_push_snapshot_is_a_step_snapshot_without_the_devices_keys() {
    on_every_store(async |store| {
        populate(&store).await;
        let deliveries = [(8, DeliveryKind::Push(device_id(1)))];
        store.step(with_deliveries(commit(waiting(spec(1)), None), &deliveries)).await.unwrap();
        let (acme, beta) = (acme(), "beta".parse().unwrap());
        let of = |tenant: &TenantName, device, number| {
            (tenant.clone(), device_id(device), TransactionId(number))
        };
        let who = [of(&acme, 1, 1), of(&acme, 99, 1), of(&acme, 1, 99), of(&beta, 1, 1)];
        let mut expected = Vec::new();
        for (tenant, device, number) in &who {
            let step_snapshot = store.read().step_snapshot(tenant, *device, *number).await.unwrap();
            expected.push(format!("{:?}", step_snapshot.map(PushSnapshot::from)));
        }
        let found = store.push_snapshots(&who).await.unwrap();
        let found: Vec<_> =
            found.into_iter().map(|push_snapshots| format!("{push_snapshots:?}")).collect();
        assert_eq!(found, expected);
        assert!(expected[0].contains("WebPush") && expected[1] == "None", "{expected:?}");
        assert!(expected[2].contains("transaction: None") && expected[3] != expected[0]);
    })
    .await;
}

fn push_of_jane() -> Push {
    device("acme", "jane", 1, 1).push
}

#[tokio::test]
async fn an_address_belongs_only_to_the_device_that_registered_it_last() {
    on_every_store(async |store| {
        populate(&store).await;
        let enrolled = |tenant, user, number, version, push| {
            let mut device = device(tenant, user, number, 1);
            device.push = push;
            let code = world::activation(tenant, user, u128::from(number));
            (code.clone(), world::enrolment(code, device, version))
        };
        // Joe's new device registers jane's address, and so does a device at another tenant, which
        // is separate.
        for (tenant, number) in [("acme", 2), ("beta", 3)] {
            let push =
                if tenant == "acme" { push_of_jane() } else { push("https://push.example/x") };
            let (code, enrolment) = enrolled(tenant, "joe", number, 1, push);
            world::create_activation(&store, code).await;
            store.enrol(enrolment).await.unwrap();
        }
        let read = async |tenant: &str, number| {
            let found =
                store.read().device(&tenant.parse().unwrap(), device_id(number)).await.unwrap();
            let found = found.unwrap();
            (found.value.push, found.version)
        };
        let (provider, why) = (Provider::WebPush, Retirement::Moved);
        let moved = |at| Push::Retired { provider, at: Timestamp(at), why };
        assert_eq!(read("acme", 1).await, (moved(4), 2));
        assert_eq!(read("acme", 2).await, (push_of_jane(), 1));
        assert_eq!(read("beta", 1).await.0, push_of_jane(), "another tenant's");

        // Jane's device registers it again, by a change.
        let mut back = device("acme", "jane", 1, 1);
        let Push::At(registration) = &mut back.push else { panic!("it has one") };
        registration.since = Timestamp(9);
        assert_eq!(store.change_device(back.clone(), 1).await.unwrap(), Committed::Stale);
        assert_eq!(read("acme", 2).await.1, 1, "a stale change takes no address");
        assert_eq!(store.change_device(back.clone(), 2).await.unwrap(), Committed::Written);
        assert_eq!(read("acme", 1).await, (back.push, 3));
        assert_eq!(read("acme", 2).await, (moved(9), 2));
    })
    .await;
}
