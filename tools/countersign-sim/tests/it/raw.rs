//! Stories of raw signatures: over text and over digests, by whom, with what; and of a device that ends a
//! transaction at once.

use countersign_core::Refusal;
use countersign_core::device::Purpose;
use countersign_core::engine::{Manner, Order, Request, Submission};
use countersign_core::port::Registry as _;
use countersign_core::terms::{Document, Forms, Operation, RawTerms};
use countersign_core::transaction::{Event, Outcome, Transaction};
use countersign_proof::BadProof;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_sim::{House, Phone};

use crate::play::*;

fn html(play: &Play) -> Order {
    acme().html_order(play.id(), &acme().users[0])
}

fn digest(play: &Play) -> Order {
    acme().digest_order(play.id(), &acme().users[0])
}

/// What is asked of a raw signature.
fn raw(order: &mut Order) -> &mut RawTerms {
    match &mut order.forms {
        Forms::Raw(terms) => terms,
        other => panic!("{other:?}"),
    }
}

async fn taken(play: &Play, order: Order) -> Transaction {
    let started = play.start(order).await;
    play.take(janes(0), &started).await.unwrap();
    (*started).clone()
}

/// Why jane's first phone is refused with this; nothing changes by it.
async fn refused(play: &Play, of: &Transaction, submission: &Submission<'_>) -> Refusal {
    let before = play.found(of).await;
    let answer = play.hand_in(janes(0), of, submission).await;
    assert_eq!(play.found(of).await, before);
    refusal(answer)
}

#[test]
fn text_and_digests_are_signed_each_by_the_identity_for_it() {
    everywhere(async |play: Play| {
        for (order, right, wrong) in [
            (html(&play), Purpose::Content, Purpose::Digest),
            (digest(&play), Purpose::Digest, Purpose::Content),
        ] {
            let started = taken(&play, order).await;
            let value = janes(0).sign_raw_as(wrong, &started.terms);
            let submission = janes(0).raw_submission(wrong, &value);
            assert_eq!(refused(&play, &started, &submission).await, Refusal::UnfitIdentity);
            let submission = janes(0).raw_submission(right, &value);
            let reason = refused(&play, &started, &submission).await;
            assert_eq!(reason, Refusal::BadProof(BadProof::Signature));

            let value = janes(0).sign_raw_as(right, &started.terms);
            let submission = janes(0).raw_submission(right, &value);
            let done = play.hand_in(janes(0), &started, &submission).await.unwrap();
            assert_eq!(proof(&done).evidence(), value);
            let kept = proof(&done).raw().unwrap();
            assert_eq!(*kept.certificate, janes(0).identity(right).certificate);
            assert_eq!(kept.digest.is_some(), right == Purpose::Digest);
            let again = play.hand_in(janes(0), &started, &submission).await.unwrap();
            assert_eq!(again, done);
        }
    });
}

#[test]
fn one_raw_signature_ends_one_transaction_and_not_another_over_the_same_text() {
    everywhere(async |play: Play| {
        let first = taken(&play, html(&play)).await;
        let value = janes(0).sign_raw_as(Purpose::Content, &first.terms);
        let submission = janes(0).raw_submission(Purpose::Content, &value);
        let done = play.hand_in(janes(0), &first, &submission).await.unwrap();
        let order = Order { content: first.terms.content.clone(), ..html(&play) };
        let second = taken(&play, order).await;
        let reason = refused(&play, &second, &submission).await;
        assert_eq!(reason, Refusal::BadProof(BadProof::UsedBefore));
        // The same again for the first is answered as before, and a new one ends the second.
        assert_eq!(play.hand_in(janes(0), &first, &submission).await.unwrap(), done);
        let value = janes(0).sign_raw_as(Purpose::Content, &second.terms);
        let submission = janes(0).raw_submission(Purpose::Content, &value);
        play.hand_in(janes(0), &second, &submission).await.unwrap();
    });
}

