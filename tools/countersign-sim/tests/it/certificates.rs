//! Certificates end after years: what is refused then, what goes on, and what a renewal changes.

use core::time::Duration;

use countersign_core::device::{Device, Identity, Usage};
use countersign_core::engine::{RenewalRequest, Request, SignatureRequest, Submission};
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::event::{Actor, EventKind};
use countersign_core::port::{Ledger as _, Page};
use countersign_core::refusal::{DeviceError, DeviceRefusal, StartRefusal};
use countersign_core::selector::Selector;
use countersign_core::spec::{AcceptedFormats, Digits, Operation};
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Outcome, Transaction};
use countersign_device::cms::{self, SigningKey};
use countersign_proof::BadProof;
use countersign_proof::raw::Hash;
use countersign_sim::Phone;
use rcgen::KeyPair;

use crate::fixture::{Fixture, acme, everywhere, janes, refusal};

const DAY: Duration = Duration::from_hours(24);
/// Three years after the clock's start, 2027-01-15.
const END: (i32, u8, u8) = (2030, 1, 14);
const RENEWED_END: (i32, u8, u8) = (2033, 1, 14);

/// A key for content, with its certificates until [`END`] and until [`RENEWED_END`].
struct Held {
    key: KeyPair,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Held {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certify = |end| acme().authority.certify(&key, "jane", end);
        let (before, after) = (certify(END), certify(RENEWED_END));
        Self { key, before, after }
    }

    /// Signs the content of a transaction with a certificate for this key.
    fn sign(&self, of: &Transaction, certificate: &[u8]) -> Vec<u8> {
        let (spec, key) = (&of.spec, SigningKey::from_der(&self.key.serialize_der()).unwrap());
        let (bytes, kind) = (&spec.content.bytes, spec.content.media_type.as_str());
        let at = spec.started_at.seconds();
        cms::sign(bytes, kind, spec.id.bytes(), at, certificate, &[], &key).unwrap()
    }
}

/// The same device, with one identity for content that is certified until [`END`].
fn with_end(device: &mut Device, held: &Held) {
    device.identities.retain(|identity| identity.usage == Usage::Content);
    let identity = &mut device.identities[0];
    identity.certificate.clone_from(&held.before);
    let (_, end) = countersign_proof::validity(&identity.certificate).unwrap();
    identity.valid_until = Timestamp::of_seconds(end);
}

async fn with_ends(fixture: &Fixture) -> [Held; 3] {
    let held = [Held::new(), Held::new(), Held::new()];
    for (nth, held) in held.iter().enumerate() {
        fixture.change(janes(nth), |device| with_end(device, held)).await;
    }
    held
}

/// Renews the identity for content of a phone, as the device's edge does.
async fn renew(
    fixture: &Fixture,
    phone: &Phone,
    held: &Held,
    request: u8,
) -> Result<Identity, DeviceError> {
    let identity = phone.identity(Usage::Content).id;
    let certify = |_: &Tenant, present: &Identity| {
        let certificate = held.after.clone();
        let key_digest = countersign_proof::public_key(&certificate).unwrap();
        let key_digest = Hash::Sha256.of(&key_digest).try_into().unwrap();
        let certificate_serial = Some(u128::from(request));
        let identity = Identity { certificate, ..present.clone() };
        Ok(NewIdentity {
            key: IdentityKey { identity: identity.id, key_digest, certificate_serial },
            identity,
        })
    };
    let request = RenewalRequest {
        tenant: phone.tenant(),
        device: phone.id(),
        identity,
        digest: [request; 32],
    };
    fixture.engine.renew_identity(&request, certify).await
}

/// Hands in what a phone signed with this certificate.
async fn finish(
    fixture: &Fixture,
    phone: &Phone,
    of: &Transaction,
    held: &Held,
    certificate: &[u8],
) -> Result<Outcome, DeviceError> {
    let message = held.sign(of, certificate);
    let done = fixture.hand_in(phone, of, &phone.submission(&message)).await?;
    Ok(done.end().unwrap().outcome())
}

