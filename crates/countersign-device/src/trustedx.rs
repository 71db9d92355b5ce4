//! TrustedX's links: a process is read at its resource and ended by `finish`, `fail` or `cancel`.
//!
//! The shown and signed content is the same as with the channel's `take`. Only the channel can
//! prove a PIN. Only the channel can tell which of several identities the selectors mean if they
//! differ by labels only, because a device does not know its labels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use core::time::Duration;
use countersign_proof::raw::{Algorithm, Hash};
use countersign_wire::body::{
    self, Code, Content, Document, Ended, Form, RefusalBody, Signature, State, Text,
};
use countersign_wire::id::TransactionId;
use countersign_wire::phone::{Phone, PhoneIdentity};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::Error;
use crate::http::{self, Http};
use crate::raw;
use crate::shown::DIGEST_MEDIA_TYPE;

const PREFIX: &str = "/trustedx-resources/esigp/v1";

/// The members of a process that a device needs.
pub(crate) struct Process {
    /// The content to show and sign, still without identities and algorithms.
    pub(crate) content: Content,
    /// The digest algorithm, if the process names it.
    pub(crate) hash: Option<Hash>,
    selectors: Vec<Selector>,
}

/// The way in which a device ends a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Link<'a> {
    Finish(&'a Signature),
    /// With a sentence for the application.
    Fail(&'a str),
    Cancel,
}

#[derive(Deserialize)]
struct LinkAnswer<T> {
    signature: T,
}

#[derive(Deserialize)]
struct IdentityResource {
    input: Input,
    #[serde(default)]
    sign_identity_selectors: Vec<Selector>,
    service: Service,
}

#[derive(Deserialize)]
struct Input {
    data: Option<String>,
    digest_url: Option<String>,
    digest_value: Option<String>,
    digest_algorithm: Option<String>,
    document_url: Option<String>,
    document_alias: Option<String>,
    #[serde(default)]
    root_certs: Vec<String>,
    document_info: Option<Info>,
    data_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    html: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
}

#[derive(Deserialize)]
struct Selector {
    device_id: Option<String>,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    certificate: Option<String>,
}

impl Http {
    /// Reads a process. `NotFound` if it is not TrustedX's, or not for this device.
    pub(crate) async fn process(&self, id: TransactionId) -> Result<Process, Error> {
        let path = format!("{PREFIX}/signatures/{id}");
        let answer: LinkAnswer<IdentityResource> =
            self.call_in(refusal, Method::GET, &path, Vec::new()).await?;
        Process::of(id, answer.signature)
    }

    /// The hash for HTML if the process does not name one: the signature policy's.
    pub(crate) async fn default_hash(&self) -> Result<Hash, Error> {
        #[derive(Deserialize)]
        struct Configuration {
            signature_policy: Policy,
        }
        #[derive(Deserialize)]
        struct Policy {
            default_digest_algorithm: String,
        }
        let path = format!("{PREFIX}/device_configuration/");
        let answer: Configuration = self.call_in(refusal, Method::GET, &path, Vec::new()).await?;
        let name = answer.signature_policy.default_digest_algorithm;
        name.parse().map_err(|_| Error::Unexpected("the policy's digest algorithm is unknown"))
    }

    /// Ends a process by one of its links.
    pub(crate) async fn end_by_link(
        &self,
        id: TransactionId,
        link: Link<'_>,
    ) -> Result<Ended, Error> {
        #[derive(Deserialize)]
        struct ChoiceResource {
            result: Outcome,
        }
        #[derive(Deserialize)]
        struct Outcome {
            status: String,
        }
        let (verb, body) = link.body();
        let path = format!("{PREFIX}/signatures/{id}/{verb}");
        let answer: LinkAnswer<ChoiceResource> =
            self.call_in(refusal, Method::PUT, &path, body).await?;
        let state = match answer.signature.result.status.as_str() {
            "finished" => State::Finished,
            "failed" => State::Failed,
            "canceled" => State::Declined,
            _ => State::Unknown,
        };
        Ok(Ended { state })
    }
}

impl Process {
    fn of(id: TransactionId, resource: IdentityResource) -> Result<Self, Error> {
        let IdentityResource { mut input, sign_identity_selectors, service } = resource;
        let hash = input.digest_algorithm.as_deref().map(str::parse::<Hash>).transpose();
        let hash = hash.map_err(|_| Error::Unexpected("the digest's algorithm is unknown"))?;
        let (media_type, bytes, document) = if let Some(data) = input.data.take() {
            ("text/html; charset=utf-8", data.into_bytes(), None)
        } else {
            let (digest, document) = input.document()?;
            (DIGEST_MEDIA_TYPE, digest, Some(document))
        };
        let content = Content {
            id,
            client: service.name,
            media_type: media_type.to_owned(),
            bytes,
            forms: vec![Form::Raw],
            algorithms: Vec::new(),
            identities: None,
            code_digits: None,
            document,
        };
        Ok(Self { content, hash, selectors: sign_identity_selectors })
    }

    /// The phone's identities that a selector may mean.
    pub(crate) fn identities(&self, phone: &Phone) -> Vec<String> {
        let all = phone.identities.iter().filter(|identity| {
            self.selectors.is_empty()
                || self.selectors.iter().any(|one| one.may_mean(phone, identity))
        });
        all.map(|identity| identity.id.clone()).collect()
    }
}

impl Input {
    /// The digest, empty if it has to be fetched, and its document.
    fn document(self) -> Result<(Vec<u8>, Document), Error> {
        let bad = |_| Error::Unexpected("the process holds something that is not base64");
        let digest = self.digest_value.map(|text| BASE64.decode(text)).transpose();
        let roots = self.root_certs.iter().map(|text| BASE64.decode(text));
        let info = self.document_info.or(self.data_info);
        let document = Document {
            digest_algorithm: self.digest_algorithm,
            digest_url: self.digest_url,
            document_url: self.document_url,
            alias: self.document_alias,
            html: info.and_then(|info| info.html).map(Text),
            root_certs: roots.collect::<Result<_, _>>().map_err(bad)?,
        };
        Ok((digest.map_err(bad)?.unwrap_or_default(), document))
    }
}

impl Selector {
    fn may_mean(&self, phone: &Phone, identity: &PhoneIdentity) -> bool {
        let device = phone.device_id.to_string();
        let certificate = self.details.as_ref().and_then(|details| details.certificate.as_ref());
        self.device_id.as_ref().is_none_or(|wanted| *wanted == device)
            && certificate.is_none_or(|wanted| *wanted == BASE64.encode(&identity.certificate))
    }
}

/// The algorithms with this hash; without a hash, all except those with SHA-1.
pub(crate) fn algorithms(hash: Option<Hash>) -> Vec<body::Algorithm> {
    let wanted = |algorithm: &Algorithm| match hash {
        Some(hash) => algorithm.hash() == hash,
        None => algorithm.hash() != Hash::Sha1,
    };
    Algorithm::ALL.into_iter().filter(wanted).map(raw::wire).collect()
}

impl Link<'_> {
    /// The link's name, and the body of the PUT.
    fn body(self) -> (&'static str, Vec<u8>) {
        #[derive(Serialize)]
        struct Finish<'a> {
            value: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            signature_algorithm: Option<body::Algorithm>,
            #[serde(skip_serializing_if = "Option::is_none")]
            sign_identity: Option<Identity<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            digest_value: Option<String>,
        }
        #[derive(Serialize)]
        struct Identity<'a> {
            id: &'a str,
        }
        #[derive(Serialize)]
        struct Words<'a> {
            value: &'a str,
        }
        let (verb, body) = match self {
            Self::Fail(words) => ("fail", serde_json::to_vec(&Words { value: words })),
            Self::Cancel => ("cancel", Ok(b"{}".to_vec())),
            Self::Finish(signature) => {
                let (value, algorithm, identity, digest) = match signature {
                    Signature::Raw { value, algorithm, identity, digest } => {
                        (BASE64.encode(value), Some(*algorithm), Some(identity), digest.as_ref())
                    }
                    Signature::Cms { value, identity, .. } => {
                        (BASE64.encode(value), None, Some(identity), None)
                    }
                    Signature::Code { value } => (BASE64.encode(value), None, None, None),
                };
                let finish = Finish {
                    value,
                    signature_algorithm: algorithm,
                    sign_identity: identity.map(|id| Identity { id }),
                    digest_value: digest.map(|digest| BASE64.encode(digest)),
                };
                ("finish", serde_json::to_vec(&finish))
            }
        };
        (verb, body.expect("bodies are plain JSON"))
    }
}

/// The error for an answer with a status other than 2xx, as an error of the device protocol.
fn refusal(address: &Address, answer: &http::HttpAnswer) -> Error {
    #[derive(Deserialize)]
    struct Body {
        error_description: String,
        server_time: Option<u64>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(&answer.body) else {
        return http::refusal(address, answer);
    };
    let code = match answer.status {
        401 => Code::Unauthorised,
        409 => Code::Ended,
        410 => Code::NotFound,
        429 => Code::TooMany,
        500.. => Code::Unavailable,
        _ => Code::Unknown,
    };
    Error::Refused {
        body: RefusalBody {
            message: body.error_description,
            server_time: body.server_time.map(Duration::from_millis),
            ..RefusalBody::new(code)
        },
        retry_after: http::retry_after(answer),
    }
}
