//! The engine's results in the device protocol's format: offers, contents, ends, and refusals.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use countersign_core::device::Device;
use countersign_core::engine::{RawSubmission, Submission, Taken};
use countersign_core::id::{DeviceId, IdentityId};
use countersign_core::refusal::{
    ActorError, DeviceError, DeviceRefusal, EnrolError, EnrolRefusal, Error, Fault,
};
use countersign_core::spec::{self, Digits, Document, SignatureFormat};
use countersign_core::time::Timestamp;
use countersign_core::transaction::{Outcome, State, Transaction};
use countersign_proof::raw::{Algorithm, Hash};
use countersign_wire::body::{self, Code, RefusalBody, Signature};
use countersign_wire::id::DeviceName;
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::secret::PayloadKey;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use countersign_http::body_limit;
use countersign_http::challenge;
use countersign_node::{history, log};

/// A refusal for a device, over HTTP or on the channel; over HTTP, with whether the call had a
/// token.
#[derive(Debug)]
pub struct Refused(pub RefusalBody, pub Token);

/// Whether a call had a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Token {
    /// It had none.
    Absent,
    /// It had one, or its answer does not depend on it.
    Given,
}

impl From<RefusalBody> for Refused {
    fn from(body: RefusalBody) -> Self {
        Self(body, Token::Given)
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        RefusalBody::new(code).into()
    }
}

