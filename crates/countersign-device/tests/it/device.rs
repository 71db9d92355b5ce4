use std::time::Duration;

use countersign_device::{
    ActivationCode, Answer, Choice, Close, DeclineReason, Device, DeviceDescription, Enrolment,
    Error, Event, KeyKind, Listen, Notice, PhoneFile, Pin, Run, State, enrol, run,
};
use countersign_wire::body::{Algorithm, Code, Signature};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::fake::{CODE, Fake};

const TEXT: &str = "text/plain; charset=utf-8";
const STATEMENT: &str = "application/vnd.countersign.statement+json";

struct Fixture {
    fake: Fake,
    file: PhoneFile,
    _directory: TempDir,
}

impl Fixture {
    async fn enrolled(pin: Option<&str>) -> Self {
        let fixture = Self::empty().await;
        enrol(&fixture.file, &fixture.enrolment(pin)).await.unwrap();
        fixture
    }

    async fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = PhoneFile::at(directory.path().join("phone.json"));
        Self { fake: Fake::start().await, file, _directory: directory }
    }

    fn enrolment(&self, pin: Option<&str>) -> Enrolment {
        Enrolment {
            server: self.fake.address.clone(),
            server_ca: Some(self.fake.ca_pem.clone()),
            tenant: "bank".to_owned(),
            user: "ann".to_owned(),
            code: ActivationCode::parse(CODE).unwrap(),
            proposed_labels: Vec::new(),
            device: DeviceDescription::default(),
            pin: pin.map(|pin| Pin::parse(pin).unwrap()),
            key: KeyKind::P256,
            push: None,
        }
    }

    fn device(&self, way: Listen) -> Device {
        let mut device = Device::open(&self.file).unwrap();
        device.listen(way);
        device
    }

    fn pending(&self) -> usize {
        let directory = self.file.path().with_file_name("phone.json.pending");
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    }
}

fn once(answer: Answer, pin: Option<&str>) -> Run {
    Run { answer, pin: pin.map(|pin| Pin::parse(pin).unwrap()), count: Some(1) }
}

#[tokio::test]
async fn transactions_that_were_already_open_are_signed_by_channel_and_by_poll() {
    for way in [Listen::Channel, Listen::Poll] {
        let fixture = Fixture::enrolled(None).await;
        let id = fixture.fake.offer(TEXT, "Pay 5 € to Ann?".as_bytes(), false);
        let mut device = fixture.device(way);
        let mut shown = String::new();
        let ended = run(&mut device, once(Answer::Approve, None), |event| {
            if let Event::Shown(what) = event {
                shown = what.view().to_string();
            }
        });
        assert_eq!(ended.await.unwrap(), 1, "{way:?}");
        assert_eq!(shown, "│ Pay 5 € to Ann?\n");
        assert_eq!(fixture.fake.state(id), Some(State::Finished));
        assert_eq!(fixture.pending(), 0);
    }
}

#[tokio::test]
async fn sha1_is_used_only_if_the_owner_allows_it() {
    let fixture = Fixture::enrolled(None).await;
    let id = fixture.fake.offer(TEXT, b"Pay 5", false);
    fixture.fake.accept_raw(id, Algorithm::EcdsaSha1);
    let mut device = fixture.device(Listen::Channel);
    let offer = device.next_offer().await.unwrap();
    let shown = device.take(&offer, None).await.unwrap();
    let refused = device.approve(&shown, None).await.unwrap_err();
    assert!(matches!(refused, Error::Sha1), "{refused}");
    assert!(fixture.fake.tables().finishes.is_empty());
    device.allow_sha1(true);
    // This server refuses every raw signature; the test checks only that the device sent one.
    let refused = device.approve(&shown, None).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::WrongForm), "{refused}");
    let Signature::Raw { algorithm, .. } = &fixture.fake.tables().finishes[0].signature else {
        panic!("another form");
    };
    assert_eq!(*algorithm, Algorithm::EcdsaSha1);
}

