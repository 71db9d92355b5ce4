//! `POST /device/v1/enrolments`: an activation code and keys in; names, certificates and secrets out.
//!
//! The code does not travel: the request's MAC proves that the device has it, and the answer's MAC that
//! the server does. What is wrong is told to nobody: code, user and tenant are refused alike, after the
//! same reads.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::digest;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use countersign_core::Refusal;
use countersign_core::device::{About, Device, DeviceStatus, Identity, Purpose};
use countersign_core::enrolment::{Activation, Enrolment, Redeemed};
use countersign_core::id::{BadName, DeviceId, IdentityId, SerialNumber, TenantName, UserName};
use countersign_core::limits::{COMMIT_TRIES_MAX, DEVICES_PER_USER_MAX, IDENTITIES_PER_DEVICE_MAX};
use countersign_core::name;
use countersign_core::port::{Chance as _, Changed, Registry as _, Versioned};
use countersign_core::push::{Push, Registration};
use countersign_core::secret::Secret;
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_core::user::User;
use countersign_wire::body::{
    Code, EnrolmentAnswer, EnrolmentRequest, IssuedIdentity, Server, Use,
};
use countersign_wire::code::{self, ActivationCode, Side};
use countersign_wire::jwe::secrets::{self, Secrets};
use countersign_wire::jws;
use countersign_wire::secret::{CodeKey, PayloadKey};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tracing::{error, info};

use super::Devices;
use super::answer::{self, Refused};
use super::push;
use crate::authority;
use crate::listen::Peer;
use crate::surface::intake;

/// Enrols a device.
pub(super) async fn enrol(
    State(devices): State<Devices>,
    request: Request,
) -> Result<Response, Refused> {
    let peer = request.extensions().get::<Peer>();
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let headers = request.headers().clone();
    let body = intake::json(request).await.map_err(|refused| match refused {
        intake::Refused::NotJson => Code::UnsupportedMediaType,
        intake::Refused::TooLarge => Code::TooLarge,
        intake::Refused::Broken => Code::BadRequest,
    })?;
    let mut asked: EnrolmentRequest =
        serde_json::from_slice(&body).map_err(|_| Code::BadRequest)?;
    normalize(&mut asked).map_err(|_| Code::BadRequest)?;
    let try_of_user = (asked.tenant.clone(), asked.user.clone());
    let room = &devices.0;
    if room.address_tries.check_key(&address).is_err()
        || room.user_tries.check_key(&try_of_user).is_err()
    {
        return Err(Code::TooMany.into());
    }
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let key = asked.auth_key.verifying();
    jws::verify_enrolment(header(jws::ENROLMENT_HEADER), &key, &body)
        .map_err(|_| Code::EnrolmentRefused)?;
    let mac = header(code::HEADER).to_owned();

    for _ in 0..COMMIT_TRIES_MAX {
        if let Some(answered) = devices.try_enrol(&asked, &body, &mac).await? {
            return Ok(answered);
        }
    }
    error!("Failed while enrolling a device: lost every race");
    Err(Code::Unavailable.into())
}

/// Who is to be enrolled, by which activation.
struct Admitted {
    tenant: Tenant,
    user: Versioned<User>,
    activation: Versioned<Activation>,
    code: ActivationCode,
    push: Push,
}

impl Devices {
    /// Enrols, or answers as before. `None` where somebody else changed something meanwhile.
    async fn try_enrol(
        &self,
        asked: &EnrolmentRequest,
        body: &Bytes,
        mac: &str,
    ) -> Result<Option<Response>, Refused> {
        let now = self.0.core.now();
        let admitted = self.admit(asked, body, mac, now).await?;
        let request = sha256(body);
        match admitted.activation.value.redeem(request, now) {
            Err(_) => return Err(Code::EnrolmentRefused.into()),
            Ok(Redeemed::Before(answer)) => {
                return Ok(Some(created(answer, &admitted.code)));
            }
            Ok(Redeemed::Now) => {}
        }
        self.room_for_one_more(&admitted).await?;

        let (device, answer) = self.issue(asked, &admitted, now)?;
        info!(device.id = %device.id, "Device {} is enrolled", device.serial_number);
        let enrolment = Enrolment {
            activation: admitted.activation.value,
            expected: admitted.activation.version,
            user_expected: admitted.user.version,
            request,
            answer: answer.clone(),
            device,
        };
        match self.0.core.store.enrol(enrolment).await? {
            Changed::Written => Ok(Some(created(answer, &admitted.code))),
            Changed::Stale => Ok(None),
        }
    }

