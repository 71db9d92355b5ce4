//! Stories of selectors and identities: whose a transaction is, which devices see it, and what happens when
//! an identity changes meanwhile; and of transactions that their caller deletes.

use countersign_core::Refusal;
use countersign_core::delivery::Debt;
use countersign_core::device::Purpose;
use countersign_core::engine::Order;
use countersign_core::id::{ClientId, IdentityId, UserName};
use countersign_core::selector::{Filter, Selector};
use countersign_core::terms::Addressed;
use countersign_core::transaction::{Decline, End, Event, Outcome, Transaction};
use countersign_sim::Phone;

use crate::play::*;

fn by_id(phone: &Phone, purpose: Purpose) -> Selector {
    Selector { id: Some(phone.identity(purpose).id), ..Selector::default() }
}

fn labelled(labels: &[&str]) -> Selector {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Selector { labels, ..Selector::default() }
}

fn order(play: &Play, selectors: Vec<Selector>) -> Order {
    Order { selectors, ..acme().html_order(play.id(), &acme().users[0]) }
}

async fn signs(play: &Play, phone: &Phone, of: &Transaction) -> Result<(), Refusal> {
    let value = phone.sign_rightly(&of.terms);
    let submission = phone.raw_submission(of.terms.purpose(), &value);
    match play.hand_in(phone, of, &submission).await {
        Ok(_) => Ok(()),
        refused => Err(refusal(refused)),
    }
}

#[test]
fn only_devices_whose_identity_is_meant_see_it() {
    everywhere(async |play: Play| {
        let started = play.start(order(&play, vec![by_id(janes(1), Purpose::Content)])).await;
        assert_eq!(started.terms.addressed, Addressed::Devices([janes(1).id()].into()));
        assert_eq!(play.offers(janes(0)).await.unwrap(), []);
        assert_eq!(play.offers(janes(1)).await.unwrap(), [started.terms.id]);
        assert_eq!(refusal(play.take(janes(0), &started).await), Refusal::Unknown);
        assert_eq!(signs(&play, janes(0), &started).await, Err(Refusal::Unknown));
        play.take(janes(1), &started).await.unwrap();
        assert_eq!(signs(&play, janes(1), &started).await, Ok(()));
    });
}

#[test]
fn selectors_are_alternatives_and_each_holds_whole() {
    everywhere(async |play: Play| {
        let certificate = Some(janes(0).identity(Purpose::Content).certificate.clone());
        let device = Some(janes(0).id());
        let both = Selector { certificate: certificate.clone(), device, ..labelled(&["content"]) };
        let torn = Selector { certificate, device: Some(janes(1).id()), ..Selector::default() };
        for (selectors, meant) in [
            (vec![both.clone()], vec![janes(0)]),
            (vec![torn.clone(), by_id(janes(2), Purpose::Content)], vec![janes(2)]),
            (vec![both, by_id(janes(2), Purpose::Content)], vec![janes(0), janes(2)]),
            (vec![labelled(&["content"])], vec![janes(0), janes(1), janes(2)]),
            (vec![Selector::default()], vec![janes(0), janes(1), janes(2)]),
        ] {
            let started = play.start(order(&play, selectors)).await;
            let meant: Vec<_> = meant.iter().map(|phone| phone.id()).collect();
            assert_eq!(started.terms.addressed, Addressed::Devices(meant.into()));
            play.cancel(&started).await.unwrap();
        }
        for selectors in [
            vec![torn],
            vec![labelled(&["content", "digest"])],
            vec![by_id(janes(0), Purpose::Digest)],
            vec![by_id(joes(), Purpose::Content)],
            vec![by_id(betas(), Purpose::Content)],
        ] {
            let answer = play.engine.start(order(&play, selectors)).await;
            assert_eq!(refusal(answer), Refusal::NoIdentity);
        }
    });
}

