//! What a device's row has as JSON: the description of the device, and its identities.

use countersign_core::device::{About, Identity, Renewed, Usage};
use countersign_core::id::IdentityId;
use countersign_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::column::Base64;

/// Column `about`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AboutBody {
    name: String,
    platform: String,
    os_version: String,
    pub(crate) app: String,
    app_version: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityBody {
    id: String,
    usage: PurposeBody,
    certificate: Base64,
    chain: Vec<Base64>,
    valid_until: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewal: Option<RenewedBody>,
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    proposed_labels: Vec<String>,
    enabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status_reason: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RenewedBody {
    /// SHA-256 of the request.
    request: Base64,
    certificate: Base64,
    chain: Vec<Base64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PurposeBody {
    Content,
    Digest,
}

impl PurposeBody {
    pub(crate) fn of(usage: Usage) -> Self {
        match usage {
            Usage::Content => Self::Content,
            Usage::Digest => Self::Digest,
        }
    }
}

impl From<PurposeBody> for Usage {
    fn from(body: PurposeBody) -> Self {
        match body {
            PurposeBody::Content => Self::Content,
            PurposeBody::Digest => Self::Digest,
        }
    }
}

impl AboutBody {
    pub(crate) fn of(about: &About) -> Self {
        let About { name, platform, os_version, app, app_version } = about.clone();
        Self { name, platform, os_version, app, app_version }
    }

    pub(crate) fn into_about(self) -> About {
        let Self { name, platform, os_version, app, app_version } = self;
        About { name, platform, os_version, app, app_version }
    }
}

impl RenewedBody {
    fn of(renewed: &Renewed) -> Self {
        Self {
            request: Base64(renewed.request.to_vec()),
            certificate: Base64(renewed.certificate.clone()),
            chain: renewed.chain.iter().cloned().map(Base64).collect(),
        }
    }

    fn into_renewed(self) -> Result<Renewed, &'static str> {
        Ok(Renewed {
            request: self.request.0.try_into().map_err(|_| "a digest has 32 bytes")?,
            certificate: self.certificate.0,
            chain: self.chain.into_iter().map(|certificate| certificate.0).collect(),
        })
    }
}

impl IdentityBody {
    pub(super) fn of(identity: &Identity) -> Self {
        Self {
            id: identity.id.to_string(),
            usage: PurposeBody::of(identity.usage),
            certificate: Base64(identity.certificate.clone()),
            chain: identity.chain.iter().cloned().map(Base64).collect(),
            valid_until: identity.valid_until.0,
            imported: identity.imported,
            renewal: identity.renewal.as_deref().map(RenewedBody::of),
            labels: identity.labels.clone(),
            proposed_labels: identity.proposed_labels.clone(),
            enabled: identity.enabled,
            status_reason: identity.status_reason.clone(),
        }
    }

    pub(super) fn into_identity(
        self,
    ) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
        let renewal = self.renewal.map(RenewedBody::into_renewed).transpose()?;
        Ok(Identity {
            id: self.id.parse::<IdentityId>()?,
            usage: self.usage.into(),
            certificate: self.certificate.0,
            chain: self.chain.into_iter().map(|certificate| certificate.0).collect(),
            valid_until: Timestamp(self.valid_until),
            imported: self.imported,
            renewal: renewal.map(Box::new),
            labels: self.labels,
            proposed_labels: self.proposed_labels,
            enabled: self.enabled,
            status_reason: self.status_reason,
        })
    }
}