    /// Finds the activation whose code the request proves. Every open code of the user is tried, and a
    /// user that there is not costs the same reads.
    async fn admit(
        &self,
        asked: &EnrolmentRequest,
        body: &[u8],
        mac: &str,
        now: Timestamp,
    ) -> Result<Admitted, Refused> {
        let refused = || Refused::from(Code::EnrolmentRefused);
        let tenant: TenantName = asked.tenant.parse().map_err(|_| refused())?;
        let user: UserName = asked.user.parse().map_err(|_| refused())?;
        let store = &self.0.core.store;
        let found = store.tenant(&tenant).await?;
        let known = store.user(&tenant, &user).await?;
        let activations = store.activations(&tenant, &user, now).await?;
        let mut proved = None;
        for activation in activations {
            let text = String::from_utf8_lossy(activation.value.code.expose()).into_owned();
            let Ok(code) = ActivationCode::parse(&text) else { continue };
            if code.check(Side::Request, body, mac) {
                proved = Some((activation, code));
            }
        }
        let ((activation, code), (tenant, user)) =
            proved.zip(found.zip(known)).ok_or_else(refused)?;
        user.value.standing.check(now).map_err(|_| refused())?;
        // Only who knows a code learns what is wrong with an address.
        let push = match &asked.push {
            None => Push::None,
            Some(push) => {
                let (address, language) =
                    self.address(&tenant.name, push).await.map_err(push::refused)?;
                Push::At(Registration { address, language, since: now })
            }
        };
        Ok(Admitted { tenant, user, activation, code, push })
    }

    async fn room_for_one_more(&self, admitted: &Admitted) -> Result<(), Refused> {
        let (tenant, user) = (&admitted.tenant.name, &admitted.user.value.name);
        let devices = self.0.core.store.devices(tenant, Some(user)).await?;
        if devices.len() >= DEVICES_PER_USER_MAX {
            return Err(Code::EnrolmentRefused.into());
        }
        Ok(())
    }

    /// Makes the device: its names, its certificates and its secrets.
    fn issue(
        &self,
        asked: &EnrolmentRequest,
        admitted: &Admitted,
        now: Timestamp,
    ) -> Result<(Device, Vec<u8>), Refused> {
        let (tenant, user) = (&admitted.tenant, &admitted.user.value);
        let draw = || self.0.core.world.draw();
        let id = DeviceId::drawn(draw());
        let serial_number =
            SerialNumber { base: user.serial_base, sequence: user.devices_made + 1 };
        let mut identities = Vec::new();
        for (request, wanted) in requests(asked)?.into_iter().zip(&asked.identities) {
            let certificate =
                request.issue(tenant, &user.name, serial_number, now).map_err(|fault| {
                    error!("Failed while issuing a certificate: {fault:#}");
                    Refused::from(Code::Internal)
                })?;
            identities.push(Identity {
                id: IdentityId(draw()),
                purpose: match wanted.usage {
                    Use::Content => Purpose::Content,
                    Use::Digest => Purpose::Digest,
                },
                certificate,
                chain: vec![tenant.authority.certificate.clone()],
                labels: wanted.labels.clone(),
                enabled: true,
                status_reason: String::new(),
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
            auth_key: *asked.auth_key.point(),
            payload_key: Secret::new(*secrets.payload_key.as_bytes()),
            code_key: Secret::new(*secrets.code_key.as_bytes()),
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
        Ok((device, answer))
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

/// Brings what people are shown of the device into the form that names have. Nothing is found by what a
/// device says of itself, so what is not plain is left out of it; a label that is not plain is refused.
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
    asked.identities.iter_mut().try_for_each(|identity| name::normalize(&mut identity.labels))
}

/// The requests for certificates: each signed by its own key, and no key in two places.
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
        let request = authority::Request::parse(&identity.csr).map_err(|_| Code::BadRequest)?;
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

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 is 32 bytes")
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        countersign_core::Error::from(refusal).into()
    }
}
