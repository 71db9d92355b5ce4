//! Signing identities: listing, showing, changing and deleting them.

pub mod body;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::device::{Device, Identity, Usage};
use countersign_core::event::Actor;
use countersign_core::id::{DeviceId, IdentityId, TenantName, UserName};
use countersign_core::limits::{LABELS_PER_IDENTITY_MAX, LISTED_MAX};
use countersign_core::refusal::UnknownIdentity;
use countersign_core::selector::{Filter, HeldIdentity};
use http::StatusCode;
use serde::Serialize;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{self, Decode as _, Reader as _, SliceReader};

use self::body::{StatusChange, read_labels};
use super::context::{TrustedX, TrustedXSettings};
use super::extension::parameter;
use super::problem::ProcessError;
use super::selector::{TYPE, comparable};
use countersign_http::body_limit;

/// A signing identity in the vendor's format.
#[derive(Debug, Serialize)]
pub(super) struct SignIdentity {
    id: String,
    #[serde(rename = "self")]
    address: String,
    description: String,
    labels: Vec<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    device_id: String,
    domain: String,
    access: [Access; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<IdentityDetails>,
    links: IdentityLinks,
    status: IdentityStatus,
}

#[derive(Debug, Serialize)]
struct Access {
    user_id: String,
    permissions: [&'static str; 1],
}

#[derive(Debug, Serialize)]
struct IdentityDetails {
    /// Base64 of its DER.
    certificate: String,
    /// Always empty: the server knows of no activation for keys on devices.
    activation_mode: &'static str,
    /// Base64 of the DER of its `SubjectPublicKeyInfo`.
    public_key: String,
}

/// The allowed operations of an identity, with one required scope for each kind of signature.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum IdentityLinks {
    Content {
        #[serde(rename = "sign:commitment:transaction")]
        transaction: Link,
        authentication: Link,
    },
    Digest {
        #[serde(rename = "sign:raw")]
        raw: Link,
        #[serde(rename = "sign:commitment:document")]
        document: Link,
    },
}

#[derive(Clone, Debug, Serialize)]
struct Link {
    auth: Auth,
}

#[derive(Clone, Debug, Serialize)]
struct Auth {
    oauth2: OAuth2,
}

#[derive(Clone, Debug, Serialize)]
struct OAuth2 {
    scopes: [String; 1],
}

#[derive(Debug, Serialize)]
struct IdentityStatus {
    value: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct IdentityList {
    sign_identities: Vec<SignIdentity>,
}

#[derive(Serialize)]
struct IdentityAnswer {
    identity: SignIdentity,
}

#[cfg(test)]
impl SignIdentity {
    /// An identity with all members.
    pub(super) fn example(usage: Usage) -> Self {
        let link = Link { auth: Auth { oauth2: OAuth2 { scopes: ["sign".to_owned()] } } };
        let text = || "text".to_owned();
        Self {
            id: text(),
            address: text(),
            description: text(),
            labels: vec![text()],
            kind: TYPE,
            device_id: text(),
            domain: text(),
            access: [Access { user_id: text(), permissions: ["use"] }],
            details: Some(IdentityDetails {
                certificate: text(),
                activation_mode: "",
                public_key: text(),
            }),
            links: match usage {
                Usage::Content => {
                    IdentityLinks::Content { transaction: link.clone(), authentication: link }
                }
                Usage::Digest => IdentityLinks::Digest { raw: link.clone(), document: link },
            },
            status: IdentityStatus { value: "enabled", reason: text() },
        }
    }
}

/// The parts of an identity and its device that are shown: as they are, or as they were when the
/// identity signed.
#[derive(Clone, Copy)]
pub(super) struct IdentityParts<'a> {
    pub(super) id: IdentityId,
    pub(super) usage: Usage,
    pub(super) certificate: &'a [u8],
    pub(super) labels: &'a [String],
    pub(super) enabled: bool,
    pub(super) status_reason: &'a str,
    pub(super) device: DeviceId,
    pub(super) device_name: &'a str,
    pub(super) tenant: &'a TenantName,
    pub(super) user: &'a UserName,
}

impl<'a> IdentityParts<'a> {
    /// The identity as it is.
    pub(super) fn of(device: &'a Device, identity: &'a Identity) -> Self {
        Self {
            id: identity.id,
            usage: identity.usage,
            certificate: &identity.certificate,
            labels: &identity.labels,
            enabled: identity.enabled,
            status_reason: &identity.status_reason,
            device: device.id,
            device_name: &device.about.name,
            tenant: &device.tenant,
            user: &device.user,
        }
    }
}

impl TrustedXSettings {
    /// An identity with all members.
    pub(super) fn sign_identity(&self, identity: IdentityParts<'_>) -> SignIdentity {
        let key = public_key(identity.certificate);
        let details = IdentityDetails {
            certificate: BASE64.encode(identity.certificate),
            activation_mode: "",
            public_key: key.map_or_else(|_| String::new(), |key| BASE64.encode(key)),
        };
        SignIdentity { details: Some(details), ..self.listed(identity) }
    }