#[test]
fn through_a_gateway_nothing_is_fetched_or_completed_that_takes_a_raw_signature() {
    everywhere(async |play: Play| {
        for (order, purpose) in [(html(&play), Purpose::Content), (digest(&play), Purpose::Digest)]
        {
            let started = play.start(order).await;
            let tenant = janes(0).tenant().clone();
            let device = play.engine.store.device(&tenant, janes(0).id()).await.unwrap().unwrap();
            let (key, operation) = (started.terms.request_key, Operation::Sign);
            let request = Request { tenant, key, operation, client: None };
            let fetched = play.engine.fetch(&request, device.value.serial_number).await;
            assert_eq!(refusal(fetched), Refusal::Unknown);

            play.take(janes(0), &started).await.unwrap();
            let value = janes(0).sign_raw_as(purpose, &started.terms);
            let submission = janes(0).raw_submission(purpose, &value);
            let completed = play.engine.complete(&request, janes(0).user(), &submission).await;
            assert_eq!(refusal(completed), Refusal::OtherForm);
            assert!(play.found(&started).await.value.end().is_none());
            play.hand_in(janes(0), &started, &submission).await.unwrap();
        }
    });
}

#[test]
fn where_raw_is_asked_for_a_cms_is_refused_and_the_other_way_round() {
    everywhere(async |play: Play| {
        let wants_raw = taken(&play, html(&play)).await;
        let value = janes(0).sign(&wants_raw.terms);
        let reason = refused(&play, &wants_raw, &janes(0).submission(&value)).await;
        assert_eq!(reason, Refusal::OtherForm);

        let wants_cms = play.taken(&[janes(0)]).await;
        let value = janes(0).sign_raw_as(Purpose::Content, &wants_cms.terms);
        let submission = janes(0).raw_submission(Purpose::Content, &value);
        assert_eq!(refused(&play, &wants_cms, &submission).await, Refusal::OtherForm);
    });
}

#[test]
fn only_the_algorithms_that_the_terms_allow_this_device_are_accepted() {
    everywhere(async |play: Play| {
        let mut order = html(&play);
        raw(&mut order).by_device = vec![(janes(0).id(), Hash::Sha384)];
        let started = taken(&play, order).await;
        let value = janes(0).sign_raw_as(Purpose::Content, &started.terms);
        let submission = janes(0).raw_submission(Purpose::Content, &value);
        let reason = refused(&play, &started, &submission).await;
        assert_eq!(reason, Refusal::BadProof(BadProof::DigestAlgorithm));
        play.take(janes(1), &started).await.unwrap();
        let value = janes(1).sign_raw_as(Purpose::Content, &started.terms);
        let submission = janes(1).raw_submission(Purpose::Content, &value);
        play.hand_in(janes(1), &started, &submission).await.unwrap();

        let started = taken(&play, html(&play)).await;
        let value = janes(0).sign_raw_as(Purpose::Content, &started.terms);
        let right = janes(0).raw_submission(Purpose::Content, &value);
        for (algorithm, reason) in [
            (Algorithm::Ecdsa(Hash::Sha1), BadProof::DigestAlgorithm),
            (Algorithm::Ecdsa(Hash::Sha512), BadProof::DigestAlgorithm),
            (Algorithm::RsaPkcs1(Hash::Sha256), BadProof::OtherKey),
        ] {
            let submission = Submission { algorithm: Some(algorithm), ..right.clone() };
            let refused = refused(&play, &started, &submission).await;
            assert_eq!(refused, Refusal::BadProof(reason), "{algorithm:?}");
        }
        // Where nothing is named, it is what the terms prefer, and what the key can.
        let unnamed = Submission { algorithm: None, ..right.clone() };
        let done = play.hand_in(janes(0), &started, &unnamed).await.unwrap();
        assert_eq!(proof(&done).raw().map(|raw| raw.algorithm), right.algorithm);
    });
}