#[test]
fn what_an_identity_was_at_the_start_does_not_help_it_at_the_end() {
    everywhere(async |play: Play| {
        let (tenant, id) = (janes(0).tenant(), janes(0).identity(Purpose::Content).id);
        let start = async || {
            let started = play.start(order(&play, vec![labelled(&["content"])])).await;
            play.take(janes(0), &started).await.unwrap();
            started
        };
        let relabelled = start().await;
        play.engine.set_identity_labels(tenant, id, &["work".into()]).await.unwrap();
        assert_eq!(signs(&play, janes(0), &relabelled).await, Err(Refusal::UnfitIdentity));
        play.engine.set_identity_labels(tenant, id, &["content".into()]).await.unwrap();
        assert_eq!(signs(&play, janes(0), &relabelled).await, Ok(()));

        let disabled = start().await;
        let held = play.engine.set_identity_status(tenant, id, false, "lost").await.unwrap();
        assert_eq!((held.identity.enabled, &*held.identity.status_reason), (false, "lost"));
        assert_eq!(signs(&play, janes(0), &disabled).await, Err(Refusal::UnfitIdentity));
        play.engine.set_identity_status(tenant, id, true, "").await.unwrap();
        assert_eq!(signs(&play, janes(0), &disabled).await, Ok(()));

        let deleted = start().await;
        play.engine.delete_identity(tenant, id).await.unwrap();
        assert_eq!(signs(&play, janes(0), &deleted).await, Err(Refusal::UnfitIdentity));
        for gone in [
            play.engine.identity(tenant, id).await,
            play.engine.delete_identity(tenant, id).await,
            play.engine.set_identity_status(tenant, id, true, "").await,
        ] {
            assert_eq!(refusal(gone), Refusal::UnknownIdentity);
        }
        let answer = play.engine.start(order(&play, vec![by_id(janes(0), Purpose::Content)])).await;
        assert_eq!(refusal(answer), Refusal::NoIdentity);
    });
}

#[test]
fn selectors_name_one_person_or_nobody() {
    everywhere(async |play: Play| {
        let (tenant, jane, joe) = (&acme().tenant, janes(0).user(), joes().user());
        let whose = async |selectors: &[Selector]| {
            play.engine.whose(tenant, selectors, Purpose::Content).await
        };
        assert_eq!(whose(&[by_id(janes(0), Purpose::Content)]).await.unwrap(), *jane);
        let of_device = Selector { device: Some(joes().id()), ..Selector::default() };
        assert_eq!(whose(std::slice::from_ref(&of_device)).await.unwrap(), *joe);
        let both = [of_device, by_id(janes(0), Purpose::Content)];
        assert_eq!(refusal(whose(&both).await), Refusal::SeveralUsers);
        assert_eq!(refusal(whose(&[labelled(&["content"])]).await), Refusal::SeveralUsers);
        for nobody in [
            by_id(janes(0), Purpose::Digest),
            by_id(betas(), Purpose::Content),
            labelled(&["digest"]),
            labelled(&["nothing"]),
            Selector::default(),
            Selector { id: Some(IdentityId(1)), ..Selector::default() },
        ] {
            assert_eq!(refusal(whose(&[nobody]).await), Refusal::NoIdentity);
        }
        play.change(joes(), locked).await;
        assert_eq!(whose(&[labelled(&["content"])]).await.unwrap(), *jane);
    });
}

#[test]
fn identities_are_listed_by_what_is_asked_and_no_further() {
    everywhere(async |play: Play| {
        let tenant = &acme().tenant;
        let listed = async |filter: Filter, limit| {
            let held = play.engine.identities(tenant, &filter, limit).await.unwrap();
            held.into_iter().map(|held| held.identity.id).collect::<Vec<_>>()
        };
        let ids = |phones: &[&Phone], purposes: &[Purpose]| {
            let of = |phone: &&Phone| purposes.iter().map(|p| phone.identity(*p).id).collect();
            phones.iter().flat_map(|phone| -> Vec<IdentityId> { of(phone) }).collect::<Vec<_>>()
        };
        let both = [Purpose::Content, Purpose::Digest];
        let jane: Option<UserName> = Some(janes(0).user().clone());
        let all = [janes(0), janes(1), janes(2)];
        let of_jane = Filter { user: jane.clone(), ..Filter::default() };
        assert_eq!(listed(of_jane.clone(), 9).await, ids(&all, &both));
        assert_eq!(listed(of_jane, 3).await, ids(&all, &both)[..3]);
        let labels = vec!["digest".to_owned()];
        let work = Filter { user: jane, labels: labels.clone(), ..Filter::default() };
        assert_eq!(listed(work, 9).await, ids(&all, &[Purpose::Digest]));
        let device = Filter { device: Some(janes(1).id()), ..Filter::default() };
        assert_eq!(listed(device, 9).await, ids(&[janes(1)], &both));
        let everybody = [janes(0), janes(1), janes(2), joes()];
        let digests = Filter { labels, ..Filter::default() };
        assert_eq!(listed(digests.clone(), 9).await, ids(&everybody, &[Purpose::Digest]));
        assert_eq!(listed(Filter::default(), 99).await, ids(&everybody, &both));

        play.change(janes(1), retired).await;
        assert_eq!(
            listed(digests, 9).await,
            ids(&[janes(0), janes(2), joes()], &[Purpose::Digest])
        );
        let device = Filter { device: Some(janes(1).id()), ..Filter::default() };
        assert_eq!(listed(device, 9).await, []);
    });
}

