//! Scenarios of selectors and identities: the user that they mean, the devices that are addressed,
//! and changes of an identity meanwhile; and of transactions that their caller deletes.

use countersign_core::delivery::DeliveryKind;
use countersign_core::device::{Device, Usage};
use countersign_core::engine::{SignatureRequest, Submission};
use countersign_core::id::{ClientId, IdentityId, UserName};
use countersign_core::refusal::{
    CancelError, CancelRefusal, DeviceRefusal, StartRefusal, UnknownIdentity,
};
use countersign_core::selector::{Filter, Selector};
use countersign_core::spec::Recipients;
use countersign_core::transaction::{Decline, End, Event, Outcome, Transaction};
use countersign_sim::Phone;

use crate::fixture::*;

fn by_id(phone: &Phone, usage: Usage) -> Selector {
    Selector { id: Some(phone.identity(usage).id), ..Selector::default() }
}

fn labelled(labels: &[&str]) -> Selector {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Selector { labels, ..Selector::default() }
}

fn request(fixture: &Fixture, selectors: Vec<Selector>) -> SignatureRequest {
    SignatureRequest { selectors, ..acme().html_order(fixture.id(), &acme().users[0]) }
}

async fn signs(fixture: &Fixture, phone: &Phone, of: &Transaction) -> Result<(), DeviceRefusal> {
    let value = phone.sign_rightly(&of.spec);
    let submission = Submission::Raw(phone.raw_submission(of.spec.usage(), &value));
    match fixture.hand_in(phone, of, &submission).await {
        Ok(_) => Ok(()),
        refused => Err(refusal(refused)),
    }
}

#[test]
fn only_devices_with_a_matching_identity_see_the_transaction() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(request(&fixture, vec![by_id(janes(1), Usage::Content)])).await;
        assert_eq!(started.spec.recipients, Recipients::Devices([janes(1).id()].into()));
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), []);
        assert_eq!(fixture.offers(janes(1)).await.unwrap(), [started.spec.id]);
        assert_eq!(refusal(fixture.take(janes(0), &started).await), DeviceRefusal::Unknown);
        assert_eq!(signs(&fixture, janes(0), &started).await, Err(DeviceRefusal::Unknown));
        fixture.take(janes(1), &started).await.unwrap();
        assert_eq!(signs(&fixture, janes(1), &started).await, Ok(()));
    });
}

#[test]
fn selectors_are_alternatives_and_all_conditions_of_one_must_hold() {
    everywhere(async |fixture: Fixture| {
        let certificate = Some(janes(0).identity(Usage::Content).certificate.clone());
        let device = Some(janes(0).id());
        let both = Selector { certificate: certificate.clone(), device, ..labelled(&["content"]) };
        let torn = Selector { certificate, device: Some(janes(1).id()), ..Selector::default() };
        for (selectors, meant) in [
            (vec![both.clone()], vec![janes(0)]),
            (vec![torn.clone(), by_id(janes(2), Usage::Content)], vec![janes(2)]),
            (vec![both, by_id(janes(2), Usage::Content)], vec![janes(0), janes(2)]),
            (vec![labelled(&["content"])], vec![janes(0), janes(1), janes(2)]),
            (vec![Selector::default()], vec![janes(0), janes(1), janes(2)]),
        ] {
            let started = fixture.start(request(&fixture, selectors)).await;
            let meant: Vec<_> = meant.iter().map(|phone| phone.id()).collect();
            assert_eq!(started.spec.recipients, Recipients::Devices(meant.into()));
            fixture.cancel(&started).await.unwrap();
        }
        for selectors in [
            vec![torn],
            vec![labelled(&["content", "digest"])],
            vec![by_id(janes(0), Usage::Digest)],
            vec![by_id(joes(), Usage::Content)],
            vec![by_id(betas(), Usage::Content)],
        ] {
            let answer = fixture.engine.start(request(&fixture, selectors), None).await;
            assert_eq!(refusal(answer), StartRefusal::NoIdentity);
        }
    });
}

