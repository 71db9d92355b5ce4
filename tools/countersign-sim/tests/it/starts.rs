//! Scenarios of clients: a start, a repeated start, and the deliveries that follow.

use core::time::Duration;

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{DeviceStatus, Usage};
use countersign_core::engine::{Notify, SignatureRequest};
use countersign_core::event::Actor;
use countersign_core::id::{ClientId, RequestKey};
use countersign_core::port::{Clock, Handle, Ledger as _};
use countersign_core::push::Push;
use countersign_core::refusal::{CancelRefusal, StartRefusal};
use countersign_core::spec::{Clocks, Recipients};
use countersign_core::transaction::{Outcome, State};
use countersign_core::user::Lock;
use countersign_sim::{Prng, RandomFaults, Received, Scheduler};
use countersign_store::Store;

use crate::fixture::*;

#[test]
fn a_transaction_is_started_offered_taken_and_finished_with_a_proof() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), [started.spec.id]);
        let taken = fixture.take(janes(0), &started).await.unwrap();
        assert_eq!(taken.transaction.spec, started.spec);
        let signature = janes(0).sign(&started.spec);
        let submission = janes(0).submission(&signature);
        let done = fixture.hand_in(janes(0), &started, &submission).await.unwrap();
        assert_eq!(proof(&done).evidence(), signature);
        assert_eq!(proof(&done).transaction(), started.spec.id.bytes());
        assert_eq!(fixture.found(&started).await.value, *done);
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), []);
        let received = [Received::Offer(started.spec.id), Received::Ended(started.spec.id)];
        assert_eq!(fixture.notifier.received(), received);
    });
}

#[test]
fn a_repeated_request_gets_the_same_transaction_even_after_its_end() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.reference = Some(reference("order 7", 1));
        let first = fixture.start(request.clone()).await;
        request.id = fixture.id();
        assert_eq!(fixture.start(request.clone()).await, first);
        let cancelled = fixture.cancel(&first).await.unwrap();
        assert_eq!(fixture.start(request).await, cancelled);
        assert_eq!(fixture.found(&first).await.version, 2);
    });
}

#[test]
fn a_different_request_under_the_same_reference_is_refused_and_changes_nothing() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.reference = Some(reference("order 7", 1));
        let first = fixture.start(request.clone()).await;
        request.reference = Some(reference("order 7", 2));
        request.id = fixture.id();
        assert_eq!(refusal(fixture.engine.start(request, None).await), StartRefusal::OtherOrder);
        assert_eq!(fixture.commits().len(), 1);
        assert_eq!(fixture.found(&first).await.value, *first);
    });
}

#[test]
fn a_start_for_an_unknown_or_locked_user_or_device_is_refused() {
    everywhere(async |fixture: Fixture| {
        let to = |device| {
            let mut request = fixture.request();
            request.recipients = Recipients::Device(device);
            fixture.engine.start(request, None)
        };
        let mut nobody = fixture.request();
        nobody.user = "nobody".parse().unwrap();
        assert_eq!(refusal(fixture.engine.start(nobody, None).await), StartRefusal::UnknownUser);
        assert_eq!(refusal(to(joes().id()).await), StartRefusal::UnknownDevice);
        assert_eq!(refusal(to(betas().id()).await), StartRefusal::UnknownDevice);
        fixture.change(janes(0), locked).await;
        assert_eq!(refusal(to(janes(0).id()).await), StartRefusal::DeviceLocked);
        fixture.change(janes(0), retired).await;
        assert_eq!(refusal(to(janes(0).id()).await), StartRefusal::UnknownDevice);
        fixture.set_lock(janes(0), Lock::Administrator).await;
        assert_eq!(refusal(to(janes(1).id()).await), StartRefusal::UserLocked);
        assert_eq!(fixture.commits().len(), 0);
    });
}

#[test]
fn a_start_is_refused_if_no_device_of_the_user_can_sign_content() {
    everywhere(async |fixture: Fixture| {
        for nth in 0..3 {
            fixture
                .change(janes(nth), |device| {
                    device.identities.retain(|identity| identity.usage == Usage::Digest);
                })
                .await;
        }
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::DeviceLocked
        );
    });
}

#[test]
fn an_end_queues_one_callback_if_the_client_gave_a_url_and_none_otherwise() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.callback = Some(callback());
        for nth in 0..3 {
            fixture.notifier.connect(&request.tenant, &request.user, janes(nth).id());
        }
        let told = fixture.start(request).await;
        let untold = fixture.start(fixture.request()).await;
        assert_eq!(fixture.deliveries().await, []);
        for transaction in [&told, &untold] {
            fixture.take(janes(0), transaction).await.unwrap();
            fixture.finish(janes(0), transaction).await.unwrap();
            refusal(fixture.cancel(transaction).await);
        }
        assert_eq!(fixture.deliveries().await, [(told.spec.id, DeliveryKind::Callback)]);
    });
}