#[test]
fn what_only_ended_certificates_could_answer_is_refused_until_a_device_renews() {
    everywhere(async |fixture: Fixture| {
        let held = with_ends(&fixture).await;
        fixture.time.pass(1_094 * DAY);
        let started = fixture.taken(&[janes(0)]).await;
        let before = held[0].before.clone();
        assert_eq!(
            finish(&fixture, janes(0), &started, &held[0], &before).await.unwrap(),
            Outcome::Finished
        );

        fixture.time.pass(2 * DAY);
        let refused = refusal(fixture.engine.start(fixture.request(), None).await);
        assert_eq!(refused, StartRefusal::CertificateEnded);
        let of_device = Selector { device: Some(janes(0).id()), ..Selector::default() };
        let whose = fixture.engine.whose(janes(0).tenant(), &[of_device], Usage::Content).await;
        assert_eq!(refusal(whose), StartRefusal::CertificateEnded);

        let renewed = renew(&fixture, janes(0), &held[0], 1).await.unwrap();
        let (_, end) = countersign_proof::validity(&renewed.certificate).unwrap();
        assert_eq!(renewed.valid_until, Timestamp::of_seconds(end));
        let started = fixture.start(fixture.request()).await;
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), [started.spec.id]);
        assert_eq!(fixture.offers(janes(1)).await.unwrap(), [], "it could not sign");
        let taken = fixture.take(janes(1), &started).await.map(drop);
        assert_eq!(refusal(taken), DeviceRefusal::Unknown);
        fixture.take(janes(0), &started).await.unwrap();
        let ended = finish(&fixture, janes(0), &started, &held[0], &before).await;
        assert_eq!(refusal(ended), DeviceRefusal::BadProof(BadProof::OtherSigner));
        let signed = finish(&fixture, janes(0), &started, &held[0], &renewed.certificate).await;
        assert_eq!(signed.unwrap(), Outcome::Finished);
    });
}

#[test]
fn a_device_whose_certificate_ends_after_the_start_is_no_longer_offered_it() {
    everywhere(async |fixture: Fixture| {
        let _held = with_ends(&fixture).await;
        fixture.time.jump(end_of(&janes_device(&fixture).await));
        let started = fixture.start(fixture.request()).await;
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), [started.spec.id], "its last second");
        fixture.time.pass(Duration::from_secs(1));
        assert_eq!(fixture.offers(janes(0)).await.unwrap(), []);
    });
}

#[test]
fn a_gateway_fetches_only_what_its_device_can_complete() {
    everywhere(async |fixture: Fixture| {
        let _held = with_ends(&fixture).await;
        fixture.time.jump(end_of(&janes_device(&fixture).await));
        let fetched = async |formats: AcceptedFormats| {
            let started = fixture.start(SignatureRequest { formats, ..fixture.request() }).await;
            let request = Request {
                tenant: started.spec.tenant.clone(),
                key: started.spec.request_key,
                operation: Operation::Sign,
                client: None,
            };
            fixture.time.pass(Duration::from_secs(1));
            let serial = janes_device(&fixture).await.serial_number;
            let fetched = fixture.engine.fetch(&request, serial).await.map(drop);
            assert_eq!(
                fixture.found(&started).await.value.takes.len(),
                usize::from(fetched.is_ok())
            );
            fetched
        };
        let refused = fetched(AcceptedFormats::Cms).await;
        assert_eq!(refusal(refused), DeviceRefusal::Unknown, "its certificates have ended");
        let code = AcceptedFormats::CodeOrCms(Digits::new(8).unwrap());
        fetched(code).await.unwrap();
    });
}

async fn janes_device(fixture: &Fixture) -> Device {
    let phone = janes(0);
    fixture.store.read().device(phone.tenant(), phone.id()).await.unwrap().unwrap().value
}

fn end_of(device: &Device) -> Timestamp {
    device.identities[0].valid_until
}

#[test]
fn a_code_needs_no_certificate() {
    everywhere(async |fixture: Fixture| {
        let _held = with_ends(&fixture).await;
        fixture.time.pass(1_100 * DAY);
        let formats = AcceptedFormats::CodeOrCms(Digits::new(8).unwrap());
        let request = SignatureRequest { formats, ..fixture.request() };
        let started = fixture.start(request).await;
        assert_eq!(fixture.offers(janes(2)).await.unwrap(), [started.spec.id]);
        fixture.take(janes(2), &started).await.unwrap();
        let spec = &started.spec;
        let code = countersign_proof::ocra::code(
            janes(2).device.code_key.expose(),
            8,
            spec.id.bytes(),
            spec.content.media_type.as_str(),
            &spec.content.bytes,
        );
        let code = code.unwrap();
        let digits = Submission::Code { digits: code.as_bytes() };
        fixture.hand_in(janes(2), &started, &digits).await.unwrap();
        assert_eq!(fixture.outcome(&started).await, Some(Outcome::Finished));
    });
}