#[tokio::test]
async fn later_offers_are_signed_one_after_the_other() {
    let fixture = Fixture::enrolled(None).await;
    let mut device = fixture.device(Listen::Channel);
    let fake = fixture.fake.clone();
    let mut ids = Vec::new();
    let three = Run { answer: Answer::Approve, pin: None, count: Some(3) };
    let ended = run(&mut device, three, |event| {
        if let Event::Connected | Event::Ended { .. } = event
            && ids.len() < 3
        {
            ids.push(fake.offer(STATEMENT, br#"{"message":"Pay","rows":[["to","Ann"]]}"#, false));
        }
    });
    assert_eq!(ended.await.unwrap(), 3);
    assert!(ids.iter().all(|id| fake.state(*id) == Some(State::Finished)));
}

#[tokio::test]
async fn a_pin_set_at_enrolment_opens_a_transaction_that_needs_one() {
    let fixture = Fixture::enrolled(Some("2468")).await;
    let id = fixture.fake.offer(TEXT, b"x", true);
    let mut device = fixture.device(Listen::Channel);
    let wrong = run(&mut device, once(Answer::Approve, Some("1357")), |_| {}).await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::WrongPin), "{wrong}");
    assert_eq!(fixture.fake.state(id), None);

    let mut device = fixture.device(Listen::Channel);
    run(&mut device, once(Answer::Approve, Some("2468")), |_| {}).await.unwrap();
    assert_eq!(fixture.fake.state(id), Some(State::Finished));
}

#[tokio::test]
async fn a_device_is_stored_although_its_pin_was_refused_and_sets_it_later() {
    let fixture = Fixture::empty().await;
    fixture.fake.tables().locked = true;
    let error = enrol(&fixture.file, &fixture.enrolment(Some("2468"))).await.unwrap_err();
    assert!(matches!(error, Error::PinNotSet(_)), "{error}");

    fixture.fake.tables().locked = false;
    let pin = Pin::parse("2468").unwrap();
    fixture.device(Listen::Channel).set_pin(&pin).await.unwrap();
    fixture.fake.offer(TEXT, b"x", true);
    let mut device = fixture.device(Listen::Channel);
    assert_eq!(run(&mut device, once(Answer::Approve, Some("2468")), |_| {}).await.unwrap(), 1);
}

#[tokio::test]
async fn after_a_change_only_the_new_pin_is_valid() {
    let fixture = Fixture::enrolled(Some("2468")).await;
    let mut device = fixture.device(Listen::Channel);
    let (old, new) = (Pin::parse("2468").unwrap(), Pin::parse("9753").unwrap());
    let wrong = device.change_pin(&new, &new).await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::WrongPin));
    device.change_pin(&old, &new).await.unwrap();

    fixture.fake.offer(TEXT, b"x", true);
    let mut device = fixture.device(Listen::Poll);
    let offer = device.next_offer().await.unwrap();
    assert_eq!(device.take(&offer, Some(&old)).await.unwrap_err().code(), Some(Code::WrongPin));
    device.take(&offer, Some(&new)).await.unwrap();
}

#[tokio::test]
async fn a_take_without_its_pin_is_not_sent_and_declining_needs_no_pin() {
    let fixture = Fixture::enrolled(None).await;
    let id = fixture.fake.offer(TEXT, b"x", true);
    let mut device = fixture.device(Listen::Channel);
    let offer = device.next_offer().await.unwrap();
    assert!(matches!(device.take(&offer, None).await, Err(Error::NoPin)));
    let mut device = fixture.device(Listen::Channel);
    run(&mut device, once(Answer::Decline, None), |_| {}).await.unwrap();
    assert_eq!(fixture.fake.state(id), Some(State::Declined));
}

