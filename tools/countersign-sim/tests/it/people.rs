//! Scenarios of users and their devices: locked, logged out, deleted.

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::DeviceStatus;
use countersign_core::engine::SignatureRequest;
use countersign_core::enrolment::{Activation, ActivationState};
use countersign_core::port::{Clock, Ledger, Notifier};
use countersign_core::refusal::{
    ActorRefusal, DeviceRefusal, StartRefusal, UserError, UserRefusal,
};
use countersign_core::secret::Secret;
use countersign_core::spec::Recipients;
use countersign_core::transaction::Outcome;
use countersign_sim::changes::Changes as _;
use countersign_sim::{Interference, Prng, RandomFaults, Scheduler, block_on};
use countersign_store::Store;

use crate::fixture::*;

async fn delete<I: Interference>(fixture: &Fixture<I>) -> Result<(), UserError> {
    fixture.engine.delete_user(OPERATOR, janes(0).tenant(), janes(0).user()).await
}

fn is_online<I: Interference>(fixture: &Fixture<I>, nth: usize) -> bool {
    let phone = janes(nth);
    fixture.notifier.connected(phone.tenant(), phone.user(), &Recipients::Device(phone.id()))
}

fn connect<I: Interference>(fixture: &Fixture<I>, nth: usize) {
    fixture.notifier.connect(janes(nth).tenant(), janes(nth).user(), janes(nth).id());
}

#[test]
fn a_deleted_users_open_transactions_are_cancelled_and_their_phones_retired() {
    everywhere(async |fixture: Fixture| {
        let request = SignatureRequest { callback: Some(callback()), ..fixture.request() };
        let waiting = fixture.start(request).await;
        let taken = fixture.taken(&[janes(0)]).await;
        let signed = fixture.taken(&[janes(1)]).await;
        fixture.finish(janes(1), &signed).await.unwrap();
        connect(&fixture, 0);
        delete(&fixture).await.unwrap();

        for open in [&waiting, &taken] {
            assert_eq!(fixture.outcome(open).await, Some(Outcome::Cancelled));
        }
        assert!(fixture.deliveries().await.contains(&(waiting.spec.id, DeliveryKind::Callback)));
        assert_eq!(fixture.outcome(&signed).await, Some(Outcome::Finished), "what has ended stays");
        assert!(!is_online(&fixture, 0));
        assert_eq!(refusal(fixture.offers(janes(0)).await), ActorRefusal::DeviceLocked);
        assert_eq!(refusal(fixture.finish(janes(0), &taken).await), DeviceRefusal::DeviceLocked);
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::UnknownUser
        );
        assert_eq!(refusal(delete(&fixture).await), UserRefusal::UnknownUser);
        assert!(fixture.offers(betas()).await.is_ok(), "another tenant's jane goes on");
    });
}

#[test]
fn a_user_with_an_expired_transaction_that_was_not_swept_is_deleted() {
    everywhere(async |fixture: Fixture| {
        let late = fixture.start(fixture.request()).await;
        fixture.time.jump(late.deadline());
        delete(&fixture).await.unwrap();
        assert_eq!(fixture.outcome(&late).await, Some(Outcome::Expired));
    });
}

#[test]
fn the_next_user_of_a_name_inherits_nothing_from_the_deleted_one() {
    everywhere(async |fixture: Fixture| {
        fixture.taken(&[janes(0)]).await;
        delete(&fixture).await.unwrap();
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        fixture.store.create_user(tenant, jane, None, fixture.now()).await.unwrap();
        assert!(fixture.store.read().open(tenant, jane).await.unwrap().is_empty());
        assert_eq!(
            refusal(fixture.engine.start(fixture.request(), None).await),
            StartRefusal::UnknownDevice
        );
        assert_eq!(refusal(fixture.offers(janes(0)).await), ActorRefusal::DeviceLocked);
    });
}

