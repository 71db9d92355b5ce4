//! Answers in KOBIL's envelope, and the one table of its literals: the published ones, and ours.

use std::collections::BTreeSet;
use std::fmt;

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::id::DeviceId;
use countersign_core::push_policy::Contact;
use countersign_core::refusal::{
    CancelError, CancelRefusal, Error, Fault, Quota, StartError, StartRefusal, UserError,
    UserRefusal,
};
use countersign_core::transaction::{Decline, End, Timeout, Transaction};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use countersign_http::caller::AuthError;
use countersign_http::challenge;
use countersign_http::json_members::BadBody;
use countersign_node::notifier::TooMany;
use countersign_node::wait::WaitError;
use countersign_node::{history, log};

/// `{"data", "message", "status", "subSystem"}`, in the order of the vendor's sample.
#[derive(Debug, Serialize)]
struct Envelope<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    message: String,
    status: &'static str,
    #[serde(rename = "subSystem")]
    sub_system: u8,
}

/// The part of the vendor's system that an answer names.
#[derive(Clone, Copy, Debug)]
pub(super) enum SubSystem {
    /// Users, their devices and activation codes, and signatures.
    Users = 5,
    /// Changes of one device.
    Devices = 6,
}

/// A literal's HTTP status, its name, and its message.
pub(super) struct Literal(pub(super) StatusCode, pub(super) &'static str, pub(super) &'static str);

