//! Stories of signatures that are good somewhere, and are not good here.

use countersign_core::Refusal;
use countersign_core::device::{Device, Purpose};
use countersign_core::id::IdentityId;
use countersign_core::transaction::{Outcome, Transaction};
use countersign_proof::BadProof;
use countersign_sim::Phone;

use crate::play::*;

/// What comes of `value`, handed in by jane's first phone; the right signature is accepted afterwards.
async fn answer(play: &Play, of: &Transaction, value: &[u8]) -> Refusal {
    let before = play.found(of).await;
    let answer = play.hand_in(janes(0), of, &janes(0).submission(value)).await;
    assert_eq!(play.found(of).await, before);
    refusal(answer)
}

#[test]
fn a_signature_over_another_transaction_signs_only_that() {
    everywhere(async |play: Play| {
        let (mine, other) = (play.taken(&[janes(0)]).await, play.taken(&[janes(0)]).await);
        assert_ne!(mine.terms.content, other.terms.content);
        let value = janes(0).sign(&other.terms);
        let refused = answer(&play, &mine, &value).await;
        assert_eq!(refused, Refusal::BadProof(BadProof::OtherContent));

        // The same words, asked for twice, are signed twice.
        let mut order = play.order();
        order.content = mine.terms.content.clone();
        let twin = play.start(order).await;
        play.take(janes(0), &twin).await.unwrap();
        let value = janes(0).sign(&twin.terms);
        let refused = answer(&play, &mine, &value).await;
        assert_eq!(refused, Refusal::BadProof(BadProof::OtherTransaction));
        play.finish(janes(0), &mine).await.unwrap();
        assert_eq!(play.outcome(&twin).await, None);
    });
}

#[test]
fn another_device_of_the_same_tenant_cannot_sign_in_its_name() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0), janes(1)]).await;
        for other in [janes(1), joes()] {
            let value = other.sign(&started.terms);
            let refused = answer(&play, &started, &value).await;
            assert_eq!(refused, Refusal::BadProof(BadProof::OtherSigner));
            let handed_in = play.hand_in(janes(0), &started, &other.submission(&value)).await;
            assert_eq!(refusal(handed_in), Refusal::UnfitIdentity);
        }
    });
}

#[test]
fn an_identity_for_digests_signs_no_content() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        let value = janes(0).sign_as(Purpose::Digest, &started.terms);
        let refused = answer(&play, &started, &value).await;
        assert_eq!(refused, Refusal::BadProof(BadProof::OtherSigner));
        let mut submission = janes(0).submission(&value);
        submission.identity = Some(janes(0).identity(Purpose::Digest).id);
        let handed_in = play.hand_in(janes(0), &started, &submission).await;
        assert_eq!(refusal(handed_in), Refusal::UnfitIdentity);
        submission.identity = Some(IdentityId(0));
        let handed_in = play.hand_in(janes(0), &started, &submission).await;
        assert_eq!(refusal(handed_in), Refusal::UnfitIdentity);
    });
}

fn enabled(value: bool) -> impl Fn(&mut Device) {
    move |device| device.identities.iter_mut().for_each(|identity| identity.enabled = value)
}

#[test]
fn a_disabled_identity_signs_nothing_until_it_is_enabled_again() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        play.change(janes(0), enabled(false)).await;
        let refused = answer(&play, &started, &janes(0).sign(&started.terms)).await;
        assert_eq!(refused, Refusal::UnfitIdentity);
        play.change(janes(0), enabled(true)).await;
        play.finish(janes(0), &started).await.unwrap();
    });
}

/// Gives jane's first phone at acme the very identities of another phone.
async fn give_identities(play: &Play, of: &Phone) {
    play.change(janes(0), |device| device.identities.clone_from(&of.device.identities)).await;
}

#[test]
fn a_certificate_by_another_tenants_authority_is_not_trusted() {
    everywhere(async |play: Play| {
        give_identities(&play, betas()).await;
        let started = play.taken(&[janes(0)]).await;
        let value = betas().sign(&started.terms);
        let handed_in = play.hand_in(janes(0), &started, &betas().submission(&value)).await;
        assert_eq!(refusal(handed_in), Refusal::BadProof(BadProof::Untrusted));
        assert_eq!(play.outcome(&started).await, None);
    });
}

#[test]
fn what_one_tenant_trusts_is_not_remembered_for_another() {
    everywhere(async |play: Play| {
        // beta's jane signs at beta, so that her certificate has been verified on this node…
        let house = WORLD.house("beta");
        let theirs = play.start(house.order(play.id(), betas().user())).await;
        play.take(betas(), &theirs).await.unwrap();
        play.finish(betas(), &theirs).await.unwrap();
        // … and it is still a stranger's at acme.
        give_identities(&play, betas()).await;
        let started = play.taken(&[janes(0)]).await;
        let value = betas().sign(&started.terms);
        let handed_in = play.hand_in(janes(0), &started, &betas().submission(&value)).await;
        assert_eq!(refusal(handed_in), Refusal::BadProof(BadProof::Untrusted));
    });
}

#[test]
fn bytes_that_are_no_signature_end_nothing() {
    everywhere(async |play: Play| {
        let started = play.taken(&[janes(0)]).await;
        let right = janes(0).sign(&started.terms);
        let mut spoilt = right.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        for value in [&[][..], b"yes", &right[..right.len() - 1], &spoilt] {
            let refused = answer(&play, &started, value).await;
            assert!(matches!(refused, Refusal::BadProof(_)), "{refused:?}");
        }
        let submission = janes(0).submission(&right);
        play.hand_in(janes(0), &started, &submission).await.unwrap();
        assert_eq!(play.outcome(&started).await, Some(Outcome::Finished));
    });
}