#[test]
fn a_digest_that_the_device_learnt_is_what_is_verified_and_none_that_was_given_is_replaced() {
    everywhere(async |play: Play| {
        let learnt = Hash::Sha256.of(b"the document");
        let value = janes(0).sign_digest_as(Purpose::Digest, &learnt);
        let without = janes(0).raw_submission(Purpose::Digest, &value);
        let with = |digest| Submission { digest, ..without.clone() };

        let given = taken(&play, digest(&play)).await;
        let reason = refused(&play, &given, &with(Some(&learnt))).await;
        assert_eq!(reason, Refusal::BadProof(BadProof::OtherContent));

        let mut order = digest(&play);
        order.content.bytes.clear();
        let url = Some("https://shop.example/digest".into());
        order.document = Some(Document { digest_url: url, ..Document::default() });
        let open = taken(&play, order).await;
        for digest in [None, Some(&learnt[1..]), Some(&[][..])] {
            let reason = refused(&play, &open, &with(digest)).await;
            assert_eq!(reason, Refusal::BadProof(BadProof::DigestLength));
        }
        let done = play.hand_in(janes(0), &open, &with(Some(&learnt))).await.unwrap();
        assert_eq!(proof(&done).raw().unwrap().digest.as_deref(), Some(&*learnt));
        assert_eq!(play.found(&open).await.value, *done);
    });
}

/// Hands in a right raw signature that ends it at once.
async fn at_once(
    play: &Play,
    phone: &Phone,
    of: &Transaction,
) -> Result<std::sync::Arc<Transaction>, countersign_core::Error> {
    let value = phone.sign_raw_as(of.terms.purpose(), &of.terms);
    let submission = phone.raw_submission(of.terms.purpose(), &value);
    let (tenant, id) = (phone.tenant(), of.terms.id);
    let done = play.engine.finish_in(Manner::AtOnce, tenant, phone.id(), id, &submission).await;
    done.map(|done| done.transaction)
}

#[test]
fn a_device_that_ends_it_at_once_takes_and_finishes_in_one_commit() {
    everywhere(async |play: Play| {
        let started = play.start(html(&play)).await;
        let done = at_once(&play, janes(0), &started).await.unwrap();
        assert!(done.taken_by(janes(0).id()));
        assert_eq!(play.outcome(&started).await, Some(Outcome::Finished));
        assert_eq!(play.events(&started), [Event::Started, Event::Ended(Outcome::Finished)]);
        let again = refusal(at_once(&play, janes(0), &started).await);
        assert_eq!(again, Refusal::Ended(Outcome::Finished), "signed anew it is another one");

        let started = play.start(html(&play)).await;
        play.take(janes(0), &started).await.unwrap();
        at_once(&play, janes(0), &started).await.unwrap();
        let events = [Event::Started, Event::Taken, Event::Ended(Outcome::Finished)];
        assert_eq!(play.events(&started), events);
    });
}

#[test]
fn at_once_is_no_way_around_the_pin_nor_around_another_device() {
    everywhere(async |play: Play| {
        let started = play.start(Order { pin_required: true, ..html(&play) }).await;
        assert_eq!(refusal(at_once(&play, janes(0), &started).await), Refusal::PinRequired);
        let looked = play.engine.look(janes(0).tenant(), janes(0).id(), started.terms.id).await;
        assert_eq!(refusal(looked), Refusal::PinRequired);
        play.take_with_pin(janes(0), &started, House::PIN).await.unwrap();
        play.engine.look(janes(0).tenant(), janes(0).id(), started.terms.id).await.unwrap();
        at_once(&play, janes(0), &started).await.unwrap();

        let started = play.start(Order { once: true, ..html(&play) }).await;
        play.take(janes(1), &started).await.unwrap();
        assert_eq!(refusal(at_once(&play, janes(0), &started).await), Refusal::OtherDevice);
        at_once(&play, janes(1), &started).await.unwrap();

        let started = play.start(html(&play)).await;
        assert_eq!(refusal(at_once(&play, joes(), &started).await), Refusal::Unknown);
    });
}