#[tokio::test]
async fn after_a_lost_answer_the_same_bytes_are_sent_again() {
    for way in [Listen::Channel, Listen::Poll] {
        let fixture = Fixture::enrolled(None).await;
        fixture.fake.tables().lost_answers = 2;
        fixture.fake.offer(TEXT, b"x", false);
        let mut device = fixture.device(way);
        assert_eq!(run(&mut device, once(Answer::Approve, None), |_| {}).await.unwrap(), 1);
        let finishes = fixture.fake.tables().finishes.clone();
        assert_eq!(finishes.len(), 3, "{way:?}");
        assert!(finishes.iter().all(|finish| *finish == finishes[0]));
        assert_eq!(fixture.pending(), 0);
    }
}

#[tokio::test]
async fn a_signature_is_sent_after_a_restart_of_the_program() {
    let fixture = Fixture::enrolled(None).await;
    let id = fixture.fake.offer(TEXT, b"x", false);
    let mut device = fixture.device(Listen::Poll);
    let offer = device.next_offer().await.unwrap();
    let shown = device.take(&offer, None).await.unwrap();
    fixture.fake.tables().lost_answers = u32::MAX;
    let fake = fixture.fake.clone();
    let arrived = async {
        while fake.tables().finishes.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = device.approve(&shown, None) => panic!("ended without an answer: {outcome:?}"),
        () = arrived => {}
    }
    drop(device);
    assert_eq!(fixture.pending(), 1);

    fixture.fake.tables().lost_answers = 0;
    let mut device = fixture.device(Listen::Channel);
    let resumed = device.resume().await.unwrap();
    assert_eq!(resumed.len(), 1);
    assert_eq!((resumed[0].id, resumed[0].outcome.as_ref().unwrap().state), (id, State::Finished));
    let finishes = fixture.fake.tables().finishes.clone();
    assert!(finishes.len() >= 2 && finishes.iter().all(|finish| *finish == finishes[0]));
    assert_eq!(fixture.pending(), 0);
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_server() {
    let hours = Duration::from_hours;
    for (way, ahead, behind) in [
        (Listen::Poll, hours(9), hours(0)),
        (Listen::Poll, hours(0), hours(9)),
        (Listen::Channel, hours(9), hours(0)),
        (Listen::Channel, hours(0), hours(9)),
    ] {
        let fixture = Fixture::enrolled(None).await;
        (fixture.fake.tables().ahead, fixture.fake.tables().behind) = (ahead, behind);
        let id = fixture.fake.offer(TEXT, b"x", false);
        // With a clock that is nine hours ahead, even a short choice would be too late.
        let ask = Answer::Ask(Box::new(|_| {
            Box::pin(async {
                tokio::task::yield_now().await;
                Choice::Approve { match_code: None }
            })
        }));
        run(&mut fixture.device(way), once(ask, None), |event| {
            assert!(!matches!(event, Event::Late(_)), "{way:?}");
        })
        .await
        .unwrap();
        assert_eq!(fixture.fake.state(id), Some(State::Finished), "{way:?}");
    }
}

#[tokio::test]
async fn a_device_waits_for_a_server_that_restarts() {
    let fixture = Fixture::enrolled(None).await;
    let mut device = fixture.device(Listen::Channel);
    assert!(matches!(device.next().await.unwrap(), Notice::Connected));
    fixture.fake.close(Close::Restart);
    assert!(matches!(device.next().await.unwrap(), Notice::Lost { .. }));
    let id = fixture.fake.offer(TEXT, b"x", false);
    run(&mut device, once(Answer::Approve, None), |_| {}).await.unwrap();
    assert_eq!(fixture.fake.state(id), Some(State::Finished));
    assert_eq!(fixture.fake.tables().welcomes, 2);
}

#[tokio::test]
async fn a_replaced_device_does_not_reconnect_by_itself() {
    let fixture = Fixture::enrolled(None).await;
    let mut device = fixture.device(Listen::Channel);
    let fake = fixture.fake.clone();
    let ended = run(&mut device, once(Answer::Approve, None), |event| {
        if matches!(event, Event::Connected) {
            fake.close(Close::Replaced);
        }
    });
    let error = ended.await.unwrap_err();
    assert!(matches!(error, Error::Closed(Close::Replaced)), "{error}");
    assert_eq!(fixture.fake.tables().welcomes, 1);
}

#[tokio::test]
async fn a_withdrawal_is_noticed_while_the_user_chooses() {
    let fixture = Fixture::enrolled(None).await;
    let (first, second) =
        (fixture.fake.offer(TEXT, b"1", false), fixture.fake.offer(TEXT, b"2", false));
    let fake = fixture.fake.clone();
    let mut asked = 0;
    let ask = Answer::Ask(Box::new(move |shown| {
        asked += 1;
        if asked == 1 {
            assert_eq!(shown.id(), first);
            fake.cancel(first);
            return Box::pin(std::future::pending());
        }
        Box::pin(async { Choice::Decline(DeclineReason::NotMe) })
    }));
    let mut device = fixture.device(Listen::Channel);
    let mut withdrawn = Vec::new();
    let ended = run(&mut device, once(ask, None), |event| {
        if let Event::Withdrawn(it) = event {
            withdrawn.push((it.id, it.why));
        }
    });
    assert_eq!(ended.await.unwrap(), 1);
    assert_eq!(withdrawn, [(first, State::Cancelled)]);
    assert_eq!(fixture.fake.state(second), Some(State::Declined));
}

#[tokio::test]
async fn content_that_cannot_be_shown_is_failed_and_not_signed() {
    let fixture = Fixture::enrolled(None).await;
    fixture.fake.offer(STATEMENT, br#"{"rows":[],"message":"Pay"}"#, false);
    fixture.fake.offer("application/pdf", b"%PDF", false);
    let mut device = fixture.device(Listen::Channel);
    let two = Run { answer: Answer::Approve, pin: None, count: Some(2) };
    let ended = timeout(Duration::from_secs(20), run(&mut device, two, |_| {}));
    assert_eq!(ended.await.expect("both fail").unwrap(), 2);
    assert_eq!(fixture.fake.tables().fails, ["media_type", "media_type"]);
    assert!(fixture.fake.tables().finishes.is_empty());
}

#[tokio::test]
async fn a_lost_enrolment_is_repeated_byte_for_byte() {
    let fixture = Fixture::empty().await;
    fixture.fake.tables().unavailable = 2;
    enrol(&fixture.file, &fixture.enrolment(None)).await.unwrap();
    let enrolments = fixture.fake.tables().enrolments.clone();
    assert_eq!(enrolments.len(), 3);
    assert!(enrolments.iter().all(|body| *body == enrolments[0]));
}

#[tokio::test]
async fn a_code_is_not_used_up_if_the_device_cannot_be_stored() {
    let fixture = Fixture::enrolled(None).await;
    let again = enrol(&fixture.file, &fixture.enrolment(None)).await;
    assert!(matches!(again, Err(Error::Exists(_))), "{again:?}");
    assert_eq!(fixture.fake.tables().enrolments.len(), 1);
}

#[tokio::test]
async fn a_wrong_code_and_a_wrong_ca_give_different_errors() {
    let fixture = Fixture::empty().await;
    let code = ActivationCode::parse("another").unwrap();
    let wrong = Enrolment { code, ..fixture.enrolment(None) };
    let error = enrol(&fixture.file, &wrong).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::EnrolmentRefused), "{error}");

    let other = Fake::start().await;
    let wrong = Enrolment { server_ca: Some(other.ca_pem), ..fixture.enrolment(None) };
    let error = enrol(&fixture.file, &wrong).await.unwrap_err();
    assert!(matches!(error, Error::Untrusted(_)), "{error}");
    assert!(!fixture.file.path().exists());
}
