//! Scenarios of raw signatures over text and digests, with their identities and algorithms, and of
//! a device that finishes a transaction at once.

use countersign_core::device::Usage;
use countersign_core::engine::{FinishMode, RawSubmission, Request, SignatureRequest, Submission};
use countersign_core::port::Ledger as _;
use countersign_core::refusal::{DeviceError, DeviceRefusal};
use countersign_core::spec::{AcceptedFormats, Document, Operation, RawTerms};
use countersign_core::transaction::{Event, Outcome, Transaction};
use countersign_proof::BadProof;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_sim::{Phone, TestTenant};

use crate::fixture::*;

fn html(fixture: &Fixture) -> SignatureRequest {
    acme().html_order(fixture.id(), &acme().users[0])
}

fn digest(fixture: &Fixture) -> SignatureRequest {
    acme().digest_order(fixture.id(), &acme().users[0])
}

/// The terms of a request's raw signature.
fn raw(request: &mut SignatureRequest) -> &mut RawTerms {
    match &mut request.formats {
        AcceptedFormats::Raw(spec) => spec,
        other => panic!("{other:?}"),
    }
}

async fn taken(fixture: &Fixture, request: SignatureRequest) -> Transaction {
    let started = fixture.start(request).await;
    fixture.take(janes(0), &started).await.unwrap();
    (*started).clone()
}

/// The refusal of this submission by jane's first phone. The transaction must not change.
async fn refused(
    fixture: &Fixture,
    of: &Transaction,
    submission: &Submission<'_>,
) -> DeviceRefusal {
    let before = fixture.found(of).await;
    let answer = fixture.hand_in(janes(0), of, submission).await;
    assert_eq!(fixture.found(of).await, before);
    refusal(answer)
}

#[test]
fn text_and_digests_are_each_signed_by_the_identity_for_that_use() {
    everywhere(async |fixture: Fixture| {
        for (request, right, wrong) in [
            (html(&fixture), Usage::Content, Usage::Digest),
            (digest(&fixture), Usage::Digest, Usage::Content),
        ] {
            let started = taken(&fixture, request).await;
            let value = janes(0).sign_raw_as(wrong, &started.spec);
            let submission = Submission::Raw(janes(0).raw_submission(wrong, &value));
            assert_eq!(
                refused(&fixture, &started, &submission).await,
                DeviceRefusal::UnfitIdentity
            );
            let submission = Submission::Raw(janes(0).raw_submission(right, &value));
            let reason = refused(&fixture, &started, &submission).await;
            assert_eq!(reason, DeviceRefusal::BadProof(BadProof::Signature));

            let value = janes(0).sign_raw_as(right, &started.spec);
            let submission = Submission::Raw(janes(0).raw_submission(right, &value));
            let done = fixture.hand_in(janes(0), &started, &submission).await.unwrap();
            assert_eq!(proof(&done).evidence(), value);
            let kept = proof(&done).raw().unwrap();
            assert_eq!(*kept.certificate, janes(0).identity(right).certificate);
            assert_eq!(kept.digest.is_some(), right == Usage::Digest);
            let again = fixture.hand_in(janes(0), &started, &submission).await.unwrap();
            assert_eq!(again, done);
        }
    });
}

#[test]
fn one_raw_signature_ends_one_transaction_and_not_another_over_the_same_text() {
    everywhere(async |fixture: Fixture| {
        let first = taken(&fixture, html(&fixture)).await;
        let value = janes(0).sign_raw_as(Usage::Content, &first.spec);
        let submission = Submission::Raw(janes(0).raw_submission(Usage::Content, &value));
        let done = fixture.hand_in(janes(0), &first, &submission).await.unwrap();
        let request = SignatureRequest { content: first.spec.content.clone(), ..html(&fixture) };
        let second = taken(&fixture, request).await;
        let reason = refused(&fixture, &second, &submission).await;
        assert_eq!(reason, DeviceRefusal::BadProof(BadProof::UsedBefore));
        // A repeated submission for the first gets the same answer, and a new signature ends the
        // second.
        assert_eq!(fixture.hand_in(janes(0), &first, &submission).await.unwrap(), done);
        let value = janes(0).sign_raw_as(Usage::Content, &second.spec);
        let submission = Submission::Raw(janes(0).raw_submission(Usage::Content, &value));
        fixture.hand_in(janes(0), &second, &submission).await.unwrap();
    });
}

