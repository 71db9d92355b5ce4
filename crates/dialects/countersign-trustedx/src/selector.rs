//! Selectors in requests, and in the resources that show them again.
//!
//! A selector is shown as it was sent, unless it names an identity by its `id`: the resource has no
//! such member, so `device_id`, `type` and certificate are shown instead.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::device::{Device, Identity};
use countersign_core::id::{DeviceId, IdentityId};
use countersign_core::limits::{LABELS_PER_IDENTITY_MAX, NAME_BYTES_MAX, SELECTORS_MAX};
use countersign_core::name::normal_form;
use countersign_core::selector::Selector;
use serde::{Deserialize, Serialize};

use super::members::{certificate, text_of};
use countersign_http::json_members::{BadBody, Member, bad, optional};

/// The only type of identities. The vendor also writes it with an underscore.
pub(super) const TYPE: &str = "pki:x509";
const TYPE_AS_WELL: &str = "pki_x509";

/// A parsed selector.
#[derive(Clone, Debug)]
pub struct SelectorQuery {
    /// Its conditions; `None` if one of them names something that cannot exist.
    pub(super) selector: Option<Selector>,
    /// The selector as it is shown.
    pub shown: SelectorView,
}

/// A selector as it is shown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SelectorView {
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<SelectorDetails>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct SelectorDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    /// The certificate's DER, if the selector was parsed from a request.
    #[serde(skip)]
    der: Option<Vec<u8>>,
}

#[derive(Deserialize)]
pub(crate) struct SelectorFields {
    id: Member,
    labels: Member,
    device_id: Member,
    #[serde(rename = "type")]
    kind: Member,
    details: Member,
}

#[derive(Deserialize)]
pub(crate) struct DetailsFields {
    certificate: Member,
}

impl SelectorQuery {
    /// Parses the optional `sign_identities`.
    pub(super) fn parse(raw: Member) -> Result<Vec<Self>, BadBody> {
        let what = format!("an array of at most {SELECTORS_MAX} selectors");
        let each: Vec<Box<serde_json::value::RawValue>> =
            optional(raw, "sign_identities", &what)?.unwrap_or_default();
        if each.len() > SELECTORS_MAX {
            return bad("sign_identities", &what);
        }
        each.into_iter().enumerate().map(|(nth, raw)| Self::read(nth, &raw)).collect()
    }

    fn read(nth: usize, raw: &serde_json::value::RawValue) -> Result<Self, BadBody> {
        let at = format!("sign_identities[{nth}]");
        if !raw.get().starts_with('{') {
            return bad(&at, "an object");
        }
        let fields: SelectorFields = serde_json::from_str(raw.get())
            .map_err(|error| BadBody(format!("{at} cannot be read: {error}")))?;
        let id = text_of(fields.id, &format!("{at}.id"), NAME_BYTES_MAX)?;
        let device_id = text_of(fields.device_id, &format!("{at}.device_id"), NAME_BYTES_MAX)?;
        let kind = text_of(fields.kind, &format!("{at}.type"), NAME_BYTES_MAX)?;
        if kind.as_ref().is_some_and(|kind| ![TYPE, TYPE_AS_WELL].contains(&kind.as_str())) {
            return bad(&format!("{at}.type"), TYPE);
        }
        let labels = labels(fields.labels, &format!("{at}.labels"))?;
        let details = details(fields.details, &format!("{at}.details"))?;
        if details.is_some() && (kind.is_none() || device_id.is_none()) {
            return bad(&at, "given a type and a device_id where it is given details");
        }
        let certificate = details.as_ref().and_then(|details| details.der.clone());
        // No identity and no device has an invalid id.
        let ids = (id.map(|id| id.parse::<IdentityId>()).transpose())
            .ok()
            .zip(device_id.as_ref().map(|id| id.parse::<DeviceId>()).transpose().ok());
        let selector =
            ids.map(|(id, device)| Selector { id, labels: labels.clone(), device, certificate });
        Ok(Self { selector, shown: SelectorView { labels, device_id, kind, details } })
    }

    /// Shows it by the identity that its `id` names, and the identity's device.
    pub(super) fn show_by(&mut self, device: &Device, identity: &Identity) {
        self.shown.device_id = Some(device.id.to_string());
        self.shown.kind = Some(TYPE.to_owned());
        let certificate = Some(BASE64.encode(&identity.certificate));
        self.shown.details = Some(SelectorDetails { certificate, der: None });
    }
}

pub(super) fn labels(raw: Member, field: &str) -> Result<Vec<String>, BadBody> {
    let what = format!(
        "an array of at most {LABELS_PER_IDENTITY_MAX} strings of at most {NAME_BYTES_MAX} bytes"
    );
    let labels: Vec<String> = optional(raw, field, &what)?.unwrap_or_default();
    let fit = labels.len() <= LABELS_PER_IDENTITY_MAX
        && labels.iter().all(|label| label.len() <= NAME_BYTES_MAX);
    if fit { Ok(labels.iter().map(|label| comparable(label)).collect()) } else { bad(field, &what) }
}

/// A label in the normal form of stored labels, so that both ways of writing a letter find it. A
/// label that no identity can have is left as it is; it matches none.
pub(super) fn comparable(label: &str) -> String {
    normal_form(label).map_or_else(|_| label.to_owned(), Cow::into_owned)
}

/// Conditions on identities of this type.
fn details(raw: Member, field: &str) -> Result<Option<SelectorDetails>, BadBody> {
    let Some(raw) = raw else { return Ok(None) };
    if !raw.get().starts_with('{') {
        return bad(field, "an object");
    }
    let fields: DetailsFields = serde_json::from_str(raw.get())
        .map_err(|error| BadBody(format!("{field} cannot be read: {error}")))?;
    let what = "base64 of a certificate's DER";
    let text: Option<String> = optional(fields.certificate, &format!("{field}.certificate"), what)?;
    let Some(text) = text else { return Ok(Some(SelectorDetails::default())) };
    let Some(der) = certificate(&text) else {
        return bad(&format!("{field}.certificate"), what);
    };
    Ok(Some(SelectorDetails { certificate: Some(text), der: Some(der) }))
}
