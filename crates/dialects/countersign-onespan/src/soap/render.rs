//! Answers: an envelope with a command's result, or with a fault for an invalid message.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_core::refusal::Quota;
use countersign_core::spec::Operation;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use quick_xml::escape::escape;

use super::body::{SoapCall, Style};
use super::invalid::NotSoap;
use super::xml::{self, Space};
use crate::codes::Status;
use countersign_http::body_limit;
use countersign_http::caller::AuthError;

/// The result of a command.
#[derive(Debug)]
pub(super) enum CommandResult {
    /// The command succeeded.
    Done(Done),
    /// The command failed; with a sentence for the caller if it says more than the status.
    Not(Status, Option<String>),
}

/// The result of a successful command.
#[derive(Debug)]
pub(super) enum Done {
    Signed { user: String, domain: String, serial: String, signature: String },
    Prepared(Prepared),
    Fetched { message: String },
    Completed { user: String, domain: String, serial: String },
    Cancelled,
}

impl Done {
    /// The same, with the tenant named by this domain.
    pub(super) fn with_domain(mut self, named: String) -> Self {
        match &mut self {
            Self::Signed { domain, .. }
            | Self::Completed { domain, .. }
            | Self::Prepared(Prepared { domain, .. }) => *domain = named,
            Self::Fetched { .. } | Self::Cancelled => {}
        }
        self
    }
}

/// A request for which a key was made.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) operation: Operation,
    pub(super) user: String,
    pub(super) domain: String,
    /// The request key.
    pub(super) key: String,
    /// A PNG of the request key.
    pub(super) picture: Vec<u8>,
    /// The serial number of the device for which `message` is sealed.
    pub(super) serial: String,
    /// The content, sealed, in hex.
    pub(super) message: String,
}

/// The reason why a command has no result, by SOAP 1.1, section 4.4. A message that is not a
/// request gets HTTP 500, as section 6.2 demands: some clients do not read the fault of a 400.
/// Other statuses are HTTP's own, as for authentication. None tells a command's outcome.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    code: &'static str,
    sentence: String,
    header: Option<(HeaderName, HeaderValue)>,
}

const CLIENT: &str = "Client";
const SERVER: &str = "Server";

/// The answer to a call, in the call's own format.
pub(super) fn answer(call: &SoapCall, answer: &CommandResult) -> Response {
    let space = call.command.space();
    let mut out = Xml::envelope(space);
    let (prefix, fields) = match space {
        Space::Authentication => ("aut", "CREDFLD"),
        _ => ("sig", "SIGNFLD"),
    };
    let name = format!("{prefix}:{}", call.command.answer());
    out.within(&name, |out| match call.style {
        Style::Elements => elements(out, answer),
        Style::Attributes => attributes(out, fields, answer),
    });
    (StatusCode::OK, out.ended()).into_response()
}

fn elements(out: &mut Xml, answer: &CommandResult) {
    out.within("status", |out| {
        codes(out, answer);
        errors(out, answer);
    });
    let CommandResult::Done(done) = answer else { return };
    if matches!(done, Done::Cancelled) {
        return;
    }
    out.within("result", |out| {
        let whose = |out: &mut Xml, user: &str, domain: &str| {
            out.within("user", |out| {
                out.leaf("userID", user);
                out.leaf("domain", domain);
            });
        };
        match done {
            Done::Signed { user, domain, serial, signature } => {
                whose(out, user, domain);
                out.leaf("serialNumber", serial);
                out.leaf("signature", signature);
            }
            Done::Prepared(prepared) => {
                whose(out, &prepared.user, &prepared.domain);
                out.leaf("serialNumber", &prepared.serial);
                out.leaf("requestKey", &prepared.key);
                out.leaf("requestMessage", &prepared.message);
                out.leaf("requestImage", &BASE64.encode(&prepared.picture));
            }
            Done::Fetched { message } => out.leaf("requestMessage", message),
            Done::Completed { user, domain, serial } => {
                whose(out, user, domain);
                out.leaf("serialNumber", serial);
            }
            Done::Cancelled => {}
        }
    });
}

