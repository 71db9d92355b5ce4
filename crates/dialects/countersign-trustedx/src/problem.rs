//! Errors: `{"error", "error_description"}` with an HTTP status, and with `WWW-Authenticate` if
//! authentication is needed (RFC 6750, section 3).

use axum::Json;
use axum::response::{IntoResponse, Response};
use countersign_core::refusal::{
    CancelError, CancelRefusal, DeviceError, DeviceRefusal, Error, Fault, IdentityError, Quota,
    StartError, StartRefusal, UnknownIdentity,
};
use countersign_wire::body::{Code, RefusalBody};
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use countersign_channel::answer::{Refused, Token};
use countersign_http::body_limit;
use countersign_http::caller::AuthError;
use countersign_http::json_members::BadBody;
use countersign_node::notifier::TooMany;
use countersign_node::wait::WaitError;
use countersign_node::{history, log};

/// The reason why a call failed.
#[derive(Debug)]
pub(super) enum ProcessError {
    /// There is no token; the answer says that one is needed, without an error code.
    NoToken,
    /// The token is invalid.
    BadToken,
    /// The token is valid but lacks this scope.
    OtherScope(String),
    /// The process is unknown, was deleted, or is another client's.
    Gone,
    /// The process has not ended.
    Pending,
    /// The body or the query is invalid.
    Bad(String),
    /// A device's call was refused, as it would be on the device's own channel.
    Device(Box<RefusalBody>),
    /// A refusal of the engine, with its own sentence.
    Refused(StatusCode, &'static str, String),
    /// A quota is used up.
    Quota(Quota),
    /// The server failed.
    Failed(Fault),
    /// A given status, error code and description.
    Told(StatusCode, &'static str, &'static str),
}

pub(super) const NOT_FOUND: ProcessError =
    ProcessError::Told(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address");
pub(super) const OTHER_METHOD: ProcessError = ProcessError::Told(
    StatusCode::METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "this address does not take this method",
);
pub(super) const STOPPING: ProcessError = ProcessError::Told(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporarily_unavailable",
    "the server is stopping; send the same request again",
);
const BUSY: ProcessError = ProcessError::Told(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporarily_unavailable",
    "the server is busy; send the same request again",
);
const NOT_JSON: ProcessError = ProcessError::Told(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "unsupported_media_type",
    "the body must be application/json",
);
const TOO_LARGE: ProcessError =
    ProcessError::Told(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large");
const FAILED: (StatusCode, &str, &str) = (
    StatusCode::SERVICE_UNAVAILABLE,
    "server_error",
    "the server failed; the same request may be sent again",
);

#[derive(Serialize)]
struct ProblemBody<'a> {
    error: &'a str,
    error_description: String,
    /// The server's time, so that a device with a wrong clock can correct itself: milliseconds
    /// since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<u64>,
}

impl From<Fault> for ProcessError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl From<StartRefusal> for ProcessError {
    fn from(refusal: StartRefusal) -> Self {
        history::refused(&refusal);
        let (status, error) = match refusal {
            StartRefusal::Quota(quota) => return Self::Quota(quota),
            StartRefusal::UnknownUser | StartRefusal::UnknownDevice | StartRefusal::NoIdentity => {
                return no_identity();
            }
            StartRefusal::CertificateEnded | StartRefusal::SeveralUsers => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            StartRefusal::UserLocked | StartRefusal::DeviceLocked => {
                (StatusCode::FORBIDDEN, "access_denied")
            }
            StartRefusal::TooManyOpen => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            StartRefusal::OtherOrder => (StatusCode::CONFLICT, "conflict"),
        };
        Self::Refused(status, error, refusal.to_string())
    }
}

impl From<CancelRefusal> for ProcessError {
    fn from(refusal: CancelRefusal) -> Self {
        history::refused(&refusal);
        match refusal {
            CancelRefusal::Unknown => Self::Gone,
            CancelRefusal::Ended(_) | CancelRefusal::Late => {
                Self::Refused(StatusCode::CONFLICT, "conflict", refusal.to_string())
            }
        }
    }
}

impl From<DeviceRefusal> for ProcessError {
    fn from(refusal: DeviceRefusal) -> Self {
        history::refused(&refusal);
        let (status, error) = match refusal {
            DeviceRefusal::Unknown => return Self::Gone,
            DeviceRefusal::UnknownUser | DeviceRefusal::UnknownDevice => return no_identity(),
            DeviceRefusal::OtherForm
            | DeviceRefusal::BadProof(_)
            | DeviceRefusal::KeyUnproved
            | DeviceRefusal::CodeWrong { tries_left: 1.. } => {
                (StatusCode::BAD_REQUEST, "invalid_signature")
            }
            DeviceRefusal::UserLocked
            | DeviceRefusal::CodeWrong { tries_left: 0 }
            | DeviceRefusal::DeviceLocked
            | DeviceRefusal::UnfitIdentity
            | DeviceRefusal::PinRequired
            | DeviceRefusal::PinUnset
            | DeviceRefusal::PinWrong { .. } => (StatusCode::FORBIDDEN, "access_denied"),
            DeviceRefusal::ManyIdentities => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            DeviceRefusal::Ended(_)
            | DeviceRefusal::Late
            | DeviceRefusal::NotTaken
            | DeviceRefusal::OtherDevice
            | DeviceRefusal::ManyTakes
            | DeviceRefusal::KeyUsed
            | DeviceRefusal::PinOutOfTurn => (StatusCode::CONFLICT, "conflict"),
        };
        Self::Refused(status, error, refusal.to_string())
    }
}

impl From<UnknownIdentity> for ProcessError {
    fn from(refusal: UnknownIdentity) -> Self {
        Self::Refused(StatusCode::GONE, "gone", refusal.to_string())
    }
}

/// An unknown user looks the same as a user without a suitable identity.
fn no_identity() -> ProcessError {
    let sentence = StartRefusal::NoIdentity.to_string();
    ProcessError::Refused(StatusCode::BAD_REQUEST, "invalid_request", sentence)
}

impl From<StartError> for ProcessError {
    fn from(error: StartError) -> Self {
        of_error(error)
    }
}

impl From<CancelError> for ProcessError {
    fn from(error: CancelError) -> Self {
        of_error(error)
    }
}

impl From<DeviceError> for ProcessError {
    fn from(error: DeviceError) -> Self {
        of_error(error)
    }
}

impl From<IdentityError> for ProcessError {
    fn from(error: IdentityError) -> Self {
        of_error(error)
    }
}

fn of_error<R: Into<ProcessError>>(error: Error<R>) -> ProcessError {
    match error {
        Error::Refused(refusal) => refusal.into(),
        Error::Failed(fault) => ProcessError::Failed(fault),
    }
}

impl From<WaitError> for ProcessError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Unknown => Self::Gone,
            WaitError::TooMany(too_many) => too_many.into(),
            WaitError::Failed(fault) => Self::Failed(fault),
        }
    }
}

