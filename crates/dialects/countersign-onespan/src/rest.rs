//! REST for phones, as in OneSpan's gateway: POST, JSON, HTTP Basic with the front-end API key.
//!
//! Every handled call is answered with HTTP 200 and `resultCodes`, without `result` if it failed.
//! Another HTTP status means that the call was not handled. Its body has `resultCodes` too, because
//! phones' libraries parse every body as JSON.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, post};
use axum::{Json, Router};
use countersign_core::id::TenantName;
use countersign_core::refusal::{DeviceError, Error, Refusal as _};
use countersign_core::spec::Operation;
use countersign_core::tenant::{ApiKey, KeyKind};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tracing::info;

use super::body::{BodyMember, BodyParameters};
use super::codes::{ResultCodes, Status};
use super::phone::{Asker, Phones};
use countersign_http::body_limit;
use countersign_http::caller::{AuthError, Authenticator};
use countersign_http::listen::Peer;
use countersign_node::{history, log};

/// The state that the handlers share.
#[derive(Clone)]
pub struct Rest {
    /// Authenticates callers, and holds the engine.
    pub authenticator: Authenticator,
    /// The phones' calls.
    pub phones: Phones,
}

/// The gateway's calls, at `/rest/v2`; and under `/<context>` as well, if it is configured.
pub fn router(rest: Rest, context: &str) -> Router {
    let calls = Router::new()
        .merge(calls("signature", "getPreparedSignatureRequest", known(post(fetch_signature))))
        .merge(calls("signature", "authSignature", known(post(complete_signature))))
        .merge(calls("signature", "cancelAuthSignatureRequest", known(post(cancel_signature))))
        .merge(calls("authentication", "getPreparedSecureChallenge", known(post(fetch_login))))
        .merge(calls("authentication", "authUser", known(post(complete_login))))
        .merge(calls("authentication", "cancelAuthUser", known(post(cancel_login))))
        .route("/notification/push/updateNotificationID", known(post(update_notification)))
        .route("/provisioning/getServerTime", known(post(server_time)))
        .fallback(any(async || RestError::Unasked(StatusCode::NOT_FOUND)))
        .with_state(rest);
    let router = Router::new().nest("/rest/v2", calls.clone());
    if context.is_empty() {
        return router;
    }
    router.nest(&format!("/{context}/rest/v2"), calls)
}

/// A call for both kinds of transactions: pushed ones, and scanned ones.
fn calls(what: &str, name: &str, methods: MethodRouter<Rest>) -> Router<Rest> {
    Router::new()
        .route(&format!("/{what}/push/{name}"), methods.clone())
        .route(&format!("/{what}/scan/{name}"), methods)
}

/// A route that accepts only POST.
fn known(methods: MethodRouter<Rest>) -> MethodRouter<Rest> {
    methods.fallback(async || RestError::Unasked(StatusCode::METHOD_NOT_ALLOWED))
}

/// The reason why a call failed.
enum RestError {
    /// Answered with a status.
    Told(Status),
    /// The call was not handled: answered with an HTTP status, and a status that says only whether
    /// the request was wrong.
    Unasked(StatusCode),
}

