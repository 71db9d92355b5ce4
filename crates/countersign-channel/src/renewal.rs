//! `POST /device/v1/identities/{id}/certificate`: a new certificate for an identity, for its
//! present key or for a new one.
//!
//! The request's key proves that the device holds it, and a new key is proved by the present one
//! too. So somebody who has only the device's authentication key cannot replace a signing key.

use axum::Json;
use axum::extract::{Path, Request, State};
use countersign_core::device::{Identity, Usage};
use countersign_core::engine::RenewalRequest;
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::id::IdentityId;
use countersign_core::port::{Keys as _, SigningRole};
use countersign_core::refusal::{DeviceError, DeviceRefusal};
use countersign_core::tenant::Tenant;
use countersign_proof::{check_key_proof, public_key};
use countersign_wire::body::{self, Code, IssuedIdentity, Use};
use countersign_wire::key_proof::{KeyStatement, Subject};
use tracing::info;

use super::answer::Refused;
use super::calls::read;
use super::enrolment::sha256;
use super::identities::Source;
use super::{AuthenticatedCall, AuthenticatedDevice, Devices};
use countersign_node::authority;

/// Renews a certificate; the same request again gets the same certificate.
pub(super) async fn renew(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<IssuedIdentity>, Refused> {
    let device_auth = devices.prove(request).await?;
    let asked: body::Renewal = read(&device_auth.body)?;
    let identity: IdentityId = id.parse().map_err(|_| Code::NotFound)?;
    let AuthenticatedDevice { tenant, device, .. } = &*device_auth;
    let source = if let Some(imported) = &asked.imported {
        Source::Imported(imported)
    } else {
        let keys = &devices.0.private_keys;
        Source::Issued(keys.prepare(tenant, SigningRole::Authority).await?)
    };
    let core = &devices.0.core;
    let holder = core.read().device(tenant, *device).await?.ok_or(Code::Locked)?.value;
    let certify = |tenant: &Tenant, present: &Identity| {
        let request = proved_request(&device_auth, &asked, present)?;
        let certified = source.certify(&request, tenant, &holder, devices.terms())?;
        let is_held = public_key(&certified.certificate)
            .is_ok_and(|key| key.as_slice() == request.public_key());
        // A certificate of another authority may say more about its holder than ours can.
        if !is_held || (present.imported && asked.imported.is_none()) {
            return Err(DeviceError::from(DeviceRefusal::KeyUnproved));
        }
        let key = IdentityKey {
            identity,
            key_digest: request.key_digest(),
            certificate_serial: certified.serial,
        };
        let identity = Identity {
            certificate: certified.certificate,
            chain: certified.chain,
            valid_until: certified.valid_until,
            imported: asked.imported.is_some(),
            ..present.clone()
        };
        Ok(NewIdentity { identity, key })
    };
    let digest = sha256(&device_auth.body);
    let request = RenewalRequest { tenant, device: *device, identity, digest };
    let renewed = core.renew_identity(&request, certify).await?;
    info!(device.id = %device, "Device {device} has a new certificate for identity {identity}");
    Ok(Json(IssuedIdentity {
        id: renewed.id.to_string(),
        usage: wire_use(renewed.usage),
        certificate: renewed.certificate,
        chain: renewed.chain,
    }))
}

/// The certificate request, whose key proved that it is for this identity. Another key than the
/// present one is proved by that too.
fn proved_request(
    device_auth: &AuthenticatedCall,
    asked: &body::Renewal,
    present: &Identity,
) -> Result<authority::Request, DeviceRefusal> {
    let id = present.id.to_string();
    let statement = KeyStatement {
        tenant: device_auth.tenant.as_str(),
        subject: Subject::Renewal(&id),
        usage: wire_use(present.usage),
        auth_key: device_auth.auth_key.point(),
        csr: &asked.csr,
    };
    let request = authority::Request::parse(&statement, &asked.proof);
    let request = request.map_err(|_| DeviceRefusal::KeyUnproved)?;
    let is_present = public_key(&present.certificate).is_ok_and(|key| key == request.public_key());
    let proved = match &asked.present_proof {
        None => is_present,
        Some(proof) => check_key_proof(&present.certificate, &statement.to_bytes(), proof).is_ok(),
    };
    if proved { Ok(request) } else { Err(DeviceRefusal::KeyUnproved) }
}

/// The usage on the wire.
fn wire_use(usage: Usage) -> Use {
    match usage {
        Usage::Content => Use::Content,
        Usage::Digest => Use::Digest,
    }
}