impl From<TooMany> for ProcessError {
    fn from(TooMany: TooMany) -> Self {
        Self::Quota(Quota::Waiting)
    }
}

impl From<BadBody> for ProcessError {
    fn from(BadBody(sentence): BadBody) -> Self {
        Self::Bad(sentence)
    }
}

impl From<AuthError> for ProcessError {
    fn from(stranger: AuthError) -> Self {
        match stranger {
            AuthError::NoToken => Self::NoToken,
            AuthError::NoTenant | AuthError::NotAuthenticated => Self::BadToken,
            AuthError::NoRole(role) => {
                let sentence = format!("the client does not have the role {}", role.as_str());
                Self::Refused(StatusCode::FORBIDDEN, "access_denied", sentence)
            }
            AuthError::TooManyTries => {
                Self::Told(StatusCode::TOO_MANY_REQUESTS, "slow_down", "too many wrong tries")
            }
            // The failure has been logged.
            AuthError::Failed => Self::Told(FAILED.0, FAILED.1, FAILED.2),
        }
    }
}

impl From<body_limit::BodyRefusal> for ProcessError {
    fn from(refused: body_limit::BodyRefusal) -> Self {
        match refused {
            body_limit::BodyRefusal::NotJson => NOT_JSON,
            body_limit::BodyRefusal::TooLarge => TOO_LARGE,
            body_limit::BodyRefusal::Busy => BUSY,
            body_limit::BodyRefusal::Broken => Self::Bad("The body did not arrive whole".into()),
        }
    }
}

