//! The terms of a transaction that no query searches, as JSON in its row.
//!
//! These types belong to the stored format. The domain may change its own types without changing
//! stored rows.

use core::error::Error;
use core::time::Duration;

use std::sync::Arc;

use countersign_core::id::{BadName, DeviceId, IdentityId};
use countersign_core::selector::Selector;
use countersign_core::spec::{
    AcceptedFormats, Callback, Clocks, Digits, Document, MediaType, Notify, Operation, RawTerms,
    Recipients, TransactionSpec,
};
use countersign_proof::raw::Hash;
use serde::{Deserialize, Serialize};

use super::column::Base64;

/// Column `body` of a transaction.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpecBody {
    pub(crate) client_name: String,
    /// SHA-256 of the request, hex, if the transaction has a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Digest>,
    media_type: MediaTypeBody,
    #[serde(default, skip_serializing_if = "OperationBody::is_sign")]
    operation: OperationBody,
    form: FormsBody,
    pub(crate) pin_required: bool,
    pub(crate) once: bool,
    #[serde(default, skip_serializing_if = "NotifyBody::is_everybody")]
    announced: NotifyBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed_for: Option<DeviceBody>,
    pub(crate) online: bool,
    /// The devices that were offered it at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    present: Vec<u64>,
    clocks: ClocksBody,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback: Option<CallbackBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<String>,
    /// The addressed devices, if they are several but not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceBody>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    selectors: Vec<SelectorBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<DocumentBody>,
    /// The dialect's record of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dialect_request: Option<String>,
}

