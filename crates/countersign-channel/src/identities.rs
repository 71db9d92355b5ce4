//! `POST /device/v1/identities`: a further identity of an enrolled device. The device proves that
//! it holds the key. The certificate is issued by the tenant's authority, or comes from one that
//! the tenant trusts. `renewal.rs` renews it.

use axum::Json;
use axum::extract::{Request, State};
use countersign_core::Fault;
use countersign_core::device::{Device, Identity, Usage};
use countersign_core::enrolment::{IdentityKey, NewIdentity};
use countersign_core::id::IdentityId;
use countersign_core::name;
use countersign_core::port::{Keys as _, Signer, SigningRole};
use countersign_core::tenant::Tenant;
use countersign_core::time::Timestamp;
use countersign_proof::public_key;
use countersign_wire::body::{self, Code, Imported, IssuedIdentity, Use};
use countersign_wire::key_proof::{KeyStatement, Subject};
use http::StatusCode;
use tracing::info;

use super::answer::Refused;
use super::calls::read;
use super::{AuthenticatedCall, Devices};
use countersign_node::authority::{self, Terms};

/// Adds an identity; a repeated request with the same key gets the same answer.
pub(super) async fn add(
    State(devices): State<Devices>,
    request: Request,
) -> Result<(StatusCode, Json<IssuedIdentity>), Refused> {
    let device_auth = devices.prove(request).await?;
    let mut asked: body::NewIdentity = read(&device_auth.body)?;
    name::normalize(&mut asked.proposed_labels).map_err(|_| Code::BadRequest)?;
    let request = proved_request(&device_auth, &asked)?;
    let held = |certificate: &[u8]| {
        public_key(certificate).is_ok_and(|key| key.as_slice() == request.public_key())
    };
    let source = match &asked.imported {
        Some(imported) if held(&imported.certificate) => Source::Imported(imported),
        // The certificate must be for the key that the device holds.
        Some(_) => return Err(Code::BadRequest.into()),
        None => {
            let keys = &devices.0.private_keys;
            Source::Issued(keys.prepare(&device_auth.tenant, SigningRole::Authority).await?)
        }
    };
    let issue = |tenant: &Tenant, device: &Device| {
        devices.certify(&asked, &request, &source, tenant, device)
    };
    let (device, key, usage) = (device_auth.device, request.public_key(), usage(asked.usage));
    let added = devices.0.core.add_identity(&device_auth.tenant, device, key, usage, issue).await?;
    info!(device.id = %device, "Device {device} has the identity {}", added.id);
    let issued = IssuedIdentity {
        id: added.id.to_string(),
        usage: asked.usage,
        certificate: added.certificate,
        chain: added.chain,
    };
    Ok((StatusCode::CREATED, Json(issued)))
}

/// Where the certificate of an identity comes from.
pub(super) enum Source<'a, S> {
    /// The device has it from an authority that the tenant trusts.
    Imported(&'a Imported),
    /// The tenant's own authority issues it, with this key.
    Issued(S),
}

/// A certificate for an identity.
pub(super) struct Certified {
    pub(super) certificate: Vec<u8>,
    pub(super) chain: Vec<Vec<u8>>,
    /// The serial number, if the tenant's own authority issued it.
    pub(super) serial: Option<u128>,
    pub(super) valid_until: Timestamp,
}

impl<S: Signer> Source<'_, S> {
    /// The certificate for the key of `request`.
    ///
    /// # Errors
    /// If it cannot be issued.
    pub(super) fn certify(
        &self,
        request: &authority::Request,
        tenant: &Tenant,
        device: &Device,
        terms: Terms,
    ) -> Result<Certified, Fault> {
        match self {
            Self::Imported(Imported { certificate, chain }) => {
                let (certificate, chain) = (certificate.clone(), chain.clone());
                // The engine sets the end, when it has verified the certificate.
                Ok(Certified { certificate, chain, serial: None, valid_until: Timestamp(0) })
            }
            Self::Issued(signer) => {
                let (user, number) = (&device.user, device.serial_number);
                let issued = request.issue(tenant, signer, user, number, terms);
                let issued = issued.map_err(Fault::while_doing("issuing a certificate"))?;
                Ok(Certified {
                    certificate: issued.certificate,
                    chain: vec![tenant.authority_certificate.clone()],
                    serial: Some(issued.serial),
                    valid_until: issued.valid_until,
                })
            }
        }
    }
}

/// The certificate request, whose key proved that it belongs to this device.
fn proved_request(
    device_auth: &AuthenticatedCall,
    asked: &body::NewIdentity,
) -> Result<authority::Request, Refused> {
    let statement = KeyStatement {
        tenant: device_auth.tenant.as_str(),
        subject: Subject::Addition(device_auth.name().device()),
        usage: asked.usage,
        auth_key: device_auth.auth_key.point(),
        csr: &asked.csr,
    };
    authority::Request::parse(&statement, &asked.proof).map_err(|_| Code::BadRequest.into())
}

impl Devices {
    /// The identity, with its certificate from `source`.
    fn certify(
        &self,
        asked: &body::NewIdentity,
        request: &authority::Request,
        source: &Source<'_, impl Signer>,
        tenant: &Tenant,
        device: &Device,
    ) -> Result<NewIdentity, Fault> {
        let core = &self.0.core;
        let certified = source.certify(request, tenant, device, self.terms())?;
        let identity = Identity {
            id: IdentityId(core.random_u128()),
            usage: usage(asked.usage),
            certificate: certified.certificate,
            chain: certified.chain,
            valid_until: certified.valid_until,
            imported: matches!(source, Source::Imported(_)),
            renewal: None,
            labels: Vec::new(),
            proposed_labels: asked.proposed_labels.clone(),
            enabled: true,
            status_reason: String::new(),
        };
        let key = IdentityKey {
            identity: identity.id,
            key_digest: request.key_digest(),
            certificate_serial: certified.serial,
        };
        Ok(NewIdentity { identity, key })
    }
}

/// The usage as the core's type.
pub(super) fn usage(usage: Use) -> Usage {
    match usage {
        Use::Content => Usage::Content,
        Use::Digest => Usage::Digest,
    }
}
