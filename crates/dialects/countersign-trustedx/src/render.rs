//! A signature creation process in the vendor's format, with the members in its page's order.

use aws_lc_rs::digest;
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::Fault;
use countersign_core::device::{About, Device, Identity};
use countersign_core::spec::{MediaType, Operation, TransactionSpec};
use countersign_core::transaction::{Decline, End, Timeout, Transaction};
use countersign_core::user::Factor;
use countersign_proof::raw::{Hash, Raw};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::body::{ProcessKind, ServiceName};
use super::context::{TrustedX, TrustedXSettings};
use super::device::ShownType;
use super::identity::{IdentityParts, SignIdentity};
use super::selector::SelectorView;
use countersign_http::time_format;

/// The buffer for an answer: fits a process with a short text, two certificates and a key, so that
/// it need not grow.
const USUAL_ANSWER_BYTES: usize = 4 * 1024;

/// The part of a request that is stored beside the terms, to show it again.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct StoredRequest {
    pub(super) kind: ProcessKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<ServiceName>,
    /// Whether the request named its algorithm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) named_hash: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) selectors: Vec<SelectorView>,
}

/// A process as the only member of an answer.
#[derive(Serialize)]
pub(super) struct ProcessAnswer<'a> {
    signature: Resource<'a>,
}

#[derive(Serialize)]
struct Resource<'a> {
    id: String,
    #[serde(rename = "self")]
    address: String,
    input: Input<'a>,
    operation_type: &'static str,
    creation_time: String,
    sign_identity_selectors: Vec<SelectorView>,
    device_configuration_url: String,
    domain: &'a str,
    service: Asking<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ProcessResult<'a>>,
    links: ProcessLinks,
}

#[derive(Default, Serialize)]
struct Input<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<ServiceName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document_alias: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    root_certs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document_info: Option<ProcessInfo<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_info: Option<ProcessInfo<'a>>,
}

#[derive(Serialize)]
struct ProcessInfo<'a> {
    html: &'a str,
}

/// The client, which the user sees as the requester.
#[derive(Serialize)]
struct Asking<'a> {
    id: &'a str,
    name: &'a str,
    domain: &'a str,
}

/// The result of a process.
#[derive(Serialize)]
pub(super) struct ProcessResult<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<&'static str>,
    /// Ours: the signed digest, if the request left it to a `digest_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_identity: Option<SignIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_type: Option<ShownType<'a>>,
}

#[derive(Serialize)]
struct ProcessLinks {
    finish: String,
    fail: String,
    cancel: String,
}

/// The device and the identity that signed.
pub(super) struct SignerView<'a> {
    about: &'a About,
    identity: Option<IdentityParts<'a>>,
}

impl TrustedX {
    /// Loads the device that finished a transaction, if the transaction itself does not describe
    /// it: the signer of a CMS. `None` if the device was removed.
    pub(super) async fn signer(&self, transaction: &Transaction) -> Result<Option<Device>, Fault> {
        let Some(End::Finished { by, identity: None, .. }) = transaction.end() else {
            return Ok(None);
        };
        let device = self.authenticator.core.read().device(&transaction.spec.tenant, *by).await?;
        Ok(device.map(|device| device.value))
    }
}

impl<'a> SignerView<'a> {
    /// The signer of a raw signature, as it was when it signed; of a CMS, as `device` is now.
    pub(super) fn of(transaction: &'a Transaction, device: Option<&'a Device>) -> Option<Self> {
        let Some(End::Finished { by, proof, identity }) = transaction.end() else { return None };
        if let (Some(then), Some(raw)) = (identity, proof.raw()) {
            let identity = IdentityParts {
                id: then.id,
                usage: then.usage,
                certificate: &raw.certificate,
                labels: &then.labels,
                enabled: true,
                status_reason: &then.status_reason,
                device: *by,
                device_name: &then.about.name,
                tenant: &transaction.spec.tenant,
                user: &transaction.spec.user,
            };
            return Some(Self { about: &then.about, identity: Some(identity) });
        }
        let device = device?;
        let signed = |identity: &&Identity| {
            let fingerprint = digest::digest(&digest::SHA256, &identity.certificate);
            proof.signer().is_some_and(|signer| fingerprint.as_ref() == signer)
        };
        let identity = device.identities.iter().find(signed);
        let identity = identity.map(|identity| IdentityParts::of(device, identity));
        Some(Self { about: &device.about, identity })
    }
}

impl TrustedXSettings {
    /// The whole resource. `shows_data` says whether the caller may see the content.
    pub(super) fn resource<'a>(
        &'a self,
        transaction: &'a Transaction,
        signer: Option<&SignerView<'a>>,
        shows_data: bool,
    ) -> ProcessAnswer<'a> {
        let spec = &*transaction.spec;
        let kept = kept(spec);
        let address = self.signature(spec);
        let link = |verb: &str| format!("{address}/{verb}");
        let links =
            ProcessLinks { finish: link("finish"), fail: link("fail"), cancel: link("cancel") };
        let domain = spec.tenant.as_str();
        let signature = Resource {
            id: spec.id.to_string(),
            operation_type: kept.kind.as_str(),
            creation_time: time_format::exact(spec.started_at),
            device_configuration_url: format!(
                "{}/device_configuration/{{device_type}}",
                self.address
            ),
            domain,
            service: Asking { id: spec.client.as_str(), name: &spec.client_name, domain },
            result: transaction.end().map(|end| self.result(spec, end, signer)),
            input: input(transaction, kept.kind, kept.service, kept.named_hash, shows_data),
            sign_identity_selectors: kept.selectors,
            address,
            links,
        };
        ProcessAnswer { signature }
    }

    /// The result, which is the same alone and within the resource.
    pub(super) fn result<'a>(
        &'a self,
        spec: &TransactionSpec,
        end: &'a End,
        signer: Option<&SignerView<'a>>,
    ) -> ProcessResult<'a> {
        ProcessResult {
            sign_identity: signer.and_then(|signer| Some(self.sign_identity(signer.identity?))),
            device_type: signer.map(|signer| self.shown_type(signer.about)),
            ..ProcessResult::of(spec, end)
        }
    }

    /// The address of a process.
    pub(super) fn signature(&self, spec: &TransactionSpec) -> String {
        format!("{}/signatures/{}", self.address, spec.id)
    }
}