/// `fields` is the prefix of the attributes' ids.
fn attributes(out: &mut Xml, fields: &str, answer: &CommandResult) {
    out.within("results", |out| {
        codes(out, answer);
        out.within("resultAttribute", |out| {
            for (id, value) in listed(answer) {
                out.within("attributes", |out| {
                    // The vendor's pages print both orders, and some clients read the first element
                    // only.
                    out.leaf("value", &value);
                    out.leaf("attributeID", &format!("{fields}_{id}"));
                });
            }
        });
        errors(out, answer);
    });
}

/// The attributes of an answer, without the prefix of their ids. `REQUEST_IMAGE` is ours.
fn listed(answer: &CommandResult) -> Vec<(&'static str, Cow<'_, str>)> {
    let whose =
        |user, domain| vec![("USERID", Cow::Borrowed(user)), ("DOMAIN", Cow::Borrowed(domain))];
    match answer {
        CommandResult::Done(Done::Prepared(prepared)) => {
            let mut list = whose(prepared.user.as_str(), prepared.domain.as_str());
            list.push(("SERIAL_NO", (&prepared.serial).into()));
            let name = match prepared.operation {
                Operation::Sign => "REQUEST_KEY",
                Operation::Login => "CHALLENGE_KEY",
            };
            list.push((name, (&prepared.key).into()));
            list.push(("REQUEST_MESSAGE", (&prepared.message).into()));
            list.push(("REQUEST_IMAGE", BASE64.encode(&prepared.picture).into()));
            list
        }
        CommandResult::Done(
            Done::Completed { user, domain, serial } | Done::Signed { user, domain, serial, .. },
        ) => {
            let mut list = whose(user.as_str(), domain.as_str());
            list.push(("SERIAL_NO", serial.into()));
            list
        }
        // An answer of success has no message: some clients take any message for a failure.
        CommandResult::Done(_) => Vec::new(),
        CommandResult::Not(status, None) => {
            vec![("STATUS_MESSAGE", status.sentence().into())]
        }
        CommandResult::Not(status, Some(sentence)) => vec![
            ("STATUS_MESSAGE", sentence.into()),
            ("AUXILIARY_MESSAGE", format!("{}: {sentence}", status.number()).into()),
        ],
    }
}

fn codes(out: &mut Xml, answer: &CommandResult) {
    let status = match answer {
        CommandResult::Done(_) => Status::Success,
        CommandResult::Not(status, _) => *status,
    };
    out.within("resultCodes", |out| {
        out.leaf("returnCodeEnum", status.return_name());
        out.leaf("statusCodeEnum", status.name());
        out.leaf("returnCode", &status.return_number().to_string());
        out.leaf("statusCode", &status.number().to_string());
    });
}

fn errors(out: &mut Xml, answer: &CommandResult) {
    out.within("errorStack", |out| {
        if let CommandResult::Not(status, Some(sentence)) = answer {
            out.within("errors", |out| {
                out.leaf("errorCode", &status.number().to_string());
                out.leaf("errorDesc", sentence);
            });
        }
    });
}

