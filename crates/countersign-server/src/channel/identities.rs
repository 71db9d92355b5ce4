//! `POST /device/v1/identities`: one more identity of a device that is enrolled: a key that it proves to
//! hold, with a certificate of ours, or with one that it brings from an authority that its tenant trusts.

use axum::Json;
use axum::extract::{Request, State};
use countersign_core::Fault;
use countersign_core::device::{Device, Identity, Purpose};
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::id::IdentityId;
use countersign_core::name;
use countersign_core::port::{Chance as _, Clock as _};
use countersign_core::tenant::Tenant;
use countersign_proof::public_key;
use countersign_wire::body::{self, Code, Imported, IssuedIdentity, Use};
use countersign_wire::key_proof::{KeyStatement, Subject};
use http::StatusCode;
use tracing::info;

use super::answer::Refused;
use super::{Devices, Proved};
use crate::authority;

/// Adds an identity; the same key again is answered as before.
pub(super) async fn add(
    State(devices): State<Devices>,
    request: Request,
) -> Result<(StatusCode, Json<IssuedIdentity>), Refused> {
    let proved = devices.prove(request).await?;
    let mut asked: body::NewIdentity =
        serde_json::from_slice(&proved.body).map_err(|_| Code::BadRequest)?;
    name::normalize(&mut asked.proposed_labels).map_err(|_| Code::BadRequest)?;
    let request = proved_request(&proved, &asked)?;
    if let Some(imported) = &asked.imported {
        // The device holds the key, and the certificate is for it.
        if public_key(&imported.certificate).ok().as_deref() != Some(request.public_key()) {
            return Err(Code::BadRequest.into());
        }
    }
    let issue =
        |tenant: &Tenant, device: &Device| devices.certify(&asked, &request, tenant, device);
    let (device, key, purpose) = (proved.device, request.public_key(), purpose(asked.usage));
    let added = devices.0.core.add_identity(&proved.tenant, device, key, purpose, issue).await?;
    info!(device.id = %device, "Device {device} has the identity {}", added.id);
    let issued = IssuedIdentity {
        id: added.id.to_string(),
        usage: asked.usage,
        certificate: added.certificate,
        chain: added.chain,
    };
    Ok((StatusCode::CREATED, Json(issued)))
}

/// The request for a certificate, whose key proved that it is this device's.
fn proved_request(
    proved: &Proved,
    asked: &body::NewIdentity,
) -> Result<authority::Request, Refused> {
    let statement = KeyStatement {
        tenant: proved.tenant.as_str(),
        subject: Subject::Addition(proved.name.device()),
        usage: asked.usage,
        auth_key: proved.auth_key.point(),
        csr: &asked.csr,
    };
    authority::Request::parse(&statement, &asked.proof).map_err(|_| Code::BadRequest.into())
}

impl Devices {
    /// The identity: with the certificate that was brought, or one of the tenant's own authority.
    fn certify(
        &self,
        asked: &body::NewIdentity,
        request: &authority::Request,
        tenant: &Tenant,
        device: &Device,
    ) -> Result<NewIdentity, Fault> {
        let world = &self.0.core.world;
        let (certificate, chain, certificate_serial) =
            if let Some(Imported { certificate, chain }) = &asked.imported {
                (certificate.clone(), chain.clone(), None)
            } else {
                let (user, number) = (&device.user, device.serial_number);
                let issued = request.issue(tenant, user, number, world.draw(), world.now());
                let issued = issued.map_err(Fault::while_doing("issuing a certificate"))?;
                let chain = vec![tenant.authority.certificate.clone()];
                (issued.certificate, chain, Some(issued.serial))
            };
        let identity = Identity {
            id: IdentityId(world.draw()),
            purpose: purpose(asked.usage),
            certificate,
            chain,
            labels: Vec::new(),
            proposed_labels: asked.proposed_labels.clone(),
            enabled: true,
            status_reason: String::new(),
        };
        let key = IdentityKey {
            identity: identity.id,
            key_digest: request.key_digest(),
            certificate_serial,
        };
        Ok(NewIdentity { identity, key })
    }
}

/// The use in the core's terms.
pub(super) fn purpose(usage: Use) -> Purpose {
    match usage {
        Use::Content => Purpose::Content,
        Use::Digest => Purpose::Digest,
    }
}