#[test]
fn an_identity_must_match_at_the_finish_and_not_only_at_the_start() {
    everywhere(async |fixture: Fixture| {
        let (tenant, id) = (janes(0).tenant(), janes(0).identity(Usage::Content).id);
        let start = async || {
            let started = fixture.start(request(&fixture, vec![labelled(&["content"])])).await;
            fixture.take(janes(0), &started).await.unwrap();
            started
        };
        let relabelled = start().await;
        fixture.engine.set_identity_labels(OPERATOR, tenant, id, &["work".into()]).await.unwrap();
        assert_eq!(signs(&fixture, janes(0), &relabelled).await, Err(DeviceRefusal::UnfitIdentity));
        fixture
            .engine
            .set_identity_labels(OPERATOR, tenant, id, &["content".into()])
            .await
            .unwrap();
        assert_eq!(signs(&fixture, janes(0), &relabelled).await, Ok(()));

        let disabled = start().await;
        let held =
            fixture.engine.set_identity_status(OPERATOR, tenant, id, false, "lost").await.unwrap();
        assert_eq!((held.identity.enabled, &*held.identity.status_reason), (false, "lost"));
        assert_eq!(signs(&fixture, janes(0), &disabled).await, Err(DeviceRefusal::UnfitIdentity));
        fixture.engine.set_identity_status(OPERATOR, tenant, id, true, "").await.unwrap();
        assert_eq!(signs(&fixture, janes(0), &disabled).await, Ok(()));

        let deleted = start().await;
        fixture.engine.delete_identity(OPERATOR, tenant, id).await.unwrap();
        assert_eq!(signs(&fixture, janes(0), &deleted).await, Err(DeviceRefusal::UnfitIdentity));
        for gone in [
            fixture.engine.identity(tenant, id).await,
            fixture.engine.delete_identity(OPERATOR, tenant, id).await,
            fixture.engine.set_identity_status(OPERATOR, tenant, id, true, "").await,
        ] {
            assert_eq!(refusal(gone), UnknownIdentity);
        }
        let answer = fixture
            .engine
            .start(request(&fixture, vec![by_id(janes(0), Usage::Content)]), None)
            .await;
        assert_eq!(refusal(answer), StartRefusal::NoIdentity);
    });
}

#[test]
fn selectors_must_match_identities_of_exactly_one_user() {
    everywhere(async |fixture: Fixture| {
        let (tenant, jane, joe) = (&acme().tenant, janes(0).user(), joes().user());
        let whose = async |selectors: &[Selector]| {
            fixture.engine.whose(tenant, selectors, Usage::Content).await
        };
        assert_eq!(whose(&[by_id(janes(0), Usage::Content)]).await.unwrap(), *jane);
        let of_device = Selector { device: Some(joes().id()), ..Selector::default() };
        assert_eq!(whose(std::slice::from_ref(&of_device)).await.unwrap(), *joe);
        let both = [of_device, by_id(janes(0), Usage::Content)];
        assert_eq!(refusal(whose(&both).await), StartRefusal::SeveralUsers);
        assert_eq!(refusal(whose(&[labelled(&["content"])]).await), StartRefusal::SeveralUsers);
        for nobody in [
            by_id(janes(0), Usage::Digest),
            by_id(betas(), Usage::Content),
            labelled(&["digest"]),
            labelled(&["nothing"]),
            Selector::default(),
            Selector { id: Some(IdentityId(1)), ..Selector::default() },
        ] {
            assert_eq!(refusal(whose(&[nobody]).await), StartRefusal::NoIdentity);
        }
        fixture.change(joes(), locked).await;
        assert_eq!(whose(&[labelled(&["content"])]).await.unwrap(), *jane);
    });
}

#[test]
fn identities_are_listed_only_if_they_match_the_filter() {
    everywhere(async |fixture: Fixture| {
        let tenant = &acme().tenant;
        let listed = async |filter: Filter, limit| {
            let held = fixture.engine.identities(tenant, &filter, limit).await.unwrap();
            held.into_iter().map(|held| held.identity.id).collect::<Vec<_>>()
        };
        let ids = |phones: &[&Phone], purposes: &[Usage]| {
            let of = |phone: &&Phone| purposes.iter().map(|p| phone.identity(*p).id).collect();
            phones.iter().flat_map(|phone| -> Vec<IdentityId> { of(phone) }).collect::<Vec<_>>()
        };
        let both = [Usage::Content, Usage::Digest];
        let jane: Option<UserName> = Some(janes(0).user().clone());
        let all = [janes(0), janes(1), janes(2)];
        let of_jane = Filter { user: jane.clone(), ..Filter::default() };
        assert_eq!(listed(of_jane.clone(), 9).await, ids(&all, &both));
        assert_eq!(listed(of_jane, 3).await, ids(&all, &both)[..3]);
        let labels = vec!["digest".to_owned()];
        let work = Filter { user: jane, labels: labels.clone(), ..Filter::default() };
        assert_eq!(listed(work, 9).await, ids(&all, &[Usage::Digest]));
        let device = Filter { device: Some(janes(1).id()), ..Filter::default() };
        assert_eq!(listed(device, 9).await, ids(&[janes(1)], &both));
        let everybody = [janes(0), janes(1), janes(2), joes()];
        let digests = Filter { labels, ..Filter::default() };
        assert_eq!(listed(digests.clone(), 9).await, ids(&everybody, &[Usage::Digest]));
        assert_eq!(listed(Filter::default(), 99).await, ids(&everybody, &both));

        fixture.change(janes(1), retired).await;
        assert_eq!(listed(digests, 9).await, ids(&[janes(0), janes(2), joes()], &[Usage::Digest]));
        let device = Filter { device: Some(janes(1).id()), ..Filter::default() };
        assert_eq!(listed(device, 9).await, []);
    });
}