/// 32 bytes as hex.
pub(crate) struct Digest(pub(crate) [u8; 32]);

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum MediaTypeBody {
    Text,
    Statement,
    Octets,
    Html,
    Digest,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum OperationBody {
    #[default]
    Sign,
    Login,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum NotifyBody {
    Nobody,
    Online,
    #[default]
    Everybody,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum FormsBody {
    Cms,
    CodeOrCms {
        digits: DigitsBody,
    },
    Raw {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<HashBody>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        by_device: Vec<(DeviceBody, HashBody)>,
        sha1: bool,
        rsa_bits_min: u16,
    },
}

/// A count of digits. Values outside the domain's limits are a parse error.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u8", into = "u8")]
struct DigitsBody(Digits);

/// A device's id. Values outside the domain's limits are a parse error.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
struct DeviceBody(DeviceId);

/// A hash by its name.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
struct HashBody(Hash);

/// An identity's id, in hex.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct IdentityIdBody(IdentityId);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SelectorBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<IdentityIdBody>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Base64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct DocumentBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<HashBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    root_certs: Vec<Base64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ClocksBody {
    Two { go_online_ms: u64, sign_ms: u64 },
    One { total_ms: u64 },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CallbackBody {
    url: String,
    headers: Vec<(String, String)>,
}

/// The members of a body that evidence does not keep.
const NOT_IN_EVIDENCE: [&str; 3] = ["callback", "notice", "dialect_request"];

/// The body of a transaction's evidence.
pub(crate) fn of_evidence(body: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body)?;
    for member in NOT_IN_EVIDENCE {
        body.remove(member);
    }
    Ok(serde_json::to_string(&body)?)
}

impl SpecBody {
    pub(crate) fn of(spec: &TransactionSpec) -> Self {
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            client_name: spec.client_name.clone(),
            request: spec.reference.as_ref().map(|reference| Digest(reference.request)),
            media_type: match spec.content.media_type {
                MediaType::Text => MediaTypeBody::Text,
                MediaType::Statement => MediaTypeBody::Statement,
                MediaType::Octets => MediaTypeBody::Octets,
                MediaType::Html => MediaTypeBody::Html,
                MediaType::Digest => MediaTypeBody::Digest,
            },
            operation: match spec.operation {
                Operation::Sign => OperationBody::Sign,
                Operation::Login => OperationBody::Login,
            },
            form: FormsBody::of(&spec.formats),
            pin_required: spec.pin_required,
            once: spec.once,
            announced: match spec.announced {
                Notify::Nobody => NotifyBody::Nobody,
                Notify::Online => NotifyBody::Online,
                Notify::Everybody => NotifyBody::Everybody,
            },
            sealed_for: spec.sealed_for.map(DeviceBody),
            online: spec.online,
            present: spec.present.iter().map(|device| device.number()).collect(),
            clocks: match spec.clocks {
                Clocks::Two { go_online, sign } => {
                    ClocksBody::Two { go_online_ms: ms(go_online), sign_ms: ms(sign) }
                }
                Clocks::One(total) => ClocksBody::One { total_ms: ms(total) },
            },
            callback: spec.callback.as_ref().map(|callback| CallbackBody {
                url: callback.url.clone(),
                headers: callback.headers.clone(),
            }),
            notice: spec.notice.clone(),
            devices: match &spec.recipients {
                Recipients::Any | Recipients::Device(_) => None,
                Recipients::Devices(devices) => {
                    Some(devices.iter().copied().map(DeviceBody).collect())
                }
            },
            selectors: spec.selectors.iter().map(SelectorBody::of).collect(),
            document: spec.document.as_ref().map(DocumentBody::of),
            dialect_request: spec.request.clone(),
        }
    }

    pub(crate) fn devices(&mut self) -> Option<Arc<[DeviceId]>> {
        let devices = self.devices.take()?;
        Some(devices.into_iter().map(|device| device.0).collect())
    }

    pub(crate) fn selectors(&mut self) -> Vec<Selector> {
        let selectors = core::mem::take(&mut self.selectors);
        selectors.into_iter().map(SelectorBody::into_selector).collect()
    }

    pub(crate) fn document(&mut self) -> Option<Document> {
        self.document.take().map(DocumentBody::into_document)
    }

    pub(crate) fn media_type(&self) -> MediaType {
        match self.media_type {
            MediaTypeBody::Text => MediaType::Text,
            MediaTypeBody::Statement => MediaType::Statement,
            MediaTypeBody::Octets => MediaType::Octets,
            MediaTypeBody::Html => MediaType::Html,
            MediaTypeBody::Digest => MediaType::Digest,
        }
    }

    pub(crate) fn operation(&self) -> Operation {
        match self.operation {
            OperationBody::Sign => Operation::Sign,
            OperationBody::Login => Operation::Login,
        }
    }

    pub(crate) fn announced(&self) -> Notify {
        match self.announced {
            NotifyBody::Nobody => Notify::Nobody,
            NotifyBody::Online => Notify::Online,
            NotifyBody::Everybody => Notify::Everybody,
        }
    }

    pub(crate) fn sealed_for(&self) -> Option<DeviceId> {
        self.sealed_for.map(|device| device.0)
    }

    pub(crate) fn formats(&self) -> AcceptedFormats {
        match &self.form {
            FormsBody::Cms => AcceptedFormats::Cms,
            FormsBody::CodeOrCms { digits } => AcceptedFormats::CodeOrCms(digits.0),
            FormsBody::Raw { hash, by_device, sha1, rsa_bits_min } => {
                AcceptedFormats::Raw(RawTerms {
                    hash: hash.map(|hash| hash.0),
                    by_device: by_device.iter().map(|(device, hash)| (device.0, hash.0)).collect(),
                    sha1: *sha1,
                    rsa_bits_min: *rsa_bits_min,
                })
            }
        }
    }

    pub(crate) fn clocks(&self) -> Clocks {
        match self.clocks {
            ClocksBody::Two { go_online_ms, sign_ms } => Clocks::Two {
                go_online: Duration::from_millis(go_online_ms),
                sign: Duration::from_millis(sign_ms),
            },
            ClocksBody::One { total_ms } => Clocks::One(Duration::from_millis(total_ms)),
        }
    }

    pub(crate) fn present(&self) -> Result<Vec<DeviceId>, BadName> {
        self.present.iter().map(|number| DeviceId::try_from(*number)).collect()
    }

    pub(crate) fn callback(&mut self) -> Option<Callback> {
        let CallbackBody { url, headers } = self.callback.take()?;
        Some(Callback { url, headers })
    }
}

impl FormsBody {
    fn of(formats: &AcceptedFormats) -> Self {
        match formats {
            AcceptedFormats::Cms => Self::Cms,
            AcceptedFormats::CodeOrCms(digits) => Self::CodeOrCms { digits: DigitsBody(*digits) },
            AcceptedFormats::Raw(RawTerms { hash, by_device, sha1, rsa_bits_min }) => Self::Raw {
                hash: hash.map(HashBody),
                by_device: by_device
                    .iter()
                    .map(|(device, hash)| (DeviceBody(*device), HashBody(*hash)))
                    .collect(),
                sha1: *sha1,
                rsa_bits_min: *rsa_bits_min,
            },
        }
    }
}

impl SelectorBody {
    fn of(selector: &Selector) -> Self {
        let Selector { id, labels, device, certificate } = selector.clone();
        Self {
            id: id.map(IdentityIdBody),
            labels,
            device: device.map(DeviceBody),
            certificate: certificate.map(Base64),
        }
    }

    fn into_selector(self) -> Selector {
        Selector {
            id: self.id.map(|id| id.0),
            labels: self.labels,
            device: self.device.map(|device| device.0),
            certificate: self.certificate.map(|certificate| certificate.0),
        }
    }
}

impl DocumentBody {
    fn of(document: &Document) -> Self {
        let Document { hash, digest_url, document_url, alias, html, root_certs } = document.clone();
        let (hash, root_certs) = (hash.map(HashBody), root_certs.into_iter().map(Base64));
        let root_certs = root_certs.collect();
        Self { hash, digest_url, document_url, alias, html, root_certs }
    }

    fn into_document(self) -> Document {
        let Self { hash, digest_url, document_url, alias, html, root_certs } = self;
        let (hash, root_certs) = (hash.map(|hash| hash.0), root_certs.into_iter().map(|one| one.0));
        let root_certs = root_certs.collect();
        Document { hash, digest_url, document_url, alias, html, root_certs }
    }
}

impl From<DeviceBody> for u64 {
    fn from(device: DeviceBody) -> Self {
        device.0.number()
    }
}

impl TryFrom<u64> for DeviceBody {
    type Error = countersign_core::id::BadName;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        DeviceId::try_from(number).map(Self)
    }
}

impl From<HashBody> for &'static str {
    fn from(hash: HashBody) -> Self {
        hash.0.as_str()
    }
}

impl TryFrom<String> for HashBody {
    type Error = countersign_proof::raw::UnknownAlgorithm;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

impl From<IdentityIdBody> for String {
    fn from(id: IdentityIdBody) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for IdentityIdBody {
    type Error = countersign_core::id::BadName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

impl OperationBody {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
    fn is_sign(&self) -> bool {
        matches!(self, Self::Sign)
    }
}

impl NotifyBody {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
    fn is_everybody(&self) -> bool {
        matches!(self, Self::Everybody)
    }
}

impl From<DigitsBody> for u8 {
    fn from(digits: DigitsBody) -> Self {
        digits.0.count()
    }
}

impl TryFrom<u8> for DigitsBody {
    type Error = &'static str;

    fn try_from(count: u8) -> Result<Self, Self::Error> {
        Digits::new(count).map(Self).ok_or("a code has 6 to 10 digits")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}
