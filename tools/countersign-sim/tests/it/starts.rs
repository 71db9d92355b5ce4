//! Stories of relying parties: starting, starting again, and what is owed for it.

use core::time::Duration;

use countersign_core::Refusal;
use countersign_core::delivery::Debt;
use countersign_core::device::{DeviceStatus, Purpose};
use countersign_core::engine::{Announcement, Order};
use countersign_core::port::{Clock, Handle, Registry};
use countersign_core::push::Push;
use countersign_core::terms::{Addressed, Clocks};
use countersign_core::transaction::{Outcome, State};
use countersign_core::user::Lock;
use countersign_sim::{Crowd, Dice, Ring, Unsteady};
use countersign_store::Store;

use crate::play::*;

#[test]
fn what_is_started_is_offered_taken_finished_and_proved() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        assert_eq!(play.offers(janes(0)).await.unwrap(), [started.terms.id]);
        let taken = play.take(janes(0), &started).await.unwrap();
        assert_eq!(taken.transaction.terms, started.terms);
        let signature = janes(0).sign(&started.terms);
        let submission = janes(0).submission(&signature);
        let done = play.hand_in(janes(0), &started, &submission).await.unwrap();
        assert_eq!(proof(&done).evidence(), signature);
        assert_eq!(proof(&done).transaction(), started.terms.id.bytes());
        assert_eq!(play.found(&started).await.value, *done);
        assert_eq!(play.offers(janes(0)).await.unwrap(), []);
        let rings = [Ring::Offer(started.terms.id), Ring::Ended(started.terms.id)];
        assert_eq!(play.board.rings(), rings);
    });
}

#[test]
fn the_same_order_again_is_answered_with_the_same_transaction_even_when_it_has_ended() {
    everywhere(async |play: Play| {
        let mut order = play.order();
        order.reference = Some(reference("order 7", 1));
        let first = play.start(order.clone()).await;
        order.id = play.id();
        assert_eq!(play.start(order.clone()).await, first);
        let cancelled = play.cancel(&first).await.unwrap();
        assert_eq!(play.start(order).await, cancelled);
        assert_eq!(play.found(&first).await.version, 2);
    });
}

#[test]
fn another_order_under_the_same_reference_is_refused_and_changes_nothing() {
    everywhere(async |play: Play| {
        let mut order = play.order();
        order.reference = Some(reference("order 7", 1));
        let first = play.start(order.clone()).await;
        order.reference = Some(reference("order 7", 2));
        order.id = play.id();
        assert_eq!(refusal(play.engine.start(order).await), Refusal::OtherOrder);
        assert_eq!(play.commits().len(), 1);
        assert_eq!(play.found(&first).await.value, *first);
    });
}

#[test]
fn a_user_or_device_that_is_unknown_or_locked_is_not_asked() {
    everywhere(async |play: Play| {
        let to = |device| {
            let mut order = play.order();
            order.addressed = Addressed::Device(device);
            play.engine.start(order)
        };
        let mut nobody = play.order();
        nobody.user = "nobody".parse().unwrap();
        assert_eq!(refusal(play.engine.start(nobody).await), Refusal::UnknownUser);
        assert_eq!(refusal(to(joes().id()).await), Refusal::UnknownDevice);
        assert_eq!(refusal(to(betas().id()).await), Refusal::UnknownDevice);
        play.change(janes(0), locked).await;
        assert_eq!(refusal(to(janes(0).id()).await), Refusal::DeviceLocked);
        play.change(janes(0), retired).await;
        assert_eq!(refusal(to(janes(0).id()).await), Refusal::UnknownDevice);
        play.set_lock(janes(0), Lock::Administrator).await;
        assert_eq!(refusal(to(janes(1).id()).await), Refusal::UserLocked);
        assert_eq!(play.commits().len(), 0);
    });
}

#[test]
fn a_user_whose_devices_cannot_sign_content_is_told_so() {
    everywhere(async |play: Play| {
        for nth in 0..3 {
            play.change(janes(nth), |device| {
                device.identities.retain(|identity| identity.purpose == Purpose::Digest);
            })
            .await;
        }
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::DeviceLocked);
    });
}

