//! `POST /device/v1/identities`: one more identity of a device that is enrolled: a key that it proves to
//! hold, with a certificate of ours, or with one that it brings from an authority that its tenant trusts.

use axum::Json;
use axum::extract::{Request, State};
use countersign_core::device::{Identity, Purpose};
use countersign_core::id::IdentityId;
use countersign_core::name;
use countersign_core::port::{Chance as _, Registry as _};
use countersign_proof::public_key;
use countersign_wire::body::{Code, Imported, IssuedIdentity, NewIdentity, Use};
use http::StatusCode;
use tracing::{error, info};

use super::Devices;
use super::answer::Refused;
use crate::authority;

/// Adds an identity; the same key again is answered as before.
pub(super) async fn add(
    State(devices): State<Devices>,
    request: Request,
) -> Result<(StatusCode, Json<IssuedIdentity>), Refused> {
    let proved = devices.prove(request).await?;
    let mut asked: NewIdentity =
        serde_json::from_slice(&proved.body).map_err(|_| Code::BadRequest)?;
    name::normalize(&mut asked.labels).map_err(|_| Code::BadRequest)?;
    let request = authority::Request::parse(&asked.csr).map_err(|_| Code::BadRequest)?;
    let (certificate, chain) = match asked.imported {
        Some(Imported { certificate, chain }) => {
            // Whoever asks holds the key, and the certificate is for it.
            if public_key(&certificate).ok().as_deref() != Some(request.public_key()) {
                return Err(Code::BadRequest.into());
            }
            (certificate, chain)
        }
        None => devices.certify(&proved, request).await?,
    };
    let identity = Identity {
        id: IdentityId(devices.0.core.world.draw()),
        purpose: match asked.usage {
            Use::Content => Purpose::Content,
            Use::Digest => Purpose::Digest,
        },
        certificate,
        chain,
        labels: asked.labels,
        enabled: true,
        status_reason: String::new(),
    };
    let core = &devices.0.core;
    let added = core.add_identity(&proved.tenant, proved.device, &identity).await?;
    info!(device.id = %proved.device, "Device {} has the identity {}", proved.device, added.id);
    let issued = IssuedIdentity {
        id: added.id.to_string(),
        usage: asked.usage,
        certificate: added.certificate,
        chain: added.chain,
    };
    Ok((StatusCode::CREATED, Json(issued)))
}

impl Devices {
    /// A certificate of the tenant's own authority, and what it chains by.
    async fn certify(
        &self,
        proved: &super::Proved,
        request: authority::Request,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Refused> {
        let core = &self.0.core;
        let device = core.store.device(&proved.tenant, proved.device).await?;
        let device = device.ok_or(Code::Locked)?.value;
        let tenant = core.store.tenant(&proved.tenant).await?.ok_or(Code::Locked)?;
        let issued = request.issue(&tenant, &device.user, device.serial_number, core.now());
        let certificate = issued.map_err(|fault| {
            error!("Failed while issuing a certificate: {fault:#}");
            Refused::from(Code::Internal)
        })?;
        Ok((certificate, vec![tenant.authority.certificate]))
    }
}