#[test]
fn a_gateway_cannot_fetch_or_complete_a_transaction_with_a_raw_signature() {
    everywhere(async |fixture: Fixture| {
        for (request, usage) in
            [(html(&fixture), Usage::Content), (digest(&fixture), Usage::Digest)]
        {
            let started = fixture.start(request).await;
            let tenant = janes(0).tenant().clone();
            let device =
                fixture.faulty.read().device(&tenant, janes(0).id()).await.unwrap().unwrap();
            let (key, operation) = (started.spec.request_key, Operation::Sign);
            let request = Request { tenant, key, operation, client: None };
            let fetched = fixture.engine.fetch(&request, device.value.serial_number).await;
            assert_eq!(refusal(fetched), DeviceRefusal::Unknown);

            fixture.take(janes(0), &started).await.unwrap();
            let value = janes(0).sign_raw_as(usage, &started.spec);
            let submission = Submission::Raw(janes(0).raw_submission(usage, &value));
            let completed =
                fixture.engine.complete(&request, janes(0).user(), None, &submission).await;
            assert_eq!(refusal(completed), DeviceRefusal::OtherForm);
            assert!(fixture.found(&started).await.value.end().is_none());
            fixture.hand_in(janes(0), &started, &submission).await.unwrap();
        }
    });
}

#[test]
fn a_cms_is_refused_if_raw_is_required_and_a_raw_signature_if_cms_is() {
    everywhere(async |fixture: Fixture| {
        let wants_raw = taken(&fixture, html(&fixture)).await;
        let value = janes(0).sign(&wants_raw.spec);
        let reason = refused(&fixture, &wants_raw, &janes(0).submission(&value)).await;
        assert_eq!(reason, DeviceRefusal::OtherForm);

        let wants_cms = fixture.taken(&[janes(0)]).await;
        let value = janes(0).sign_raw_as(Usage::Content, &wants_cms.spec);
        let submission = Submission::Raw(janes(0).raw_submission(Usage::Content, &value));
        assert_eq!(refused(&fixture, &wants_cms, &submission).await, DeviceRefusal::OtherForm);
    });
}

#[test]
fn only_the_algorithms_that_the_terms_allow_this_device_are_accepted() {
    everywhere(async |fixture: Fixture| {
        let mut request = html(&fixture);
        raw(&mut request).by_device = vec![(janes(0).id(), Hash::Sha384)];
        let started = taken(&fixture, request).await;
        let value = janes(0).sign_raw_as(Usage::Content, &started.spec);
        let submission = Submission::Raw(janes(0).raw_submission(Usage::Content, &value));
        let reason = refused(&fixture, &started, &submission).await;
        assert_eq!(reason, DeviceRefusal::BadProof(BadProof::DigestAlgorithm));
        fixture.take(janes(1), &started).await.unwrap();
        let value = janes(1).sign_raw_as(Usage::Content, &started.spec);
        let submission = Submission::Raw(janes(1).raw_submission(Usage::Content, &value));
        fixture.hand_in(janes(1), &started, &submission).await.unwrap();

        let started = taken(&fixture, html(&fixture)).await;
        let value = janes(0).sign_raw_as(Usage::Content, &started.spec);
        let right = janes(0).raw_submission(Usage::Content, &value);
        for (algorithm, reason) in [
            (Algorithm::Ecdsa(Hash::Sha1), BadProof::DigestAlgorithm),
            (Algorithm::Ecdsa(Hash::Sha512), BadProof::DigestAlgorithm),
            (Algorithm::RsaPkcs1(Hash::Sha256), BadProof::OtherKey),
        ] {
            let submission = Submission::Raw(RawSubmission { algorithm, ..right });
            let refused = refused(&fixture, &started, &submission).await;
            assert_eq!(refused, DeviceRefusal::BadProof(reason), "{algorithm:?}");
        }
        let done = fixture.hand_in(janes(0), &started, &Submission::Raw(right)).await.unwrap();
        assert_eq!(proof(&done).raw().unwrap().algorithm, right.algorithm);
    });
}