#[test]
fn the_end_owes_one_callback_where_there_is_an_address_and_none_where_there_is_not() {
    everywhere(async |play: Play| {
        let mut order = play.order();
        order.callback = Some(callback());
        for nth in 0..3 {
            play.board.connect(&order.tenant, &order.user, janes(nth).id());
        }
        let told = play.start(order).await;
        let untold = play.start(play.order()).await;
        assert_eq!(play.debts().await, []);
        for transaction in [&told, &untold] {
            play.take(janes(0), transaction).await.unwrap();
            play.finish(janes(0), transaction).await.unwrap();
            refusal(play.cancel(transaction).await);
        }
        assert_eq!(play.debts().await, [(told.terms.id, Debt::Callback)]);
    });
}

#[test]
fn a_start_owes_pushes_to_absent_devices_with_a_push_address_and_to_no_others() {
    everywhere(async |play: Play| {
        let order = play.order();
        play.board.connect(&order.tenant, &order.user, janes(0).id());
        play.change(janes(2), |device| device.push = Push::None).await;
        let started = play.start(order).await;
        assert_eq!(play.debts().await, [(started.terms.id, Debt::Push(janes(1).id()))]);
    });
}

#[test]
fn a_start_that_is_not_announced_to_everybody_owes_no_push() {
    everywhere(async |play: Play| {
        for (announced, rings) in [(Announcement::Online, 1), (Announcement::Nobody, 0)] {
            let before = play.board.rings().len();
            play.start(Order { announced, ..play.order() }).await;
            assert_eq!(play.board.rings().len() - before, rings);
            assert_eq!(play.debts().await, []);
        }
    });
}

#[test]
fn a_push_goes_to_no_device_that_is_locked_or_was_not_addressed() {
    everywhere(async |play: Play| {
        play.change(janes(0), |device| device.status = DeviceStatus::Locked).await;
        let any = play.start(play.order()).await;
        let mut order = play.order();
        order.addressed = Addressed::Device(janes(1).id());
        let one = play.start(order).await;
        let owed = |of: &countersign_core::transaction::Transaction, nth: usize| {
            (of.terms.id, Debt::Push(janes(nth).id()))
        };
        let mut debts = play.debts().await;
        let mut expected = [owed(&any, 1), owed(&any, 2), owed(&one, 1)];
        let order = |(id, debt): &(_, Debt)| (*id, format!("{debt:?}"));
        debts.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(debts, expected);
    });
}

#[test]
fn no_time_to_come_online_and_nobody_there_is_an_end_at_once_that_owes_its_callback() {
    everywhere(async |play: Play| {
        let mut order = play.order();
        order.callback = Some(callback());
        order.clocks = Clocks::Two { go_online: Duration::ZERO, sign: Duration::from_mins(1) };
        let offline = play.start(order.clone()).await;
        assert_eq!(play.outcome(&offline).await, Some(Outcome::Expired));
        assert_eq!(play.debts().await, [(offline.terms.id, Debt::Callback)]);
        assert_eq!(play.board.rings(), [Ring::Ended(offline.terms.id)]);

        play.board.connect(&order.tenant, &order.user, janes(1).id());
        order.id = play.id();
        let online = play.start(order).await;
        assert_eq!(online.state, State::Waiting { reached: true });
        assert_eq!(online.deadline(), play.time.now() + Duration::from_mins(1));
    });
}

#[test]
fn a_user_has_as_many_open_transactions_as_may_be_and_an_end_makes_room() {
    everywhere(async |play: Play| {
        let mut open = Vec::new();
        for _ in 0..POLICY.open_per_user_max {
            open.push(play.start(play.order()).await);
        }
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::Crowded);
        play.start(acme().order(play.id(), joes().user())).await;
        play.cancel(&open[0]).await.unwrap();
        play.start(play.order()).await;
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::Crowded);
    });
}