async fn discard(
    play: &Play,
    of: &Transaction,
) -> Result<std::sync::Arc<Transaction>, countersign_core::Error> {
    play.engine.discard(&of.terms.tenant, &of.terms.client, of.terms.id).await
}

#[test]
fn what_is_deleted_while_it_is_open_is_cancelled_and_its_callback_is_owed() {
    everywhere(async |play: Play| {
        let started = play.start(Order { callback: Some(callback()), ..play.order() }).await;
        let stranger: ClientId = "stranger".parse().unwrap();
        let answer = play.engine.discard(&acme().tenant, &stranger, started.terms.id).await;
        assert_eq!(refusal(answer), Refusal::Unknown);
        let gone = discard(&play, &started).await.unwrap();
        assert!(gone.discarded);
        assert_eq!(gone.end(), Some(&End::Cancelled));
        assert_eq!(play.events(&started), [Event::Started, Event::Ended(Outcome::Cancelled)]);
        assert!(play.debts().await.contains(&(started.terms.id, Debt::Callback)));
        assert_eq!(refusal(discard(&play, &started).await), Refusal::Unknown);
        assert_eq!(
            refusal(play.take(janes(0), &started).await),
            Refusal::Ended(Outcome::Cancelled)
        );
    });
}

#[test]
fn what_is_deleted_after_its_end_keeps_its_end_and_owes_nothing_more() {
    everywhere(async |play: Play| {
        let order = Order { callback: Some(callback()), ..play.order() };
        let started = play.start(order).await;
        play.take(janes(0), &started).await.unwrap();
        let done = play.finish(janes(0), &started).await.unwrap();
        let before = play.debts().await;
        let gone = discard(&play, &started).await.unwrap();
        assert_eq!(*gone, Transaction { discarded: true, ..(*done).clone() });
        assert_eq!(play.debts().await, before);
        assert_eq!(play.found(&started).await.value, *gone, "the evidence stays");
        assert_eq!(refusal(discard(&play, &started).await), Refusal::Unknown);
    });
}

#[test]
fn what_a_device_says_when_it_declines_is_kept_and_said_again() {
    everywhere(async |play: Play| {
        let started = play.start(play.order()).await;
        let decline = async |words: &str| {
            let (tenant, id) = (janes(0).tenant(), started.terms.id);
            let words = words.to_owned();
            play.engine.decline_saying(tenant, janes(0).id(), id, Decline::User, words).await
        };
        let done = decline("not today: \u{1f600}").await.unwrap();
        let (by, words) = (janes(0).id(), "not today: \u{1f600}".to_owned());
        assert_eq!(done.end(), Some(&End::Declined { by, reason: Decline::User, words }));
        assert_eq!(play.found(&started).await.value, *done);
        assert_eq!(decline("not today: \u{1f600}").await.unwrap(), done);
        assert_eq!(refusal(decline("").await), Refusal::Ended(Outcome::Declined));
    });
}

#[test]
fn an_order_for_digests_finds_no_device_without_an_identity_for_them() {
    everywhere(async |play: Play| {
        let no_digests = |device: &mut countersign_core::device::Device| {
            device.identities.retain(|identity| identity.purpose == Purpose::Content);
        };
        for nth in 0..3 {
            play.change(janes(nth), no_digests).await;
        }
        let mut digests = acme().digest_order(play.id(), &acme().users[0]);
        digests.selectors.clear();
        assert_eq!(refusal(play.engine.start(digests).await), Refusal::NoIdentity);
        let started = play.start(order(&play, Vec::new())).await;
        assert_eq!(started.terms.addressed, Addressed::Any);
    });
}