#[test]
fn simultaneous_starts_and_a_deletion_leave_no_transaction_open() {
    let mut started = 0;
    for seed in 0..200 {
        let mut prng = Prng::seeded(seed);
        let fixture = block_on(Fixture::on(Store::memory(), RandomFaults::new(prng.fork(), 0)));
        let mut scheduler = Scheduler::default();
        for _ in 0..3 {
            let request = fixture.request();
            scheduler.join(async { fixture.engine.start(request, None).await.map(drop) });
        }
        let deletion = scheduler.join(async {
            delete(&fixture).await.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            Ok(())
        });
        let mut answers = scheduler.finish(&mut prng);
        answers.remove(deletion).unwrap();
        started += answers.iter().filter(|answer| answer.is_ok()).count();
        for answer in answers.into_iter().filter(Result::is_err) {
            // A start that read the user before the deletion may find the devices retired.
            let refused = refusal(answer);
            let gone = [StartRefusal::UnknownUser, StartRefusal::UnknownDevice];
            assert!(gone.contains(&refused), "seed {seed}: {refused}");
        }
        let (tenant, jane) = (janes(0).tenant(), janes(0).user());
        let (open, user) = block_on(async {
            (
                fixture.store.read().open(tenant, jane).await,
                fixture.store.read().user(tenant, jane).await,
            )
        });
        assert!(open.unwrap().is_empty() && user.unwrap().is_none(), "seed {seed}");
    }
    assert!((100..500).contains(&started), "{started} of 600 came first: the story is too plain");
}

#[test]
fn a_device_is_locked_unlocked_and_retired_and_its_channel_is_closed() {
    everywhere(async |fixture: Fixture| {
        let set = async |status| {
            fixture
                .engine
                .set_device_status(OPERATOR, janes(0).tenant(), janes(0).id(), status)
                .await
        };
        connect(&fixture, 0);
        connect(&fixture, 1);
        set(DeviceStatus::Locked).await.unwrap();
        assert!(!is_online(&fixture, 0) && is_online(&fixture, 1));
        assert_eq!(refusal(set(DeviceStatus::Locked).await), UserRefusal::Unchanged);
        assert_eq!(refusal(fixture.offers(janes(0)).await), ActorRefusal::DeviceLocked);
        set(DeviceStatus::Active).await.unwrap();
        assert_eq!(refusal(set(DeviceStatus::Active).await), UserRefusal::Unchanged);
        assert!(fixture.offers(janes(0)).await.is_ok());
        set(DeviceStatus::Retired).await.unwrap();
        for status in [DeviceStatus::Retired, DeviceStatus::Active, DeviceStatus::Locked] {
            assert_eq!(
                refusal(set(status).await),
                UserRefusal::UnknownDevice,
                "it is gone for good"
            );
        }
    });
}

#[test]
fn a_connected_user_can_be_logged_out_once() {
    everywhere(async |fixture: Fixture| {
        let log_out =
            async || fixture.engine.log_out(OPERATOR, janes(0).tenant(), janes(0).user()).await;
        assert_eq!(refusal(log_out().await), UserRefusal::Unchanged);
        connect(&fixture, 0);
        connect(&fixture, 2);
        log_out().await.unwrap();
        assert!(!is_online(&fixture, 0) && !is_online(&fixture, 2));
        assert_eq!(refusal(log_out().await), UserRefusal::Unchanged);
        assert!(fixture.offers(janes(0)).await.is_ok(), "they may come back");
    });
}

#[test]
fn an_activation_code_is_created_once_for_a_known_user() {
    everywhere(async |fixture: Fixture| {
        let code = |id| Activation {
            id,
            tenant: janes(0).tenant().clone(),
            user: janes(0).user().clone(),
            code: Secret::new(b"BLUE-HORSE".to_vec()),
            not_after: fixture.time.now() + core::time::Duration::from_secs(9),
            maker: OPERATOR.clone(),
            secret: false,
            chosen: true,
            labels: Vec::new(),
            state: ActivationState::Open,
        };
        fixture.engine.create_activation(OPERATOR, code(1)).await.unwrap();
        assert_eq!(
            refusal(fixture.engine.create_activation(OPERATOR, code(2)).await),
            UserRefusal::Exists
        );
        fixture.time.pass(core::time::Duration::from_secs(9));
        fixture.engine.create_activation(OPERATOR, code(3)).await.unwrap();
        let nobody = Activation { user: "nobody".parse().unwrap(), ..code(4) };
        assert_eq!(
            refusal(fixture.engine.create_activation(OPERATOR, nobody).await),
            UserRefusal::UnknownUser
        );
    });
}