/// The device is named too, so that the store does not search for the label.
#[test]
fn a_proposed_label_matches_no_selector_and_no_filter_that_names_the_device() {
    everywhere(async |fixture: Fixture| {
        let (tenant, device) = (&acme().tenant, Some(janes(0).id()));
        let propose = |device: &mut Device| {
            for identity in &mut device.identities {
                identity.proposed_labels = vec!["ceo".to_owned()];
            }
        };
        fixture.change(janes(0), propose).await;
        let selector = Selector { device, ..labelled(&["ceo"]) };
        let whose = fixture.engine.whose(tenant, std::slice::from_ref(&selector), Usage::Content);
        assert_eq!(refusal(whose.await), StartRefusal::NoIdentity);
        let answer = fixture.engine.start(request(&fixture, vec![selector]), None).await;
        assert_eq!(refusal(answer), StartRefusal::NoIdentity);
        let filter = Filter { device, labels: vec!["ceo".to_owned()], ..Filter::default() };
        assert!(fixture.engine.identities(tenant, &filter, 9).await.unwrap().is_empty());
    });
}

async fn discard(
    fixture: &Fixture,
    of: &Transaction,
) -> Result<std::sync::Arc<Transaction>, CancelError> {
    fixture.engine.discard(&of.spec.tenant, &of.spec.client, of.spec.id, |_| true).await
}

#[test]
fn deleting_an_open_transaction_cancels_it_and_queues_its_callback() {
    everywhere(async |fixture: Fixture| {
        let started = fixture
            .start(SignatureRequest { callback: Some(callback()), ..fixture.request() })
            .await;
        let stranger: ClientId = "stranger".parse().unwrap();
        let answer =
            fixture.engine.discard(&acme().tenant, &stranger, started.spec.id, |_| true).await;
        assert_eq!(refusal(answer), CancelRefusal::Unknown);
        let gone = discard(&fixture, &started).await.unwrap();
        assert!(gone.discarded);
        assert_eq!(gone.end(), Some(&End::Cancelled));
        assert_eq!(fixture.events(&started), [Event::Started, Event::Ended(Outcome::Cancelled)]);
        assert!(fixture.deliveries().await.contains(&(started.spec.id, DeliveryKind::Callback)));
        assert_eq!(refusal(discard(&fixture, &started).await), CancelRefusal::Unknown);
        assert_eq!(
            refusal(fixture.take(janes(0), &started).await),
            DeviceRefusal::Ended(Outcome::Cancelled)
        );
    });
}

#[test]
fn deleting_an_ended_transaction_keeps_its_end_and_queues_no_delivery() {
    everywhere(async |fixture: Fixture| {
        let request = SignatureRequest { callback: Some(callback()), ..fixture.request() };
        let started = fixture.start(request).await;
        fixture.take(janes(0), &started).await.unwrap();
        let done = fixture.finish(janes(0), &started).await.unwrap();
        let before = fixture.deliveries().await;
        let gone = discard(&fixture, &started).await.unwrap();
        assert_eq!(*gone, Transaction { discarded: true, ..(*done).clone() });
        assert_eq!(fixture.deliveries().await, before);
        assert_eq!(fixture.found(&started).await.value, *gone, "the evidence stays");
        assert_eq!(refusal(discard(&fixture, &started).await), CancelRefusal::Unknown);
    });
}

#[test]
fn the_words_of_a_decline_are_stored_and_returned() {
    everywhere(async |fixture: Fixture| {
        let started = fixture.start(fixture.request()).await;
        let decline = async |words: &str| {
            let (tenant, id) = (janes(0).tenant(), started.spec.id);
            let words = words.to_owned();
            fixture.engine.decline(tenant, janes(0).id(), id, Decline::User, words).await
        };
        let done = decline("not today: \u{1f600}").await.unwrap();
        let (by, words) = (janes(0).id(), "not today: \u{1f600}".to_owned());
        assert_eq!(done.end(), Some(&End::Declined { by, reason: Decline::User, words }));
        assert_eq!(fixture.found(&started).await.value, *done);
        assert_eq!(decline("not today: \u{1f600}").await.unwrap(), done);
        assert_eq!(refusal(decline("").await), DeviceRefusal::Ended(Outcome::Declined));
    });
}

#[test]
fn a_request_for_a_digest_addresses_no_device_without_an_identity_for_digests() {
    everywhere(async |fixture: Fixture| {
        let no_digests = |device: &mut countersign_core::device::Device| {
            device.identities.retain(|identity| identity.usage == Usage::Content);
        };
        for nth in 0..3 {
            fixture.change(janes(nth), no_digests).await;
        }
        let mut digests = acme().digest_order(fixture.id(), &acme().users[0]);
        digests.selectors.clear();
        assert_eq!(refusal(fixture.engine.start(digests, None).await), StartRefusal::NoIdentity);
        let started = fixture.start(request(&fixture, Vec::new())).await;
        assert_eq!(started.spec.recipients, Recipients::Any);
    });
}