impl From<DeviceError> for Refused {
    fn from(error: DeviceError) -> Self {
        history::counted(&error);
        match error {
            Error::Refused(refusal) => refused(&refusal).into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<ActorError> for Refused {
    fn from(error: ActorError) -> Self {
        DeviceError::from(error).into()
    }
}

impl From<EnrolError> for Refused {
    fn from(error: EnrolError) -> Self {
        history::counted(&error);
        match error {
            Error::Refused(EnrolRefusal::NotActivated) => Code::EnrolmentRefused.into(),
            Error::Refused(EnrolRefusal::KeyUsed) => Code::KeyUsed.into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<body_limit::BodyRefusal> for Refused {
    fn from(refused: body_limit::BodyRefusal) -> Self {
        match refused {
            body_limit::BodyRefusal::NotJson => Code::UnsupportedMediaType,
            body_limit::BodyRefusal::TooLarge => Code::TooLarge,
            body_limit::BodyRefusal::Busy => Code::Unavailable,
            body_limit::BodyRefusal::Broken => Code::BadRequest,
        }
        .into()
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        log(&fault);
        Code::Unavailable.into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.0.error.status();
        let status = StatusCode::from_u16(status).expect("the table holds HTTP statuses");
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                let asks = match self.1 {
                    Token::Absent => challenge::BEARER,
                    Token::Given => challenge::INVALID_TOKEN,
                };
                headers.insert(WWW_AUTHENTICATE, asks);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}

fn refused(refusal: &DeviceRefusal) -> RefusalBody {
    let code = match refusal {
        DeviceRefusal::Unknown => Code::NotFound,
        // The calling device or its user was removed.
        DeviceRefusal::UnknownUser
        | DeviceRefusal::UnknownDevice
        | DeviceRefusal::UserLocked
        | DeviceRefusal::DeviceLocked => Code::Locked,
        DeviceRefusal::Ended(outcome) => {
            let state = Some(outcome_state(*outcome));
            return RefusalBody { state, ..RefusalBody::new(Code::Ended) };
        }
        DeviceRefusal::Late => {
            let state = Some(body::State::Expired);
            return RefusalBody { state, ..RefusalBody::new(Code::Late) };
        }
        DeviceRefusal::NotTaken => Code::NotTaken,
        DeviceRefusal::OtherDevice | DeviceRefusal::ManyTakes => Code::OtherDevice,
        DeviceRefusal::PinRequired => Code::PinRequired,
        DeviceRefusal::PinUnset => Code::PinNotSet,
        DeviceRefusal::PinWrong { tries_left } => {
            return mistaken(Code::WrongPin, *tries_left);
        }
        DeviceRefusal::CodeWrong { tries_left } => {
            return mistaken(Code::WrongCode, *tries_left);
        }
        DeviceRefusal::PinOutOfTurn => Code::PinVersion,
        DeviceRefusal::OtherForm => Code::WrongForm,
        DeviceRefusal::UnfitIdentity => Code::WrongIdentity,
        DeviceRefusal::BadProof(why) => {
            let message = why.to_string();
            return RefusalBody { message, ..RefusalBody::new(Code::BadSignature) };
        }
        DeviceRefusal::KeyUsed => Code::KeyUsed,
        DeviceRefusal::ManyIdentities | DeviceRefusal::KeyUnproved => Code::BadRequest,
    };
    RefusalBody::new(code)
}

/// A wrong PIN or code. One that locks the user ends the transaction too.
fn mistaken(code: Code, tries_left: u16) -> RefusalBody {
    let state = (tries_left == 0).then_some(body::State::Locked);
    RefusalBody { tries_left: Some(u32::from(tries_left)), state, ..RefusalBody::new(code) }
}

/// A device of the user, for the user's other devices.
pub(super) fn user_device(device: &Device) -> body::UserDevice {
    let id = countersign_wire::id::DeviceId::new(device.id.number());
    body::UserDevice {
        id: id.expect("the wire's device ids have the same bounds"),
        name: device.about.name.clone(),
        platform: device.about.platform.clone(),
        app: device.about.app.clone(),
        enrolled_at: since_epoch(device.enrolled_at),
    }
}

/// An offer: it announces a transaction, without its content.
pub(super) fn offer(transaction: &Transaction) -> body::Offer {
    body::Offer {
        id: wire_id(transaction),
        operation: match transaction.spec.operation {
            spec::Operation::Sign => body::Operation::Sign,
            spec::Operation::Login => body::Operation::Login,
        },
        client: transaction.spec.client_name.clone(),
        expires_at: since_epoch(transaction.deadline()),
        pin_required: transaction.spec.pin_required,
        matching: body::Match::None,
    }
}

/// The answer to a take: the content, encrypted for the device that took it.
pub(super) fn taken(taken: &Taken, device: &DeviceName) -> body::Taken {
    body::Taken {
        sealed: sealed(taken, device),
        deadline: since_epoch(taken.transaction.deadline()),
    }
}

/// The content of a transaction as a compact JWE, which only the device that took it can decrypt.
pub fn sealed(taken: &Taken, device: &DeviceName) -> String {
    let spec = &taken.transaction.spec;
    let algorithms = match spec.formats.raw() {
        None => CMS_ALGORITHMS.to_vec(),
        Some(wanted) => {
            let ways = |hash| [Algorithm::Ecdsa(hash), Algorithm::RsaPkcs1(hash)];
            wanted.hashes(taken.device.id).flat_map(ways).map(wire_algorithm).collect()
        }
    };
    let chosen = !spec.selectors.is_empty() || spec.formats.accept(SignatureFormat::Raw);
    let fit = taken.device.fit(spec.usage(), &spec.selectors, taken.at);
    let content = body::Content {
        id: wire_id(&taken.transaction),
        client: spec.client_name.clone(),
        media_type: spec.content.media_type.as_str().to_owned(),
        bytes: spec.content.bytes.clone(),
        forms: spec.formats.all().iter().copied().map(form).collect(),
        algorithms,
        identities: chosen.then(|| fit.map(|identity| identity.id.to_string()).collect()),
        code_digits: spec.formats.digits().map(Digits::count),
        document: spec.document.as_ref().map(document),
    };
    let plaintext = serde_json::to_vec(&content).expect("a content is plain JSON");
    let key = PayloadKey::from(taken.device.payload_key.expose());
    jwe::seal(&key, device, Purpose::Content(content.id), &plaintext)
}

fn document(document: &Document) -> body::Document {
    let Document { hash, digest_url, document_url, alias, html, root_certs } = document.clone();
    body::Document {
        digest_algorithm: hash.map(|hash| hash.to_string()),
        digest_url,
        document_url,
        alias,
        html: html.map(body::Text),
        root_certs,
    }
}

fn form(form: SignatureFormat) -> body::Form {
    match form {
        SignatureFormat::Cms => body::Form::Cms,
        SignatureFormat::Raw => body::Form::Raw,
        SignatureFormat::Code => body::Form::Code,
    }
}

/// The algorithms that `countersign_proof::cms` accepts; SHA-1 is not one of them.
const CMS_ALGORITHMS: [body::Algorithm; 7] = [
    body::Algorithm::EcdsaSha256,
    body::Algorithm::EcdsaSha384,
    body::Algorithm::EcdsaSha512,
    body::Algorithm::RsaSha256,
    body::Algorithm::RsaSha384,
    body::Algorithm::RsaSha512,
    body::Algorithm::Ed25519,
];

fn wire_algorithm(algorithm: Algorithm) -> body::Algorithm {
    match algorithm {
        Algorithm::RsaPkcs1(Hash::Sha1) => body::Algorithm::RsaSha1,
        Algorithm::RsaPkcs1(Hash::Sha256) => body::Algorithm::RsaSha256,
        Algorithm::RsaPkcs1(Hash::Sha384) => body::Algorithm::RsaSha384,
        Algorithm::RsaPkcs1(Hash::Sha512) => body::Algorithm::RsaSha512,
        Algorithm::Ecdsa(Hash::Sha1) => body::Algorithm::EcdsaSha1,
        Algorithm::Ecdsa(Hash::Sha256) => body::Algorithm::EcdsaSha256,
        Algorithm::Ecdsa(Hash::Sha384) => body::Algorithm::EcdsaSha384,
        Algorithm::Ecdsa(Hash::Sha512) => body::Algorithm::EcdsaSha512,
    }
}

/// A signature as the engine's type.
///
/// # Errors
/// Refuses an invalid identity id, and a raw signature with an algorithm that has no raw form.
pub(super) fn submission(signature: &Signature) -> Result<Submission<'_>, Refused> {
    match signature {
        Signature::Cms { identity, value, .. } => {
            let identity: IdentityId = identity.parse().map_err(|_| Code::WrongIdentity)?;
            Ok(Submission::Cms { message: value, identity: Some(identity) })
        }
        Signature::Code { value } => Ok(Submission::Code { digits: value.as_bytes() }),
        Signature::Raw { identity, algorithm, value, digest } => {
            let identity: IdentityId = identity.parse().map_err(|_| Code::WrongIdentity)?;
            let named = Algorithm::ALL.into_iter().find(|one| wire_algorithm(*one) == *algorithm);
            Ok(Submission::Raw(RawSubmission {
                signature: value,
                identity: Some(identity),
                algorithm: named.ok_or(Code::WrongForm)?,
                digest: digest.as_deref(),
            }))
        }
    }
}

/// The end of a transaction on the wire.
pub(super) fn ended(transaction: &Transaction) -> body::Ended {
    body::Ended { state: state(&transaction.state) }
}

/// The transaction's id in the wire's format.
pub(super) fn wire_id(transaction: &Transaction) -> countersign_wire::id::TransactionId {
    countersign_wire::id::TransactionId(transaction.spec.id.bytes())
}

/// A device's name, which is unique across tenants.
pub fn name(tenant: &str, device: DeviceId) -> DeviceName {
    let number = countersign_wire::id::DeviceId::new(device.number());
    DeviceName::new(tenant, number.expect("the same numbers on both sides"))
        .expect("a tenant's name is a label")
}

fn state(state: &State) -> body::State {
    match state {
        State::Waiting { .. } => body::State::Waiting,
        State::Taken { .. } => body::State::Taken,
        State::Ended { end, .. } => outcome_state(end.outcome()),
    }
}

/// The end's name on the wire.
pub(super) fn outcome_state(outcome: Outcome) -> body::State {
    match outcome {
        Outcome::Finished => body::State::Finished,
        Outcome::Declined => body::State::Declined,
        Outcome::Failed => body::State::Failed,
        Outcome::Expired => body::State::Expired,
        Outcome::Cancelled => body::State::Cancelled,
        Outcome::Locked => body::State::Locked,
    }
}

/// The time since the epoch, as the wire counts it.
pub(super) fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_millis(at.0)
}