impl From<Refused> for ProcessError {
    fn from(Refused(body, token): Refused) -> Self {
        match body.error {
            Code::Unauthorised if token == Token::Absent => Self::NoToken,
            Code::UnsupportedMediaType => NOT_JSON,
            Code::TooLarge => TOO_LARGE,
            Code::BadRequest => Self::Bad("The body did not arrive whole".into()),
            _ => Self::Device(Box::new(body)),
        }
    }
}

impl IntoResponse for ProcessError {
    fn into_response(self) -> Response {
        match self {
            Self::NoToken => {
                // RFC 6750, section 3.1: no error code if there was no token.
                let bearer = (WWW_AUTHENTICATE, HeaderValue::from_static(BEARER));
                (StatusCode::UNAUTHORIZED, [bearer]).into_response()
            }
            Self::BadToken => told(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "the token has expired, or is none of this server's",
            ),
            Self::OtherScope(scope) => other_scope(&scope),
            Self::Gone => told(StatusCode::GONE, "gone", "there is no such process"),
            Self::Pending => told(StatusCode::NOT_FOUND, "pending", "the process has not ended"),
            Self::Bad(sentence) => told(StatusCode::BAD_REQUEST, "invalid_request", &sentence),
            Self::Device(body) => of_device(&body),
            Self::Told(status, error, sentence) => told(status, error, sentence),
            Self::Refused(status, error, sentence) => told(status, error, &sentence),
            Self::Quota(quota) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut response = told(status, "too_many_requests", &quota.to_string());
                let wait = HeaderValue::from(quota.retry_after_seconds());
                response.headers_mut().insert(RETRY_AFTER, wait);
                response
            }
            Self::Failed(fault) => {
                log(&fault);
                told(FAILED.0, FAILED.1, FAILED.2)
            }
        }
    }
}

const BEARER: &str = "Bearer realm=\"trustedx\"";

/// RFC 6750, section 3.1: the token lacks the scope.
fn other_scope(scope: &str) -> Response {
    let mut response =
        told(StatusCode::FORBIDDEN, "insufficient_scope", &format!("this call needs {scope}"));
    // A scope is visible ASCII without quotes and backslashes.
    let value = format!("{BEARER}, error=\"insufficient_scope\", scope=\"{scope}\"");
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

/// An invalid token of a device, or a server failure during its verification.
fn of_device(body: &RefusalBody) -> Response {
    let status = StatusCode::from_u16(body.error.status());
    let status = status.expect("the table holds HTTP statuses");
    let error = match body.error {
        Code::Unauthorised => "invalid_token",
        Code::Locked => "access_denied",
        Code::NotFound => return ProcessError::Gone.into_response(),
        Code::TooMany => "too_many_requests",
        _ => FAILED.1,
    };
    let time = body.server_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    answer(status, error, body.message.clone(), time)
}

fn told(status: StatusCode, error: &'static str, sentence: &str) -> Response {
    answer(status, error, sentence.to_owned(), None)
}

fn answer(
    status: StatusCode,
    error: &'static str,
    error_description: String,
    server_time: Option<u64>,
) -> Response {
    let body = ProblemBody { error, error_description, server_time };
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match status {
        StatusCode::UNAUTHORIZED => {
            let value = format!("{BEARER}, error=\"{error}\"");
            let value = HeaderValue::try_from(value).expect("errors are plain words");
            headers.insert(WWW_AUTHENTICATE, value);
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}
