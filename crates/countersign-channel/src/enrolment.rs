//! `POST /device/v1/enrolments`: receives an activation code and keys; answers with names,
//! certificates and secrets.
//!
//! The code is not sent: the request's MAC proves that the device knows it, and the answer's MAC
//! proves the same of the server. A wrong code, user or tenant is refused in the same way, after
//! the same reads and the same number of MACs.
//!
//! Wrong codes are limited, by user and address. The limit does not apply to a generated code,
//! which needs none because it has 80 random bits. `docs/device-protocol.md` has the reasons.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::digest;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use countersign_core::device::{About, Device, DeviceStatus, Identity};
use countersign_core::engine::Enrolled;
use countersign_core::enrolment::{Activation, Enrolment, IdentityKey, Redeemed};
use countersign_core::event::{self, Actor, EventKind, NewEvent};
use countersign_core::id::{BadName, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use countersign_core::limits::{
    ACTIVATIONS_LISTED_MAX, COMMIT_TRIES_MAX, FRAME_BYTES_MAX, IDENTITIES_PER_DEVICE_MAX,
};
use countersign_core::name;
use countersign_core::port::{Keys as _, Signer, SigningRole, Versioned};
use countersign_core::push::{Push, Registration};
use countersign_core::secret::Secret;
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_core::user::User;
use countersign_wire::body::{Code, EnrolmentAnswer, EnrolmentRequest, IssuedIdentity, Server};
use countersign_wire::code::{self, ActivationCode, Side};
use countersign_wire::jwe::secrets::{self, Secrets};
use countersign_wire::jws;
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::secret::{CodeKey, PayloadKey};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tracing::{error, info};

use super::Devices;
use super::answer::{self, Refused};
use super::calls::read;
use super::{identities, push};
use countersign_http::body_limit;
use countersign_http::listen::Peer;
use countersign_http::tries::{Counter, Quota, Wrong, network};
use countersign_node::authority;

/// The largest request to enrol: the protocol's limit for all device calls.
const ENROLMENT_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Enrols a device.
pub(super) async fn enrol(
    State(devices): State<Devices>,
    request: Request,
) -> Result<Response, Refused> {
    let peer = request.extensions().get::<Peer>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let headers = request.headers().clone();
    if !body_limit::is(&headers, "application/json") {
        return Err(Code::UnsupportedMediaType.into());
    }
    let body = body_limit::of_stranger(request, ENROLMENT_BYTES_MAX).await?;
    let mut asked: EnrolmentRequest = read(&body)?;
    normalize(&mut asked).map_err(|_| Code::BadRequest)?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let key = asked.auth_key.verifying();
    jws::verify_enrolment(header(jws::ENROLMENT_HEADER), &key, &body)
        .map_err(|_| Code::EnrolmentRefused)?;
    let proof = CodeProof {
        mac: header(code::HEADER).to_owned(),
        request: sha256(&body),
        counters: devices.counters(&asked, address),
        address,
    };

    for _ in 0..COMMIT_TRIES_MAX {
        if let Some(answered) = devices.try_enrol(&asked, &proof).await? {
            return Ok(answered);
        }
    }
    error!("Failed while enrolling a device: every commit was stale");
    Err(Code::Unavailable.into())
}

/// The request's proof of its code, and the counters for a wrong one.
struct CodeProof {
    mac: String,
    /// SHA-256 of the body.
    request: [u8; 32],
    counters: Vec<Counter>,
    address: IpAddr,
}

/// An activation whose code the request proved, and how the request may use it.
struct Redemption {
    activation: Versioned<Activation>,
    code: ActivationCode,
    redeemed: Redeemed,
}

/// The user to enrol, and the activation.
struct Admitted {
    tenant: Tenant,
    user: Versioned<User>,
    redemption: Redemption,
    push: Push,
}

impl Devices {
    /// Enrols, or repeats the earlier answer. `None` if the commit was stale.
    async fn try_enrol(
        &self,
        asked: &EnrolmentRequest,
        proof: &CodeProof,
    ) -> Result<Option<Response>, Refused> {
        let now = self.0.core.now();
        let admitted = self.admit(asked, proof, now).await?;
        if let Redeemed::Before(answer) = &admitted.redemption.redeemed {
            return Ok(Some(created(answer.clone(), &admitted.redemption.code)));
        }

        let signer = self.0.private_keys.prepare(&admitted.tenant.name, SigningRole::Authority);
        let signer = signer.await?;
        let (device, keys, answer) = self.issue(asked, &admitted, &signer, now)?;
        let (id, serial_number) = (device.id, device.serial_number);
        let Redemption { activation, code, .. } = admitted.redemption;
        let enrolment = Enrolment {
            activation: activation.value,
            expected: activation.version,
            user_expected: admitted.user.version,
            request: proof.request,
            answer: answer.clone(),
            device,
            keys,
        };
        match self.0.core.enrol(enrolment).await? {
            Enrolled::Done => {
                info!(device.id = %id, "Device {serial_number} is enrolled");
                Ok(Some(created(answer, &code)))
            }
            Enrolled::Stale => Ok(None),
        }
    }

    /// The counters of a wrong code: the user at the address, the address, and the user. The names
    /// are counted as they were sent, whether the user exists or not.
    fn counters(&self, asked: &EnrolmentRequest, address: IpAddr) -> Vec<Counter> {
        let (rules, tries, network) = (&self.0.rules, &self.0.tries, network(address));
        let user = (&asked.tenant, &asked.user);
        vec![
            tries.counter(Quota::per_minute(rules.tries_per_user), ("pair", user, network)),
            tries.counter(Quota::per_minute(rules.tries_per_address), ("address", network)),
            tries.counter(Quota::per_hour(rules.tries_per_user_in_all), ("user", user)),
        ]
    }

    /// Finds the activation whose code the request proves. An unknown user costs the same reads and
    /// the same number of MACs.
    async fn admit(
        &self,
        asked: &EnrolmentRequest,
        proof: &CodeProof,
        now: Timestamp,
    ) -> Result<Admitted, Refused> {
        let refused = || Refused::from(Code::EnrolmentRefused);
        let name: TenantName = asked.tenant.parse().map_err(|_| refused())?;
        let user_name: UserName = asked.user.parse().map_err(|_| refused())?;
        let snapshot = self.0.core.enrolment_snapshot(&name, &user_name).await?;
        let is_right =
            |code: &ActivationCode| code.check_digest(Side::Request, &proof.request, &proof.mac);
        let found = redemption(snapshot.activations, proof.request, now, is_right);
        let right = found.zip(snapshot.tenant.zip(snapshot.user));
        let (redemption, (tenant, user)) = match right {
            // The limit protects codes that can be guessed; it must not block a user with a
            // generated code.
            Some(right) if !right.0.activation.value.chosen => right,
            right => {
                self.0.tries.judge(&proof.counters, now, || right).map_err(|wrong| match wrong {
                    Wrong::Guess => {
                        self.note_refused_enrolment(&name, &user_name, proof.address);
                        refused()
                    }
                    Wrong::TooMany => Code::TooMany.into(),
                })?
            }
        };
        // Only a caller that knows a code learns what is wrong with a push address.
        let push = match &asked.push {
            None => Push::None,
            Some(push) => {
                let (address, language) =
                    self.address(&tenant.name, push).await.map_err(push::refused)?;
                Push::At(Registration { address, language, since: now })
            }
        };
        Ok(Admitted { tenant, user, redemption, push })
    }

    /// Has the history know that an enrolment was refused, whether the user exists or not.
    fn note_refused_enrolment(&self, tenant: &TenantName, user: &UserName, address: IpAddr) {
        let core = &self.0.core;
        core.notifier().note_refused(NewEvent {
            tenant: Some(tenant.clone()),
            at: core.now(),
            kind: EventKind::EnrolmentRefused,
            actor: Actor::Unknown,
            subject: event::Subject::User(user.clone()),
            details: vec![("address", address.to_string())],
        });
    }

    /// Creates the device with its names, certificates and secrets, and the keys of its identities.
    fn issue(
        &self,
        asked: &EnrolmentRequest,
        admitted: &Admitted,
        signer: &impl Signer,
        now: Timestamp,
    ) -> Result<(Device, Vec<IdentityKey>, Vec<u8>), Refused> {
        let (tenant, user) = (&admitted.tenant, &admitted.user.value);
        let random_u128 = || self.0.core.random_u128();
        let id = DeviceId::drawn(random_u128());
        let serial_number =
            SerialNumber { base: user.serial_base, sequence: user.devices_made + 1 };
        let (mut identities, mut keys) = (Vec::new(), Vec::new());
        for (request, wanted) in requests(asked)?.into_iter().zip(&asked.identities) {
            let issued = request.issue(tenant, signer, &user.name, serial_number, self.terms());
            let issued = issued.map_err(|fault| {
                error!("Failed while issuing a certificate: {fault:#}");
                Refused::from(Code::Internal)
            })?;
            let id = IdentityId(random_u128());
            identities.push(Identity {
                id,
                usage: identities::usage(wanted.usage),
                certificate: issued.certificate,
                chain: vec![tenant.authority_certificate.clone()],
                valid_until: issued.valid_until,
                imported: false,
                renewal: None,
                labels: admitted.redemption.activation.value.labels.clone(),
                proposed_labels: wanted.proposed_labels.clone(),
                enabled: true,
                status_reason: String::new(),
            });
            keys.push(IdentityKey {
                identity: id,
                key_digest: request.key_digest(),
                certificate_serial: Some(issued.serial),
            });
        }
        let secrets =
            Secrets { payload_key: PayloadKey::generate(), code_key: CodeKey::generate() };
        let name = answer::name(tenant.name.as_str(), id);
        let sealed = secrets::seal(&asked.seal_key, &name, &secrets);
        let described = &asked.device;
        let device = Device {
            tenant: tenant.name.clone(),
            id,
            user: user.name.clone(),
            serial_number,
            status: DeviceStatus::Active,
            tenant_locked: false,
            auth_key: *asked.auth_key.point(),
            payload_key: Secret::copied(secrets.payload_key.as_bytes()),
            code_key: Secret::copied(secrets.code_key.as_bytes()),
            pin: None,
            identities,
            about: About {
                name: described.name.clone(),
                platform: described.platform.clone(),
                os_version: described.os_version.clone(),
                app: described.app.clone(),
                app_version: described.app_version.clone(),
            },
            push: admitted.push.clone(),
            enrolled_at: now,
        };
        let answer = self.answer(&device, asked, sealed);
        Ok((device, keys, answer))
    }

    fn answer(&self, device: &Device, asked: &EnrolmentRequest, secrets: String) -> Vec<u8> {
        let rules = &self.0.rules;
        let issued = device.identities.iter().zip(&asked.identities).map(|(identity, wanted)| {
            IssuedIdentity {
                id: identity.id.to_string(),
                usage: wanted.usage,
                certificate: identity.certificate.clone(),
                chain: identity.chain.clone(),
            }
        });
        let answer = EnrolmentAnswer {
            device_id: answer::name(device.tenant.as_str(), device.id).device(),
            serial_number: device.serial_number.to_string(),
            identities: issued.collect(),
            server: Server { name: rules.server_name.clone(), address: rules.origins[0].clone() },
            secrets,
        };
        serde_json::to_vec(&answer).expect("an answer is plain JSON")
    }
}

/// The activation whose code `is_right`, if the request may use it. If several activations have the
/// same code, the one that this very request used before, or else the open one.
///
/// `is_right` computes a MAC. It is called for every candidate, also after the right one.
fn redemption(
    activations: Vec<Versioned<Activation>>,
    request: [u8; 32],
    now: Timestamp,
    mut is_right: impl FnMut(&ActivationCode) -> bool,
) -> Option<Redemption> {
    let mut best: Option<Redemption> = None;
    for (code, activation) in candidates(activations) {
        let is_right = is_right(&code);
        let Some(activation) = activation.filter(|_| is_right) else { continue };
        match activation.value.redeem(request, now) {
            Ok(Redeemed::Now) if best.is_some() => {}
            Ok(redeemed) => best = Some(Redemption { activation, code, redeemed }),
            Err(_) => {}
        }
    }
    best
}

/// The codes to try: always as many as a user can have activations, filled up with placeholders, so
/// that the time does not reveal how many there are.
fn candidates(
    activations: Vec<Versioned<Activation>>,
) -> impl Iterator<Item = (ActivationCode, Option<Versioned<Activation>>)> {
    let real = activations.into_iter().filter_map(|activation| {
        let code = ActivationCode::parse(str::from_utf8(activation.value.code.expose()).ok()?);
        Some((code.ok()?, Some(activation)))
    });
    let placeholder = ActivationCode::generate();
    let padding = std::iter::repeat_with(move || (placeholder.clone(), None));
    real.chain(padding).take(ACTIVATIONS_LISTED_MAX)
}

/// Brings the device's descriptive texts into the form of names. Nothing is found by these texts,
/// so unsuitable characters are dropped; an unsuitable label is refused.
fn normalize(asked: &mut EnrolmentRequest) -> Result<(), BadName> {
    let device = &mut asked.device;
    for text in [
        &mut device.name,
        &mut device.platform,
        &mut device.os_version,
        &mut device.app,
        &mut device.app_version,
    ] {
        *text = name::cleaned(text);
    }
    let mut identities = asked.identities.iter_mut();
    identities.try_for_each(|identity| name::normalize(&mut identity.proposed_labels))
}

/// The requests for certificates: each by a key that proved this enrolment, and no key twice.
fn requests(asked: &EnrolmentRequest) -> Result<Vec<authority::Request>, Refused> {
    if asked.identities.is_empty() || asked.identities.len() > IDENTITIES_PER_DEVICE_MAX {
        return Err(Code::BadRequest.into());
    }
    let mut keys: HashSet<Vec<u8>> =
        [asked.auth_key.point().to_vec(), asked.seal_key.point().to_vec()].into();
    if keys.len() != 2 {
        return Err(Code::BadRequest.into());
    }
    let mut requests = Vec::new();
    for identity in &asked.identities {
        let statement = KeyStatement {
            tenant: &asked.tenant,
            subject: Subject::Enrolment(&asked.user),
            usage: identity.usage,
            auth_key: asked.auth_key.point(),
            csr: &identity.csr,
        };
        let request = authority::Request::parse(&statement, &identity.proof);
        let request = request.map_err(|_| Code::BadRequest)?;
        if !keys.insert(request.public_key().to_vec()) {
            return Err(Code::BadRequest.into());
        }
        requests.push(request);
    }
    Ok(requests)
}

/// 201, with the server's own proof that it knows the code.
fn created(answer: Vec<u8>, code: &ActivationCode) -> Response {
    let mac = code.mac(Side::Answer, &answer);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(code::HEADER, HeaderValue::from_str(&mac).expect("base64url is visible ASCII"));
    (StatusCode::CREATED, headers, answer).into_response()
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use countersign_core::enrolment::ActivationState;
    use countersign_core::event::Actor;

    use super::*;

    fn activation(id: u128, code: &str, state: ActivationState) -> Versioned<Activation> {
        let value = Activation {
            id,
            tenant: "acme".parse().unwrap(),
            user: "jane".parse().unwrap(),
            code: Secret::new(code.as_bytes().to_vec()),
            not_after: Timestamp(10),
            maker: Actor::Server,
            secret: false,
            chosen: true,
            labels: Vec::new(),
            state,
        };
        Versioned { value, version: 1 }
    }

    /// Otherwise the time of a refusal would tell how many codes a user has.
    #[test]
    fn as_many_macs_are_computed_whether_a_user_has_no_code_or_all_and_whichever_is_right() {
        for (count, right) in [(0, 0), (1, 1), (ACTIVATIONS_LISTED_MAX, 0)] {
            let code = |nth: usize| activation(0, &nth.to_string(), ActivationState::Open);
            let mut macs = 0;
            let is_right = |_: &ActivationCode| {
                macs += 1;
                macs == right
            };
            let codes = (0..count).map(code).collect();
            let found = redemption(codes, [1; 32], Timestamp(9), is_right);
            assert_eq!((found.is_some(), macs), (right > 0, ACTIVATIONS_LISTED_MAX));
        }
    }

    #[test]
    fn of_activations_with_one_code_a_request_finds_its_own_and_any_other_the_open_one() {
        let used =
            |request, answer: &[u8]| ActivationState::Used { request, answer: answer.into() };
        let all = || {
            vec![
                activation(3, "CODE", ActivationState::Open),
                activation(2, "CODE", used([2; 32], b"second")),
                activation(1, "CODE", used([1; 32], b"first")),
            ]
        };
        let body = b"a request";
        let request = sha256(body);
        let mac = ActivationCode::parse("CODE").unwrap().mac(Side::Request, body);
        let found = |activations| {
            let is_right = |code: &ActivationCode| code.check_digest(Side::Request, &request, &mac);
            redemption(activations, request, Timestamp(9), is_right)
        };
        let open = found(all()).unwrap();
        assert_eq!((open.activation.value.id, open.redeemed), (3, Redeemed::Now));
        let mut repeated = all();
        repeated[2] = activation(1, "CODE", used(request, b"first"));
        let own = found(repeated).unwrap();
        assert_eq!(own.redeemed, Redeemed::Before(b"first".to_vec()));
        assert!(found(all().split_off(1)).is_none());
        let other = activation(3, "OTHER", ActivationState::Open);
        assert!(found(vec![other]).is_none());
    }
}