#[test]
fn a_start_queues_pushes_only_to_absent_devices_with_a_push_address() {
    everywhere(async |fixture: Fixture| {
        let request = fixture.request();
        fixture.notifier.connect(&request.tenant, &request.user, janes(0).id());
        fixture.change(janes(2), |device| device.push = Push::None).await;
        let started = fixture.start(request).await;
        assert_eq!(
            fixture.deliveries().await,
            [(started.spec.id, DeliveryKind::Push(janes(1).id()))]
        );
    });
}

#[test]
fn a_start_without_notify_everybody_queues_no_push() {
    everywhere(async |fixture: Fixture| {
        for (announced, received) in [(Notify::Online, 1), (Notify::Nobody, 0)] {
            let before = fixture.notifier.received().len();
            fixture.start(SignatureRequest { announced, ..fixture.request() }).await;
            assert_eq!(fixture.notifier.received().len() - before, received);
            assert_eq!(fixture.deliveries().await, []);
        }
    });
}

#[test]
fn a_transaction_that_no_device_is_notified_of_is_found_only_with_its_key_until_it_is_taken() {
    everywhere(async |fixture: Fixture| {
        let offered = async |key| {
            let phone = janes(0);
            let offers = fixture.engine.offers(phone.tenant(), phone.id(), key).await.unwrap();
            offers.iter().map(|offer| offer.spec.id).collect::<Vec<_>>()
        };
        for announced in [Notify::Nobody, Notify::Online, Notify::Everybody] {
            let request = SignatureRequest { announced, ..fixture.request() };
            let started = fixture.start(request).await;
            let id = started.spec.id;
            let is_listed = announced != Notify::Nobody;
            assert_eq!(offered(None).await, if is_listed { vec![id] } else { vec![] });
            let other = RequestKey::drawn(u128::from(started.spec.request_key.number()) + 1);
            assert_eq!(offered(Some(other)).await, []);
            assert_eq!(offered(Some(started.spec.request_key)).await, [id]);
            fixture.take(janes(0), &started).await.unwrap();
            assert_eq!(offered(None).await, [id], "a device that reconnects goes on");
            fixture.cancel(&started).await.unwrap();
            assert_eq!(offered(Some(started.spec.request_key)).await, []);
        }
    });
}

#[test]
fn a_locked_or_unaddressed_device_gets_no_push() {
    everywhere(async |fixture: Fixture| {
        fixture.change(janes(0), |device| device.status = DeviceStatus::Locked).await;
        let any = fixture.start(fixture.request()).await;
        let mut request = fixture.request();
        request.recipients = Recipients::Device(janes(1).id());
        let one = fixture.start(request).await;
        let delivery = |of: &countersign_core::transaction::Transaction, nth: usize| {
            (of.spec.id, DeliveryKind::Push(janes(nth).id()))
        };
        let mut deliveries = fixture.deliveries().await;
        let mut expected = [delivery(&any, 1), delivery(&any, 2), delivery(&one, 1)];
        let request = |(id, kind): &(_, DeliveryKind)| (*id, format!("{kind:?}"));
        deliveries.sort_by_key(request);
        expected.sort_by_key(request);
        assert_eq!(deliveries, expected);
    });
}

#[test]
fn a_start_without_time_to_come_online_and_without_a_device_ends_at_once_with_its_callback() {
    everywhere(async |fixture: Fixture| {
        let mut request = fixture.request();
        request.callback = Some(callback());
        request.clocks = Clocks::Two { go_online: Duration::ZERO, sign: Duration::from_mins(1) };
        let offline = fixture.start(request.clone()).await;
        assert_eq!(fixture.outcome(&offline).await, Some(Outcome::Expired));
        assert_eq!(fixture.deliveries().await, [(offline.spec.id, DeliveryKind::Callback)]);
        assert_eq!(fixture.notifier.received(), [Received::Ended(offline.spec.id)]);

        fixture.notifier.connect(&request.tenant, &request.user, janes(1).id());
        request.id = fixture.id();
        let online = fixture.start(request).await;
        assert_eq!(online.state, State::Waiting { reached: true });
        assert_eq!(online.deadline(), fixture.time.now() + Duration::from_mins(1));
    });
}

#[test]
fn a_user_at_the_maximum_of_open_transactions_gets_a_new_one_only_after_an_end() {
    everywhere(async |fixture: Fixture| {
        let mut open = Vec::new();
        for _ in 0..POLICY.open_per_user_max {
            open.push(fixture.start(fixture.request()).await);
        }
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::TooManyOpen
        );
        fixture.start(acme().request(fixture.id(), joes().user())).await;
        fixture.cancel(&open[0]).await.unwrap();
        fixture.start(fixture.request()).await;
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::TooManyOpen
        );
    });
}