#[test]
fn callers_who_start_at_the_same_moment_never_open_more_than_may_be() {
    for seed in 0..50 {
        let mut dice = Dice::seeded(seed);
        let setting = Play::on(Store::memory(), Unsteady::new(dice.fork(), 0));
        let play = countersign_sim::block_on(setting);
        let mut crowd = Crowd::default();
        for _ in 0..10 {
            crowd.join(play.engine.start(play.order()));
        }
        let (started, refused): (Vec<_>, Vec<_>) =
            crowd.finish(&mut dice).into_iter().partition(Result::is_ok);
        assert_eq!(started.len(), usize::from(POLICY.open_per_user_max), "seed {seed}");
        assert!(refused.into_iter().all(|answer| refusal(answer) == Refusal::Crowded));
    }
}

#[test]
fn callers_who_give_the_same_order_at_the_same_moment_get_the_same_transaction() {
    for seed in 0..50 {
        let mut dice = Dice::seeded(seed);
        let setting = Play::on(Store::memory(), Unsteady::new(dice.fork(), 0));
        let play = countersign_sim::block_on(setting);
        let mut crowd = Crowd::default();
        for _ in 0..5 {
            let mut order = play.order();
            order.reference = Some(reference("order 7", 1));
            crowd.join(play.engine.start(order));
        }
        let ids: Vec<_> =
            crowd.finish(&mut dice).into_iter().map(|told| told.unwrap().terms.id).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "seed {seed}: {ids:?}");
        assert_eq!(play.commits().len(), 1, "seed {seed}");
    }
}

#[test]
fn only_the_client_that_started_it_for_that_user_takes_it_back() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        let terms = &started.terms;
        let key = Handle::Key(terms.request_key);
        let other = "other".parse().unwrap();
        for (tenant, client, user) in [
            (&terms.tenant, &other, &terms.user),
            (&terms.tenant, &terms.client, joes().user()),
            (betas().tenant(), &terms.client, &terms.user),
        ] {
            let answer = play.engine.cancel(tenant, client, user, &key).await;
            assert_eq!(refusal(answer), Refusal::Unknown);
        }
        assert_eq!(play.outcome(&started).await, None);
        let cancelled = play.engine.cancel(&terms.tenant, &terms.client, &terms.user, &key).await;
        assert_eq!(cancelled.unwrap().terms.id, terms.id);
        assert_eq!(play.outcome(&started).await, Some(Outcome::Cancelled));
        play.cancel(&started).await.unwrap();
        assert_eq!(play.found(&started).await.version, 2);
    });
}

#[test]
fn a_deaf_doorbell_changes_no_outcome() {
    let mut told = Vec::new();
    for deaf in [false, true] {
        countersign_sim::block_on(async {
            let play = Play::on(Store::memory(), countersign_sim::Untouched).await;
            if deaf {
                play.board.deafen();
            }
            let (finished, declined) =
                (play.start(play.order()).await, play.start(play.order()).await);
            let cancelled = play.start(play.order()).await;
            assert_eq!(play.offers(janes(0)).await.unwrap().len(), 3);
            play.take(janes(0), &finished).await.unwrap();
            play.finish(janes(0), &finished).await.unwrap();
            play.decline(janes(0), &declined, countersign_core::transaction::Decline::User)
                .await
                .unwrap();
            play.cancel(&cancelled).await.unwrap();
            assert_eq!(play.board.rings().is_empty(), deaf);
            let debts = play.debts().await;
            let mut outcomes = Vec::new();
            for transaction in [&finished, &declined, &cancelled] {
                outcomes.push(play.outcome(transaction).await.unwrap());
            }
            told.push((outcomes, debts));
        });
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn what_was_read_before_the_user_was_locked_starts_nothing() {
    everywhere(async |play: Play| {
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let seen = play.engine.store.household(tenant, jane).await.unwrap();
        play.set_lock(janes(0), Lock::Administrator).await;
        let started = play.engine.start_among(seen, play.order()).await;
        assert_eq!(refusal(started), Refusal::UserLocked);
        play.set_lock(janes(0), Lock::Open).await;
        let seen = play.engine.store.household(tenant, jane).await.unwrap();
        let started = play.engine.start_among(seen, play.order()).await.unwrap();
        play.take(janes(0), &started).await.unwrap();
    });
}