/// A parsed call: the caller, and the parameters.
struct RestCall {
    key: ApiKey,
    tenant: Option<TenantName>,
    parameters: BodyParameters,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RestBody<R> {
    result_codes: ResultCodes,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<R>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fetched {
    request_message: String,
}

/// The signer, with the members of the vendor's example, in its order and spelling.
#[derive(Serialize)]
struct Completed {
    #[serde(rename = "userID")]
    user_id: String,
    domain: String,
    #[serde(rename = "orgUnit")]
    org_unit: &'static str,
    #[serde(rename = "serialNo")]
    serial_no: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Time {
    server_time: u64,
}

type Answer = Result<Response, RestError>;

/// `POST /rest/v2/signature/{push,scan}/getPreparedSignatureRequest`
async fn fetch_signature(State(rest): State<Rest>, request: Request) -> Answer {
    rest.fetch(request, Operation::Sign).await
}

/// `POST /rest/v2/signature/{push,scan}/authSignature`
async fn complete_signature(State(rest): State<Rest>, request: Request) -> Answer {
    rest.complete(request, Operation::Sign).await
}

/// `POST /rest/v2/signature/{push,scan}/cancelAuthSignatureRequest`
async fn cancel_signature(State(rest): State<Rest>, request: Request) -> Answer {
    rest.cancel(request, Operation::Sign).await
}

/// `POST /rest/v2/authentication/{push,scan}/getPreparedSecureChallenge`
async fn fetch_login(State(rest): State<Rest>, request: Request) -> Answer {
    rest.fetch(request, Operation::Login).await
}

/// `POST /rest/v2/authentication/{push,scan}/authUser`
async fn complete_login(State(rest): State<Rest>, request: Request) -> Answer {
    rest.complete(request, Operation::Login).await
}

/// `POST /rest/v2/authentication/{push,scan}/cancelAuthUser`
async fn cancel_login(State(rest): State<Rest>, request: Request) -> Answer {
    rest.cancel(request, Operation::Login).await
}

/// `POST /rest/v2/notification/push/updateNotificationID`: `digipassInstanceID` is the serial
/// number.
async fn update_notification(State(rest): State<Rest>, request: Request) -> Answer {
    let call = rest.read(request).await?;
    let given = &call.parameters;
    let (user, serial) = (required(&given.user_id)?, required(&given.digipass_instance_id)?);
    let message = required(&given.encrypted_notification_id)?;
    let (tenant, _) = rest.domain(&call).await?;
    let user = user.parse().map_err(|_| Status::NotFound)?;
    rest.told(rest.phones.move_to(&tenant, &user, serial, message).await)?;
    Ok(done::<()>(None))
}

/// `POST /rest/v2/provisioning/getServerTime`: the body is ignored.
async fn server_time(State(rest): State<Rest>, request: Request) -> Answer {
    rest.key(request.headers(), address(&request)).await?;
    body_limit::any(request).await?;
    Ok(done(Some(Time { server_time: rest.authenticator.core.now().seconds() })))
}

impl Rest {
    async fn fetch(&self, request: Request, operation: Operation) -> Answer {
        let call = self.read(request).await?;
        let (key, serial) = (call.key(operation)?, required(&call.parameters.serial_number)?);
        if !self.phones.may_fetch(&call.key.id.to_string(), serial) {
            return Err(RestError::Unasked(StatusCode::TOO_MANY_REQUESTS));
        }
        let asker = Asker { tenant: call.tenant()?, client: None, operation };
        let fetched = self.phones.fetch(asker, serial, key).await;
        Ok(done(Some(Fetched { request_message: self.told(fetched)? })))
    }

    async fn complete(&self, request: Request, operation: Operation) -> Answer {
        let call = self.read(request).await?;
        let (user, key) = (required(&call.parameters.user_id)?, call.key(operation)?);
        let signature = required(&call.parameters.signature)?;
        let (tenant, domain) = self.domain(&call).await?;
        let name = user.parse().map_err(|_| Status::NotFound)?;
        if !self.phones.may_complete(&call.key.id.to_string(), &tenant, &name) {
            info!("A phone's call was refused: too many completions for one user in a minute");
            return Err(Status::Error.into());
        }
        let asker = Asker { tenant: &tenant, client: None, operation };
        let completed = self.phones.complete(asker, &name, None, key, signature).await;
        let serial = self.told(completed)?;
        Ok(done(Some(Completed {
            user_id: name.to_string(),
            domain,
            org_unit: "",
            serial_no: serial.to_string(),
        })))
    }

    async fn cancel(&self, request: Request, operation: Operation) -> Answer {
        let call = self.read(request).await?;
        let (message, serial) = (call.key(operation)?, required(&call.parameters.serial_number)?);
        let asker = Asker { tenant: call.tenant()?, client: None, operation };
        self.told(self.phones.cancel(asker, serial, message).await)?;
        Ok(done::<()>(None))
    }

    /// Authenticates the caller, and then reads the body.
    async fn read(&self, request: Request) -> Result<RestCall, RestError> {
        let key = self.key(request.headers(), address(&request)).await?;
        let tenant = match &key.tenant {
            Some(tenant) => Some(tenant.clone()),
            None => self.authenticator.tenant_of_host(request.uri(), request.headers()).ok(),
        };
        let body = body_limit::any(request).await?;
        let parameters = BodyParameters::parse(&body);
        let parameters = parameters.ok_or(RestError::Unasked(StatusCode::BAD_REQUEST))?;
        Ok(RestCall { key, tenant, parameters })
    }

    /// The tenant that `domain` names, if the API key may access it; and the domain for the answer,
    /// as the call named it.
    async fn domain(&self, call: &RestCall) -> Result<(TenantName, String), RestError> {
        let own = call.tenant.as_ref();
        match &call.parameters.domain {
            BodyMember::Absent => {
                let tenant = call.tenant()?;
                Ok((tenant.clone(), tenant.to_string()))
            }
            BodyMember::Text(domain) if own.is_some_and(|own| own.as_str() == domain) => {
                Ok((call.tenant()?.clone(), domain.clone()))
            }
            BodyMember::Text(domain) => {
                let named = self.phones.tenant_named(domain).await;
                let named = named.map_err(|fault| {
                    log(&fault);
                    RestError::Unasked(StatusCode::SERVICE_UNAVAILABLE)
                })?;
                let named = named.filter(|tenant| call.key.covers(tenant));
                Ok((named.ok_or(Status::NotFound)?, domain.clone()))
            }
            BodyMember::Other => Err(Status::InvParam.into()),
        }
    }

    /// Authenticates the front-end API key of the request.
    async fn key(&self, headers: &HeaderMap, address: IpAddr) -> Result<ApiKey, AuthError> {
        self.authenticator.api_key(headers, KeyKind::FrontEnd, address).await
    }

    /// Converts a refusal to a status, by the policy; the log keeps the precise one.
    fn told<T>(&self, outcome: Result<T, DeviceError>) -> Result<T, RestError> {
        outcome.map_err(|error| match error {
            Error::Refused(refusal) => {
                history::refused(&refusal);
                let (status, kind) = (Status::of_device(&refusal), refusal.kind());
                info!(status = status.name(), kind, "A phone's call was refused: {refusal}");
                RestError::Told(self.phones.told(status))
            }
            Error::Failed(fault) => {
                log(&fault);
                RestError::Unasked(StatusCode::SERVICE_UNAVAILABLE)
            }
        })
    }
}

impl RestCall {
    /// The request key, or, for a cancel, the message that contains it.
    fn key(&self, operation: Operation) -> Result<&str, Status> {
        required(match operation {
            Operation::Sign => &self.parameters.request_key,
            Operation::Login => &self.parameters.challenge_key,
        })
    }

    /// The tenant of the API key, or else the host's, or else the default one.
    fn tenant(&self) -> Result<&TenantName, Status> {
        self.tenant.as_ref().ok_or(Status::NotFound)
    }
}

/// A required parameter: a text that is not empty.
fn required(member: &BodyMember) -> Result<&str, Status> {
    member.text().ok_or(Status::InvParam)
}

/// The caller's address.
fn address(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

fn done<R: Serialize>(result: Option<R>) -> Response {
    Json(RestBody { result_codes: Status::Success.codes(), result }).into_response()
}

impl From<Status> for RestError {
    fn from(status: Status) -> Self {
        Self::Told(status)
    }
}

impl From<AuthError> for RestError {
    fn from(stranger: AuthError) -> Self {
        Self::Unasked(match stranger {
            AuthError::NoTenant | AuthError::NoToken | AuthError::NotAuthenticated => {
                StatusCode::UNAUTHORIZED
            }
            // Roles are for clients, and these callers are not clients.
            AuthError::NoRole(_) => StatusCode::FORBIDDEN,
            AuthError::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
            AuthError::Failed => StatusCode::SERVICE_UNAVAILABLE,
        })
    }
}

impl From<body_limit::BodyRefusal> for RestError {
    fn from(refused: body_limit::BodyRefusal) -> Self {
        Self::Unasked(match refused {
            body_limit::BodyRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            body_limit::BodyRefusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            body_limit::BodyRefusal::NotJson | body_limit::BodyRefusal::Broken => {
                StatusCode::BAD_REQUEST
            }
        })
    }
}

impl IntoResponse for RestError {
    fn into_response(self) -> Response {
        const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"Countersign\"");
        let code = match self {
            Self::Told(status) => {
                let body = RestBody::<()> { result_codes: status.codes(), result: None };
                return Json(body).into_response();
            }
            Self::Unasked(code) => code,
        };
        let header: Option<(HeaderName, HeaderValue)> = match code {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, BASIC)),
            StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, HeaderValue::from_static("POST"))),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, HeaderValue::from_static("60"))),
            StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, HeaderValue::from_static("2"))),
            _ => None,
        };
        let status = match code {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Status::InvParam,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => Status::NoSupport,
            _ => Status::Error,
        };
        let body = RestBody::<()> { result_codes: status.codes(), result: None };
        (code, HeaderMap::from_iter(header), Json(body)).into_response()
    }
}