#[test]
fn a_digest_from_the_device_is_verified_only_if_the_terms_have_none() {
    everywhere(async |fixture: Fixture| {
        let learnt = Hash::Sha256.of(b"the document");
        let value = janes(0).sign_digest_as(Usage::Digest, &learnt);
        let without = janes(0).raw_submission(Usage::Digest, &value);
        let with = |digest| Submission::Raw(RawSubmission { digest, ..without });

        let given = taken(&fixture, digest(&fixture)).await;
        let reason = refused(&fixture, &given, &with(Some(&learnt))).await;
        assert_eq!(reason, DeviceRefusal::BadProof(BadProof::OtherContent));

        let mut request = digest(&fixture);
        request.content.bytes.clear();
        let url = Some("https://shop.example/digest".into());
        request.document = Some(Document { digest_url: url, ..Document::default() });
        let open = taken(&fixture, request).await;
        for digest in [None, Some(&learnt[1..]), Some(&[][..])] {
            let reason = refused(&fixture, &open, &with(digest)).await;
            assert_eq!(reason, DeviceRefusal::BadProof(BadProof::DigestLength));
        }
        let done = fixture.hand_in(janes(0), &open, &with(Some(&learnt))).await.unwrap();
        assert_eq!(proof(&done).raw().unwrap().digest.as_deref(), Some(&*learnt));
        assert_eq!(fixture.found(&open).await.value, *done);
    });
}

/// Hands in a right raw signature that finishes the transaction at once.
async fn at_once(
    fixture: &Fixture,
    phone: &Phone,
    of: &Transaction,
) -> Result<std::sync::Arc<Transaction>, DeviceError> {
    let value = phone.sign_raw_as(of.spec.usage(), &of.spec);
    let submission = Submission::Raw(phone.raw_submission(of.spec.usage(), &value));
    let (tenant, id) = (phone.tenant(), of.spec.id);
    let done = fixture.engine.finish(FinishMode::AtOnce, tenant, phone.id(), id, &submission).await;
    done.map(|done| done.transaction)
}

#[test]
fn a_device_that_finishes_at_once_takes_and_finishes_in_one_commit() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(html(&fixture)).await;
        let done = at_once(&fixture, janes(0), &started).await.unwrap();
        assert!(done.taken_by(janes(0).id()));
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Finished));
        assert_eq!(fixture.events(&started), [Event::Started, Event::Ended(Outcome::Finished)]);
        let again = refusal(at_once(&fixture, janes(0), &started).await);
        assert_eq!(again, DeviceRefusal::Ended(Outcome::Finished), "signed anew it is another one");

        let started = fixture.start(html(&fixture)).await;
        fixture.take(janes(0), &started).await.unwrap();
        at_once(&fixture, janes(0), &started).await.unwrap();
        let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Finished)];
        assert_eq!(fixture.events(&started), events);
    });
}

#[test]
fn finishing_at_once_bypasses_neither_the_pin_nor_another_devices_take() {
    everywhere(async |fixture: Fixture| {
        let started =
            fixture.start(SignatureRequest { pin_required: true, ..html(&fixture) }).await;
        assert_eq!(
            refusal(at_once(&fixture, janes(0), &started).await),
            DeviceRefusal::PinRequired
        );
        let looked = fixture.engine.look(janes(0).tenant(), janes(0).id(), started.spec.id).await;
        assert_eq!(refusal(looked), DeviceRefusal::PinRequired);
        fixture.take_with_pin(janes(0), &started, TestTenant::PIN).await.unwrap();
        fixture.engine.look(janes(0).tenant(), janes(0).id(), started.spec.id).await.unwrap();
        at_once(&fixture, janes(0), &started).await.unwrap();

        let started = fixture.start(SignatureRequest { once: true, ..html(&fixture) }).await;
        fixture.take(janes(1), &started).await.unwrap();
        assert_eq!(
            refusal(at_once(&fixture, janes(0), &started).await),
            DeviceRefusal::OtherDevice
        );
        at_once(&fixture, janes(1), &started).await.unwrap();

        let started = fixture.start(html(&fixture)).await;
        assert_eq!(refusal(at_once(&fixture, joes(), &started).await), DeviceRefusal::Unknown);
    });
}