    /// The same as a member of a list.
    fn listed(&self, identity: IdentityParts<'_>) -> SignIdentity {
        let link = Link { auth: Auth { oauth2: OAuth2 { scopes: [self.scopes.sign.clone()] } } };
        SignIdentity {
            id: identity.id.to_string(),
            address: format!("{}/sign_identities/{}", self.address, identity.id),
            description: identity.device_name.to_owned(),
            labels: identity.labels.to_vec(),
            kind: TYPE,
            device_id: identity.device.to_string(),
            domain: identity.tenant.to_string(),
            access: [Access { user_id: identity.user.to_string(), permissions: ["use"] }],
            details: None,
            links: match identity.usage {
                Usage::Content => {
                    IdentityLinks::Content { transaction: link.clone(), authentication: link }
                }
                Usage::Digest => IdentityLinks::Digest { raw: link.clone(), document: link },
            },
            status: IdentityStatus {
                value: if identity.enabled { "enabled" } else { "disabled" },
                reason: identity.status_reason.to_owned(),
            },
        }
    }
}

/// `GET …/sign_identities?labels=A,B&device_id=&user_id=&domain=`: those that meet every condition,
/// without their details.
pub(super) async fn list(
    State(trustedx): State<TrustedX>,
    request: Request,
) -> Result<Response, ProcessError> {
    let scope = &trustedx.rules.scopes.profile;
    let caller = trustedx.application(request.headers(), scope).await?;
    let held = match filter(request.uri().query(), &caller.tenant) {
        Some(filter) => {
            trustedx
                .authenticator
                .core
                .identities(&caller.tenant, &filter, LISTED_MAX.into())
                .await?
        }
        None => Vec::new(),
    };
    let listed =
        held.iter().map(|one| trustedx.rules.listed(IdentityParts::of(&one.device, &one.identity)));
    Ok(Json(IdentityList { sign_identities: listed.collect() }).into_response())
}

/// The filter of a list; `None` if it names something that cannot exist.
fn filter(query: Option<&str>, tenant: &TenantName) -> Option<Filter> {
    let given = |name| parameter(query, name).filter(|text| !text.is_empty());
    if given("domain").is_some_and(|domain| domain != tenant.as_str()) {
        return None;
    }
    let labels = given("labels").unwrap_or_default();
    let labels: Vec<String> = labels
        .split(',')
        .map(str::trim)
        .filter(|label| !label.is_empty())
        .map(comparable)
        .collect();
    Some(Filter {
        user: given("user_id").map(|user| user.parse()).transpose().ok()?,
        device: given("device_id").map(|device| device.parse()).transpose().ok()?,
        labels: Some(labels).filter(|labels| labels.len() <= LABELS_PER_IDENTITY_MAX)?,
    })
}

/// `GET …/sign_identities/{id}`
pub(super) async fn show(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ProcessError> {
    let scope = &trustedx.rules.scopes.profile;
    let caller = trustedx.application(request.headers(), scope).await?;
    let held = trustedx.authenticator.core.identity(&caller.tenant, identity_id(&id)?).await?;
    Ok(trustedx.one(&held))
}

/// `PUT …/sign_identities/{id}/status`, body `{"value": "enabled" | "disabled", "reason"?}`, in a
/// member `status` or bare, because the vendor does not say how it is sent.
pub(super) async fn set_status(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode, ProcessError> {
    let scope = &trustedx.rules.scopes.manage;
    let caller = trustedx.application(request.headers(), scope).await?;
    let body = body_limit::json(request).await?;
    let StatusChange { enabled, reason } = StatusChange::parse(&body)?;
    let core = &trustedx.authenticator.core;
    core.set_identity_status(
        &Actor::Client(caller.client.clone()),
        &caller.tenant,
        identity_id(&id)?,
        enabled,
        &reason,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT …/sign_identities/{id}/labels`, body `{"labels": […]}`; ours.
pub(super) async fn set_labels(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode, ProcessError> {
    let scope = &trustedx.rules.scopes.manage;
    let caller = trustedx.application(request.headers(), scope).await?;
    let body = body_limit::json(request).await?;
    let labels = read_labels(&body)?;
    let (core, actor) = (&trustedx.authenticator.core, Actor::Client(caller.client));
    core.set_identity_labels(&actor, &caller.tenant, identity_id(&id)?, &labels).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE …/sign_identities/{id}`: deletes the identity, so that it can no longer sign.
pub(super) async fn delete(
    State(trustedx): State<TrustedX>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ProcessError> {
    let scope = &trustedx.rules.scopes.manage;
    let caller = trustedx.application(request.headers(), scope).await?;
    let held = trustedx
        .authenticator
        .core
        .delete_identity(&Actor::Client(caller.client.clone()), &caller.tenant, identity_id(&id)?)
        .await?;
    Ok(trustedx.one(&held))
}

impl TrustedX {
    fn one(&self, held: &HeldIdentity) -> Response {
        let identity = self.rules.sign_identity(IdentityParts::of(&held.device, &held.identity));
        Json(IdentityAnswer { identity }).into_response()
    }
}

/// The `SubjectPublicKeyInfo` of a certificate, DER (RFC 5280, section 4.1). This only finds its
/// place: the certificate was parsed and verified when the identity was created.
fn public_key(certificate: &[u8]) -> der::Result<&[u8]> {
    let signed = SliceReader::new(AnyRef::from_der(certificate)?.value())?.tlv_bytes()?;
    let mut fields = SliceReader::new(AnyRef::from_der(signed)?.value())?;
    if fields.peek_tag()?.is_context_specific() {
        fields.tlv_bytes()?; // The version, which is absent in version 1.
    }
    for _serial_algorithm_issuer_validity_subject in 0..5 {
        fields.tlv_bytes()?;
    }
    fields.tlv_bytes()
}

/// An invalid id is answered as unknown.
fn identity_id(text: &str) -> Result<IdentityId, UnknownIdentity> {
    text.parse().map_err(|_| UnknownIdentity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_of_a_certificate_is_the_one_that_was_certified() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(
            public_key(certificate.der()).unwrap(),
            rcgen::PublicKeyData::subject_public_key_info(&key)
        );
        assert!(public_key(&certificate.der()[1..]).is_err() && public_key(b"").is_err());
    }
}