impl Fault {
    fn client(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, code: CLIENT, sentence: sentence.into(), header: None }
    }

    fn server(sentence: &str) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, code: SERVER, sentence: sentence.into(), header }
    }

    /// The server is draining.
    pub(super) fn draining() -> Self {
        Self::server("the server is about to stop; try again")
    }

    /// The server failed; the failure has been logged.
    pub(super) fn failed() -> Self {
        Self::server("the server failed; try again")
    }

    /// Too many wrong guesses.
    pub(super) fn too_many() -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from_static("60")));
        let sentence = "too many tries; wait a minute";
        Self { header, ..Self::client(StatusCode::TOO_MANY_REQUESTS, sentence) }
    }

    /// The client, or its tenant, has used up a quota.
    pub(super) fn quota(quota: Quota) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from(quota.retry_after_seconds())));
        Self { header, ..Self::client(StatusCode::TOO_MANY_REQUESTS, quota.to_string()) }
    }

    /// A message whose media type is not XML.
    pub(super) fn not_xml() -> Self {
        let sentence = "the Content-Type must be text/xml";
        Self::client(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence)
    }

    /// Another method than POST.
    pub(super) fn method() -> Self {
        let header = Some((ALLOW, HeaderValue::from_static("POST, GET")));
        let sentence = "commands are sent with POST; GET ?wsdl describes them";
        Self { header, ..Self::client(StatusCode::METHOD_NOT_ALLOWED, sentence) }
    }
}

impl From<AuthError> for Fault {
    fn from(stranger: AuthError) -> Self {
        match stranger {
            // Only its own clients learn whether a tenant exists.
            AuthError::NoTenant | AuthError::NoToken | AuthError::NotAuthenticated => Self {
                header: Some((
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"countersign\""),
                )),
                ..Self::client(StatusCode::UNAUTHORIZED, "no such client, or another secret")
            },
            AuthError::NoRole(role) => {
                let sentence = format!("the client does not have the role {}", role.as_str());
                Self::client(StatusCode::FORBIDDEN, sentence)
            }
            AuthError::TooManyTries => Self::too_many(),
            AuthError::Failed => Self::failed(),
        }
    }
}

impl From<body_limit::BodyRefusal> for Fault {
    fn from(refused: body_limit::BodyRefusal) -> Self {
        match refused {
            body_limit::BodyRefusal::TooLarge => {
                Self::client(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large")
            }
            body_limit::BodyRefusal::Busy => Self::server("the server is busy; try again"),
            body_limit::BodyRefusal::NotJson | body_limit::BodyRefusal::Broken => {
                Self::client(StatusCode::INTERNAL_SERVER_ERROR, "the message did not arrive whole")
            }
        }
    }
}

impl From<NotSoap> for Fault {
    fn from(reason: NotSoap) -> Self {
        let code = match reason {
            NotSoap::OtherVersion => "VersionMismatch",
            NotSoap::Mandatory => "MustUnderstand",
            _ => CLIENT,
        };
        Self { code, ..Self::client(StatusCode::INTERNAL_SERVER_ERROR, reason.to_string()) }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut out = Xml::envelope(Space::Signature);
        out.within("soapenv:Fault", |out| {
            out.leaf("faultcode", &format!("soapenv:{}", self.code));
            out.leaf("faultstring", &self.sentence);
        });
        let mut response = (self.status, out.ended()).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// An envelope that is being written.
struct Xml(String);

impl Xml {
    /// An envelope that binds the prefix of this namespace.
    fn envelope(space: Space) -> Self {
        let (prefix, name) = match space {
            Space::Authentication => ("aut", xml::AUTHENTICATION),
            _ => ("sig", xml::SIGNATURE),
        };
        Self(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope xmlns:soapenv=\"{}\" \
             xmlns:{prefix}=\"{name}\"><soapenv:Body>",
            xml::SOAP,
        ))
    }

    fn ended(mut self) -> impl IntoResponse {
        self.0.push_str("</soapenv:Body></soapenv:Envelope>\n");
        ([(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"))], self.0)
    }

    fn within(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.0.extend(["<", name, ">"]);
        content(self);
        self.0.extend(["</", name, ">"]);
    }

    /// Names may contain characters that XML does not allow; those are replaced.
    fn leaf(&mut self, name: &str, text: &str) {
        let shown = |c| if xml::is_allowed(c) { c } else { char::REPLACEMENT_CHARACTER };
        let text: String = text.chars().map(shown).collect();
        self.within(name, |out| out.0.push_str(&escape(text)));
    }
}