#[test]
fn a_repeated_renewal_gets_the_same_certificate_and_happens_once() {
    everywhere(async |fixture: Fixture| {
        let held = with_ends(&fixture).await;
        let first = renew(&fixture, janes(0), &held[0], 1).await.unwrap();
        let other = Held::new();
        let again = renew(&fixture, janes(0), &other, 1).await.unwrap();
        assert_eq!(again, first);
        let events = fixture.store.events(Some(janes(0).tenant()), Page::first(1_000)).await;
        let events = events.unwrap().rows.into_iter();
        let renewals: Vec<_> =
            events.filter(|event| event.kind == EventKind::IdentityRenewed).collect();
        assert_eq!(renewals.len(), 1);
        assert_eq!(renewals[0].actor, Actor::Device(janes(0).id()));
        assert!(renewals[0].details.contains(&("key".into(), "same".into())));

        let second = renew(&fixture, janes(0), &other, 2).await.unwrap();
        assert_ne!(second.certificate, first.certificate, "another request renews again");
    });
}

#[test]
fn what_was_signed_just_before_a_renewal_is_accepted_until_the_old_certificate_ends() {
    everywhere(async |fixture: Fixture| {
        let [held, new, _] = with_ends(&fixture).await;
        let before = held.before.clone();
        fixture.time.pass(800 * DAY);
        let started = fixture.taken(&[janes(0)]).await;
        renew(&fixture, janes(0), &new, 1).await.unwrap();
        let signed = finish(&fixture, janes(0), &started, &held, &before).await;
        assert_eq!(signed.unwrap(), Outcome::Finished);

        fixture.time.pass(300 * DAY);
        let started = fixture.taken(&[janes(0)]).await;
        let late = finish(&fixture, janes(0), &started, &held, &before).await;
        assert_eq!(refusal(late), DeviceRefusal::BadProof(BadProof::OtherSigner));
    });
}

#[test]
fn a_locked_device_and_a_disabled_identity_renew_nothing() {
    everywhere(async |fixture: Fixture| {
        let held = with_ends(&fixture).await;
        fixture.change(janes(0), |device| device.identities[0].enabled = false).await;
        let disabled = renew(&fixture, janes(0), &held[0], 1).await;
        assert_eq!(refusal(disabled), DeviceRefusal::UnfitIdentity);
        fixture.change(janes(1), crate::fixture::locked).await;
        let locked = renew(&fixture, janes(1), &held[1], 1).await;
        assert_eq!(refusal(locked), DeviceRefusal::DeviceLocked);
    });
}

#[test]
fn a_goodbye_retires_the_device_once_and_for_all() {
    everywhere(async |fixture: Fixture| {
        let (tenant, id) = (janes(0).tenant(), janes(0).id());
        let started = fixture.taken(&[janes(0), janes(1)]).await;
        for _ in 0..2 {
            fixture.engine.say_goodbye(tenant, id).await.unwrap();
        }
        let finish = fixture.finish(janes(0), &started).await;
        assert_eq!(refusal(finish), DeviceRefusal::DeviceLocked, "its key proves nothing more");
        fixture.finish(janes(1), &started).await.unwrap();
        let events = fixture.store.events(Some(tenant), Page::first(1_000)).await.unwrap().rows;
        let retired = events.iter().filter(|event| event.kind == EventKind::DeviceRetired);
        let actors: Vec<_> = retired.map(|event| event.actor.clone()).collect();
        assert_eq!(actors, [Actor::Device(id)]);
        fixture.change(janes(2), crate::fixture::locked).await;
        let locked = fixture.engine.say_goodbye(tenant, janes(2).id()).await;
        assert_eq!(refusal(locked), countersign_core::refusal::ActorRefusal::DeviceLocked);
    });
}