/// An answer as JSON.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(USUAL_ANSWER_BYTES);
    serde_json::to_writer(&mut body, answer)
        .expect("an answer has text keys and no maps that fail");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl ProcessResult<'_> {
    /// The part of the result that does not need the device.
    fn of(spec: &TransactionSpec, end: &End) -> Self {
        let (status, value) = told(end);
        let fetched = fetched_digest(spec, end);
        Self {
            status,
            value,
            signature_algorithm: signed(end).map(|raw| raw.algorithm.as_str()),
            digest_value: fetched.map(|(digest, _)| BASE64.encode(digest)),
            digest_algorithm: fetched.map(|(_, hash)| hash.as_str()),
            sign_identity: None,
            device_type: None,
        }
    }
}

/// The raw signature of a finished process.
fn signed(end: &End) -> Option<&Raw> {
    match end {
        End::Finished { proof, .. } => proof.raw(),
        _ => None,
    }
}

/// The signed digest and its algorithm, if the request left the digest to a `digest_url`.
fn fetched_digest<'a>(spec: &TransactionSpec, end: &'a End) -> Option<(&'a [u8], Hash)> {
    if !spec.content.bytes.is_empty() {
        return None;
    }
    let raw = signed(end)?;
    Some((raw.digest.as_deref()?, raw.algorithm.hash()))
}

/// The stored part of the request; for another dialect's transaction, the parts that are known.
fn kept(spec: &TransactionSpec) -> StoredRequest {
    let read = spec.request.as_deref().and_then(|text| serde_json::from_str(text).ok());
    read.unwrap_or_else(|| {
        let kind = match (spec.operation, spec.content.media_type) {
            (Operation::Login, _) => ProcessKind::Authentication,
            (Operation::Sign, MediaType::Digest) => ProcessKind::Raw,
            (Operation::Sign, _) => ProcessKind::Transaction,
        };
        StoredRequest { kind, service: None, named_hash: false, selectors: Vec::new() }
    })
}

/// The request's input. A digest that was left to a `digest_url` is shown once it is signed.
fn input(
    transaction: &Transaction,
    kind: ProcessKind,
    service: Option<ServiceName>,
    named_hash: bool,
    shows_data: bool,
) -> Input<'_> {
    let input = Input { service, ..Input::default() };
    if !shows_data {
        return input;
    }
    let spec = &*transaction.spec;
    let bytes = spec.content.bytes.as_slice();
    let Some(document) = &spec.document else {
        let hash = spec.formats.raw().and_then(|raw| raw.hash).filter(|_| named_hash);
        let digest_algorithm = hash.map(Hash::as_str);
        return Input { data: str::from_utf8(bytes).ok(), digest_algorithm, ..input };
    };
    let info = document.html.as_deref().map(|html| ProcessInfo { html });
    let (document_info, data_info) = match kind {
        ProcessKind::Document => (info, None),
        ProcessKind::Raw | ProcessKind::Transaction | ProcessKind::Authentication => (None, info),
    };
    let fetched = transaction.end().and_then(|end| fetched_digest(spec, end));
    let (digest, hash) = match fetched {
        Some((digest, hash)) => (digest, Some(hash)),
        None => (bytes, document.hash),
    };
    Input {
        digest_url: document.digest_url.as_deref(),
        digest_value: (!digest.is_empty()).then(|| BASE64.encode(digest)),
        digest_algorithm: hash.map(Hash::as_str),
        document_url: document.document_url.as_deref(),
        document_alias: document.alias.as_deref(),
        root_certs: document.root_certs.iter().map(|der| BASE64.encode(der)).collect(),
        document_info,
        data_info,
        ..input
    }
}

/// The vendor has three ends; the text in `value` says more.
fn told(end: &End) -> (&'static str, Option<String>) {
    let given = |words: &str| (!words.is_empty()).then(|| words.to_owned());
    let ours = |words: &str| Some(words.to_owned());
    match end {
        End::Finished { proof, .. } => ("finished", Some(BASE64.encode(proof.evidence()))),
        End::Failed { reason, .. } => ("failed", given(reason)),
        End::Expired(Timeout::GoOnline) => ("failed", ours("no device came online in time")),
        End::Expired(Timeout::Sign) => ("failed", ours("nobody signed in time")),
        End::Locked { factor: Factor::Pin, .. } => ("failed", ours("wrong PINs locked the user")),
        End::Locked { factor: Factor::Code, .. } => ("failed", ours("wrong codes locked the user")),
        End::Declined { words, .. } if !words.is_empty() => ("canceled", given(words)),
        End::Declined { reason: Decline::NotMe, .. } => {
            ("canceled", ours("the user did not ask for this"))
        }
        End::Declined { reason: Decline::User, .. } | End::Cancelled => ("canceled", None),
    }
}

/// The body of a callback: the process's id, and its `/result` without the data of the device.
pub fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    #[derive(Serialize)]
    struct Ended<'a> {
        id: String,
        result: ProcessResult<'a>,
    }

    let result = ProcessResult::of(&transaction.spec, transaction.end()?);
    let body = Ended { id: transaction.spec.id.to_string(), result };
    Some(serde_json::to_vec(&body).expect("a result has text keys and no maps that fail"))
}
