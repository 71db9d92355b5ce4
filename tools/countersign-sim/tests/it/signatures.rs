//! Scenarios of signatures that are valid elsewhere, but not for this transaction.

use countersign_core::device::{Device, Usage};
use countersign_core::engine::Submission;
use countersign_core::id::IdentityId;
use countersign_core::refusal::DeviceRefusal;
use countersign_core::transaction::{Outcome, Transaction};
use countersign_proof::BadProof;
use countersign_sim::Phone;

use crate::fixture::*;

/// The refusal of `value`, handed in by jane's first phone. Checks that the right signature is
/// accepted afterwards.
async fn answer(fixture: &Fixture, of: &Transaction, value: &[u8]) -> DeviceRefusal {
    let before = fixture.found(of).await;
    let answer = fixture.hand_in(janes(0), of, &janes(0).submission(value)).await;
    assert_eq!(fixture.found(of).await, before);
    refusal(answer)
}

#[test]
fn a_signature_over_another_transaction_is_valid_only_for_that_one() {
    everywhere(async |fixture: Fixture| {
        let (mine, other) = (fixture.taken(&[janes(0)]).await, fixture.taken(&[janes(0)]).await);
        assert_ne!(mine.spec.content, other.spec.content);
        let value = janes(0).sign(&other.spec);
        let refused = answer(&fixture, &mine, &value).await;
        assert_eq!(refused, DeviceRefusal::BadProof(BadProof::OtherContent));

        // A second request for the same text needs a second signature.
        let mut request = fixture.request();
        request.content = mine.spec.content.clone();
        let twin = fixture.start(request).await;
        fixture.take(janes(0), &twin).await.unwrap();
        let value = janes(0).sign(&twin.spec);
        let refused = answer(&fixture, &mine, &value).await;
        assert_eq!(refused, DeviceRefusal::BadProof(BadProof::OtherTransaction));
        fixture.finish(janes(0), &mine).await.unwrap();
        assert_eq!(fixture.outcome(&twin).await, None);
    });
}

#[test]
fn a_device_cannot_sign_with_the_identity_of_another_device() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0), janes(1)]).await;
        for other in [janes(1), joes()] {
            let value = other.sign(&started.spec);
            let refused = answer(&fixture, &started, &value).await;
            assert_eq!(refused, DeviceRefusal::BadProof(BadProof::OtherSigner));
            let handed_in = fixture.hand_in(janes(0), &started, &other.submission(&value)).await;
            assert_eq!(refusal(handed_in), DeviceRefusal::UnfitIdentity);
        }
    });
}

#[test]
fn an_identity_for_digests_signs_no_content() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let value = janes(0).sign_as(Usage::Digest, &started.spec);
        let refused = answer(&fixture, &started, &value).await;
        assert_eq!(refused, DeviceRefusal::BadProof(BadProof::OtherSigner));
        for identity in [janes(0).identity(Usage::Digest).id, IdentityId(0)] {
            let submission = Submission::Cms { message: &value, identity: Some(identity) };
            let handed_in = fixture.hand_in(janes(0), &started, &submission).await;
            assert_eq!(refusal(handed_in), DeviceRefusal::UnfitIdentity);
        }
    });
}

fn enabled(value: bool) -> impl Fn(&mut Device) {
    move |device| device.identities.iter_mut().for_each(|identity| identity.enabled = value)
}

#[test]
fn a_disabled_identity_signs_nothing_until_it_is_enabled_again() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        fixture.change(janes(0), enabled(false)).await;
        let refused = answer(&fixture, &started, &janes(0).sign(&started.spec)).await;
        assert_eq!(refused, DeviceRefusal::UnfitIdentity);
        fixture.change(janes(0), enabled(true)).await;
        fixture.finish(janes(0), &started).await.unwrap();
    });
}

/// Gives jane's first phone at acme the identities of another phone.
async fn give_identities(fixture: &Fixture, of: &Phone) {
    fixture.change(janes(0), |device| device.identities.clone_from(&of.device.identities)).await;
}

#[test]
fn a_certificate_by_another_tenants_authority_is_not_trusted() {
    everywhere(async |fixture: Fixture| {
        give_identities(&fixture, betas()).await;
        let started = fixture.taken(&[janes(0)]).await;
        let value = betas().sign(&started.spec);
        let handed_in = fixture.hand_in(janes(0), &started, &betas().submission(&value)).await;
        assert_eq!(refusal(handed_in), DeviceRefusal::BadProof(BadProof::Untrusted));
        assert_eq!(fixture.outcome(&started).await, None);
    });
}

#[test]
fn a_certificate_verified_for_one_tenant_is_not_cached_for_another() {
    everywhere(async |fixture: Fixture| {
        // The jane of beta signs at beta, so that this node has verified her certificate there…
        let test_tenant = POPULATION.test_tenant("beta");
        let theirs = fixture.start(test_tenant.request(fixture.id(), betas().user())).await;
        fixture.take(betas(), &theirs).await.unwrap();
        fixture.finish(betas(), &theirs).await.unwrap();
        // … and acme still does not trust it.
        give_identities(&fixture, betas()).await;
        let started = fixture.taken(&[janes(0)]).await;
        let value = betas().sign(&started.spec);
        let handed_in = fixture.hand_in(janes(0), &started, &betas().submission(&value)).await;
        assert_eq!(refusal(handed_in), DeviceRefusal::BadProof(BadProof::Untrusted));
    });
}

#[test]
fn bytes_that_are_not_a_signature_end_no_transaction() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.taken(&[janes(0)]).await;
        let right = janes(0).sign(&started.spec);
        let mut spoilt = right.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        for value in [&[][..], b"yes", &right[..right.len() - 1], &spoilt] {
            let refused = answer(&fixture, &started, value).await;
            assert!(matches!(refused, DeviceRefusal::BadProof(_)), "{refused:?}");
        }
        let submission = janes(0).submission(&right);
        fixture.hand_in(janes(0), &started, &submission).await.unwrap();
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Finished));
    });
}
