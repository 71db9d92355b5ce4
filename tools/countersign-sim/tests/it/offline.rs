//! Scenarios of a device that is offline: its client got the content sealed for it at the start,
//! and hands in the code that the person typed.

use countersign_core::engine::{Notify, Request, SignatureRequest, Submission};
use countersign_core::id::SerialNumber;
use countersign_core::port::Ledger as _;
use countersign_core::refusal::DeviceRefusal;
use countersign_core::spec::{AcceptedFormats, Digits, Operation, Recipients};
use countersign_core::transaction::{End, Outcome, TakeOrigin, Transaction};
use countersign_proof::ocra;
use countersign_sim::Phone;

use crate::fixture::*;

/// The code of this phone for this transaction.
fn code(phone: &Phone, of: &Transaction) -> String {
    let (content, key) = (&of.spec.content, phone.device.code_key.expose());
    let media_type = content.media_type.as_str();
    ocra::code(key, 8, of.spec.id.bytes(), media_type, &content.bytes).unwrap()
}

async fn serial(fixture: &Fixture, phone: &Phone) -> Option<SerialNumber> {
    let found = fixture.store.read().device(phone.tenant(), phone.id()).await.unwrap();
    found.map(|found| found.value.serial_number)
}

fn sealed(fixture: &Fixture, recipients: Recipients) -> SignatureRequest {
    SignatureRequest {
        formats: AcceptedFormats::CodeOrCms(Digits::new(8).unwrap()),
        once: true,
        announced: Notify::Nobody,
        recipients,
        ..fixture.request()
    }
}

async fn complete(
    fixture: &Fixture,
    of: &Transaction,
    is_client: bool,
    serial: Option<SerialNumber>,
    code: &str,
) -> Result<(), DeviceRefusal> {
    let request = Request {
        tenant: of.spec.tenant.clone(),
        key: of.spec.request_key,
        operation: Operation::Sign,
        client: is_client.then(|| of.spec.client.clone()),
    };
    let submission = Submission::Code { digits: code.as_bytes() };
    let done = fixture.engine.complete(&request, &of.spec.user, serial, &submission).await;
    done.map(drop).map_err(|error| refusal::<(), _>(Err(error)))
}

#[test]
fn the_client_that_got_the_content_hands_in_the_code_of_a_device_that_never_fetched_it() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(sealed(&fixture, Recipients::Any)).await;
        assert_eq!(started.spec.sealed_for, Some(janes(0).id()), "the first that can sign");
        let (right, others) = (code(janes(0), &started), code(janes(1), &started));
        let other = serial(&fixture, janes(1)).await;
        for (is_client, serial, code, refused) in [
            (false, None, &right, DeviceRefusal::Unknown),
            (true, other, &right, DeviceRefusal::Unknown),
            (true, None, &others, DeviceRefusal::CodeWrong { tries_left: 4 }),
        ] {
            let answer = complete(&fixture, &started, is_client, serial, code).await;
            assert_eq!(answer, Err(refused));
        }
        assert_eq!(fixture.found(&started).await.value.takes, [], "a wrong code is no fetch");
        let serial = serial(&fixture, janes(0)).await;
        assert_eq!(complete(&fixture, &started, true, serial, &right).await, Ok(()));
        let ended = fixture.found(&started).await.value;
        assert_eq!(ended.end().map(End::outcome), Some(Outcome::Finished));
        let takes: Vec<_> = ended.takes.iter().map(|take| (take.device, take.origin)).collect();
        assert_eq!(takes, [(janes(0).id(), TakeOrigin::Gateway)]);
    });
}

#[test]
fn a_transaction_that_was_offered_or_taken_elsewhere_is_sealed_for_no_one() {
    everywhere(async |fixture: Fixture| {
        let offered =
            SignatureRequest { announced: Notify::Everybody, ..sealed(&fixture, Recipients::Any) };
        let started = fixture.start(offered).await;
        assert_eq!(started.spec.sealed_for, None);
        let right = code(janes(0), &started);
        let answer = complete(&fixture, &started, true, None, &right).await;
        assert_eq!(answer, Err(DeviceRefusal::Unknown));

        let started = fixture.start(sealed(&fixture, Recipients::Device(janes(1).id()))).await;
        assert_eq!(started.spec.sealed_for, Some(janes(1).id()));
        let started = fixture.start(sealed(&fixture, Recipients::Any)).await;
        fixture.take(janes(1), &started).await.unwrap();
        let right = code(janes(0), &started);
        let answer = complete(&fixture, &started, true, None, &right).await;
        assert_eq!(answer, Err(DeviceRefusal::CodeWrong { tries_left: 4 }), "another device's");
        let right = code(janes(1), &started);
        assert_eq!(complete(&fixture, &started, true, None, &right).await, Ok(()));
    });
}

#[test]
fn wrong_codes_of_an_offline_device_lock_its_user() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(sealed(&fixture, Recipients::Any)).await;
        let wrong = code(janes(1), &started);
        for tries_left in (1..POLICY.locks.wrong_max).rev() {
            let answer = complete(&fixture, &started, true, None, &wrong).await;
            assert_eq!(answer, Err(DeviceRefusal::CodeWrong { tries_left }));
        }
        let answer = complete(&fixture, &started, true, None, &wrong).await;
        assert_eq!(answer, Err(DeviceRefusal::CodeWrong { tries_left: 0 }));
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Locked));
    });
}
