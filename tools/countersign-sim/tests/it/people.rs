//! Stories of what is done to people and their devices: locked, logged out, deleted.

use countersign_core::delivery::Debt;
use countersign_core::device::DeviceStatus;
use countersign_core::engine::Order;
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::port::{Clock, Doorbell, Ledger, Registry};
use countersign_core::secret::Secret;
use countersign_core::terms::Addressed;
use countersign_core::transaction::Outcome;
use countersign_core::{Error, Refusal};
use countersign_sim::{Crowd, Dice, Interference, Unsteady, block_on};
use countersign_store::Store;

use crate::play::*;

async fn delete<I: Interference>(play: &Play<I>) -> Result<(), Error> {
    play.engine.delete_user(janes(0).tenant(), janes(0).user()).await
}

fn is_online<I: Interference>(play: &Play<I>, nth: usize) -> bool {
    let phone = janes(nth);
    play.board.online(phone.tenant(), phone.user(), &Addressed::Device(phone.id()))
}

fn connect<I: Interference>(play: &Play<I>, nth: usize) {
    play.board.connect(janes(nth).tenant(), janes(nth).user(), janes(nth).id());
}

#[test]
fn what_a_deleted_user_had_open_is_cancelled_and_told_and_their_phones_are_out() {
    everywhere(async |play: Play| {
        let order = Order { callback: Some(callback()), ..play.order() };
        let waiting = play.start(order).await;
        let taken = play.taken(&[janes(0)]).await;
        let signed = play.taken(&[janes(1)]).await;
        play.finish(janes(1), &signed).await.unwrap();
        connect(&play, 0);
        delete(&play).await.unwrap();

        for open in [&waiting, &taken] {
            assert_eq!(play.outcome(open).await, Some(Outcome::Cancelled));
        }
        assert!(play.debts().await.contains(&(waiting.terms.id, Debt::Callback)));
        assert_eq!(play.outcome(&signed).await, Some(Outcome::Finished), "what has ended stays");
        assert!(!is_online(&play, 0));
        assert_eq!(refusal(play.offers(janes(0)).await), Refusal::DeviceLocked);
        assert_eq!(refusal(play.finish(janes(0), &taken).await), Refusal::DeviceLocked);
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::UnknownUser);
        assert_eq!(refusal(delete(&play).await), Refusal::UnknownUser);
        assert!(play.offers(betas()).await.is_ok(), "another tenant's jane goes on");
    });
}

#[test]
fn a_user_whose_transaction_has_run_out_unnoticed_is_deleted_all_the_same() {
    everywhere(async |play: Play| {
        let late = play.start(play.order()).await;
        play.time.jump(late.deadline());
        delete(&play).await.unwrap();
        assert_eq!(play.outcome(&late).await, Some(Outcome::Expired));
    });
}

#[test]
fn the_next_user_of_the_name_has_nothing_of_the_one_before() {
    everywhere(async |play: Play| {
        play.taken(&[janes(0)]).await;
        delete(&play).await.unwrap();
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        play.store.create_user(tenant, jane, None, play.now()).await.unwrap();
        assert!(play.store.open(tenant, jane).await.unwrap().is_empty());
        assert_eq!(refusal(play.engine.start(play.order()).await), Refusal::UnknownDevice);
        assert_eq!(refusal(play.offers(janes(0)).await), Refusal::DeviceLocked);
    });
}

#[test]
fn however_starts_and_a_deletion_fall_together_nothing_is_left_open() {
    let mut started = 0;
    for seed in 0..200 {
        let mut dice = Dice::seeded(seed);
        let play = block_on(Play::on(Store::memory(), Unsteady::new(dice.fork(), 0)));
        let mut crowd = Crowd::default();
        for _ in 0..3 {
            let order = play.order();
            crowd.join(async { play.engine.start(order).await.map(drop) });
        }
        let deletion = crowd.join(delete(&play));
        let mut answers = crowd.finish(&mut dice);
        let deleted = answers.remove(deletion);
        assert!(deleted.is_ok(), "seed {seed}: {deleted:?}");
        started += answers.iter().filter(|answer| answer.is_ok()).count();
        for answer in answers.into_iter().filter(Result::is_err) {
            // Who saw the user still there may find their devices gone.
            let refused = refusal(answer);
            let gone = [Refusal::UnknownUser, Refusal::UnknownDevice];
            assert!(gone.contains(&refused), "seed {seed}: {refused}");
        }
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let (open, user) = block_on(async {
            (play.store.open(tenant, jane).await, play.store.user(tenant, jane).await)
        });
        assert!(open.unwrap().is_empty() && user.unwrap().is_none(), "seed {seed}");
    }
    assert!((100..500).contains(&started), "{started} of 600 came first: the story is too plain");
}

#[test]
fn a_device_is_locked_unlocked_and_retired_and_hung_up_on() {
    everywhere(async |play: Play| {
        let set = async |status| {
            play.engine.set_device_status(janes(0).tenant(), janes(0).id(), status).await
        };
        connect(&play, 0);
        connect(&play, 1);
        set(DeviceStatus::Locked).await.unwrap();
        assert!(!is_online(&play, 0) && is_online(&play, 1));
        assert_eq!(refusal(set(DeviceStatus::Locked).await), Refusal::Unchanged);
        assert_eq!(refusal(play.offers(janes(0)).await), Refusal::DeviceLocked);
        set(DeviceStatus::Active).await.unwrap();
        assert_eq!(refusal(set(DeviceStatus::Active).await), Refusal::Unchanged);
        assert!(play.offers(janes(0)).await.is_ok());
        set(DeviceStatus::Retired).await.unwrap();
        for status in [DeviceStatus::Retired, DeviceStatus::Active, DeviceStatus::Locked] {
            assert_eq!(refusal(set(status).await), Refusal::UnknownDevice, "it is gone for good");
        }
    });
}

#[test]
fn who_is_on_the_line_can_be_logged_out_once() {
    everywhere(async |play: Play| {
        let log_out = async || play.engine.log_out(janes(0).tenant(), janes(0).user()).await;
        assert_eq!(refusal(log_out().await), Refusal::Unchanged);
        connect(&play, 0);
        connect(&play, 2);
        log_out().await.unwrap();
        assert!(!is_online(&play, 0) && !is_online(&play, 2));
        assert_eq!(refusal(log_out().await), Refusal::Unchanged);
        assert!(play.offers(janes(0)).await.is_ok(), "they may come back");
    });
}

#[test]
fn a_code_is_made_for_somebody_once() {
    everywhere(async |play: Play| {
        let code = |id| Activation {
            id,
            tenant: janes(0).tenant().clone(),
            user: janes(0).user().clone(),
            code: Secret::new(b"BLUE-HORSE".to_vec()),
            not_after: play.time.now() + core::time::Duration::from_secs(9),
            secret: false,
            chosen: true,
            labels: Vec::new(),
            state: ActivationState::Open,
        };
        play.engine.invite(code(1)).await.unwrap();
        assert_eq!(refusal(play.engine.invite(code(2)).await), Refusal::Exists);
        play.time.pass(core::time::Duration::from_secs(9));
        play.engine.invite(code(3)).await.unwrap();
        let nobody = Activation { user: "nobody".parse().unwrap(), ..code(4) };
        assert_eq!(refusal(play.engine.invite(nobody).await), Refusal::UnknownUser);
    });
}