#[test]
fn simultaneous_starts_never_exceed_the_maximum_of_open_transactions() {
    for seed in 0..50 {
        let mut prng = Prng::seeded(seed);
        let setting = Fixture::on(Store::memory(), RandomFaults::new(prng.fork(), 0));
        let fixture = countersign_sim::block_on(setting);
        let mut scheduler = Scheduler::default();
        for _ in 0..10 {
            scheduler.join(fixture.engine.start(fixture.request(), None));
        }
        let (started, refused): (Vec<_>, Vec<_>) =
            scheduler.finish(&mut prng).into_iter().partition(Result::is_ok);
        assert_eq!(started.len(), usize::from(POLICY.open_per_user_max), "seed {seed}");
        assert!(refused.into_iter().all(|answer| refusal(answer) == StartRefusal::TooManyOpen));
    }
}

#[test]
fn simultaneous_starts_of_the_same_request_get_the_same_transaction() {
    for seed in 0..50 {
        let mut prng = Prng::seeded(seed);
        let setting = Fixture::on(Store::memory(), RandomFaults::new(prng.fork(), 0));
        let fixture = countersign_sim::block_on(setting);
        let mut scheduler = Scheduler::default();
        for _ in 0..5 {
            let mut request = fixture.request();
            request.reference = Some(reference("order 7", 1));
            scheduler.join(fixture.engine.start(request, None));
        }
        let ids: Vec<_> =
            scheduler.finish(&mut prng).into_iter().map(|told| told.unwrap().spec.id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "seed {seed}: {ids:?}");
        assert_eq!(fixture.commits().len(), 1, "seed {seed}");
    }
}

#[test]
fn only_the_client_that_started_a_transaction_can_cancel_it_and_only_for_its_user() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        let spec = &started.spec;
        let key = Handle::Key(spec.request_key);
        let other = "other".parse().unwrap();
        let actor = |client: &ClientId| Actor::Client(client.clone());
        for (tenant, client, user) in [
            (&spec.tenant, &other, &spec.user),
            (&spec.tenant, &spec.client, joes().user()),
            (betas().tenant(), &spec.client, &spec.user),
        ] {
            let answer = fixture
                .engine
                .cancel(&actor(client), tenant, &key, |found| found.spec.user == *user)
                .await;
            assert_eq!(refusal(answer), CancelRefusal::Unknown);
        }
        assert_eq!(fixture.outcome(&started).await, None);
        let cancelled =
            fixture.engine.cancel(&actor(&spec.client), &spec.tenant, &key, |_| true).await;
        assert_eq!(cancelled.unwrap().spec.id, spec.id);
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Cancelled));
        fixture.cancel(&started).await.unwrap();
        assert_eq!(fixture.found(&started).await.version, 2);
    });
}

#[test]
fn lost_notifications_change_no_outcome() {
    let mut told = Vec::new();
    for unreachable in [false, true] {
        countersign_sim::block_on(async {
            let fixture = Fixture::on(Store::memory(), countersign_sim::NoFaults).await;
            if unreachable {
                fixture.notifier.lose_all();
            }
            let (finished, declined) =
                (fixture.start(fixture.request()).await, fixture.start(fixture.request()).await);
            let cancelled = fixture.start(fixture.request()).await;
            assert_eq!(fixture.offers(janes(0)).await.unwrap().len(), 3);
            fixture.take(janes(0), &finished).await.unwrap();
            fixture.finish(janes(0), &finished).await.unwrap();
            fixture
                .decline(janes(0), &declined, countersign_core::transaction::Decline::User)
                .await
                .unwrap();
            fixture.cancel(&cancelled).await.unwrap();
            assert_eq!(fixture.notifier.received().is_empty(), unreachable);
            let deliveries = fixture.deliveries().await;
            let mut outcomes = Vec::new();
            for transaction in [&finished, &declined, &cancelled] {
                outcomes.push(fixture.outcome(transaction).await.unwrap());
            }
            told.push((outcomes, deliveries));
        });
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn a_start_with_a_user_read_before_their_lock_is_refused() {
    everywhere(async |fixture: Fixture| {
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let seen = fixture.faulty.read().user_with_devices(tenant, jane).await.unwrap();
        fixture.set_lock(janes(0), Lock::Administrator).await;
        let started = fixture.engine.start(fixture.request(), seen).await;
        assert_eq!(refusal(started), StartRefusal::UserLocked);
        fixture.set_lock(janes(0), Lock::Open).await;
        let seen = fixture.faulty.read().user_with_devices(tenant, jane).await.unwrap();
        let started = fixture.engine.start(fixture.request(), seen).await.unwrap();
        fixture.take(janes(0), &started).await.unwrap();
    });
}