// Published by KOBIL.
const BAD_REQUEST: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "BAD_REQUEST");
pub(super) const NO_USER: Literal =
    Literal(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Username should not be null or empty");
const UNAUTHORIZED: Literal =
    Literal(StatusCode::UNAUTHORIZED, "Unauthorized", "HTTP 401 Unauthorized");
pub(super) const USER_NOT_FOUND: Literal =
    Literal(StatusCode::NOT_FOUND, "USER_NOT_FOUND", "User does not exist");
pub(super) const DEVICE_NOT_FOUND: Literal =
    Literal(StatusCode::NOT_FOUND, "DEVICE_NOT_FOUND", "Device does not exist");
const CONFLICT: StatusCode = StatusCode::CONFLICT;
pub(super) const USER_FETCHED: Literal =
    Literal(StatusCode::OK, "Success", "User info fetched successfully");
pub(super) const USER_DELETED: Literal = Literal(StatusCode::OK, "OK", "User deleted successfully");
pub(super) const LOGGED_OUT: Literal =
    Literal(StatusCode::OK, "OK", "User logged out successfully");
pub(super) const NOT_LOGGED_IN: Literal = Literal(
    CONFLICT,
    "USER_ALREADY_LOGGED_OUT",
    "User is not logged in state to perform this action.",
);
pub(super) const DEVICES_FETCHED: Literal =
    Literal(StatusCode::OK, "OK", "Devices list for user fetched successfully");
pub(super) const DEVICE_LOCKED: Literal =
    Literal(StatusCode::OK, "OK", "Device locked successfully.");
pub(super) const DEVICE_UNLOCKED: Literal =
    Literal(StatusCode::OK, "OK", "Device unlocked successfully.");
pub(super) const ALREADY_LOCKED: Literal = Literal(CONFLICT, "CONFLICT", "Device already locked");
pub(super) const ALREADY_UNLOCKED: Literal =
    Literal(CONFLICT, "CONFLICT", "Device already unlocked");
pub(super) const NO_DEVICE: Literal =
    Literal(StatusCode::BAD_REQUEST, "BAD_REQUEST", "DeviceID should not be null or empty");
pub(super) const DEVICE_DELETED: Literal =
    Literal(StatusCode::OK, "OK", "DeviceId deleted successfully.");
pub(super) const NO_DEVICE_TO_DELETE: Literal =
    Literal(StatusCode::NOT_FOUND, "DEVICEID_NOT_FOUND", "DeviceId does not exist.");

pub(super) const BAD_DEVICE_TO_DELETE: Literal = Literal(
    StatusCode::BAD_REQUEST,
    "DEVICE_PARAMETER_INVALID",
    // The vendor's up to "or", ours from there.
    "Error, either the device parameter 'deviceID' must have a positive value, or it is no number",
);

// Ours, because KOBIL published none; or only the message is ours.
pub(super) const USER_CREATED: Literal =
    Literal(StatusCode::CREATED, "OK", "User created successfully");
pub(super) const USER_EXISTS: Literal = Literal(CONFLICT, "CONFLICT", "User already exists");
pub(super) const CODE_CREATED: Literal =
    Literal(StatusCode::OK, "OK", "Activation code created successfully");
pub(super) const CODES_FETCHED: Literal =
    Literal(StatusCode::OK, "OK", "Activation codes for user fetched successfully");
pub(super) const CODE_EXISTS: Literal =
    Literal(CONFLICT, "CONFLICT", "The user has this activation code already");
const TOO_MANY_CODES: Literal = Literal(
    StatusCode::TOO_MANY_REQUESTS,
    "TOO_MANY_REQUESTS",
    "The user has too many activation codes; try again when one was used or has expired",
);
const TOO_MANY_USERS: Literal = Literal(
    StatusCode::TOO_MANY_REQUESTS,
    "TOO_MANY_REQUESTS",
    "The tenant has as many users as it may have; delete some, or ask its operator",
);
const TOO_MANY_DEVICES: Literal = Literal(
    StatusCode::TOO_MANY_REQUESTS,
    "TOO_MANY_REQUESTS",
    "The tenant has as many devices as it may have; ask its operator",
);
const BAD_EXPIRY: Literal = Literal(
    StatusCode::BAD_REQUEST,
    "BAD_REQUEST",
    "activationNotAfter must be in the future, and within a year from now",
);
const TENANT_NOT_FOUND: Literal = Literal(
    StatusCode::NOT_FOUND,
    "TENANT_NOT_FOUND",
    "The address names no tenant of this server",
);
const TRANSACTION_NOT_FOUND: Literal =
    Literal(StatusCode::NOT_FOUND, "TRANSACTION_NOT_FOUND", "Transaction does not exist");
pub(super) const NOT_FOUND: Literal =
    Literal(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing at this address");
pub(super) const METHOD_NOT_ALLOWED: Literal = Literal(
    StatusCode::METHOD_NOT_ALLOWED,
    "METHOD_NOT_ALLOWED",
    "This address does not take this method",
);
pub(super) const UNSUPPORTED_MEDIA_TYPE: Literal = Literal(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "UNSUPPORTED_MEDIA_TYPE",
    "The body must be application/json",
);
pub(super) const PAYLOAD_TOO_LARGE: Literal =
    Literal(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", "The body is too large");
const TOO_MANY_REQUESTS: Literal = Literal(
    StatusCode::TOO_MANY_REQUESTS,
    "TOO_MANY_REQUESTS",
    "The user has too many open transactions; try again when one has ended",
);
pub(super) const SERVICE_UNAVAILABLE: Literal = Literal(
    StatusCode::SERVICE_UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "The server is stopping; send the same request again to get its result",
);
pub(super) const BUSY: Literal = Literal(
    StatusCode::SERVICE_UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "The server is busy; send the same request again",
);
const INTERNAL_ERROR: Literal = Literal(
    StatusCode::SERVICE_UNAVAILABLE,
    "INTERNAL_ERROR",
    "The server failed; the same request may be sent again",
);

/// The result of a failed call, for an answer in KOBIL's format.
pub(super) enum KobilError {
    Literal(Literal),
    Bad(String),
    AuthError(AuthError),
    Quota(Quota),
    Conflict(String),
    Failed(Fault),
}

impl From<Literal> for KobilError {
    fn from(literal: Literal) -> Self {
        Self::Literal(literal)
    }
}

impl From<BadBody> for KobilError {
    fn from(BadBody(sentence): BadBody) -> Self {
        Self::Bad(sentence)
    }
}

impl From<AuthError> for KobilError {
    fn from(stranger: AuthError) -> Self {
        Self::AuthError(stranger)
    }
}

impl From<Fault> for KobilError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<StartError> for KobilError {
    fn from(error: StartError) -> Self {
        history::counted(&error);
        match error {
            Error::Refused(refusal) => match refusal {
                StartRefusal::UnknownUser => USER_NOT_FOUND.into(),
                StartRefusal::UnknownDevice => DEVICE_NOT_FOUND.into(),
                StartRefusal::TooManyOpen => TOO_MANY_REQUESTS.into(),
                StartRefusal::Quota(quota) => Self::Quota(quota),
                StartRefusal::UserLocked
                | StartRefusal::DeviceLocked
                | StartRefusal::NoIdentity
                | StartRefusal::CertificateEnded
                | StartRefusal::SeveralUsers
                | StartRefusal::OtherOrder => Self::Conflict(sentence(refusal)),
            },
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<CancelError> for KobilError {
    fn from(error: CancelError) -> Self {
        history::counted(&error);
        match error {
            // For a client, a transaction that cannot be cancelled does not exist.
            Error::Refused(
                CancelRefusal::Unknown | CancelRefusal::Ended(_) | CancelRefusal::Late,
            ) => TRANSACTION_NOT_FOUND.into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<WaitError> for KobilError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Unknown => TRANSACTION_NOT_FOUND.into(),
            WaitError::TooMany(too_many) => too_many.into(),
            WaitError::Failed(fault) => fault.into(),
        }
    }
}

impl From<TooMany> for KobilError {
    fn from(TooMany: TooMany) -> Self {
        Self::Quota(Quota::Waiting)
    }
}

impl From<UserError> for KobilError {
    fn from(error: UserError) -> Self {
        history::counted(&error);
        match error {
            Error::Refused(refusal) => match refusal {
                UserRefusal::UnknownUser => USER_NOT_FOUND.into(),
                UserRefusal::UnknownDevice => DEVICE_NOT_FOUND.into(),
                UserRefusal::ManyCodes => TOO_MANY_CODES.into(),
                UserRefusal::ManyUsers => TOO_MANY_USERS.into(),
                UserRefusal::ManyDevices => TOO_MANY_DEVICES.into(),
                UserRefusal::BadExpiry => BAD_EXPIRY.into(),
                UserRefusal::Exists | UserRefusal::Unchanged | UserRefusal::UnknownCode => {
                    Self::Conflict(sentence(refusal))
                }
            },
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl IntoResponse for KobilError {
    fn into_response(self) -> Response {
        self.into_response_for(SubSystem::Users)
    }
}

/// The result of a failed call on a device.
pub(super) struct DeviceProblem(KobilError);

impl<P> From<P> for DeviceProblem
where
    KobilError: From<P>,
{
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for DeviceProblem {
    fn into_response(self) -> Response {
        self.0.into_response_for(SubSystem::Devices)
    }
}

impl KobilError {
    fn into_response_for(self, by: SubSystem) -> Response {
        match self {
            Self::Literal(literal) => literal.into_response_for(by),
            Self::Bad(sentence) => refused(BAD_REQUEST.0, BAD_REQUEST.1, sentence, by),
            Self::AuthError(stranger) => match stranger {
                AuthError::NoTenant => TENANT_NOT_FOUND.into_response_for(by),
                AuthError::NoToken => UNAUTHORIZED.into_response_for(by),
                AuthError::NotAuthenticated => {
                    let mut response = UNAUTHORIZED.into_response_for(by);
                    let headers = response.headers_mut();
                    headers.insert(header::WWW_AUTHENTICATE, challenge::INVALID_TOKEN);
                    response
                }
                AuthError::NoRole(role) => {
                    let sentence = format!("The client does not have the role {}", role.as_str());
                    refused(StatusCode::FORBIDDEN, "FORBIDDEN", sentence, by)
                }
                AuthError::TooManyTries => TOO_MANY_REQUESTS.into_response_for(by),
                AuthError::Failed => INTERNAL_ERROR.into_response_for(by),
            },
            Self::Quota(quota) => {
                let Literal(code, status, _) = TOO_MANY_REQUESTS;
                let mut response = refused(code, status, sentence(quota), by);
                let wait = HeaderValue::from(quota.retry_after_seconds());
                response.headers_mut().insert(header::RETRY_AFTER, wait);
                response
            }
            Self::Conflict(sentence) => refused(CONFLICT, "CONFLICT", sentence, by),
            Self::Failed(fault) => {
                log(&fault);
                INTERNAL_ERROR.into_response_for(by)
            }
        }
    }
}

/// A refusal's own sentence, with a capital like KOBIL's messages.
fn sentence(refusal: impl fmt::Display) -> String {
    let text = refusal.to_string();
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn refused(code: StatusCode, status: &'static str, message: String, by: SubSystem) -> Response {
    let envelope = Envelope::<()> { data: None, message, status, sub_system: by as u8 };
    let mut response = (code, Json(envelope)).into_response();
    let headers = response.headers_mut();
    match code {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, challenge::BEARER);
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

impl IntoResponse for Literal {
    fn into_response(self) -> Response {
        self.into_response_for(SubSystem::Users)
    }
}

impl Literal {
    fn into_response_for(self, by: SubSystem) -> Response {
        let Self(code, status, message) = self;
        refused(code, status, message.to_owned(), by)
    }

    /// The answer of a successful call, with its data.
    pub(super) fn with<T: Serialize>(self, data: Option<T>, by: SubSystem) -> Response {
        let Self(code, status, message) = self;
        let message = message.to_owned();
        (code, Json(Envelope { data, message, status, sub_system: by as u8 })).into_response()
    }
}

fn ok<T: Serialize>(data: T, status: &'static str, message: &'static str) -> Response {
    Literal(StatusCode::OK, status, message).with(Some(data), SubSystem::Users)
}

/// The answer for a transaction whose result a callback will carry.
pub(super) fn created(transaction: &Transaction) -> Response {
    const CREATED: &str = "Transaction created successfully";
    let offline = "The device is offline and deviceGoOnlineTimeout is set to 0";
    if transaction.spec.online {
        return ok("OK", "OK", CREATED);
    }
    match transaction.spec.clocks {
        countersign_core::spec::Clocks::Two { go_online, .. } if go_online.is_zero() => {
            ok("DEVICE_GO_ONLINE_TIMEOUT", "DEVICE_GO_ONLINE_TIMEOUT", offline)
        }
        _ => ok("OK", "OK_IN_WAITING_LIST", CREATED),
    }
}

/// The result of a transaction, for a held response and for a callback.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultData<'a> {
    device_id: String,
    result_code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    transaction_id: &'a str,
}

/// The end of a transaction; HTTP 200 whatever the end.
pub(super) fn result(transaction: &Transaction, end: &End) -> Response {
    (StatusCode::OK, Json(result_envelope(transaction, end))).into_response()
}

/// The same as a callback's body; `None` before the end.
pub fn result_body(transaction: &Transaction) -> Option<Vec<u8>> {
    let envelope = result_envelope(transaction, transaction.end()?);
    Some(serde_json::to_vec(&envelope).expect("an envelope has text keys and no maps that fail"))
}

fn result_envelope<'a>(transaction: &'a Transaction, end: &End) -> Envelope<ResultData<'a>> {
    let (code, message) = result_code(end);
    let data = ResultData {
        device_id: device(end.by()),
        result_code: code,
        signature: match end {
            End::Finished { proof, .. } => Some(BASE64.encode(proof.evidence())),
            _ => None,
        },
        transaction_id: transaction.spec.reference.as_ref().map_or("", |r| r.name.as_str()),
    };
    Envelope {
        data: Some(data),
        message: message.to_owned(),
        status: code,
        sub_system: SubSystem::Users as u8,
    }
}

/// Ours, similar to the names of KOBIL's device SDK; it published only `OK` and the go-online
/// timeout.
fn result_code(end: &End) -> (&'static str, &'static str) {
    match end {
        End::Finished { .. } => ("OK", "Transaction signed successfully"),
        End::Declined { reason: Decline::User, .. } => ("USER_CANCEL", "The user declined"),
        End::Declined { reason: Decline::NotMe, .. } => {
            ("USER_CANCEL", "The user did not ask for this, and is held against further offers")
        }
        End::Failed { .. } => ("INTERNAL_ERROR", "The device could not sign"),
        End::Expired(Timeout::GoOnline) => {
            ("DEVICE_GO_ONLINE_TIMEOUT", "No device came online in time")
        }
        End::Expired(Timeout::Sign) => {
            ("USER_CONFIRMATION_TIMEOUT", "The user did not sign in time")
        }
        End::Cancelled => ("SERVER_CANCEL", "The transaction was cancelled"),
        End::Locked { .. } => ("INVALID_PIN", "The user was locked by wrong PINs"),
    }
}

/// A row in the answer of a cancel.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelRow<'a> {
    device_id: String,
    user_id: &'a str,
    transaction_id: &'a str,
    cancel_result: &'static str,
}

/// A cancelled transaction: a row for each device to which it was sent, or one row for all if it
/// was sent to none.
///
/// For the vendor, a transaction waits until its client is online, and is sent to the client then
/// (its words for `OK_IN_WAITING_LIST`). So an offer is enough: the device need not have opened it.
pub(super) fn cancelled(transaction: &Transaction, contacts: &[Contact]) -> Response {
    let row = |device: Option<DeviceId>, cancel_result| CancelRow {
        device_id: self::device(device),
        user_id: transaction.spec.user.as_str(),
        transaction_id: transaction.spec.reference.as_ref().map_or("", |r| r.name.as_str()),
        cancel_result,
    };
    let reached = contacts.iter().filter(|contact| contact.reached_at.is_some());
    let taken = transaction.takes.iter().map(|take| take.device);
    let sent: BTreeSet<DeviceId> = (transaction.spec.present.iter().copied())
        .chain(reached.map(|contact| contact.device))
        .chain(taken)
        .collect();
    let discarded = |device| row(Some(device), "TRANSACTION_DISCARDED_FROM_CLIENT");
    let mut rows: Vec<CancelRow<'_>> = sent.into_iter().map(discarded).collect();
    if rows.is_empty() {
        let recipients = match transaction.spec.recipients {
            countersign_core::spec::Recipients::Any
            | countersign_core::spec::Recipients::Devices(_) => None,
            countersign_core::spec::Recipients::Device(device) => Some(device),
        };
        rows.push(row(recipients, "TRANSACTION_REMOVED_FROM_WAITING_LIST"));
    }
    ok(rows, "OK", "Transaction cancelled successfully")
}

/// `-1` if there is no device.
fn device(id: Option<DeviceId>) -> String {
    id.map_or_else(|| "-1".to_owned(), |id| id.to_string())
}
